/** The user's photo and display name. The photo is scaled down before it is sent. */

import { request } from "../sync/api.js";
import { find, isTouch, setAvatar, setText } from "../util/dom.js";
import { t } from "../util/translate.js";
import { announce, showFieldErrors } from "./announce.js";
import { explain, isRejection, orLeave, send } from "./requests.js";

/** @import { Me } from "./requests.js" */

/** Sharp enough for the stored photo, and small enough for slow networks: about 100 KB. */
const PREVIEW_PX = 512;
const JPEG_QUALITY = 0.9;

export class ProfileForm extends HTMLElement {
  /** @type {Me | undefined} */
  #me;
  #isBusy = false;
  /** @type {HTMLCanvasElement} */
  #canvas = find(this, "canvas");
  /** @type {HTMLInputElement} */
  #input = find(this, "#display_name");

  connectedCallback() {
    for (const [button, input] of /** @type {const} */ ([
      [".choose", ".file"],
      [".take", ".camera"],
    ])) {
      find(this, button).addEventListener("click", () => find(this, input).click());
      find(this, input).addEventListener("change", () => void this.#preview(find(this, input)));
    }
    find(this, ".use").addEventListener("click", () => void this.#upload());
    find(this, ".cancel").addEventListener("click", () => this.#endPreview());
    find(this, ".remove").addEventListener("click", () => void this.#remove());
    find(this, "form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#saveName();
    });
  }

  /** @param {Me} me as stored on the server */
  show(me) {
    this.#me = me;
    this.#input.value = me.display_name ?? "";
    for (const control of this.querySelectorAll("button, input")) control.removeAttribute("disabled");
    this.#render();
  }

  #render() {
    const me = this.#me;
    if (!me) return;
    const { username, display_name: displayName, photo } = me;
    setText(find(this, ".name"), displayName ?? username);
    setText(find(this, ".handle"), displayName ? `@${username}` : "");
    setAvatar(find(this, ".avatar"), username, { ...(displayName && { displayName }), ...(photo && { photo }) });
    const isPreview = !this.#canvas.hidden;
    for (const [selector, isShown] of /** @type {const} */ ([
      [".choose", !isPreview],
      [".take", !isPreview && isTouch()],
      [".remove", !isPreview && Boolean(photo)],
      [".use", isPreview],
      [".cancel", isPreview],
    ])) {
      find(this, selector).hidden = !isShown;
    }
  }

  /**
   * Shows the square of the image that becomes the photo.
   * @param {HTMLInputElement} input
   */
  async #preview(input) {
    const [file] = input.files ?? [];
    input.value = ""; // so that the same file can be chosen again
    if (!file) return;
    this.#clear();
    try {
      const image = await createImageBitmap(file);
      const side = Math.min(image.width, image.height);
      const context = this.#canvas.getContext("2d");
      this.#canvas.width = this.#canvas.height = PREVIEW_PX;
      if (!context || side === 0) throw new Error("no image");
      context.fillStyle = "white"; // below transparent pixels, which JPEG cannot have
      context.fillRect(0, 0, PREVIEW_PX, PREVIEW_PX);
      context.imageSmoothingQuality = "high";
      const [left, top] = [(image.width - side) / 2, (image.height - side) / 2];
      context.drawImage(image, left, top, side, side, 0, 0, PREVIEW_PX, PREVIEW_PX);
      image.close();
    } catch {
      announce(find(this, ".photo-error"), () => t("error_bad_photo"));
      return;
    }
    this.#canvas.hidden = false;
    this.#render();
    find(this, ".use").focus();
  }

  #endPreview() {
    this.#canvas.hidden = true;
    this.#render();
    find(this, ".choose").focus();
  }

  async #upload() {
    const body = await new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
    const headers = { "content-type": "image/jpeg" };
    const isDone = await this.#savePhoto(() => request("/me/photo", { method: "POST", headers, body }));
    if (isDone) this.#endPreview();
  }

  async #remove() {
    const isDone = await this.#savePhoto(() => request("/me/photo/remove", { method: "POST" }));
    if (isDone) find(this, ".choose").focus(); // the focused button is hidden
  }

  /** @param {() => Promise<Response>} save Returns whether it succeeded. */
  async #savePhoto(save) {
    if (this.#isBusy) return false;
    this.#isBusy = true;
    this.#clear();
    this.toggleAttribute("data-busy", true);
    try {
      const profile = await (await orLeave(save())).json();
      this.#applied(profile);
      announce(find(this, ".done"), () => t(profile.photo ? "photo_saved" : "photo_removed"));
      return true;
    } catch (error) {
      announce(find(this, ".photo-error"), explain(error));
      return false;
    } finally {
      this.#isBusy = false;
      this.toggleAttribute("data-busy", false);
    }
  }

  async #saveName() {
    this.#clear();
    showFieldErrors([[this.#input, undefined]]);
    try {
      this.#applied(await send("/me/profile", { display_name: this.#input.value.trim() }));
      this.#input.value = this.#me?.display_name ?? "";
      announce(find(this, ".done"), () => t("saved"));
    } catch (error) {
      const isReserved = isRejection(error, "name_reserved");
      showFieldErrors([[this.#input, isReserved ? () => t("display_name_reserved") : explain(error)]]);
    }
  }

  /** @param {{ display_name: string | null, photo: string | null }} profile as stored now */
  #applied({ display_name: displayName, photo }) {
    if (!this.#me) return;
    this.#me = { ...this.#me, display_name: displayName ?? undefined, photo: photo ?? undefined };
    this.#render();
  }

  #clear() {
    for (const selector of [".done", ".photo-error"]) announce(find(this, selector));
  }
}

customElements.define("profile-form", ProfileForm);
