/** What the list, quotes and notifications say of a message with a file. */

import { expect, test } from "bun:test";

import type { MessageFile } from "../../static/js/store/message_window.js";
import { caption, hitText, previewText } from "../../static/js/util/file_text.js";
import { loadTranslations, useLanguage } from "../../static/js/util/translate.js";

await loadTranslations("en");
useLanguage("en");

const PIXEL = { width: 1, height: 1, placeholder: "AAAA" };
const file = (name: string, type: string, rest: Partial<MessageFile> = {}): MessageFile => ({
  id: "1",
  name,
  type,
  size: 1,
  ...rest,
});

test.each([
  ["📷 Photo", file("a.jpg", "image/jpeg", PIXEL), "a.jpg"],
  ["📷 the harbor", file("a.jpg", "image/jpeg", PIXEL), "the harbor"],
  ["📎 broken.jpg", file("broken.jpg", "image/jpeg"), "broken.jpg"],
  ["🎬 Video", file("a.mp4", "video/mp4"), "a.mp4"],
  ["🎤 Voice message", file("a.webm", "audio/webm"), "a.webm"],
  ["📎 song.mp3", file("song.mp3", "audio/mpeg"), "song.mp3"],
  ["📎 a.zip", file("a.zip", "application/zip"), "a.zip"],
  ["📎 as asked", file("a.zip", "application/zip"), "as asked"],
  ["hello", undefined, "hello"],
])("%s", (line, attached, text) => expect(previewText({ text, file: attached })).toBe(line));

test("a text that differs from the file's name is a caption", () => {
  expect(caption({ text: "a.jpg", file: file("a.jpg", "image/jpeg") })).toBe("");
  expect(caption({ text: "the harbor", file: file("a.jpg", "image/jpeg") })).toBe("the harbor");
});

test("a hit shows the name of a file, which the search may have found", () => {
  expect(hitText({ text: "beach.jpg", file: file("beach.jpg", "image/jpeg", PIXEL) })).toBe("📷 beach.jpg");
  expect(hitText({ text: "hello" })).toBe("hello");
});
