/**
 * Compares the server's list of conversations with the loaded one: finds what is new, what has
 * gone, and what contradicts the loaded data.
 */

import { Emitter } from "../util/emitter.js";

/** @import { Row } from "./api.js" */
/** @import { Conversation } from "../store/conversation.js" */
/** @typedef {{ from: string, text: string, seq: number }} MissedMessage */
/** @typedef {{ rows: Row[], isLast: boolean, archived: number }} ListPage */
/** @typedef {(before: string | undefined, options: { limit?: number | undefined, archived?: 0 | 1 }) => Promise<ListPage | undefined>} FetchPage */

/** Rows of the list read again after a loss. The others are read again when they are shown. */
const REREAD_MAX = 200;

/**
 * - `missed`: a message of a peer arrived while disconnected
 * - `contradicted`: the server's rows are not those of the loaded data
 * @extends {Emitter<{ missed: MissedMessage, contradicted: void }>}
 */
export class ListSync extends Emitter {
  /** Whether frames were lost, so that any row of the list may have changed. */
  isStale = false;
  /** Whether the server's epoch differs from that of the loaded data. */
  isDistrusting = false;
  /**
   * @type {Map<Conversation, number>} last seqs of conversations from the cache, or of an earlier epoch, until the server confirms them
   */
  #cachedSeqs = new Map();
  #conversations;
  #people;
  #cache;

  /** @param {import("../chat_model.js").Parts} parts */
  constructor({ conversations, people, cache }) {
    super();
    this.#conversations = conversations;
    this.#people = people;
    this.#cache = cache;
  }

  /**
   * Reads the newest rows until they contain nothing new, and all loaded ones if they are stale.
   * Resolves to the conversations read; undefined when the rows contradict the loaded data, or
   * there is no page.
   * @param {FetchPage} fetchPage
   */
  async read(fetchPage) {
    const { isListLoaded, listedCount } = this.#conversations;
    const rereads = isListLoaded && this.isStale;
    this.isStale = false;
    const all = this.#conversations.all();
    /**
     * What was loaded before the request. A lower answer means that the database was rolled back.
     */
    const contiguous = new Map(all.map((conversation) => [conversation, conversation.contiguousSeq]));
    const known = new Map(all.map((conversation) => [conversation, conversation.lastSeq]));
    const newest = Math.max(0, ...all.map(({ preview }) => preview?.at ?? 0));
    const reportsMissed = isListLoaded || this.isDistrusting;
    /** @type {Set<Conversation>} */
    const listed = new Set();
    /** @type {string | undefined} */
    let before;
    let rowsToReread = rereads ? Math.min(listedCount, REREAD_MAX) : 0;
    let archived = 0;
    for (;;) {
      const page = await fetchPage(before, {
        limit: before !== undefined && rowsToReread > 0 ? rowsToReread : undefined,
      });
      if (!page) return undefined;
      const { rows, isLast } = page;
      if (before === undefined) archived = page.archived;
      for (const [conversation, seq] of this.#cachedSeqs) {
        contiguous.set(conversation, seq);
        known.set(conversation, seq);
      }
      if (rows.some((row) => this.#contradicts(row, contiguous))) {
        this.emit("contradicted");
        return undefined;
      }
      const last = rows.at(-1);
      rowsToReread -= rows.length;
      // Newest first: if the last row of the page has no new message, the following pages have none
      // either.
      const hasMoreNew = isListLoaded && last && last.last_seq > this.#conversations.getOrCreate(last.peer).lastSeq;
      const isMore = !isLast && last && (hasMoreNew || rowsToReread > 0);
      for (const row of rows) {
        const isNew = row.last_seq > this.#conversations.getOrCreate(row.peer).lastSeq;
        listed.add(this.#people.applyRow(row));
        if (isNew && reportsMissed) this.#reportMissed(row, newest);
      }
      if (!isListLoaded) this.#conversations.addPage(rows, isLast);
      if (!isMore) {
        const listedSince = since(isLast, last);
        // Archived on another device just now, perhaps: only the archive can say.
        const isAnyAbsent = this.#absent(listed, known, listedSince).length > 0;
        const archive = await this.#readArchive(isAnyAbsent ? Math.max(1, archived) : archived, fetchPage);
        if (!archive) return undefined;
        if (rereads) this.#conversations.reread(listed, archive.listed, { isLast, cursor: last?.cursor ?? before });
        for (const conversation of archive.listed) listed.add(conversation);
        this.#dropAbsent(listed, known, Math.max(archive.since, listedSince));
        return listed;
      }
      before = last.cursor;
    }
  }

  /**
   * Reads the newest rows of the archive. Resolves to its conversations, which are all archived ones
   * with messages after `since`.
   * @param {number} count the number of archived conversations
   * @param {FetchPage} fetchPage
   */
  async #readArchive(count, fetchPage) {
    const page = count > 0 ? await fetchPage(undefined, { archived: 1 }) : { rows: [], isLast: true };
    if (!page) return undefined;
    const listed = new Set(page.rows.map((row) => this.#people.applyRow(row)));
    this.#conversations.setArchive(count, page);
    return { listed, since: since(page.isLast, page.rows.at(-1)) };
  }

  /** The conversation is as cached, until the server confirms it. @param {Conversation} conversation */
  addCached(conversation) {
    if (conversation.lastSeq > 0) this.#cachedSeqs.set(conversation, conversation.lastSeq);
  }

  /**
   * The database may have been rolled back: treats the loaded data as a cache until the server
   * confirms it.
   */
  distrust() {
    this.isDistrusting = true;
    for (const conversation of this.#conversations.all()) {
      if (conversation.distrust()) this.#cache?.drop(conversation.peer);
      this.addCached(conversation);
    }
    this.#conversations.forgetList();
    this.#people.forget();
  }

  /** Drops all that is loaded. */
  clear() {
    this.isDistrusting = false;
    this.#cachedSeqs.clear();
    this.#conversations.clear();
    this.#people.forget();
    this.#cache?.forget();
  }

  /**
   * Whether a row contradicts the loaded data: it ends earlier, or with a different message.
   * @param {Row} row
   * @param {Map<Conversation, number>} contiguous contiguous seqs before the request
   */
  #contradicts({ peer, last, last_seq: seq }, contiguous) {
    const conversation = this.#conversations.getOrCreate(peer);
    if (seq < (contiguous.get(conversation) ?? 0)) return true;
    if (!last) return false;
    const at = Date.parse(last.timestamp);
    // After a change of epoch the text may be the only difference.
    return conversation.differs({ seq, at, ...(this.isDistrusting && { from: last.sender, text: last.content }) });
  }

  /**
   * @param {Row} row of a conversation with messages this page has not received
   * @param {number} newest timestamp received so far; an older message was merely not listed before, for example because its sender was blocked
   */
  #reportMissed({ peer, last, last_seq: seq }, newest) {
    if (last?.sender !== peer || last.deleted || Date.parse(last.timestamp) <= newest) return;
    if (this.#conversations.getOrCreate(peer).unread > 0)
      this.emit("missed", { seq, from: peer, text: last.content, ...(last.file && { file: last.file }) });
  }

  /**
   * Drops conversations the server no longer lists although it listed older ones: both users were
   * deleted. Drops unlisted conversations from the cache too, until the server lists them.
   * @param {Set<Conversation>} listed those in the server's response
   * @param {Map<Conversation, number>} known last seqs before the request
   * @param {number} since the responses contain everything newer than this
   */
  #dropAbsent(listed, known, since) {
    for (const conversation of this.#absent(listed, known, since)) {
      this.#conversations.drop(conversation);
      this.#cache?.drop(conversation.peer);
    }
    this.#cachedSeqs.clear();
  }

  /**
   * What the server should have listed, and did not.
   * @param {Set<Conversation>} listed
   * @param {Map<Conversation, number>} known
   * @param {number} since
   */
  #absent(listed, known, since) {
    return this.#conversations.all().filter((conversation) => {
      const { preview, lastSeq } = conversation;
      if (listed.has(conversation) || !preview || lastSeq !== known.get(conversation)) return false;
      return preview.at > since || this.#cachedSeqs.has(conversation);
    });
  }
}

/**
 * The time after which a response contains every conversation.
 * @param {boolean} isLast
 * @param {Row | undefined} last
 */
function since(isLast, last) {
  return isLast ? 0 : Date.parse(last?.last?.timestamp ?? "");
}
