/** The peer's name and presence, and the conversation's options. */

import { find, importAgain, setAvatar, setText } from "../util/dom.js";
import { lastSeen } from "../util/time.js";
import { t } from "../util/translate.js";

/** `back`: the user goes back to the list. */
export class ChatHeader extends HTMLElement {
  /** @type {import("../chat_model.js").Chat | undefined} */
  #chat;
  /** @type {string | undefined} */
  #name;
  #isUnknown = false;

  /** @param {import("../chat_model.js").Chat} chat */
  start(chat) {
    this.#chat = chat;
    chat.people.presence.on("changed", () => this.render());
    find(this, ".back").addEventListener("click", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.dispatchEvent(new Event("back"));
    });
    chat.conversations.on("list", () => this.render());
    find(document, "#options").addEventListener(
      "click",
      (/** @type {Event} */ { target }) => void this.#runOption(/** @type {Element} */ (target)),
    );
  }

  /**
   * @param {string} name
   * @param {{ isUnknown?: boolean }} [options] isUnknown: no such user exists
   */
  show(name, { isUnknown = false } = {}) {
    this.#name = name;
    this.#isUnknown = isUnknown;
    this.render();
  }

  /** Focuses the name, so that screen readers announce it and Tab continues from it. */
  focusName() {
    find(this, "h2").focus();
  }

  render() {
    const chat = this.#chat;
    const name = this.#name;
    if (!chat || name === undefined) return;
    const notes = name === chat.me;
    const shown = notes ? t("notes") : chat.profiles.shown(name);
    const handle = notes ? "" : chat.profiles.handle(name);
    setText(find(this, "h2"), shown);
    find(this, "h2").title = handle ? `${shown} ${handle}` : shown;
    setText(find(this, ".handle"), handle);
    find(this, ".handle").hidden = handle === "";
    setAvatar(find(this, ".avatar"), name, chat.profiles.of(name));
    const typing = chat.people.presence.isTyping(name);
    const presence = chat.people.presence.of(name);
    const status = find(this, ".status");
    status.classList.toggle("live", typing || presence?.online === true);
    const text = typing ? t("typing") : presenceText(presence);
    // An unknown presence keeps its space, so that the name does not move when it arrives.
    const { isPeerDeleted, isBlocked } = chat.conversations.getOrCreate(name);
    status.hidden = notes || this.#isUnknown || isPeerDeleted || isBlocked || (presence !== undefined && text === "");
    setText(status, text);
    this.#showOptions();
  }

  /** @param {Element} chosen in the menu of the conversation */
  async #runOption(chosen) {
    const chat = this.#chat;
    const name = this.#name;
    const options = await importAgain(
      () => import("./conversation_options.js"),
      "elements/conversation_options.js",
    ).catch(() => undefined);
    if (!chat || name === undefined) return;
    if (!options) setText(find(document, "#options .error"), t("no_connection"));
    else await options.runOption(chat, name, chosen);
  }

  #showOptions() {
    const chat = this.#chat;
    const name = this.#name;
    if (!chat || name === undefined) return;
    const isNotes = name === chat.me;
    const { isBlocked, isMuted, isPinned, isArchived, lastSeq } = chat.conversations.getOrCreate(name);
    find(this, ".more").hidden = name !== chat.conversations.open || (isNotes && lastSeq === 0);
    setText(find(document, "#options .pin span"), t(isPinned ? "unpin" : "pin"));
    setText(find(document, "#options .archive span"), t(isArchived ? "unarchive" : "archive"));
    for (const option of [".find-messages", ".go-to-date", ".pin", ".mark-unread", ".archive"])
      find(document, `#options ${option}`).hidden = lastSeq === 0;
    setText(find(document, "#options .mute span"), t(isMuted ? "unmute" : "mute"));
    find(document, "#options .mute use").setAttribute("href", isMuted ? "#icon-bell" : "#icon-bell-off");
    find(document, "#options .mute").hidden = isNotes;
    find(document, "#options .block").hidden = isNotes || isBlocked;
  }
}

/** @param {import("../store/people_directory.js").Seen | undefined} presence */
function presenceText(presence) {
  if (!presence) return "";
  if (presence.online) return t("online");
  return presence.lastSeen === undefined ? "" : lastSeen(presence.lastSeen);
}

customElements.define("chat-header", ChatHeader);
