/** Saves all that the person can read in one file, and says how far it is. A file that broke off is no file: it is not kept. */

import { find, setText } from "../util/dom.js";
import { dayKey } from "../util/grouping.js";
import { t } from "../util/translate.js";
import { announce } from "./announce.js";
import { check, explain } from "./requests.js";

/**
 * @typedef {object} Place where the file goes
 * @property {(bytes: Uint8Array<ArrayBuffer>) => Promise<void> | void} write
 * @property {() => Promise<void> | void} keep
 * @property {() => Promise<void> | void} drop
 */

const NEWLINE = 10;

export class DataExport extends HTMLElement {
  /** @type {AbortController | undefined} */
  #underWay;
  #lines = 0;
  #total = 0;

  /** Whose data it is. */
  name = "";

  connectedCallback() {
    find(this, ".start").addEventListener("click", () => void this.#start());
    find(this, ".cancel").addEventListener("click", () => this.#underWay?.abort());
    document.addEventListener("languagechange", () => this.#render());
  }

  async #start() {
    if (this.#underWay) return;
    announce(find(this, ".done"));
    announce(find(this, ".error"));
    const underWay = (this.#underWay = new AbortController());
    const place = await placeFor(`chatify-${this.name}-${dayKey(Date.now())}.json`);
    if (place) await this.#save(place, underWay.signal);
    this.#underWay = undefined;
    this.#render();
    if (place) find(this, ".start").focus();
  }

  /**
   * @param {Place} place
   * @param {AbortSignal} signal
   */
  async #save(place, signal) {
    this.#lines = 0;
    this.#total = 0;
    this.#render();
    find(this, ".cancel").focus();
    try {
      const answer = await fetch("/export", { signal, redirect: "manual" });
      await check(answer);
      this.#total = Number(answer.headers.get("chatify-messages"));
      const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body).getReader();
      for (;;) {
        const { done, value } = await reader.read(); // rejects when the connection breaks off
        if (done) break;
        for (const byte of value) if (byte === NEWLINE) this.#lines++;
        await place.write(value);
        this.#render();
      }
      await place.keep();
      announce(find(this, ".done"), () => t("export_done"));
    } catch (error) {
      await Promise.resolve(place.drop()).catch(() => {});
      if (signal.aborted) announce(find(this, ".done"), () => t("export_cancelled"));
      else announce(find(this, ".error"), error instanceof TypeError ? () => t("export_broke") : explain(error));
    }
  }

  #render() {
    const underWay = this.#underWay !== undefined;
    find(this, ".start").hidden = underWay;
    find(this, ".under-way").hidden = !underWay;
    const count = Math.min(Math.max(0, this.#lines - 1), this.#total); // what the file says of itself is a line, too
    const progress = find(this, "progress");
    if (this.#total > 0) {
      progress.max = this.#total;
      progress.value = count;
    } else progress.removeAttribute("value");
    setText(find(this, ".count"), this.#total > 0 ? t("export_progress", { count, total: this.#total }) : "");
  }
}

/**
 * A file of the person's choice where the browser lets pages write one, so that nothing is held in memory; else a download, once
 * all has come. Undefined when the person thought better of it.
 * @param {string} name
 * @returns {Promise<Place | undefined>}
 */
async function placeFor(name) {
  const choose = /** @type {any} */ (globalThis).showSaveFilePicker;
  if (!choose) return download(name);
  try {
    const types = [{ accept: { "application/json": [".json"] } }];
    const handle = await choose({ suggestedName: name, types });
    const file = await handle.createWritable();
    return { write: (bytes) => file.write(bytes), keep: () => file.close(), drop: () => file.abort() };
  } catch (error) {
    // A browser that has it and does not allow it, as within some frames, can still download.
    return error instanceof DOMException && error.name === "AbortError" ? undefined : download(name);
  }
}

/** @param {string} name @returns {Place} */
function download(name) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let parts = [];
  return {
    write: (bytes) => void parts.push(bytes),
    keep: () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // after the browser has taken it
    },
    drop: () => {
      parts = [];
    },
  };
}

customElements.define("data-export", DataExport);
