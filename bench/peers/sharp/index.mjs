// The usual handler with sharp and version 3 of AWS's SDK: all records at once, bodies in memory.
//
// The format is kept, with sharp's default quality; rotate() turns the picture by EXIF. sharp's concurrency is its
// default too: one thread a picture with glibc and no jemalloc, as on Lambda, and pictures side by side on
// Node's four threads.
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import sharp from "sharp";

// An emulated S3 has no name for each bucket.
const s3 = new S3Client({ forcePathStyle: true });

export async function handler(event) {
  await Promise.all(event.Records.map(makeThumbnail));
  return { statusCode: 200 };
}

async function makeThumbnail({ s3: { bucket, object } }) {
  const key = decodeURIComponent(object.key.replaceAll("+", " "));
  const source = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: key }));
  const data = await source.Body.transformToByteArray();
  const thumbnail = await sharp(data)
    .rotate()
    .resize(128, 128, { fit: "inside", withoutEnlargement: true })
    .toBuffer();
  await s3.send(new PutObjectCommand({ Bucket: `${bucket.name}-resized`, Key: key, Body: thumbnail }));
}
