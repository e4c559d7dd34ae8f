/** The button beside a password that shows what was typed, and hides it again. */

import { setText } from "./dom.js";
import { t } from "./translate.js";

/**
 * Gives its work to the button in a form. It shows all passwords of the form: those are one, typed twice.
 * @param {HTMLFormElement} form
 */
export function addPasswordToggle(form) {
  const button = /** @type {HTMLButtonElement | null} */ (form.querySelector(".show-password"));
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll('input[type="password"]'));
  if (!button) return;
  const say = () => {
    const shown = inputs[0]?.type === "text";
    setText(button, t(shown ? "hide_password" : "show_password"));
    button.setAttribute("aria-label", t(shown ? "hide_password_label" : "show_password_label"));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const type = inputs[0]?.type === "text" ? "password" : "text";
    for (const input of inputs) input.type = type;
    say();
  });
  document.addEventListener("languagechange", say);
  say();
}
