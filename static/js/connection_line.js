/** Says in a line that the connection is gone; says nothing while it is there, or for the first two seconds. */

import { setText } from "./dom.js";
import { word } from "./words.js";

const PATIENCE_MS = 2_000;

export class ConnectionLine extends HTMLElement {
  /** @type {import("./messenger.js").Messenger | undefined} */
  #messenger;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #patient = true;

  /** @param {import("./messenger.js").Messenger} messenger */
  start(messenger) {
    this.#messenger = messenger;
    messenger.addEventListener("connection", () => this.render());
    messenger.addEventListener("people", () => this.render()); // something was written that cannot be kept
    addEventListener("online", () => this.render());
    addEventListener("offline", () => this.render());
    this.render();
  }

  render() {
    if (this.#messenger?.connection.state !== "connecting") {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#patient = true;
      this.hidden = true;
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.#patient = false;
      this.render();
    }, PATIENCE_MS);
    if (this.#patient) return;
    // Some browsers say "offline" where the server is on the same desk, so only the words follow them.
    const online = navigator.onLine;
    this.dataset.state = online ? "connecting" : "offline";
    this.hidden = false;
    if (this.#messenger.forgetful()) setText(this, word(online ? "connecting_unkept" : "offline_unkept"));
    else setText(this, word(online ? "connecting" : "offline"));
  }
}

customElements.define("connection-line", ConnectionLine);
