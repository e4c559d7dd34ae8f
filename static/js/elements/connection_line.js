/**
 * Says in a line why there is no connection, and what to do; says nothing for the first two seconds, or while there is one. Offers a reload
 * when the server has newer pages.
 */

import { setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** @import { Trouble } from "../sync/connection_trouble.js" */

const PATIENCE_MS = 2_000;
/** @type {Record<Exclude<Trouble, "intercepted">, import("../util/translate.js").Key>} */
const TROUBLE_WORDS = { tabs: "trouble_tabs", socket: "trouble_socket" };

export class ConnectionLine extends HTMLElement {
  /** @type {import("../store/messenger.js").Messenger | undefined} */
  #messenger;
  /** Before there is a messenger: whether the page waits for the server, and why. @type {{ trouble: Trouble | undefined } | undefined} */
  #waiting;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #patient = true;
  #isOutdated = false;
  #words = document.createElement("span");
  #reload = document.createElement("button");

  connectedCallback() {
    this.#reload.type = "button";
    this.#reload.addEventListener("click", () => location.reload());
    this.append(this.#words, this.#reload);
  }

  /** @param {import("../store/messenger.js").Messenger} messenger */
  start(messenger) {
    this.#messenger = messenger;
    messenger.addEventListener("connection", () => this.render());
    messenger.addEventListener("people", () => this.render()); // something was written that cannot be kept
    addEventListener("online", () => this.render());
    addEventListener("offline", () => this.render());
    this.render();
  }

  /** The page has not begun, since the server does not say who is signed in. @param {Trouble | undefined} trouble */
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
    const { connection, trouble } = this.#messenger ?? { connection: { state: "connecting" }, ...this.#waiting };
    if (trouble === "intercepted") this.#show("trouble", t("trouble_intercepted"), true);
    else if (connection.state === "connecting") this.#showConnecting(trouble);
    else {
      this.#rest();
      if (this.#isOutdated) this.#show("update", t("updated"), true);
      else this.hidden = true;
    }
  }

  /** @param {Exclude<Trouble, "intercepted"> | undefined} trouble */
  #showConnecting(trouble) {
    this.#timer ??= setTimeout(() => {
      this.#patient = false;
      this.render();
    }, PATIENCE_MS);
    if (this.#patient) return;
    // Some browsers say "offline" where the server is on the same desk, so only the words follow them.
    const online = navigator.onLine;
    if (online && trouble) this.#show("trouble", t(TROUBLE_WORDS[trouble]));
    else if (this.#messenger?.isVolatile())
      this.#show(online ? "connecting" : "offline", t(online ? "connecting_unkept" : "offline_unkept"));
    else this.#show(online ? "connecting" : "offline", t(online ? "connecting" : "offline"));
  }

  /**
   * @param {"connecting" | "offline" | "trouble" | "update"} state
   * @param {string} words
   * @param {boolean} [reload] whether loading the page again helps
   */
  #show(state, words, reload = false) {
    this.dataset.state = state;
    this.hidden = false;
    setText(this.#words, words);
    this.#reload.hidden = !reload;
    setText(this.#reload, reload ? t("reload") : "");
  }

  /** The next loss of the connection gets its two seconds again. */
  #rest() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#patient = true;
  }
}

customElements.define("connection-line", ConnectionLine);
