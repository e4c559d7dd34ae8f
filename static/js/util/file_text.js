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

/**
 * The text of a message, or "📷 Photo" and the like for a file. A caption takes the place of the word.
 * @param {{ text: string, file?: MessageFile | undefined }} message
 */
export function previewText(message) {
  const { text, file } = message;
  if (!file) return text;
  const words = caption(message);
  switch (fileKind(file)) {
    case "photo":
      return `📷 ${words || t("photo")}`;
    case "video":
      return `🎬 ${words || t("video")}`;
    case "voice":
      return `🎤 ${words || t("voice_message")}`;
    default:
      return `📎 ${words || file.name}`;
  }
}
