/**
 * The oracle: judges a history. Every number, id and text that a client observed is compared with every other
 * observation, with what was sent, and at the end with the table. Of faults it knows only the times.
 */

import { ChangeChecker } from "./change_checker.ts";
import { Findings } from "./findings.ts";
import { type ConversationSummary, type Entry, type Marks, type ObservedMessage, pairOf, stateOf } from "./history.ts";

const DELIVERED_WITHIN_MS = 10_000;
/** The time until a client that missed something gets `sync`: 6 s (docs/reliability.md, 7), plus a margin. */
const SYNC_WITHIN_MS = 8_000;
/** A socket may miss what is sent while it opens: its page fetches then. */
const OPENING_MS = 1_000;
/** The sync after a resend is written just before the ack; the two clients may read them in another order. */
const READING_MS = 100;

interface Send {
  readonly user: string;
  readonly to: string;
  readonly hash: string;
  readonly replyTo: number | undefined;
  /** How often it was sent on a socket, and rejected. */
  sent: number;
  rejected: number;
  ack?: { readonly id: number; readonly seq: number; readonly t: number };
  stored: number;
  notVisible: boolean;
}

/** A number of a conversation, as first observed. */
interface Numbered {
  readonly id: number;
  /** Of its text before any change; undefined while only changed versions were observed. */
  hash: string | undefined;
  /** When its sender got the first ack. */
  ackedAt: number;
}

interface Socket {
  readonly page: string;
  readonly user: string;
  readonly openAt: number;
  syncAt: number;
  /** Ids of the messages it received. */
  readonly received: Set<number>;
  /** By conversation: the numbers it received in messages and acks. */
  readonly numbers: Map<string, Set<number>>;
  /** The same of revisions, in changes. */
  readonly revisions: Map<string, Set<number>>;
  /** By conversation: its sends in order, and their numbers. By message: its changes, and their revisions. */
  readonly order: Map<string, { ref: string; seq: number }[]>;
}

interface Page {
  readonly user: string;
  openAt: number;
  readonly contiguous: Map<string, number>;
  readonly revised: Map<string, number>;
  /** The marks that the page knew, by peer, oldest first. */
  readonly summaries: Map<string, { readonly at: number; readonly marks: SummaryMarks }[]>;
}

const SUMMARY_MARKS = ["last", "revision", "read", "peerRead", "peerDelivered"] as const;
type SummaryMarks = Pick<ConversationSummary, (typeof SUMMARY_MARKS)[number]>;
/** Responses to requests older than all of these are not compared. */
const SUMMARIES_MAX = 32;

export class Checker {
  readonly findings = new Findings();
  readonly #changes = new ChangeChecker(this.findings);
  readonly #sends = new Map<string, Send>();
  readonly #numbers = new Map<string, Numbered[]>();
  readonly #sockets = new Map<number, Socket>();
  readonly #pages = new Map<string, Page>();
  readonly #marks = new Map<string, Marks>();
  /** The highest mark that a client received, by kind, reader and peer. */
  readonly #markReceived = new Map<string, { seq: number; kind: "read" | "delivered"; reader: string; peer: string }>();
  readonly #crashes: number[] = [];
  readonly #faults = new Set<number>();
  #healedAt = 0;
  #now = 0;
  /** The table: by conversation, by number. */
  readonly #table = new Map<string, ObservedMessage[]>();
  readonly #unread = new Map<string, Map<string, number>>();
  readonly #conversations = new Map<string, Marks & { lowUnread: number; highUnread: number }>();

  /** @param entry the next event; those of the final state come last, rows first among them */
  take(entry: Entry): void {
    this.#now = entry.t;
    switch (entry.e) {
      case "page":
        return void this.#pages.set(entry.page, {
          user: entry.user,
          openAt: entry.t, // its history may load before its socket opens
          contiguous: new Map(),
          revised: new Map(),
          summaries: new Map(),
        });
      case "write": {
        const { user, to, hash, replyTo } = entry;
        const state = { sent: 0, rejected: 0, stored: 0, notVisible: false };
        return void this.#sends.set(entry.ref, { user, to, hash, replyTo, ...state });
      }
      case "change":
        return this.#changes.asked(entry);
      case "open":
        return this.#opened(entry);
      case "close":
        return this.#closed(entry.socket, entry.t);
      case "send":
        return this.#sent(entry.socket, entry.ref);
      case "ack":
        return this.#acked(entry);
      case "rejected":
        return this.#rejected(entry.ref, entry.code);
      case "message":
        return this.#receivedMessage(entry);
      case "changed":
        return this.#receivedChange(entry);
      case "sync": {
        const socket = this.#sockets.get(entry.socket);
        if (socket) socket.syncAt = entry.t;
        return;
      }
      case "mark":
        return this.#marked(entry);
      case "summary":
        return this.#conversationSummary(entry);
      case "history":
        return this.#observed(this.#pages.get(entry.page)?.user ?? "", entry.peer, entry.rows);
      case "contiguous":
        return this.#hasContiguous(entry);
      case "changes":
        return this.#changesSince(entry);
      case "revised":
        return this.#hasRevision(entry);
      case "not_visible":
        return this.#notVisible(entry.ref);
      case "marks":
        return this.#marksObserved(entry);
      case "fault":
        this.#faults.add(entry.n);
        if (entry.crash) this.#crashes.push(entry.t);
        return;
      case "healed":
        this.#faults.delete(entry.n);
        this.#healedAt = entry.t;
        return;
      case "violation":
        return this.findings.add("late", `${entry.fault}: ${entry.message}`);
      case "row":
        return this.#row(entry);
      case "change_made":
        return this.#changes.made(entry);
      case "conversation":
        return this.#conversation(entry);
      case "final_history":
        return this.#finalHistory(entry);
      case "unread":
        return this.#unreadCounts(entry.user, entry.counts);
      case "displayed":
        return this.#displayed(entry);
      case "unsent":
        this.findings.add("stuck", `${entry.ref} of ${entry.page}`);
    }
  }

  /** Checks that need the whole history. */
  end(): Findings {
    for (const socket of this.#sockets.keys()) this.#closed(socket, this.#now);
    for (const [pair, rows] of this.#table) this.#checkTable(pair, rows);
    this.#compareSends();
    this.#compareNumbers();
    this.#changes.end({
      table: this.#table,
      revisionOf: (pair) => this.#conversations.get(pair)?.revision ?? 0,
      originalOf: ({ ref = "" }) => this.#sends.get(ref)?.hash,
      crashes: this.#crashes,
    });
    for (const { seq, kind, reader, peer } of this.#markReceived.values()) {
      const final = this.#conversations.get(pairOf(reader, peer));
      const mark = !final ? 0 : kind === "read" ? sideOf(final, reader).read : sideOf(final, reader).delivered;
      if (seq > mark)
        this.findings.add(
          "mark_regressed",
          `a client was told that ${reader} has ${kind} ${seq} of ${peer}, and the table has ${mark}`,
        );
    }
    return this.findings;
  }

  #opened({ t, socket, page: name }: Entry & { e: "open" }): void {
    const page = this.#pages.get(name);
    if (page) page.openAt = t;
    const user = page?.user ?? "";
    const received = { received: new Set<number>(), numbers: new Map(), revisions: new Map(), order: new Map() };
    this.#sockets.set(socket, { page: name, user, openAt: t, syncAt: Number.NEGATIVE_INFINITY, ...received });
  }

  #closed(number: number, t: number): void {
    const socket = this.#sockets.get(number);
    this.#sockets.delete(number);
    if (!socket) return;
    this.#checkOrder(socket);
    for (const [pair, seqs] of socket.numbers) {
      const numbers = this.#numbers.get(pair) ?? [];
      this.#checkGaps(socket, t, pair, seqs, (seq) => numbers[seq]?.ackedAt ?? Number.POSITIVE_INFINITY);
    }
    for (const [pair, revisions] of socket.revisions)
      this.#checkGaps(socket, t, `changes of ${pair}`, revisions, (each) => this.#changes.answeredAt(pair, each));
  }

  /** Between its first and its last number or revision a socket received every one, or a `sync`. */
  #checkGaps(
    socket: Socket,
    closedAt: number,
    what: string,
    seqs: ReadonlySet<number>,
    ackedAtOf: (seq: number) => number,
  ): void {
    let [first, last] = [Number.POSITIVE_INFINITY, 0];
    for (const seq of seqs) [first, last] = [Math.min(first, seq), Math.max(last, seq)];
    for (let seq = first + 1; seq < last; seq++) {
      const ackedAt = ackedAtOf(seq);
      const isFetched = ackedAt < socket.openAt + OPENING_MS || ackedAt > closedAt - SYNC_WITHIN_MS;
      if (seqs.has(seq) || isFetched || socket.syncAt > ackedAt - READING_MS) continue;
      this.findings.add("undelivered", `${socket.page} received ${what} up to ${last} without ${seq}, and no sync`);
      return;
    }
  }

  /** A socket's sends are numbered in order, and its changes to one message are made in order. */
  #checkOrder(socket: Socket): void {
    for (const [place, sends] of socket.order) {
      const numbered = sends.filter(({ seq }) => seq > 0);
      for (const [i, { ref, seq }] of numbered.entries()) {
        const before = numbered[i - 1];
        if (before && before.seq > seq) {
          this.findings.add(
            "reordered",
            `${place}: ${before.ref} was sent before ${ref}, but they are ${before.seq} and ${seq}`,
          );
        }
      }
    }
  }

  #sent(number: number, ref: string): void {
    const send = this.#sends.get(ref);
    if (send) send.sent++;
    const place = send ? pairOf(send.user, send.to) : this.#changes.sent(ref);
    const order = this.#sockets.get(number)?.order;
    if (!order || place === undefined) return;
    const sends = order.get(place) ?? [];
    if (sends.length === 0) order.set(place, sends);
    // Rejected and sent again: the last attempt counts.
    const earlier = sends.findIndex((other) => other.ref === ref && other.seq === 0);
    if (earlier >= 0) sends.splice(earlier, 1);
    sends.push({ ref, seq: 0 });
  }

  #acked({ t, socket: number, ref, id, seq, peer, duplicate }: Entry & { e: "ack" }): void {
    const socket = this.#sockets.get(number);
    const send = this.#sends.get(ref);
    if (!send) return this.findings.add("phantom", `${ref} was acknowledged to ${socket?.user}, but no user wrote it`);
    if (send.user !== socket?.user || send.to !== peer)
      return this.findings.add(
        "leaked",
        `${ref} of ${send.user} to ${send.to} was acknowledged to ${socket?.user} as to ${peer}`,
      );
    addTo(socket.numbers, pairOf(send.user, send.to), seq);
    if (send.ack && (send.ack.id !== id || send.ack.seq !== seq)) {
      this.findings.add(
        "duplicate",
        `${ref} was acknowledged as ${send.ack.seq} (${send.ack.id}) and as ${seq} (${id})`,
      );
    }
    const numbered = this.#number({ from: send.user, to: send.to, id, seq, hash: send.hash });
    if (!send.ack) numbered.ackedAt = t;
    send.ack ??= { id, seq, t };
    const place = socket.order.get(pairOf(send.user, send.to))?.findLast((other) => other.ref === ref);
    if (place && !duplicate) place.seq = seq;
  }

  #rejected(ref: string, code: string): void {
    const send = this.#sends.get(ref);
    if (send) send.rejected++;
    else this.#changes.rejected(ref, code);
  }

  #receivedMessage(entry: Entry & { e: "message" }): void {
    const socket = this.#sockets.get(entry.socket);
    if (!socket) return;
    if (socket.received.has(entry.id))
      this.findings.add(
        "duplicate",
        `${socket.page} received ${entry.seq} (${entry.id}) of ${entry.from} twice on one socket`,
      );
    socket.received.add(entry.id);
    addTo(socket.numbers, pairOf(entry.from, entry.to), entry.seq);
    this.#observed(socket.user, entry.from === socket.user ? entry.to : entry.from, [entry]);
  }

  #receivedChange(entry: Entry & { e: "changed" }): void {
    const socket = this.#sockets.get(entry.socket);
    if (!socket) return;
    const { ref, peer, revision, message } = entry;
    this.#observed(socket.user, peer, [message]);
    if ((message.revision ?? 0) !== revision)
      this.findings.add("reordered", `${socket.page} received ${message.revision} of ${peer} as revision ${revision}`);
    if (revision > 0) addTo(socket.revisions, pairOf(socket.user, peer), revision);
    const place = ref === undefined ? undefined : this.#changes.answered(socket.user, entry);
    const asked = place === undefined ? undefined : socket.order.get(place)?.findLast((other) => other.ref === ref);
    if (asked) asked.seq = revision;
  }

  /** A page fetched what had changed after a revision. */
  #changesSince({ page: name, peer, after, rows }: Entry & { e: "changes" }): void {
    const user = this.#pages.get(name)?.user ?? "";
    let before = after;
    for (const row of rows) {
      const { revision = 0 } = row;
      if (revision <= before)
        this.findings.add("reordered", `${user} received revision ${revision} of ${peer} after ${before}`);
      before = revision;
      this.#observed(user, peer, [row]);
    }
  }

  /** A user observed messages of a conversation with `peer`, which must be in order. */
  #observed(user: string, peer: string, rows: readonly ObservedMessage[]): void {
    let before = 0;
    for (const row of rows) {
      this.#changes.observed(row);
      if (pairOf(row.from, row.to) !== pairOf(user, peer))
        this.findings.add("leaked", `${user} received ${row.seq} (${row.id}) of ${row.from} to ${row.to}`);
      if (row.seq <= before) this.findings.add("reordered", `${user} received ${row.seq} of ${peer} after ${before}`);
      before = row.seq;
      this.#number(row);
      const send = row.ref === undefined ? undefined : this.#sends.get(row.ref);
      if (row.ref !== undefined && !send)
        this.findings.add("phantom", `${user} received ${row.ref} of ${row.from}, but no user wrote it`);
      if (send && !row.revision && stateOf(row) !== send.hash)
        this.findings.add("altered", `${user} received another text for ${row.ref}`);
      if (send && send.replyTo !== row.replyTo)
        this.findings.add("altered", `${user} received ${row.ref} as a reply to ${row.replyTo}, not ${send.replyTo}`);
    }
  }

  /** A number belongs to one message, in every observation. */
  #number({ from, to, id, seq, hash: observed, revision }: ObservedMessage): Numbered {
    const hash = revision ? undefined : observed;
    const pair = pairOf(from, to);
    let numbers = this.#numbers.get(pair);
    if (!numbers) this.#numbers.set(pair, (numbers = []));
    const known = numbers[seq];
    if (!known) return (numbers[seq] = { id, hash, ackedAt: Number.POSITIVE_INFINITY });
    if (known.id !== id) this.findings.add("reordered", `${pair}: ${seq} was observed as ${known.id} and as ${id}`);
    else if (hash !== undefined && (known.hash ??= hash) !== hash)
      this.findings.add("altered", `${pair}: ${seq} was observed with two texts`);
    return known;
  }

  #marked({ socket: number, kind, reader, peer, seq }: Entry & { e: "mark" }): void {
    const user = this.#sockets.get(number)?.user;
    if (user !== reader && user !== peer) {
      return this.findings.add("leaked", `${user} received the ${kind} mark of ${reader} for ${peer}`);
    }
    const key = `${kind} ${reader} ${peer}`;
    const highest = this.#markReceived.get(key);
    if (!highest || highest.seq < seq) this.#markReceived.set(key, { seq, kind, reader, peer });
  }

  /** Responses to overlapping requests may arrive in either order, so only responses before the request are compared. */
  #conversationSummary({ t, page: name, requestedAt, ...now }: Entry & { e: "summary" }): void {
    const page = this.#pages.get(name);
    if (!page) return;
    const known = page.summaries.getOrInsertComputed(now.peer, () => []);
    const before = known.findLast(({ at }) => at < requestedAt)?.marks;
    const newest = known.at(-1)?.marks;
    const marks: Record<string, number> = {};
    for (const mark of SUMMARY_MARKS) {
      if (before && now[mark] < before[mark])
        this.findings.add(
          "mark_regressed",
          `${name} with ${now.peer}: ${mark} fell from ${before[mark]} to ${now[mark]}`,
        );
      marks[mark] = Math.max(now[mark], newest?.[mark] ?? 0);
    }
    if (now.peerRead > now.peerDelivered || now.peerDelivered > now.last || now.read > now.last)
      this.findings.add("mark_regressed", `${name} with ${now.peer}: ${JSON.stringify(now)}`);
    known.push({ at: t, marks: marks as SummaryMarks });
    if (known.length > SUMMARIES_MAX) known.shift();
  }

  #marksObserved(now: Marks): void {
    const key = pairOf(now.low, now.high);
    const before = this.#marks.get(key);
    for (const mark of ["last", "revision", "lowRead", "highRead", "lowDelivered", "highDelivered"] as const) {
      if (before && now[mark] < before[mark])
        this.findings.add("mark_regressed", `${key}: ${mark} fell from ${before[mark]} to ${now[mark]}`);
    }
    if (
      now.lowRead > now.lowDelivered ||
      now.highRead > now.highDelivered ||
      Math.max(now.lowDelivered, now.highDelivered) > now.last
    )
      this.findings.add("mark_regressed", `${key}: ${JSON.stringify(now)}`);
    this.#marks.set(key, now);
  }

  #hasContiguous({ t, page: name, peer, seq }: Entry & { e: "contiguous" }): void {
    const page = this.#pages.get(name);
    if (!page) return;
    const before = page.contiguous.get(peer) ?? 0;
    page.contiguous.set(peer, seq);
    const numbers = this.#numbers.get(pairOf(page.user, peer)) ?? [];
    const ackedAtOf = (at: number) => numbers[at]?.ackedAt ?? Number.POSITIVE_INFINITY;
    this.#checkArrival(t, page, { what: `of ${peer} at ${name}`, before, now: seq, ackedAtOf });
  }

  #hasRevision({ t, page: name, peer, revision }: Entry & { e: "revised" }): void {
    const page = this.#pages.get(name);
    if (!page) return;
    const before = page.revised.get(peer) ?? 0;
    page.revised.set(peer, revision);
    const pair = pairOf(page.user, peer);
    const ackedAtOf = (at: number) => this.#changes.answeredAt(pair, at);
    this.#checkArrival(t, page, { what: `of the changes with ${peer} at ${name}`, before, now: revision, ackedAtOf });
  }

  /** What was acknowledged without a fault, while this page was open, arrives within the bound. */
  #checkArrival(
    t: number,
    page: Page,
    { what, before, now, ackedAtOf }: { what: string; before: number; now: number; ackedAtOf: (at: number) => number },
  ): void {
    if (this.#faults.size > 0) return;
    for (let at = before + 1; at <= now; at++) {
      const since = Math.max(ackedAtOf(at), this.#healedAt, page.openAt);
      if (t - since > DELIVERED_WITHIN_MS) {
        this.findings.add("undelivered", `${at} ${what} arrived only after ${Math.round(t - since)} ms`);
        break;
      }
    }
  }

  #notVisible(ref: string): void {
    const send = this.#sends.get(ref);
    if (send) send.notVisible = true;
    else this.#changes.notVisible(ref);
    this.findings.add("early_ack", `${ref} was acknowledged, but not visible to another connection to PostgreSQL`);
  }

  #row(row: Entry & { e: "row" }): void {
    const { from, to, ref = "", read } = row;
    this.#changes.observed(row);
    if (row.deleted && !read) this.findings.add("unread_mismatch", `${ref} of ${from} is deleted, but unread`);
    const pair = pairOf(from, to);
    const rows = this.#table.get(pair);
    if (rows) rows.push(row);
    else this.#table.set(pair, [row]);
    if (!read) {
      let counts = this.#unread.get(to);
      if (!counts) this.#unread.set(to, (counts = new Map()));
      counts.set(from, (counts.get(from) ?? 0) + 1);
    }
    const send = this.#sends.get(ref);
    if (!send || send.user !== from || send.to !== to || send.sent === 0)
      return this.findings.add("phantom", `${ref} of ${from} to ${to} is stored, but was never sent`);
    send.stored++;
    if (!row.revision && send.hash !== stateOf(row)) this.findings.add("altered", `${ref} is stored with another text`);
    if (send.replyTo !== row.replyTo)
      this.findings.add("altered", `${ref} is stored as a reply to ${row.replyTo}, not ${send.replyTo}`);
    if (send.rejected >= send.sent) this.findings.add("phantom", `${ref} is stored, but was rejected`);
    if (send.stored > 1) this.findings.add("duplicate", `${ref} is stored ${send.stored} times`);
    if (send.ack && send.stored === 1 && (send.ack.id !== row.id || send.ack.seq !== row.seq)) {
      this.findings.add(
        "reordered",
        `${ref} was acknowledged as ${send.ack.seq} (${send.ack.id}), but is stored as ${row.seq} (${row.id})`,
      );
    }
  }

  #checkTable(pair: string, rows: ObservedMessage[]): void {
    rows.sort((a, b) => a.seq - b.seq);
    for (const [i, { seq, id }] of rows.entries()) {
      const before = rows[i - 1];
      if (seq !== i + 1) {
        this.findings.add("reordered", `${pair}: ${seq} is the ${i + 1}th message in the table`);
        break;
      }
      if (before && before.id >= id)
        this.findings.add("reordered", `${pair}: ${seq} has an id below that of ${seq - 1}`);
    }
    const last = this.#conversations.get(pair)?.last;
    if (last !== rows.length)
      this.findings.add("reordered", `${pair}: the last number is ${last}, but there are ${rows.length} messages`);
  }

  #compareSends(): void {
    for (const [ref, send] of this.#sends) {
      if (!send.ack || send.stored > 0 || send.notVisible) continue;
      const { t } = send.ack;
      if (this.#crashes.some((crash) => crash >= t))
        this.findings.add("early_ack", `${ref} was acknowledged before PostgreSQL crashed, and is missing`);
      else this.findings.add("lost", `${ref} of ${send.user} was acknowledged, but is not stored`);
    }
  }

  #compareNumbers(): void {
    for (const [pair, numbers] of this.#numbers) {
      const rows = new Map(this.#table.get(pair)?.map((row) => [row.seq, row]));
      for (const [seq, { id }] of numbers.entries().filter(([, number]) => number !== undefined)) {
        const row = rows.get(seq);
        if (!row) this.findings.add("phantom", `${pair}: ${seq} (${id}) was observed, but is not stored`);
        else if (row.id !== id)
          this.findings.add("reordered", `${pair}: ${seq} was observed as ${id}, but is ${row.id}`);
      }
    }
  }

  #conversation(final: Entry & { e: "conversation" }): void {
    const pair = pairOf(final.low, final.high);
    this.#marksObserved(final);
    this.#conversations.set(pair, final);
    for (const [me, peer, count] of [
      [final.low, final.high, final.lowUnread],
      [final.high, final.low, final.highUnread],
    ] as const) {
      const rows = this.#unread.get(me)?.get(peer) ?? 0;
      if (count !== rows)
        this.findings.add("unread_mismatch", `${me} has ${count} unread of ${peer}, but ${rows} rows are unread`);
    }
  }

  #finalHistory({ user, peer, rows }: Entry & { e: "final_history" }): void {
    this.#observed(user, peer, rows);
    const stored = this.#table.get(pairOf(user, peer)) ?? [];
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const message of stored) {
      const { id, seq, revision } = message;
      const row = byId.get(id);
      if (!row) this.findings.add("lost", `${seq} (${id}) is missing from ${user}'s history with ${peer}`);
      else if (row.revision !== revision || stateOf(row) !== stateOf(message))
        this.findings.add("altered", `${seq} is another version in ${user}'s history with ${peer} than in the table`);
    }
    if (rows.length > stored.length)
      this.findings.add(
        "phantom",
        `${user}'s history with ${peer} has ${rows.length} messages, but ${stored.length} are stored`,
      );
  }

  #unreadCounts(user: string, counts: Readonly<Record<string, number>>): void {
    const rows = this.#unread.get(user) ?? new Map<string, number>();
    for (const peer of new Set([...rows.keys(), ...Object.keys(counts)])) {
      const [reported, stored] = [counts[peer] ?? 0, rows.get(peer) ?? 0];
      if (reported !== stored)
        this.findings.add(
          "unread_mismatch",
          `${user} gets ${reported} unread of ${peer}, but ${stored} rows are unread`,
        );
    }
  }

  /** In the end a page displays the end of the conversation without gaps. */
  #displayed({ page: name, peer, rows, first, unread }: Entry & { e: "displayed" }): void {
    const user = this.#pages.get(name)?.user ?? "";
    const stored = (this.#table.get(pairOf(user, peer)) ?? []).toSorted((a, b) => a.seq - b.seq);
    const last = stored.at(-1)?.seq ?? 0;
    const displayedLast = rows.at(-1)?.[0] ?? 0;
    if (displayedLast < last)
      return this.findings.add(
        "undelivered",
        `${name} displays ${peer} up to ${displayedLast}, but ${last} is the last`,
      );
    const bySeq = new Map(rows.map(([seq, ...version]) => [seq, version]));
    for (const row of stored) {
      const { seq, revision = 0 } = row;
      if (seq < first) continue;
      const [displayed, displayedRevision = 0] = bySeq.get(seq) ?? [];
      if (displayed === undefined) this.findings.add("undelivered", `${name} does not display ${seq} of ${peer}`);
      else if (displayedRevision !== revision)
        this.findings.add(
          "undelivered",
          `${name} displays revision ${displayedRevision} of ${seq} of ${peer}, but ${revision} is the last`,
        );
      else if (displayed !== stateOf(row))
        this.findings.add("altered", `${name} displays ${seq} of ${peer} as ${displayed}, but it is ${stateOf(row)}`);
    }
    if (rows.length > last - first + 1)
      this.findings.add("duplicate", `${name} displays ${rows.length} messages of ${peer} from ${first} to ${last}`);
    const count = this.#unread.get(user)?.get(peer) ?? 0;
    if (unread !== count)
      this.findings.add(
        "unread_mismatch",
        `${name} displays ${unread} unread of ${peer}, but ${count} rows are unread`,
      );
  }
}

/** One user's marks. */
function sideOf(marks: Marks, name: string): { read: number; delivered: number } {
  return name === marks.low
    ? { read: marks.lowRead, delivered: marks.lowDelivered }
    : { read: marks.highRead, delivered: marks.highDelivered };
}

function addTo(sets: Map<string, Set<number>>, key: string, value: number): void {
  const values = sets.get(key);
  if (values) values.add(value);
  else sets.set(key, new Set([value]));
}
