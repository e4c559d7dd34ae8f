/** Names of files, as stored and in `Content-Disposition`; and types, by bytes. */

import { expect, test } from "bun:test";

import { cleanFileName, contentDisposition } from "../../src/util/file_name.ts";
import { isInline, recognizeType, UNKNOWN_TYPE } from "../../src/util/file_type.ts";

test.each([
  ["photo.jpg", "photo.jpg"],
  ["διακοπές 2026.jpg", "διακοπές 2026.jpg"],
  ["../../etc/passwd", "passwd"],
  ["C:\\Users\\ann\\a.txt", "a.txt"],
  ["p\u202egnp.exe", "pgnp.exe"],
  ["a\0b\r\nSet-Cookie: x.txt", "abSet-Cookie x.txt"],
  ["\u200b\u200d", "file"],
  ["", "file"],
  ["...", "file"],
  ["/", "file"],
  [" .bashrc ", "bashrc"],
  ['what? "a" <b>|*.txt', "what a b.txt"],
  ["\ud800.png", "\ufffd.png"],
  ["👍🏽.png", "👍🏽.png"],
  ["a".repeat(300) + ".jpeg", `${"a".repeat(145)}.jpeg`],
  ["x".repeat(300), "x".repeat(150)],
])("the name %p becomes %p", (raw, cleaned) => {
  expect(cleanFileName(raw)).toBe(cleaned);
  expect(cleanFileName(cleaned)).toBe(cleaned);
});

test.each([
  ["photo.jpg", 'inline; filename="photo.jpg"'],
  ["é.jpg", "inline; filename=\"e.jpg\"; filename*=UTF-8''%C3%A9.jpg"],
  ["διά.jpg", "inline; filename=\"___.jpg\"; filename*=UTF-8''%CE%B4%CE%B9%CE%AC.jpg"],
  ['a"b\\c%41.txt', "inline; filename=\"a_b_c_41.txt\"; filename*=UTF-8''a%22b%5Cc%2541.txt"],
  ["it's (1)*.txt", 'inline; filename="it\'s (1)*.txt"'],
  ["é'()*.txt", "inline; filename=\"e'()*.txt\"; filename*=UTF-8''%C3%A9%27%28%29%2A.txt"],
  ["👍.png", "inline; filename=\"__.png\"; filename*=UTF-8''%F0%9F%91%8D.png"],
])("Content-Disposition of %p", (name, header) => {
  expect(contentDisposition("inline", name)).toBe(header);
  expect(new Headers({ h: header }).get("h")).toBe(header);
});

const text = (latin1: string) => Buffer.from(latin1, "latin1");

test.each([
  ["image/jpeg", "\xff\xd8\xff\xe0", "", true],
  ["image/png", "\x89PNG\r\n\x1a\n", "text/html", true],
  ["image/gif", "GIF89a", "", true],
  ["image/webp", "RIFF\0\0\0\0WEBPVP8 ", "", true],
  ["audio/wav", "RIFF\0\0\0\0WAVE", "", true],
  ["audio/mpeg", "ID3\x03", "", true],
  ["audio/aac", "\xff\xf1P", "", true],
  ["audio/flac", "fLaC", "", true],
  ["audio/ogg", "OggS\0\x02OpusHead", "audio/ogg;codecs=opus", true],
  ["video/webm", "\x1aE\xdf\xa3\x9fB\x82\x84webm", "", true],
  ["audio/webm", "\x1aE\xdf\xa3\x9fB\x82\x84webm", "audio/webm", true],
  ["video/mp4", "\0\0\0\x20ftypisom", "", true],
  ["audio/mp4", "\0\0\0\x20ftypisom", "audio/mp4", true],
  ["audio/mp4", "\0\0\0\x20ftypM4A ", "", true],
  ["video/quicktime", "\0\0\0\x14ftypqt  ", "", true],
  ["image/heic", "\0\0\0\x18ftypheic", "image/jpeg", false],
  ["image/avif", "\0\0\0\x18ftypavif", "", false],
  ["image/tiff", "II*\0", "", false],
  ["application/pdf", "%PDF-1.7", "image/png", false],
  ["application/zip", "PK\x03\x04", "", false],
  [UNKNOWN_TYPE, "<svg xmlns=", "image/svg+xml", false],
  [UNKNOWN_TYPE, "<!doctype html>", "text/html", false],
  [UNKNOWN_TYPE, "<script>", "image/png", false],
  [UNKNOWN_TYPE, "\x1aE\xdf\xa3 matroska", "video/webm", false],
  [UNKNOWN_TYPE, "", "video/mp4", false],
  [UNKNOWN_TYPE, "hello", "audio/mpeg", false],
])("recognizes %s by its bytes", (type, start, announced, inline) => {
  expect(recognizeType(text(start), announced)).toBe(type);
  expect(isInline(type)).toBe(inline);
});
