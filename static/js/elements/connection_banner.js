/**
 * Shows why there is no connection and what to do, after two seconds without one. Offers a reload when the server has newer
 * pages.
 */

import { setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** @import { Trouble } from "../sync/connection_trouble.js" */

const QUIET_MS = 2_000;
/** @type {Record<Exclude<Trouble, "intercepted">, import("../util/translate.js").TranslationKey>} */
const TROUBLE_KEYS = { tabs: "trouble_tabs", socket: "trouble_socket" };

export class ConnectionBanner extends HTMLElement {
  /** @type {import("../chat_model.js").Chat | undefined} */
  #chat;
  /**
   * Set before there is a chat, while the page waits for the server.
   * @type {{ trouble: Trouble | undefined } | undefined}
   */
  #waiting;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isQuiet = true;
  #isOutdated = false;
  #text = document.createElement("span");
  #reload = document.createElement("button");

  connectedCallback() {
    this.#reload.type = "button";
    this.#reload.addEventListener("click", () => location.reload());
    this.append(this.#text, this.#reload);
  }

  /** @param {import("../chat_model.js").Chat} chat */
  start(chat) {
    this.#chat = chat;
    chat.sync.on("connection", () => this.render());
    chat.conversations.on("list", () => this.render()); // a pending message may be volatile
    addEventListener("online", () => this.render());
    addEventListener("offline", () => this.render());
    this.render();
  }

  /**
   * The page cannot start because the server does not say which user is signed in.
   * @param {Trouble | undefined} trouble
   */
  wait(trouble) {
    this.#waiting = { trouble };
    this.render();
  }

  /** @param {boolean} isOutdated whether the server has newer pages */
  offerUpdate(isOutdated) {
    this.#isOutdated = isOutdated;
    this.render();
  }

  render() {
    const state = this.#chat?.connection.state ?? "connecting";
    const { trouble } = this.#chat?.sync ?? this.#waiting ?? {};
    if (trouble === "intercepted") this.#show("trouble", t("trouble_intercepted"), true);
    else if (state === "connecting") this.#showConnecting(trouble);
    else {
      this.#reset();
      if (this.#isOutdated) this.#show("update", t("updated"), true);
      else this.hidden = true;
    }
  }

  /** @param {Exclude<Trouble, "intercepted"> | undefined} trouble */
  #showConnecting(trouble) {
    this.#timer ??= setTimeout(() => {
      this.#isQuiet = false;
      this.render();
    }, QUIET_MS);
    if (this.#isQuiet) return;
    // Some browsers report "offline" although the server is local, so this only selects the text.
    const online = navigator.onLine;
    if (online && trouble) this.#show("trouble", t(TROUBLE_KEYS[trouble]));
    else if (this.#chat?.outbox.isVolatile)
      this.#show(online ? "connecting" : "offline", t(online ? "connecting_volatile" : "offline_volatile"));
    else this.#show(online ? "connecting" : "offline", t(online ? "connecting" : "offline"));
  }

  /**
   * @param {"connecting" | "offline" | "trouble" | "update"} state
   * @param {string} text
   * @param {boolean} [reload] whether to offer a reload
   */
  #show(state, text, reload = false) {
    this.dataset.state = state;
    this.hidden = false;
    setText(this.#text, text);
    this.#reload.hidden = !reload;
    setText(this.#reload, reload ? t("reload") : "");
  }

  /** Restores the delay for the next loss of the connection. */
  #reset() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isQuiet = true;
  }
}

customElements.define("connection-banner", ConnectionBanner);
