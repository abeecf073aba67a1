// The usual handler with sharp and version 3 of AWS's SDK: all records at once, bodies in memory.
//
// The format is kept, with sharp's default quality; BENCH_SIDES asks for JPEGs of these sides with quality 80 instead.
// rotate() turns the picture by EXIF. sharp's concurrency is its default too: one thread a picture with glibc and no
// jemalloc, as on Lambda, and pictures side by side on Node's four threads.
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import sharp from "sharp";

// An emulated S3 has no name for each bucket.
const s3 = new S3Client({ forcePathStyle: true });
const sides = (process.env.BENCH_SIDES ?? "").split(",").filter(Boolean).map(Number);
const fit = { fit: "inside", withoutEnlargement: true };

export async function handler(event) {
  await Promise.all(event.Records.map(makeThumbnail));
  return { statusCode: 200 };
}

async function makeThumbnail({ s3: { bucket, object } }) {
  const key = decodeURIComponent(object.key.replaceAll("+", " "));
  const source = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: key }));
  const data = await source.Body.transformToByteArray();
  const upright = sharp(data).rotate();
  const put = async (name, pipeline) =>
    s3.send(new PutObjectCommand({ Bucket: `${bucket.name}-resized`, Key: name, Body: await pipeline.toBuffer() }));
  if (sides.length === 0) {
    await put(key, upright.resize(128, 128, fit));
    return;
  }
  const web = (side) => upright.clone().resize(side, side, fit).jpeg({ quality: 80 });
  await Promise.all(sides.map((side) => put(`${key}.${side}x${side}.jpg`, web(side))));
}
