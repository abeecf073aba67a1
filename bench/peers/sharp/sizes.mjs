// Pictures encoded with sharp's defaults: `node sizes.mjs FOLDER PICTURE...` writes FOLDER/{number}.{format}.
import sharp from "sharp";

const [folder, ...pictures] = process.argv.slice(2);
for (const [number, picture] of pictures.entries()) {
  for (const format of ["jpeg", "webp", "avif"]) {
    await sharp(picture).toFormat(format).toFile(`${folder}/${number}.${format}`);
  }
}
