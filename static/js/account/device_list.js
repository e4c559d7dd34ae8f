/** Lists the user's sessions and ends them. */

import { cloneTemplate, find, renderList, setText } from "../util/dom.js";
import { ago, fullTime, onTimeFormatChange } from "../util/time.js";
import { t } from "../util/translate.js";
import { announce } from "./announce.js";
import { explain, isRejection, send } from "./requests.js";

/**
 * @typedef {object} Device a session
 * @property {number} id
 * @property {string} device `Firefox on Linux`, or a name alone
 * @property {string | null} address
 * @property {string} last_used_at
 * @property {boolean} current whether it is this session
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

class DeviceList extends HTMLElement {
  /** The current session first. @type {Device[]} */
  #devices = [];
  #isBusy = false;

  connectedCallback() {
    find(this, ".others").addEventListener("click", () => void this.#end("/sessions/end_others"));
    for (const event of ["languagechange", "sessionschange"]) {
      document.addEventListener(event, () => (event === "sessionschange" ? void this.#load() : this.#render()));
    }
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && void this.#load());
    setInterval(() => this.#render(), MINUTE_MS);
    onTimeFormatChange(() => this.#render());
    void this.#load();
  }

  async #load() {
    try {
      /** @type {Device[]} */
      const devices = await send("/sessions");
      this.#devices = devices.toSorted((a, b) => Number(b.current) - Number(a.current));
      announce(find(this, ".error"));
    } catch (error) {
      announce(find(this, ".error"), explain(error));
    }
    this.#render();
  }

  /** @param {string} path */
  async #end(path) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    let ended = 0;
    try {
      ({ ended } = await send(path, {}));
    } catch (error) {
      if (!isRejection(error, "not_found")) {
        announce(find(this, ".error"), explain(error));
        this.#isBusy = false;
        return;
      }
      // The session has ended already, so the list is outdated.
    }
    await this.#load();
    announce(find(this, ".done"), ended > 0 ? () => t("devices_ended", { count: ended }) : undefined);
    // The focused button was removed with its row.
    const next = /** @type {HTMLElement | null} */ (this.querySelector("button:not([hidden])"));
    (next ?? find(this, "h2")).focus();
    this.#isBusy = false;
  }

  #render() {
    renderList(find(this, ".rows"), this.#devices, {
      key: ({ id }) => String(id),
      make: (device) => {
        const row = cloneTemplate("device");
        find(row, ".end").addEventListener("click", () => void this.#end(`/sessions/${device.id}/end`));
        return row;
      },
      update: (row, device) => {
        const name = deviceText(device.device);
        const at = Date.parse(device.last_used_at);
        const used = device.current ? t("device_now") : lastUseText(at);
        setText(find(row, ".name"), name);
        setText(find(row, ".last-used"), [used, device.address].filter(Boolean).join(" · "));
        find(row, ".last-used").title = fullTime(at);
        find(row, ".current").hidden = !device.current;
        setText(find(row, ".current"), t("this_device"));
        setText(find(row, ".end"), t("end_device"));
        find(row, ".end").hidden = device.current;
        find(row, ".end").setAttribute("aria-label", t("end_device_label", { device: name }));
      },
    });
    find(this, ".others").hidden = this.#devices.length < 2;
  }
}

/** The server stores a session's last use to the hour. @param {number} at */
function lastUseText(at) {
  return Date.now() - at < HOUR_MS ? t("device_recent") : t("device_used", { when: ago(at) });
}

/** "Firefox on Linux" in the user's language. @param {string} device */
function deviceText(device) {
  const [, browser = device, system] = /^(.+) on (.+)$/.exec(device) ?? [];
  const known = browser === "Browser" ? t("browser") : browser;
  return system === undefined ? known : t("device_on", { browser: known, system });
}

customElements.define("device-list", DeviceList);
