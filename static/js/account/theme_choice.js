/**
 * The choice of colors in this browser: the system's, light or dark. `start.js` applies it before a
 * page is painted.
 */

const COOKIE = "chatify_theme";

class ThemeChoice extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", ({ target }) =>
      this.#choose(/** @type {Element} */ (target).closest("button")?.value),
    );
    document.addEventListener("themechange", () => this.#showChosen());
    this.#showChosen();
  }

  /** @param {string | undefined} theme "" for the system's */
  #choose(theme) {
    if (theme === undefined) return;
    document.cookie = `${COOKIE}=${theme}; Path=/; SameSite=Lax; Max-Age=${theme ? 34_560_000 : 0}`;
    document.dispatchEvent(new Event("themechange"));
  }

  #showChosen() {
    const { theme = "" } = document.documentElement.dataset;
    for (const button of this.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.value === theme));
  }
}

customElements.define("theme-choice", ThemeChoice);
