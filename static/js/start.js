/**
 * Makes a page that cannot start say so. It is no module, and its syntax is older than theirs: it runs where they do not. A module that
 * failed to load fails for as long as the document lives (HTML §8.1.5.3), so the page is loaded once more; after that, and where the
 * browser is too old, it shows the sentence that the page holds (`base.css`). Without this script CSS shows it after a while.
 */
(function () {
  const KEY = "chatify.retried";
  const AGAIN_MS = 1_000;
  const root = document.documentElement;
  const isRetry = takeRetry();
  let isFailing = false;

  if (isRetry) root.setAttribute("data-retried", "");
  addEventListener("error", heard, true); // what elements fail to load does not bubble
  if (!("noModule" in HTMLScriptElement.prototype)) say();
  // Styles failed before this script ran, which waits for them.
  for (const link of /** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll("link[rel=stylesheet]"))) {
    if (!hasRules(link)) fail(true);
  }
  expectConversation();

  /** @param {HTMLLinkElement} link */
  function hasRules(link) {
    try {
      return link.sheet !== null && link.sheet.cssRules.length > 0;
    } catch {
      return false; // to browsers what failed is another site's
    }
  }

  /** @param {Event} event */
  function heard(event) {
    const { target } = event;
    const isOurs =
      event instanceof ErrorEvent ? event.filename.startsWith(location.origin) : target instanceof HTMLScriptElement;
    if (isOurs && !root.hasAttribute("data-started")) fail();
  }

  /** @param {boolean} [isUgly] whether the page may work, and cannot be looked at */
  function fail(isUgly) {
    if (isFailing) return;
    isFailing = true;
    if (isRetry || holdsText()) {
      say();
      return;
    }
    if (!navigator.onLine) {
      say();
      addEventListener("online", again);
      return;
    }
    setTimeout(function () {
      if (isUgly || !root.hasAttribute("data-started")) again();
    }, AGAIN_MS); // networks that change come back within a moment
  }

  function again() {
    try {
      sessionStorage.setItem(KEY, "1");
    } catch {
      // Then the kind of navigation tells.
    }
    location.reload();
  }

  /** Whether this load of the page is the second try. */
  function takeRetry() {
    try {
      const isSecond = sessionStorage.getItem(KEY) !== null;
      sessionStorage.removeItem(KEY);
      return isSecond;
    } catch {
      const navigation = /** @type {PerformanceNavigationTiming | undefined} */ (
        performance.getEntriesByType("navigation")[0]
      );
      return navigation === undefined || navigation.type === "reload";
    }
  }

  /** Whether there is a form that was refused or begun: it works without scripts, and loading again would empty it. */
  function holdsText() {
    if (document.querySelector('form [data-error]:not([data-error=""])')) return true;
    const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(".form-page input"));
    return Array.from(inputs).some(function (input) {
      return input.value !== input.defaultValue;
    });
  }

  function say() {
    let language = navigator.language;
    try {
      language = localStorage.getItem("chatify.language") || language;
    } catch {
      // Forbidden: nothing was chosen.
    }
    root.lang = language.startsWith("el") ? "el" : "en";
    root.setAttribute("data-failed", "");
  }

  /** The address names a conversation: its place is shown before anything of it is here, and kept when the page is loaded again. */
  function expectConversation() {
    const app = document.querySelector(".app");
    if (!app || location.hash.length < 2) return;
    for (const link of document.querySelectorAll(".not-loaded a")) {
      link.addEventListener("click", function (event) {
        event.preventDefault();
        location.reload();
      });
    }
    const name = app.querySelector("chat-header h2");
    try {
      if (name) name.textContent = decodeURIComponent(location.hash.slice(1));
    } catch {
      return; // "#%zz" is nobody
    }
    for (const part of [".open", "chat-thread .skeleton"]) {
      const element = app.querySelector(part);
      if (element instanceof HTMLElement) element.hidden = false;
    }
    app.setAttribute("data-open", "");
  }
})();
