/**
 * Applies the chosen colors before the page is painted, requests early what the page will need,
 * shows the pane of the conversation in the URL early, and reports when a page cannot start. A
 * classic script in older syntax, so that it runs in browsers that are too old for the page. A
 * module that failed to load keeps failing in its document (HTML §8.1.5.3), so the page is reloaded
 * once; after that, the page shows its error message (`base.css`). Without this script CSS shows it
 * after a while.
 */
(function () {
  const KEY = "chatify.retried";
  const RETRY_MS = 1_000;
  /** A response requested early is used within this time. */
  const EARLY_MS = 10_000;
  const THEMES = ["light", "dark"];
  const root = document.documentElement;
  const isRetry = takeRetry();
  let isFailing = false;

  applyTheme();
  if (isTooOld()) {
    // Parsed, and no module has run yet.
    document.addEventListener("readystatechange", showTooOld, { once: true });
    return;
  }
  document.addEventListener("themechange", applyTheme);
  document.addEventListener("visibilitychange", applyTheme); // another tab may have changed it
  requestEarly();
  if (isRetry) root.setAttribute("data-retried", "");
  addEventListener("error", onError, true); // load errors of elements do not bubble
  document.addEventListener("readystatechange", preparePane, { once: true });
  document.addEventListener("DOMContentLoaded", checkStyles);

  /**
   * Whether the browser lacks a feature that the page needs. Firefox has had popovers since 125;
   * Chrome has had `light-dark()` since 123 and Safari since 17.5. Everything else that the page needs is older.
   */
  function isTooOld() {
    return !("popover" in HTMLElement.prototype && CSS.supports("color", "light-dark(red, red)"));
  }

  /** Shows advice in place of the page, which stops its modules, or above a form, which works without them. */
  function showTooOld() {
    const script = /** @type {HTMLScriptElement} */ (document.querySelector("script[src$='/start.js']"));
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = script.src.replace("js/start.js", "css/too_old.css");
    document.head.appendChild(link);
    if (!root.hasAttribute("data-theme") && matchMedia("(prefers-color-scheme: dark)").matches) {
      root.setAttribute("data-theme", "dark");
    }
    root.lang = language();
    const box = /** @type {HTMLElement} */ (document.querySelector(".too-old"));
    if (document.body.classList.contains("form-page")) document.body.insertBefore(box, document.body.firstChild);
    else {
      addEventListener("error", function (event) {
        event.preventDefault(); // the page's modules fail without its elements
      });
      const main = document.createElement("main");
      main.appendChild(box);
      document.body.textContent = "";
      document.body.appendChild(main);
    }
    for (const text of /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll("[lang]"))) {
      text.hidden = text.lang !== root.lang;
    }
    box.hidden = false;
  }

  /**
   * Requests what the page's script will need, so that on a slow network both arrive together: the
   * translation and, on a first visit, data. `api.js` takes the responses; a wrong guess costs only
   * its request.
   */
  function requestEarly() {
    const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
    if (!script) return;
    const link = document.createElement("link");
    link.rel = "modulepreload";
    link.href = script.src.replace("start.js", `translations/${language()}.js`);
    document.head.append(link);
    if (location.pathname === "/" && !stored("chatify.me")) requestData();
  }

  /** Requests the user's name, their conversations and the messages of the one in the URL. */
  function requestData() {
    /** @type {Map<string, Promise<Response>>} */
    const responses = new Map();
    Object.assign(globalThis, { earlyResponses: responses });
    setTimeout(function () {
      responses.clear(); // outdated
    }, EARLY_MS);
    request("/conversations?blocked=1&limit=50&archived=0");
    request("/me")
      .then(function (response) {
        return response.clone().json();
      })
      .then(function (me) {
        const [user, peer] = [me.username, decodeURIComponent(location.hash.slice(1))].map(encodeURIComponent);
        return me.username && peer && request(`/messages/${user}/${peer}?peek=1&blocked=1&limit=50`);
      })
      .catch(ignore);

    /** @param {string} path */
    function request(path) {
      const response = fetch(path, { headers: { accept: "application/json" }, redirect: "manual" });
      response.catch(ignore);
      responses.set(path, response);
      return response;
    }
  }

  function ignore() {
    // The page requests it again.
  }

  /** The page's language, as `chooseLanguage` finds it. */
  function language() {
    const chosen = stored("chatify.language") || (/(?:^|; )chatify_language=(\w+)/.exec(document.cookie) || [])[1];
    const wanted = [chosen || ""].concat(navigator.languages || [navigator.language]);
    const found = wanted.find(function (tag) {
      return /^(?:el|en)\b/i.test(tag);
    });
    return /^el/i.test(found || "") ? "el" : "en";
  }

  /** @param {string} key */
  function stored(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage is forbidden
    }
  }

  function applyTheme() {
    const theme = (/(?:^|; )chatify_theme=(light|dark)/.exec(document.cookie) || [])[1];
    if (theme) root.setAttribute("data-theme", theme);
    else root.removeAttribute("data-theme");
    const colors = /** @type {NodeListOf<HTMLMetaElement>} */ (document.querySelectorAll("meta[name=theme-color]"));
    THEMES.forEach(function (scheme, index) {
      const meta = colors[index];
      if (meta) meta.media = theme ? (theme === scheme ? "all" : "print") : `(prefers-color-scheme: ${scheme})`;
    });
  }

  function checkStyles() {
    for (const link of /** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll("link[rel=stylesheet]"))) {
      if (!hasRules(link)) fail(true);
    }
  }

  /** @param {HTMLLinkElement} link */
  function hasRules(link) {
    try {
      return link.sheet !== null && link.sheet.cssRules.length > 0;
    } catch {
      return false; // browsers treat a failed style sheet as cross-origin
    }
  }

  /** @param {Event} event */
  function onError(event) {
    const { target } = event;
    const isOurs =
      event instanceof ErrorEvent ? event.filename.startsWith(location.origin) : target instanceof HTMLScriptElement;
    if (isOurs && !root.hasAttribute("data-started")) fail();
  }

  /** @param {boolean} [isUnstyled] whether the page may work but lacks its styles */
  function fail(isUnstyled) {
    if (isFailing) return;
    isFailing = true;
    if (isRetry || hasInput()) {
      showNotLoaded();
      return;
    }
    if (!navigator.onLine) {
      showNotLoaded();
      addEventListener("online", reload);
      return;
    }
    setTimeout(function () {
      if (isUnstyled || !root.hasAttribute("data-started")) reload();
    }, RETRY_MS); // a network change takes a moment
  }

  function reload() {
    try {
      sessionStorage.setItem(KEY, "1");
    } catch {
      // The navigation type serves instead.
    }
    location.reload();
  }

  /** Whether this is the second attempt to load the page. */
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

  /**
   * Whether a form has input or an error: it works without scripts, and a reload would clear it.
   */
  function hasInput() {
    if (document.querySelector('form [data-error]:not([data-error=""])')) return true;
    const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(".form-page input"));
    return Array.from(inputs).some(function (input) {
      return input.value !== input.defaultValue;
    });
  }

  function showNotLoaded() {
    root.lang = language();
    root.setAttribute("data-failed", "");
  }

  /**
   * Shows the pane of the conversation in the URL before its data loads, and keeps the URL when the
   * page is reloaded.
   */
  function preparePane() {
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
      return; // malformed, such as "#%zz"
    }
    for (const part of [".open", "chat-thread .skeleton"]) {
      const element = app.querySelector(part);
      if (element instanceof HTMLElement) element.hidden = false;
    }
    app.setAttribute("data-open", "");
  }
})();
