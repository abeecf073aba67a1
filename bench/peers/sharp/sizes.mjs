// Thumbnails with sharp's defaults: `node sizes.mjs FOLDER PICTURE...` writes FOLDER/{number}-{side}.{format}.
import sharp from "sharp";

const [folder, ...pictures] = process.argv.slice(2);
for (const [number, picture] of pictures.entries()) {
  for (const side of [128, 320, 512]) {
    const small = sharp(picture).rotate().resize(side, side, { fit: "inside", withoutEnlargement: true });
    for (const format of ["jpeg", "webp", "avif"]) {
      await small.clone().toFormat(format).toFile(`${folder}/${number}-${side}.${format}`);
    }
  }
}
