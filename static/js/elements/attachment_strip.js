/** The files that the user is about to send: a strip of previews above the text. Loaded on demand. */

import { announce } from "../util/dom.js";
import { sizeText } from "../util/file_size.js";
import { t } from "../util/translate.js";
import { icon, iconButton } from "./action_parts.js";
import { make } from "./dialogs.js";
import { describe, isPicture, preparePicture } from "./picture_preparation.js";
import { drawThumbnail } from "./upload_parts.js";

/** @import { MessageFile } from "../store/message_window.js" */
/** @import { Picture } from "./picture_preparation.js" */

/** A file to send. @typedef {Omit<MessageFile, "id" | "size"> & { bytes: Blob, isOriginal?: true }} Attachment */

/** @typedef {{ file: File, element: HTMLElement, picture?: Picture, isUnreadable?: boolean, isReady: boolean }} Item */

/**
 * The strip of one conversation. Dispatches on its element: `changed` when a file was added, removed
 * or became ready.
 */
export class AttachmentStrip {
  element = make("div");
  /** @type {Item[]} */
  #items = [];
  #list = make("ul");
  #error = make("p");
  /** Announces what was added. */
  #status = make("div");
  #original = make("label");
  #checkbox = make("input");
  #limit;

  /** @param {() => number} limit the size of the largest file, in bytes */
  constructor(limit) {
    this.#limit = limit;
    this.element.className = "attachments";
    this.element.setAttribute("role", "group");
    this.#error.className = "error";
    this.#error.setAttribute("role", "alert");
    this.#status.className = "visually-hidden";
    this.#status.setAttribute("role", "status");
    this.#checkbox.type = "checkbox";
    this.#original.append(this.#checkbox, make("span"));
    this.element.append(this.#error, this.#status, this.#list, this.#original);
    this.#checkbox.addEventListener("change", () => this.#showError(""));
    this.render();
  }

  /** The number of files. */
  get count() {
    return this.#items.length;
  }

  /** Whether files are still being prepared. */
  get isPreparing() {
    return this.#items.some(({ isReady }) => !isReady);
  }

  /**
   * Adds files that can be sent, and reports the others.
   * @param {readonly File[]} files
   * @param {{ isOriginal?: boolean, hasFolders?: boolean }} [options] isOriginal: pictures are sent as files, too
   */
  add(files, { isOriginal = false, hasFolders = false } = {}) {
    this.#showError(hasFolders ? t("attachment_folder") : "");
    for (const file of files) {
      const willShrink = isPicture(file) && !isOriginal;
      if (file.size === 0) this.#showError(t("attachment_empty", { name: file.name }));
      else if (!willShrink && file.size > this.#limit()) this.#refuse(file.name);
      else this.#addItem(file, isOriginal);
    }
    this.render();
  }

  /** Removes and returns the files; undefined, with an error shown, if one cannot be sent so. @returns {Attachment[] | undefined} */
  take() {
    const isOriginal = this.#checkbox.checked;
    const unreadable = this.#items.find(({ isUnreadable }) => isUnreadable && !isOriginal);
    if (unreadable) {
      this.#showError(t("attachment_unreadable", { name: unreadable.file.name }));
      return undefined;
    }
    const attachments = this.#items.map((item) => toAttachment(item, isOriginal));
    const large = attachments.find(({ bytes }) => bytes.size > this.#limit());
    if (large) {
      this.#refuse(large.name);
      return undefined;
    }
    for (const { picture } of this.#items) picture?.image.close();
    this.#items = [];
    this.#list.replaceChildren();
    this.#checkbox.checked = false;
    this.#showError("");
    this.render();
    return attachments;
  }

  /** Shows it in the current language. */
  render() {
    this.element.setAttribute("aria-label", t("attachments"));
    /** @type {HTMLElement} */ (this.#original.lastElementChild).textContent = t("attachments_original");
    this.#original.hidden = !this.#items.some(({ file }) => isPicture(file));
    this.#list.hidden = this.count === 0;
    this.element.hidden = this.count === 0 && this.#error.textContent === "";
    for (const { file, element, isReady } of this.#items) {
      const remove = /** @type {HTMLElement} */ (element.querySelector("button"));
      remove.title = t("attachment_remove", { name: file.name });
      remove.setAttribute("aria-label", remove.title);
      /** @type {HTMLElement} */ (element.querySelector(".size")).textContent = isReady
        ? sizeText(file.size)
        : t("attachment_preparing");
    }
    this.element.dispatchEvent(new Event("changed"));
  }

  /**
   * @param {File} file
   * @param {boolean} isOriginal
   */
  #addItem(file, isOriginal) {
    const element = make("li");
    const [name, size] = [make("span", file.name), make("span")];
    name.className = "name";
    name.dir = "auto";
    size.className = "size";
    const remove = iconButton("x", "");
    remove.className = "round";
    element.append(icon("file"), name, size, remove);
    this.#list.append(element);
    announce(this.#status, file.name);
    /** @type {Item} */
    const item = { file, element, isReady: true };
    this.#items.push(item);
    remove.addEventListener("click", () => this.#remove(item));
    if (isPicture(file) && !isOriginal) void this.#prepare(item);
    else if (isPicture(file)) this.#checkbox.checked = true;
  }

  /** @param {Item} item */
  async #prepare(item) {
    item.isReady = false;
    try {
      const picture = await preparePicture(item.file);
      item.picture = picture;
      const canvas = make("canvas");
      drawThumbnail(canvas, picture.image);
      item.element.querySelector("svg")?.replaceWith(canvas);
      item.element.classList.add("picture");
    } catch {
      item.isUnreadable = true;
      this.#showError(t("attachment_unreadable", { name: item.file.name }));
    }
    item.isReady = true;
    this.render();
  }

  /** @param {Item} item */
  #remove(item) {
    const at = this.#items.indexOf(item);
    const hadFocus = item.element.contains(document.activeElement);
    item.picture?.image.close();
    this.#items.splice(at, 1);
    item.element.remove();
    this.#showError("");
    this.render();
    const next = this.#items[Math.min(at, this.count - 1)]?.element.querySelector("button");
    if (hadFocus && next) next.focus();
    else if (hadFocus) this.element.dispatchEvent(new Event("emptied"));
  }

  /** @param {string} name */
  #refuse(name) {
    this.#showError(t("attachment_over_limit", { name, limit: sizeText(this.#limit()) }));
  }

  /** Replaces the error; "" removes it. @param {string} text */
  #showError(text) {
    this.#error.replaceChildren();
    if (text !== "") announce(this.#error, text);
    this.element.hidden = this.count === 0 && text === "";
  }
}

/**
 * @param {Item} item
 * @param {boolean} isOriginal
 * @returns {Attachment}
 */
function toAttachment({ file, picture }, isOriginal) {
  const { name, type } = file;
  if (picture && !isOriginal)
    return { name: picture.name, type: picture.bytes.type, bytes: picture.bytes, ...picture.shown };
  return { name, type, bytes: file, isOriginal: true, ...(picture && describe(picture.image)) };
}
