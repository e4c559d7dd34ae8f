/** Until when the user can edit and delete messages, as far as the server has said. */

/** @typedef {{ seq: number, at: number }} Timed `at` by the server's clock, unless it is pending (`seq` 0) */

export class ChangeWindows {
  #editMs = Number.POSITIVE_INFINITY;
  #deleteMs = Number.POSITIVE_INFINITY;
  /** How far this device's clock is ahead of the server's. */
  #aheadMs = 0;

  /**
   * Applies a `hello`; older servers send no windows.
   * @param {Record<string, any>} hello windows in seconds, null without a limit
   */
  update({ time, edit_window: edit, delete_window: deletion }) {
    const at = Date.parse(time);
    this.#aheadMs = Number.isNaN(at) ? 0 : Date.now() - at;
    this.#editMs = (edit ?? Number.POSITIVE_INFINITY) * 1_000;
    this.#deleteMs = (deletion ?? Number.POSITIVE_INFINITY) * 1_000;
  }

  /** @param {Timed} message */
  canEdit(message) {
    return this.#isWithin(message, this.#editMs);
  }

  /** @param {Timed} message */
  canDelete(message) {
    return this.#isWithin(message, this.#deleteMs);
  }

  /**
   * @param {Timed} message
   * @param {number} windowMs
   */
  #isWithin({ seq, at }, windowMs) {
    return seq === 0 || Date.now() - this.#aheadMs - at < windowMs;
  }
}
