/**
 * Decides what a thread shows: its messages, day dividers, runs by one author, and the divider "New
 * messages". It does not touch the DOM.
 */

import { pendingTick } from "../store/pending.js";
import { caption, fileKind } from "../util/file_text.js";
import { dayKey } from "../util/time.js";

/** @import { Conversation } from "../store/conversation.js" */

/**
 * A message to render, stored or pending.
 * @typedef {object} ShownMessage
 * @property {string} me the user
 * @property {string} peerName what the other user is called
 * @property {string} key
 * @property {string} from
 * @property {boolean} mine
 * @property {string} text
 * @property {number} at
 * @property {number | undefined} [editedAt]
 * @property {true | undefined} [deleted]
 * @property {number} seq 0 while pending
 * @property {import("../util/dom.js").Tick | undefined} tick
 * @property {string} [ref] of a pending message
 * @property {number | undefined} [replyTo] the seq of the message that it answers
 * @property {import("../store/conversation.js").Message | undefined} [answered] that message, if it is loaded
 * @property {Record<string, string> | undefined} [reactions] one emoji per user
 * @property {import("../store/message_window.js").MessageFile | undefined} [file]
 * @property {string | undefined} [code] the error code of a failed message
 * @property {import("../store/pending.js").PendingFile | undefined} [upload] of a pending message with a file
 */

const RUN_MS = 5 * 60_000;

/** @typedef {{ from: string, at: number, text: string, seq?: number } & Partial<Pick<ShownMessage, "file" | "reactions" | "replyTo" | "tick" | "editedAt">>} Groupable */

/** The place of a picture in a grid of two columns; a last odd one spans both. @typedef {"start" | "end" | "wide"} Tile */

/**
 * @template {Groupable} M
 * @typedef {{ kind: "day", key: string, at: number } | { kind: "new", key: string } | { kind: "message", message: M, first: boolean, last: boolean, emoji: boolean, tile?: Tile }} Item
 */

/**
 * The items of a thread, oldest first. A run ends at a message of the other author, after five
 * minutes without one, and at midnight.
 * @template {Groupable} M
 * @param {readonly M[]} messages
 * @param {number} [newFrom] seq of the message below the divider "New messages"
 * @returns {Item<M>[]}
 */
export function group(messages, newFrom) {
  /** @type {Item<M>[]} */
  const items = [];
  const isNew = (/** @type {M} */ { seq }) => seq !== undefined && seq === newFrom;
  let previousDay = "";
  for (const [index, message] of messages.entries()) {
    const before = messages[index - 1];
    const after = messages[index + 1];
    const day = dayKey(message.at);
    // A pending message has this device's time, which must not cause a day divider for an earlier
    // day.
    if (day > previousDay) {
      items.push({ kind: "day", key: day, at: message.at });
      previousDay = day;
    }
    if (isNew(message)) items.push({ kind: "new", key: "new" });
    items.push({
      kind: "message",
      message,
      first: !before || isNew(message) || !sameRun(before, message),
      last: !after || isNew(after) || !sameRun(message, after),
      emoji: !message.file && isEmoji(message.text),
    });
  }
  placeTiles(items);
  return items;
}

/**
 * Makes each run of pictures a grid.
 * @template {Groupable} M
 * @param {Item<M>[]} items
 */
function placeTiles(items) {
  /** @type {Extract<Item<M>, { kind: "message" }>[]} */
  let run = [];
  const end = () => {
    if (run.length > 1)
      for (const [index, item] of run.entries())
        item.tile = index % 2 === 1 ? "end" : index === run.length - 1 ? "wide" : "start";
    run = [];
  };
  for (const item of items) {
    const isPlain = item.kind === "message" && isPlainPicture(item.message);
    if (!isPlain || item.first) end();
    if (isPlain) run.push(item);
  }
  end();
}

/** Whether a message is a picture with nothing above or below it. @param {Groupable} message */
function isPlainPicture(message) {
  const { file, replyTo, reactions = {}, editedAt, tick } = message;
  if (!file || fileKind(file) !== "photo" || caption(message) !== "") return false;
  return !replyTo && !editedAt && tick !== "failed" && Object.keys(reactions).length === 0;
}

/** A cheap pre-check: compiling the exact expression takes about 10 ms. */
const PERHAPS_EMOJI = /[\p{Extended_Pictographic}\p{Regional_Indicator}\u20e3]/u;
const ONE_TO_THREE_EMOJI = /^\s*(?:\p{RGI_Emoji}\s*){1,3}$/v;

/**
 * Whether a text is one to three emoji and nothing else.
 * @param {string} text
 */
export function isEmoji(text) {
  return text.length < 120 && PERHAPS_EMOJI.test(text) && ONE_TO_THREE_EMOJI.test(text);
}

/**
 * @param {{ from: string, at: number }} before
 * @param {{ from: string, at: number }} after
 */
function sameRun(before, after) {
  return before.from === after.from && after.at - before.at < RUN_MS && dayKey(before.at) === dayKey(after.at);
}

/**
 * The messages to render: stored ones in a range of seqs, then pending ones if the range includes
 * the newest.
 * @param {import("../chat_model.js").Chat} chat
 * @param {Conversation} conversation
 * @param {{ first: number, last: number, isAtEnd: boolean }} range
 * @returns {ShownMessage[]}
 */
export function shownMessages({ me, outbox, profiles }, conversation, { first, last, isAtEnd }) {
  const { view, peer } = conversation;
  const { firstSeq } = view;
  const peerName = profiles.shown(peer);
  const end = isAtEnd ? undefined : Math.max(0, last - firstSeq + 1);
  const stored = conversation
    .messages()
    .slice(Math.max(0, first - firstSeq), end)
    .map((message) => {
      const { seq, ref, from, text, at, editedAt, deleted, replyTo, reactions, file } = message;
      const mine = from === me;
      return {
        me,
        peerName,
        key: (mine && ref) || `#${seq}`, // a peer may choose a ref that the user's message has too
        from,
        mine,
        text,
        at,
        editedAt,
        deleted,
        seq,
        replyTo,
        answered: replyTo ? conversation.message(replyTo) : undefined,
        reactions,
        file,
        tick: mine ? tickOf(conversation, message) : undefined,
      };
    });
  if (!isAtEnd || view.isDetached) return stored;
  const pending = outbox.to(peer).map((message) => {
    const { ref, text, at, code, replyTo, file: upload } = message;
    const answered = replyTo ? conversation.message(replyTo) : undefined;
    return {
      me,
      peerName,
      key: ref,
      from: me,
      mine: true,
      text,
      at,
      seq: 0,
      tick: pendingTick(message),
      ref,
      code,
      replyTo,
      answered,
      upload,
    };
  });
  return [...stored, ...pending];
}

/**
 * @param {Conversation} conversation
 * @param {import("../store/conversation.js").Message} message
 * @returns {import("../util/dom.js").Tick | undefined}
 */
function tickOf(conversation, message) {
  if (message.pending) return "sending";
  return message.deleted ? undefined : conversation.markOf(message);
}

/** Where the divider "New messages" is in the conversation on screen. */
export class UnreadDivider {
  /** The divider is after this seq; undefined for none. @type {number | undefined} */
  #after;
  /** The newest seq that arrived while the user was looking at the end. */
  #seen = 0;
  /** The newest seq shown so far. */
  #shown = 0;

  /** Whether there is a divider. */
  get isPlaced() {
    return this.#after !== undefined;
  }

  /** Whether a message has not been shown yet. @param {number} seq */
  isFresh(seq) {
    return seq > this.#shown;
  }

  /** The seq of the message below the divider, or undefined. @param {Conversation} conversation */
  below(conversation) {
    return this.#after === undefined || conversation.isBlocked ? undefined : conversation.firstAfter(this.#after);
  }

  /**
   * The conversation opens: the divider is above the first unread message.
   * @param {Conversation} conversation
   */
  open(conversation) {
    this.#after = conversation.myRead;
    if (this.below(conversation) === undefined) this.#after = undefined;
  }

  /**
   * A message arrived. Returns whether the divider moved.
   * @param {Conversation} conversation
   * @param {number} seq
   * @param {boolean} isReading whether the user is looking at the end
   */
  arrived(conversation, seq, isReading) {
    if (isReading) this.#seen = Math.max(this.#seen, seq);
    else this.#moveTo(conversation, seq - 1);
    return !isReading;
  }

  /**
   * Marks as new the messages that arrived before the page was open or while it was offline.
   * Returns whether there are any.
   * @param {Conversation} conversation
   */
  missed(conversation) {
    const known = Math.max(conversation.myRead, this.#shown);
    const first = conversation.firstAfter(known);
    if (first === undefined || first <= this.#seen) return false;
    this.#moveTo(conversation, known);
    return true;
  }

  /** All messages up to `seq` are shown. @param {number} seq */
  shown(seq) {
    this.#shown = Math.max(this.#shown, seq);
  }

  /** Removes the divider. */
  remove() {
    this.#after = undefined;
  }

  /**
   * Moves the divider after `seq`, unless it is above unread messages.
   * @param {Conversation} conversation
   * @param {number} seq
   */
  #moveTo(conversation, seq) {
    const first = this.#after === undefined ? undefined : conversation.firstAfter(this.#after);
    if (first === undefined || first <= conversation.myRead) this.#after = seq;
  }
}
