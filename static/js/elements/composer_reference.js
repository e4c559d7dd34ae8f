/**
 * What the composer refers to: the message it answers or edits, shown above the field. Loaded on
 * demand.
 */

import { find } from "../util/dom.js";
import { caption } from "../util/file_text.js";
import { isBlank } from "../util/message_text.js";
import { t } from "../util/translate.js";
import { icon, iconButton } from "./action_parts.js";
import { make } from "./dialogs.js";
import { lineOf } from "./list_entry.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Target } from "../store/pending.js" */
/** @import { MessageFile } from "../store/message_window.js" */
/** @typedef {{ from: string, text: string, file?: MessageFile } & Target} Referenced */

export class ComposerReference {
  #chat;
  #composer;
  /** @type {HTMLElement | undefined} */
  #element;

  /**
   * @param {Chat} chat
   * @param {import("./message_composer.js").MessageComposer} composer
   */
  constructor(chat, composer) {
    this.#chat = chat;
    this.#composer = composer;
    composer.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape" || !this.#element) return;
        event.preventDefault();
        event.stopPropagation(); // otherwise it would also leave the conversation
        this.cancel();
      },
      { capture: true },
    );
  }

  /**
   * The next message answers this one.
   * @param {string} peer
   * @param {Referenced & { seq: number }} message
   */
  reply(peer, message) {
    const { me, profiles, sync } = this.#chat;
    this.cancel();
    this.#composer.use({
      submit: (text, file) => {
        const isQueued = sync.write(peer, text, { replyTo: message.seq, file });
        if (isQueued) this.#end();
        return isQueued;
      },
      end: () => this.#end(),
    });
    const title = message.from === me ? t("replying_to_me") : t("replying", { name: profiles.shown(message.from) });
    this.#show("reply", { title, line: lineOf(message), cancel: t("cancel_reply") });
  }

  /**
   * The field contains the text of this message until it is saved.
   * @param {string} peer
   * @param {Referenced} message
   * @param {{ edited: () => void, emptied: () => void }} outcomes emptied: the user saves an empty text
   */
  edit(peer, message, { edited, emptied }) {
    this.cancel();
    this.#composer.use({
      text: caption(message),
      submit: (words) => {
        // A file without a caption has its name as text.
        const text = message.file && isBlank(words) ? message.file.name : words;
        if (isBlank(text)) emptied();
        else if (text === message.text) this.cancel();
        else if (this.#chat.outbox.edit(peer, message, text)) {
          this.cancel();
          edited();
        } else return false;
        return true;
      },
      end: () => this.#end(),
    });
    this.#show("pencil", { title: t("editing"), line: lineOf(message), cancel: t("cancel_edit") });
  }

  /** Ends a reply or an edit; the field gets the draft again. */
  cancel() {
    if (!this.#element) return;
    this.#end();
    this.#composer.focusText();
  }

  #end() {
    this.#element?.remove();
    this.#element = undefined;
    find(this.#composer, "textarea").removeAttribute("aria-describedby");
    this.#composer.use(undefined);
  }

  /**
   * @param {"reply" | "pencil"} iconName
   * @param {{ title: string, line: string, cancel: string }} texts
   */
  #show(iconName, { title, line: text, cancel }) {
    const element = make("div");
    element.className = "reference";
    const close = iconButton("x", cancel);
    close.className = "round";
    close.addEventListener("click", () => this.cancel());
    const [name, line, words] = [make("b", title), make("span", text), make("div")];
    line.dir = "auto";
    words.append(name, line);
    element.append(icon(iconName), words, close);
    words.id = "reference";
    find(this.#composer, "textarea").setAttribute("aria-describedby", words.id);
    this.#element = element;
    find(this.#composer, "form").before(element);
    this.#composer.focusText();
  }
}
