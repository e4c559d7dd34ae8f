/** Messages with a file in one line of text: for the list, quotes, notifications and search hits. */

import { t } from "./translate.js";

/** @import { MessageFile } from "../store/message_window.js" */

/** @typedef {"photo" | "video" | "voice" | "file"} FileKind */

/** Containers that recorders write. */
const VOICE = /^audio\/(?:webm|ogg|mp4|aac)$/;

/** @param {MessageFile} file @returns {FileKind} */
export function fileKind({ type, placeholder }) {
  if (placeholder !== undefined) return "photo";
  if (type.startsWith("video/")) return "video";
  return VOICE.test(type) ? "voice" : "file";
}

/** The text below a file: without one, the server stores the file's name. @param {{ text: string, file?: MessageFile | undefined }} message */
export function caption({ text, file }) {
  return file && text === file.name ? "" : text;
}

const ICONS = { photo: "📷", video: "🎬", voice: "🎤", file: "📎" };

/**
 * The text of a message, or "📷 Photo" and the like for a file. A caption takes the place of the word.
 * @param {{ text: string, file?: MessageFile | undefined }} message
 */
export function previewText(message) {
  const { text, file } = message;
  if (!file) return text;
  const kind = fileKind(file);
  const word = kind === "file" ? file.name : t(kind === "voice" ? "voice_message" : kind);
  return `${ICONS[kind]} ${caption(message) || word}`;
}

/**
 * The text that a search has found: of a file without a caption, its name.
 * @param {{ text: string, file?: MessageFile | undefined }} message
 */
export function hitText({ text, file }) {
  return file ? `${ICONS[fileKind(file)]} ${text}` : text;
}
