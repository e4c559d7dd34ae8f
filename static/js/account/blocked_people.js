/** Lists blocked users; blocks and unblocks. */

import { Profiles } from "../store/profiles.js";
import { cloneTemplate, find, renderList, setAvatar, setText } from "../util/dom.js";
import { t } from "../util/translate.js";
import { announce, showFieldErrors } from "./announce.js";
import { explain, isRejection, send } from "./requests.js";

class BlockedPeople extends HTMLElement {
  /** @type {HTMLInputElement} */
  #input = find(this, "#block_name");
  /** @type {({ username: string } & import("../store/profiles.js").ProfileFields)[] | undefined} */
  #people;
  #isBusy = false;

  connectedCallback() {
    find(this, "form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#block(this.#input.value.trim());
    });
    document.addEventListener("languagechange", () => this.#render());
    void this.#load();
  }

  async #load() {
    try {
      this.#people = await send("/blocks?profiles=1");
    } catch (error) {
      announce(find(this, ".done"), explain(error));
    }
    this.#render();
  }

  /** @param {string} name */
  async #block(name) {
    announce(find(this, ".done"));
    if (!showFieldErrors([[this.#input, name ? undefined : () => t("block_missing")]])) return;
    try {
      const blocked = await this.#setBlocked(name, true);
      if (blocked === undefined) return;
      this.#input.value = "";
      announce(find(this, ".done"), () => t("blocked_done", { name: blocked }));
    } catch (error) {
      const isUnknown = isRejection(error, "no_such_user") || isRejection(error, "bad_name");
      showFieldErrors([[this.#input, isUnknown ? () => t("no_such_person", { name }) : explain(error)]]);
    }
  }

  /**
   * @param {string} name
   * @param {string} shown display name and name
   */
  async #unblock(name, shown) {
    try {
      if ((await this.#setBlocked(name, false)) === undefined) return;
      announce(find(this, ".done"), () => t("unblocked_done", { name: shown }));
      this.#input.focus(); // the focused button was removed with its row
    } catch (error) {
      announce(find(this, ".done"), explain(error));
    }
  }

  /**
   * @param {string} name
   * @param {boolean} blocked
   * @returns {Promise<string | undefined>} the name as its owner spells it; undefined while another request is running
   */
  async #setBlocked(name, blocked) {
    if (this.#isBusy) return undefined;
    this.#isBusy = true;
    try {
      const response = await send("/blocks", { name, blocked });
      await this.#load();
      return response.name;
    } finally {
      this.#isBusy = false;
    }
  }

  #render() {
    const people = this.#people;
    if (!people) return;
    const profiles = new Profiles();
    for (const { username, ...profile } of people) profiles.apply(username, profile);
    find(this, ".empty").hidden = people.length > 0;
    const names = people.map(({ username }) => username);
    renderList(find(this, ".rows"), names, {
      key: (name) => name,
      make: (name) => {
        const row = cloneTemplate("blocked");
        find(row, ".unblock").addEventListener("click", () => void this.#unblock(name, profiles.full(name)));
        return row;
      },
      update: (row, name) => {
        setAvatar(find(row, ".avatar"), name, profiles.of(name));
        setText(find(row, ".name"), profiles.shown(name));
        setText(find(row, ".handle"), profiles.handle(name));
        find(row, ".who").title = profiles.full(name);
        setText(find(row, ".unblock"), t("unblock"));
        find(row, ".unblock").setAttribute("aria-label", t("unblock_label", { name: profiles.full(name) }));
      },
    });
  }
}

customElements.define("blocked-people", BlockedPeople);
