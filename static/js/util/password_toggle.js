/** The button beside a password field that shows and hides the password. */

import { setText } from "./dom.js";
import { t } from "./translate.js";

/**
 * Activates the button in a form. It toggles all password fields, because they hold the same password.
 * @param {HTMLFormElement} form
 */
export function addPasswordToggle(form) {
  const button = /** @type {HTMLButtonElement | null} */ (form.querySelector(".show-password"));
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll('input[type="password"]'));
  if (!button) return;
  const renderButton = () => {
    const shown = inputs[0]?.type === "text";
    setText(button, t(shown ? "hide_password" : "show_password"));
    button.setAttribute("aria-label", t(shown ? "hide_password_label" : "show_password_label"));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const type = inputs[0]?.type === "text" ? "password" : "text";
    for (const input of inputs) input.type = type;
    renderButton();
  });
  document.addEventListener("languagechange", renderButton);
  renderButton();
}
