/** What is made of an uploaded picture. */

import { expect, test } from "bun:test";

import exifr from "exifr";

import { makePicture } from "../../src/files/picture.ts";
import { bands, BLUE, bomb, GREEN, noise, phoneJpeg, png, RED, webpChunks } from "../support/images.ts";

const stripes = (width: number, height: number) =>
  png(width, height, (_, y) => (y < 1 / 3 ? RED : y < 2 / 3 ? GREEN : BLUE));

test("makes a preview of at most 960 pixels a side, without metadata", async () => {
  const { preview, width, height } = await makePicture(await phoneJpeg(stripes(1_200, 600), 1), "image/jpeg");
  expect([width, height]).toEqual([1_200, 600]);
  expect(await new Bun.Image(preview).metadata()).toMatchObject({ format: "webp", width: 960, height: 480 });
  expect(webpChunks(preview)).toEqual(["VP8 "]);
});

test("keeps nothing of a phone's picture that exifr finds but its orientation", async () => {
  const { bytes } = await makePicture(await phoneJpeg(stripes(90, 60), 6), "image/jpeg");
  const found = await exifr.parse(Buffer.from(bytes), { tiff: true, xmp: true, gps: true, mergeOutput: false });
  expect(found).toEqual({ ifd0: { Orientation: "Rotate 90 CW" } });
  expect(Buffer.from(bytes).includes("GPS")).toBeFalse();
});

test("does not enlarge a small picture", async () => {
  const { preview } = await makePicture(stripes(30, 60), "image/png");
  expect(await new Bun.Image(preview).metadata()).toMatchObject({ width: 30, height: 60 });
});

test("applies the orientation to the preview and the size", async () => {
  const { preview, width, height } = await makePicture(await phoneJpeg(stripes(90, 60), 6), "image/jpeg");
  expect([width, height]).toEqual([60, 90]);
  const [left = RED, , right = RED] = await bands(preview, 3, "across");
  expect([left.indexOf(Math.max(...left)), right.indexOf(Math.max(...right))]).toEqual([2, 0]);
});

test("makes a placeholder of 36 bytes with the colors of the parts", async () => {
  const { placeholder } = await makePicture(stripes(400, 300), "image/png");
  const colors = Buffer.from(placeholder, "base64");
  expect(colors.length).toBe(36);
  for (const [row, color] of [RED, GREEN, BLUE].entries()) {
    for (let column = 0; column < 4; column++) {
      for (let k = 0; k < 3; k++)
        expect(Math.abs((colors[(row * 4 + column) * 3 + k] as number) - (color[k] as number))).toBeLessThan(25);
    }
  }
});

test("keeps a preview of noise in one chunk", async () => {
  expect((await makePicture(noise(700, 700), "image/png")).preview.length).toBeLessThanOrEqual(256 * 1024);
});

test.each([
  ["a bomb", bomb(30_000, 30_000), "24 million pixels"],
  ["pixels that end too early", bomb(300, 300), "damaged"],
  ["a PNG with a changed byte", Buffer.concat([stripes(40, 30)]).fill(1, 60, 61), "damaged"],
  ["half a picture", stripes(200, 200).subarray(0, 300), "damaged"],
  ["nothing but the signature", stripes(1, 1).subarray(0, 8), "damaged"],
])("rejects %s", async (_, image, words) => {
  const error = await makePicture(image, "image/png").catch((error: unknown) => error);
  expect(error).toMatchObject({ code: "bad_image", message: expect.stringContaining(words) });
});

test("rejects a JPEG whose end is missing", async () => {
  const jpeg = await phoneJpeg(noise(300, 300), 1);
  const error = await makePicture(jpeg.subarray(0, jpeg.length >> 1), "image/jpeg").catch((error: unknown) => error);
  expect(error).toMatchObject({ code: "bad_image" });
});
