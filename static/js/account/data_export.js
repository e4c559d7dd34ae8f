/**
 * Exports everything the user can read to a file and shows the progress. An incomplete file is
 * discarded.
 */

import { request } from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { dayKey } from "../util/time.js";
import { t } from "../util/translate.js";
import { announce } from "./announce.js";
import { explain, orLeave } from "./requests.js";

/**
 * @typedef {object} ExportTarget the file being written
 * @property {(bytes: Uint8Array<ArrayBuffer>) => Promise<void> | void} write
 * @property {() => Promise<void> | void} commit
 * @property {() => Promise<void> | void} discard
 */

const NEWLINE = 10;

export class DataExport extends HTMLElement {
  /** @type {AbortController | undefined} */
  #controller;
  #lines = 0;
  #total = 0;

  /** The user's name. */
  name = "";

  connectedCallback() {
    find(this, ".start").addEventListener("click", () => void this.#export());
    find(this, ".cancel").addEventListener("click", () => this.#controller?.abort());
    document.addEventListener("languagechange", () => this.#render());
  }

  async #export() {
    if (this.#controller) return;
    announce(find(this, ".done"));
    announce(find(this, ".error"));
    const controller = (this.#controller = new AbortController());
    const target = await openTarget(`chatify-${this.name}-${dayKey(Date.now())}.json`);
    if (target) await this.#save(target, controller.signal);
    this.#controller = undefined;
    this.#render();
    if (target) find(this, ".start").focus();
  }

  /**
   * @param {ExportTarget} target
   * @param {AbortSignal} signal
   */
  async #save(target, signal) {
    this.#lines = 0;
    this.#total = 0;
    this.#render();
    find(this, ".cancel").focus();
    try {
      const response = await orLeave(request("/export", { signal }));
      this.#total = Number(response.headers.get("chatify-messages"));
      const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
      for (;;) {
        const { done, value } = await reader.read(); // rejects when the connection breaks
        if (done) break;
        for (const byte of value) if (byte === NEWLINE) this.#lines++;
        await target.write(value);
        this.#render();
      }
      await target.commit();
      announce(find(this, ".done"), () => t("export_done"));
    } catch (error) {
      await Promise.resolve(target.discard()).catch(() => {});
      if (signal.aborted) announce(find(this, ".done"), () => t("export_cancelled"));
      else announce(find(this, ".error"), failure(error));
    }
  }

  #render() {
    const isRunning = this.#controller !== undefined;
    find(this, ".start").hidden = isRunning;
    find(this, ".under-way").hidden = !isRunning;
    // The file's header is also a line.
    const count = Math.min(Math.max(0, this.#lines - 1), this.#total);
    const progress = find(this, "progress");
    if (this.#total > 0) {
      progress.max = this.#total;
      progress.value = count;
    } else progress.removeAttribute("value");
    setText(find(this, ".count"), this.#total > 0 ? t("export_progress", { count, total: this.#total }) : "");
  }
}

/** @param {unknown} error */
function failure(error) {
  if (error instanceof TypeError) return () => t("export_broke");
  if (error instanceof DOMException) return () => t("export_unwritable"); // such as a full disk
  return explain(error);
}

/**
 * A file chosen by the user where the browser supports writing files, which needs no memory;
 * otherwise a download of the complete data. Undefined when the user cancels.
 * @param {string} name
 * @returns {Promise<ExportTarget | undefined>}
 */
async function openTarget(name) {
  const choose = /** @type {any} */ (globalThis).showSaveFilePicker;
  if (!choose) return download(name);
  try {
    const types = [{ accept: { "application/json": [".json"] } }];
    const handle = await choose({ suggestedName: name, types });
    const file = await handle.createWritable();
    return { write: (bytes) => file.write(bytes), commit: () => file.close(), discard: () => file.abort() };
  } catch (error) {
    // Where the picker is forbidden, as in some frames, a download still works.
    return error instanceof DOMException && error.name === "AbortError" ? undefined : download(name);
  }
}

/** @param {string} name @returns {ExportTarget} */
function download(name) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let parts = [];
  return {
    write: (bytes) => void parts.push(bytes),
    commit: () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // after the browser has read it
    },
    discard: () => {
      parts = [];
    },
  };
}

customElements.define("data-export", DataExport);
