/**
 * Shows why there is no connection and what to do, after two seconds without one, and that the
 * server has newer pages. Both in one file, because each adds about 350 bytes to a first visit.
 */

import { setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** @import { Trouble } from "../sync/connection_trouble.js" */

const QUIET_MS = 2_000;
/**
 * @type {Record<Exclude<Trouble, "intercepted">, import("../util/translate.js").TranslationKey>}
 */
const TROUBLE_KEYS = { tabs: "trouble_tabs", socket: "trouble_socket" };

/** The page's version, from the URL of its files. */
const VERSION = new URL(import.meta.url).pathname.split("/")[2] ?? "";
/** A page hidden a moment ago may soon be shown again. */
const HIDDEN_MS = 30_000;
/** An upgrade reaches all hidden pages at once, so reloads are spread. */
const SPREAD_MS = 30_000;
/**
 * The versions for which this tab reloaded by itself. During an upgrade it may get the old pages
 * again; then it waits for the user.
 */
const RELOADED_FOR = "chatify.reloaded_for";

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

/**
 * Detects that the server has newer pages: offers a reload, and reloads by itself once the page is
 * hidden.
 * @param {import("../chat_model.js").Chat} chat
 * @param {Iterable<ConnectionBanner>} banners where the reload is offered
 */
export function followVersion(chat, banners) {
  /** @type {string | undefined} */
  let newer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  chat.sync.on("hello", (version) => {
    newer = version === VERSION ? undefined : version;
    for (const banner of banners) banner.offerUpdate(newer !== undefined);
    plan();
  });
  document.addEventListener("visibilitychange", plan);

  function plan() {
    clearTimeout(timer);
    if (newer === undefined || document.visibilityState === "visible") return;
    timer = setTimeout(reload, HIDDEN_MS + Math.random() * SPREAD_MS);
  }

  function reload() {
    if (newer === undefined || isBusy(chat)) return plan();
    try {
      const versions = sessionStorage.getItem(RELOADED_FOR)?.split(" ") ?? [];
      if (versions.includes(newer)) return;
      sessionStorage.setItem(RELOADED_FOR, [...versions, newer].join(" "));
    } catch {
      return; // without this record it might reload in a loop
    }
    location.reload();
  }
}

/**
 * Whether a reload would lose or interrupt something.
 * @param {import("../chat_model.js").Chat} chat
 */
function isBusy({ connection, outbox }) {
  const isConnected = connection.state === "open";
  return !isConnected || outbox.size > 0 || outbox.isVolatile || document.querySelector("dialog[open]") !== null;
}
