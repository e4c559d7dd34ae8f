/** Shows the photos of the open conversation over the whole page, one at a time. Loaded on demand. */

import { setText } from "../util/dom.js";
import { caption, fileKind } from "../util/file_text.js";
import { dateTime } from "../util/time.js";
import { t } from "../util/translate.js";
import { icon, iconButton } from "./action_parts.js";
import { make, openDialog } from "./dialogs.js";
import { loadImage, placeholder, ready } from "./file_parts.js";
import { PictureZoom } from "./picture_zoom.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Message } from "../store/conversation.js" */

/** @typedef {Message & { file: NonNullable<Message["file"]> }} Photo */

/**
 * Opens a photo of the open conversation. Closing it, by the browser's back button too, returns the
 * focus.
 * @param {Chat} chat
 * @param {string} id of its file
 */
export async function openViewer(chat, id) {
  await ready;
  if (document.querySelector("dialog[open]")) return;
  const viewer = new FileViewer(chat, id);
  await viewer.open();
}

class FileViewer {
  #chat;
  #peer;
  #id;
  #dialog = document.createElement("dialog");
  #stage = make("div");
  #about = make("p");
  #words = make("p");
  #position = make("p");
  #download = make("a");
  #previous = iconButton("chevron-left", t("file_previous"));
  #next = iconButton("chevron-right", t("file_next"));
  #zoomIn = iconButton("zoom-in", t("file_zoom_in"));
  #zoomOut = iconButton("zoom-out", t("file_zoom_out"));
  #close = iconButton("x", t("file_close"));
  #zoom;
  #listening = new AbortController();

  /**
   * @param {Chat} chat
   * @param {string} id
   */
  constructor(chat, id) {
    this.#chat = chat;
    this.#peer = chat.conversations.open ?? "";
    this.#id = id;
    this.#zoom = new PictureZoom(this.#stage);
    this.#build();
    this.#zoom.on("swiped", (way) => (way === "away" ? this.#leave() : this.#move(way === "next" ? 1 : -1)));
    this.#zoom.on("changed", (scale) => {
      this.#zoomOut.disabled = scale === 1;
      this.#zoomIn.disabled = scale === PictureZoom.MAX;
    });
  }

  async open() {
    const { signal } = this.#listening;
    const stop = this.#chat.conversations.on("conversation", () => this.#followDeletion());
    this.#dialog.addEventListener("close", () => {
      this.#listening.abort();
      stop();
      // Closed by Escape or the button: the entry that `open` added is not needed any more.
      if (history.state?.viewer) history.back();
    });
    this.#render();
    await openDialog(this.#dialog);
    this.#fitWords();
    history.pushState({ ...history.state, viewer: true }, "");
    addEventListener("popstate", () => this.#dialog.close(), { signal });
  }

  #leave() {
    this.#dialog.close();
  }

  /** The photos of the conversation that are loaded. @returns {Photo[]} */
  #photos() {
    return this.#chat.conversations
      .getOrCreate(this.#peer)
      .messages()
      .flatMap((message) =>
        message.file && !message.deleted && fileKind(message.file) === "photo" ? [/** @type {Photo} */ (message)] : [],
      );
  }

  #build() {
    const dialog = this.#dialog;
    dialog.className = "file-viewer";
    this.#stage.className = "stage";
    this.#position.className = "visually-hidden";
    this.#position.setAttribute("role", "status");
    this.#words.dir = "auto";
    this.#words.className = "words";
    this.#previous.className = "previous";
    this.#next.className = "next";
    this.#close.className = "close";
    this.#download.className = "download";
    this.#download.append(icon("download"));
    this.#download.setAttribute("aria-label", t("file_download"));
    this.#download.title = t("file_download");
    this.#zoomOut.disabled = true;
    const bar = make("div");
    bar.className = "bar";
    bar.append(this.#about, this.#zoomOut, this.#zoomIn, this.#download, this.#close);
    dialog.append(bar, this.#stage, this.#previous, this.#next, this.#words, this.#position);
    this.#close.autofocus = true;
    this.#close.addEventListener("click", () => this.#leave());
    this.#previous.addEventListener("click", () => this.#move(-1));
    this.#next.addEventListener("click", () => this.#move(1));
    this.#zoomIn.addEventListener("click", () => this.#zoom.by(1.5));
    this.#zoomOut.addEventListener("click", () => this.#zoom.by(1 / 1.5));
    dialog.addEventListener("keydown", (event) => this.#onKey(event));
  }

  #render() {
    const photos = this.#photos();
    const index = photos.findIndex(({ file }) => file.id === this.#id);
    const photo = photos[index];
    if (!photo) return;
    const { file, from, at } = photo;
    const { me, profiles } = this.#chat;
    const values = { name: from === me ? t("from_me") : profiles.shown(from), time: dateTime(at) };
    const words = caption(photo);
    const position = t("file_position", { index: index + 1, count: photos.length });
    setText(this.#about, `${values.name} · ${values.time}`);
    setText(this.#words, words);
    this.#words.hidden = words === "";
    setText(this.#position, position);
    this.#dialog.setAttribute("aria-label", position);
    const url = `/files/${encodeURIComponent(file.id)}`;
    this.#download.href = url;
    this.#download.download = file.name;
    for (const [button, isEnd] of /** @type {const} */ ([
      [this.#previous, index === 0],
      [this.#next, index === photos.length - 1],
    ])) {
      if (isEnd && button === document.activeElement) this.#close.focus();
      button.hidden = isEnd;
    }
    this.#stage.style.setProperty("--ratio", String((file.width ?? 4) / (file.height ?? 3)));
    this.#stage.style.setProperty("--width", `${file.width ?? 0}px`);
    const frame = make("div");
    frame.className = "frame";
    this.#stage.replaceChildren(frame);
    frame.append(placeholder(file));
    loadImage(frame, `${url}/preview`);
    loadImage(frame, url, { alt: [t("file_from", values), words].filter(Boolean).join(": ") });
    this.#zoom.show(frame);
  }

  /** @param {1 | -1} step */
  #move(step) {
    const photos = this.#photos();
    const next = photos[photos.findIndex(({ file }) => file.id === this.#id) + step];
    if (!next) return;
    this.#id = next.file.id;
    this.#render();
    this.#fitWords();
  }

  /** A long caption can be scrolled by the keyboard. */
  #fitWords() {
    const { scrollHeight, clientHeight } = this.#words;
    this.#words.tabIndex = scrollHeight > clientHeight ? 0 : -1;
  }

  /** The photo on screen may have been deleted. */
  #followDeletion() {
    if (!this.#photos().some(({ file }) => file.id === this.#id)) this.#leave();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    event.stopPropagation(); // nothing below the dialog handles keys meanwhile
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") this.#move(-1);
    else if (event.key === "ArrowRight") this.#move(1);
    else if (event.key === "+" || event.key === "=") this.#zoom.by(1.5);
    else if (event.key === "-") this.#zoom.by(1 / 1.5);
    else if (event.key === "0") this.#zoom.by(0);
    else return;
    event.preventDefault();
  }
}
