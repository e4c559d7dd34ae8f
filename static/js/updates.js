/** Detects that the server has newer pages: offers a reload, and reloads by itself once the page is hidden. */

/** The page's version, from the URL of its files. */
const VERSION = new URL(import.meta.url).pathname.split("/")[2] ?? "";
/** A page hidden a moment ago may soon be shown again. */
const HIDDEN_MS = 30_000;
/** An upgrade reaches all hidden pages at once, so reloads are spread. */
const SPREAD_MS = 30_000;
/** The versions for which this tab reloaded by itself. During an upgrade it may get the old pages again; then it waits for the user. */
const RELOADED_FOR = "chatify.reloaded_for";

/**
 * @param {import("./chat_model.js").Chat} chat
 * @param {Iterable<import("./elements/connection_banner.js").ConnectionBanner>} banners where the reload is offered
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
 * @param {import("./chat_model.js").Chat} chat
 */
function isBusy({ connection, outbox }) {
  const isConnected = connection.state === "open";
  return !isConnected || outbox.size > 0 || outbox.isVolatile || document.querySelector("dialog[open]") !== null;
}
