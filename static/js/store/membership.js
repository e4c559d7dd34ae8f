/**
 * How the user has arranged a conversation: the mute, the pin, the archive and the unread mark. What
 * the server has stored, with the changes on top that it has not answered yet.
 */

/** @import { StableRow } from "./conversation.js" */

/**
 * @typedef {object} Settings
 * @property {number} mutedUntil milliseconds since 1970; 0: not muted, infinity: without an end
 * @property {string | undefined} pinnedAt in UTC, so that texts compare as instants do
 * @property {number | undefined} archivedSeq archived while the conversation's last seq is this one
 * @property {number | undefined} markedUnreadSeq marked as unread while the user's read mark is this one
 */

/** What to change. `mute_seconds`: with `muted`, how long. @typedef {{ muted?: boolean, mute_seconds?: number, pinned?: boolean, archived?: boolean, marked_unread?: boolean }} Arrangement */

/** @typedef {Partial<Pick<StableRow, "muted" | "muted_until" | "pinned_at" | "archived_seq" | "marked_unread_seq" | "settings_revision">>} Row */

export class Membership {
  #revision = -1;
  /** @type {Settings} */
  #stored = { mutedUntil: 0, pinnedAt: undefined, archivedSeq: undefined, markedUnreadSeq: undefined };
  /** @type {Partial<Settings>[]} */
  #pending = [];

  /** @returns {Settings} */
  get settings() {
    return this.#pending.length === 0 ? this.#stored : Object.assign({}, this.#stored, ...this.#pending);
  }

  get isMuted() {
    return this.settings.mutedUntil > Date.now();
  }

  /** Applies a row or a frame, which may be older than what arrived since. @param {Row} row */
  update({ muted, muted_until, pinned_at, archived_seq, marked_unread_seq, settings_revision = 0 }) {
    if (settings_revision < this.#revision) return;
    this.#revision = settings_revision;
    this.#stored = {
      mutedUntil: muted ? (muted_until ? Date.parse(muted_until) : Number.POSITIVE_INFINITY) : 0,
      pinnedAt: pinned_at ?? undefined,
      archivedSeq: archived_seq ?? undefined,
      markedUnreadSeq: marked_unread_seq ?? undefined,
    };
  }

  /**
   * Shows a change before the server has answered.
   * @param {Arrangement} change
   * @param {{ lastSeq: number, myRead: number }} conversation
   * @returns {() => void} ends that: the server has stored the change, or refused it
   */
  change({ muted, mute_seconds: seconds, pinned, archived, marked_unread: marked }, { lastSeq, myRead }) {
    const until = seconds ? Date.now() + seconds * 1_000 : Number.POSITIVE_INFINITY;
    const pinnedAt = this.settings.pinnedAt ?? new Date().toISOString();
    /** @type {Partial<Settings>} */
    const pending = {
      ...(muted !== undefined && { mutedUntil: muted ? until : 0 }),
      ...(pinned !== undefined && { pinnedAt: pinned ? pinnedAt : undefined }),
      ...(pinned && { archivedSeq: undefined }),
      ...(archived !== undefined && { archivedSeq: archived ? lastSeq : undefined }),
      ...(marked !== undefined && { markedUnreadSeq: marked ? myRead : undefined }),
    };
    this.#pending.push(pending);
    return () => {
      this.#pending = this.#pending.filter((each) => each !== pending);
    };
  }

  /** The database may have been rolled back: the next row counts. */
  distrust() {
    this.#revision = -1;
  }

  /** What the server has stored, as a row. @returns {Row} */
  toRow() {
    const { mutedUntil, pinnedAt, archivedSeq, markedUnreadSeq } = this.#stored;
    const isTimed = mutedUntil > 0 && Number.isFinite(mutedUntil);
    return {
      muted: mutedUntil > Date.now(),
      settings_revision: Math.max(0, this.#revision),
      ...(isTimed && { muted_until: new Date(mutedUntil).toISOString() }),
      ...(pinnedAt !== undefined && { pinned_at: pinnedAt }),
      ...(archivedSeq !== undefined && { archived_seq: archivedSeq }),
      ...(markedUnreadSeq !== undefined && { marked_unread_seq: markedUnreadSeq }),
    };
  }
}
