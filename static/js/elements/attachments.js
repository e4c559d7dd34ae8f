/** Attaching files to a message and sending them. Loaded on demand. */

import { onSignOut, uploadsName } from "../store/browser_storage.js";
import { OfflineDatabase } from "../store/offline_store.js";
import { FileUploads, UPLOAD_STORES } from "../sync/file_uploads.js";
import { find, isTouch } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { AttachmentStrip } from "./attachment_strip.js";
import { make } from "./dialogs.js";
import { MessageMenu } from "./message_menu.js";
import { toast } from "./toast.js";
import { followUploads, ready } from "./upload_parts.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { PendingFile } from "../store/pending.js" */
/** @import { MessageComposer } from "./message_composer.js" */

/**
 * Starts uploading, and returns what attaches files.
 * @param {Chat} chat
 * @param {MessageComposer} composer
 */
export async function startAttachments(chat, composer) {
  await ready;
  return new Attachments(chat, composer);
}

export class Attachments {
  #chat;
  #composer;
  #uploads;
  #menu = new MessageMenu();
  /** @type {Map<string, AttachmentStrip>} by name key */
  #strips = new Map();
  /** @type {HTMLElement | undefined} */
  #dropTarget;
  /** Whether the user has asked to send before all files were prepared. */
  #isSending = false;

  /**
   * @param {Chat} chat
   * @param {MessageComposer} composer
   */
  constructor(chat, composer) {
    this.#chat = chat;
    this.#composer = composer;
    const database = new OfflineDatabase(uploadsName(chat.me), UPLOAD_STORES, "strict");
    this.#uploads = new FileUploads({ outbox: chat.outbox, connection: chat.connection, database });
    this.#uploads.on("volatile", (key) => {
      const file = chat.outbox.files.find(key)?.file;
      if (file) toast.show(t("upload_volatile", { name: file.name }));
    });
    followUploads(this.#uploads);
    chat.sync.on("ended", () => this.#uploads.end());
    onSignOut(() => {
      this.#uploads.end();
      void database.clear();
    });
    addEventListener("beforeunload", (event) => {
      if (this.#uploads.isVolatile) event.preventDefault();
    });
    chat.conversations.on("opened", () => this.#show());
    document.addEventListener("languagechange", () => this.#strip?.render());
    document.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest(".cancel-upload") : null;
      const ref = /** @type {HTMLElement | null} */ (button?.closest("[data-ref]"))?.dataset.ref;
      if (ref) chat.outbox.remove(ref);
    });
    this.#show();
  }

  /** Lets the user choose what to attach. */
  openMenu() {
    const button = find(this.#composer, ".attach-button");
    const items = /** @type {const} */ ([
      { name: t("attach_photo"), icon: "image", run: () => this.#choose({ accept: "image/*,video/*" }) },
      { name: t("attach_file"), icon: "file", run: () => this.#choose({ isOriginal: true }) },
    ]);
    const contents = { label: t("attach"), emoji: [], mine: undefined, react: () => {}, items: [...items] };
    this.#menu.open(contents, button.getBoundingClientRect(), () => button.focus({ preventScroll: true }));
  }

  /**
   * Attaches files to the next message to a user, unless the user cannot write to them.
   * @param {string | undefined} peer whose conversation was open then
   * @param {readonly File[]} files
   * @param {Parameters<AttachmentStrip["add"]>[1]} [options]
   */
  add(peer, files, options) {
    this.dragged(false);
    const isOnScreen = peer === this.#chat.conversations.open;
    if (peer === undefined || (isOnScreen && !this.#isOpen)) return;
    this.#stripOf(peer).add(files, options);
    if (isOnScreen && !isTouch()) this.#composer.focusText();
  }

  /** Shows or hides where files can be dropped. @param {boolean} isOver whether files are dragged over the page */
  dragged(isOver) {
    if (!isOver || !this.#isOpen) {
      this.#dropTarget?.remove();
      this.#dropTarget = undefined;
      return;
    }
    if (this.#dropTarget) return;
    const { me, profiles, conversations } = this.#chat;
    const peer = conversations.open ?? me;
    this.#dropTarget = make("div", t("drop_here", { name: peer === me ? t("notes") : profiles.shown(peer) }));
    this.#dropTarget.className = "drop-target";
    document.body.append(this.#dropTarget);
  }

  /** Whether a conversation is open in which the user can write. */
  get #isOpen() {
    return this.#strip !== undefined && !this.#composer.hidden && !find(this.#composer, "form").hidden;
  }

  get #strip() {
    const peer = this.#chat.conversations.open;
    return peer === undefined ? undefined : this.#stripOf(peer);
  }

  /** @param {string} peer */
  #stripOf(peer) {
    const key = nameKey(peer);
    let strip = this.#strips.get(key);
    if (!strip) {
      this.#strips.set(key, (strip = new AttachmentStrip(() => this.#chat.sync.fileMax)));
      strip.element.addEventListener("changed", () => this.#changed());
      strip.element.addEventListener("emptied", () => this.#composer.focusText());
    }
    return strip;
  }

  /** Shows the strip of the open conversation. */
  #show() {
    this.#isSending = false;
    this.#composer.querySelector(".attachments")?.remove();
    const strip = this.#strip;
    if (strip) find(this.#composer, "form").before(strip.element);
    this.#changed();
  }

  #changed() {
    const strip = this.#strip;
    this.#composer.attach({ count: strip?.count ?? 0, take: () => this.#take() });
    if (!this.#isSending || strip?.isPreparing) return;
    this.#isSending = false;
    this.#composer.submit();
  }

  /** @returns {PendingFile[] | undefined} */
  #take() {
    const strip = this.#strip;
    this.#isSending = strip?.isPreparing === true;
    if (this.#isSending) return undefined;
    return strip?.take()?.map((attachment) => this.#keep(attachment));
  }

  /** @param {import("./attachment_strip.js").Attachment} attachment @returns {PendingFile} */
  #keep({ bytes, ...rest }) {
    return { ...rest, id: "", key: this.#uploads.keep(bytes), size: bytes.size };
  }

  /** @param {{ accept?: string, isOriginal?: boolean }} options */
  #choose({ accept = "", isOriginal = false }) {
    const input = make("input");
    input.type = "file";
    input.multiple = true;
    input.accept = accept;
    const peer = this.#chat.conversations.open;
    input.addEventListener("change", () => this.add(peer, [...(input.files ?? [])], { isOriginal }));
    input.click();
  }
}
