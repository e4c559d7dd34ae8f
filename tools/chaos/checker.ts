/**
 * Judges a history. Every number, id and text that anybody was told is held against every other telling of it, against what was sent, and
 * at the end against the table. Knows nothing of faults but when they were.
 */

import { Findings } from "./findings.ts";
import { type ConversationSummary, type Entry, type Marks, type ObservedMessage, pairOf } from "./history.ts";

const DELIVERED_WITHIN_MS = 10_000;
/** How soon a socket is told that it lacks something: 6 s after a pod died (docs/reliability.md, 7), plus a margin. */
const TOLD_WITHIN_MS = 8_000;
/** What is told while a socket opens may pass it by: its page asks anyway. */
const OPENING_MS = 1_000;

/** What a person wrote, and what became of it. */
interface Send {
  readonly user: string;
  readonly to: string;
  readonly hash: string;
  /** Handed to a socket, and refused by it. */
  sent: number;
  refused: number;
  ack?: { readonly id: number; readonly seq: number; readonly t: number };
  stored: number;
  unseen: boolean;
}

/** A number of a conversation, as it was first told. */
interface Numbered {
  readonly id: number;
  readonly hash: string;
  /** When its sender was first told. */
  ackedAt: number;
}

interface Socket {
  readonly page: string;
  readonly user: string;
  readonly openAt: number;
  syncAt: number;
  /** Ids of messages it heard. */
  readonly heard: Set<number>;
  /** By conversation: the numbers it was told, in messages and acks. */
  readonly numbers: Map<string, Set<number>>;
  /** By conversation: sends in the order they were handed to it, and what they were numbered. */
  readonly order: Map<string, { ref: string; seq: number }[]>;
}

interface Page {
  readonly user: string;
  openAt: number;
  readonly held: Map<string, number>;
  readonly standing: Map<string, ConversationSummary>;
}

export class Checker {
  readonly findings = new Findings();
  readonly #sends = new Map<string, Send>();
  readonly #numbers = new Map<string, Numbered[]>();
  readonly #sockets = new Map<number, Socket>();
  readonly #pages = new Map<string, Page>();
  readonly #marks = new Map<string, Marks>();
  /** The highest mark anybody was told of, by kind, reader and peer. */
  readonly #markTold = new Map<string, { seq: number; kind: "read" | "delivered"; reader: string; peer: string }>();
  readonly #crashes: number[] = [];
  readonly #faults = new Set<number>();
  #healedAt = 0;
  #now = 0;
  /** The table: by conversation, by number. */
  readonly #table = new Map<string, ObservedMessage[]>();
  readonly #unread = new Map<string, Map<string, number>>();
  readonly #conversations = new Map<string, Marks & { lowUnread: number; highUnread: number }>();

  /** The next event; those about the end come last, and rows before all else of them. */
  take(entry: Entry): void {
    this.#now = entry.t;
    switch (entry.e) {
      case "page":
        return void this.#pages.set(entry.page, {
          user: entry.user,
          openAt: entry.t, // its history may be there before its socket is
          held: new Map(),
          standing: new Map(),
        });
      case "write": {
        const { user, to, hash } = entry;
        return void this.#sends.set(entry.ref, { user, to, hash, sent: 0, refused: 0, stored: 0, unseen: false });
      }
      case "open":
        return this.#opened(entry);
      case "close":
        return this.#closed(entry.socket, entry.t);
      case "send":
        return this.#sent(entry.socket, entry.ref);
      case "ack":
        return this.#acked(entry);
      case "rejected":
        return this.#refused(entry.ref);
      case "message":
        return this.#heard(entry);
      case "sync": {
        const socket = this.#sockets.get(entry.socket);
        if (socket) socket.syncAt = entry.t;
        return;
      }
      case "mark":
        return this.#marked(entry);
      case "summary":
        return this.#stands(entry);
      case "history":
        return this.#wasTold(this.#pages.get(entry.page)?.user ?? "", entry.peer, entry.rows);
      case "contiguous":
        return this.#holds(entry);
      case "not_visible":
        return this.#unseen(entry.ref);
      case "marks":
        return this.#rose(entry);
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
      case "conversation":
        return this.#conversation(entry);
      case "final_history":
        return this.#rest(entry);
      case "unread":
        return this.#counts(entry.user, entry.counts);
      case "displayed":
        return this.#shown(entry);
      case "unsent":
        this.findings.add("stuck", `${entry.ref} of ${entry.page}`);
    }
  }

  /** What only the whole history shows. */
  end(): Findings {
    for (const socket of this.#sockets.keys()) this.#closed(socket, this.#now);
    for (const [pair, rows] of this.#table) this.#order(pair, rows);
    this.#compareSends();
    this.#compareNumbers();
    for (const { seq, kind, reader, peer } of this.#markTold.values()) {
      const final = this.#conversations.get(pairOf(reader, peer));
      const mark = !final ? 0 : kind === "read" ? sideOf(final, reader).read : sideOf(final, reader).delivered;
      if (seq > mark)
        this.findings.add("mark_regressed", `${reader} ${kind} ${seq} of ${peer} was told, and ${mark} stands`);
    }
    return this.findings;
  }

  #opened({ t, socket, page: name }: Entry & { e: "open" }): void {
    const page = this.#pages.get(name);
    if (page) page.openAt = t;
    const user = page?.user ?? "";
    const told = { heard: new Set<number>(), numbers: new Map(), order: new Map() };
    this.#sockets.set(socket, { page: name, user, openAt: t, syncAt: Number.NEGATIVE_INFINITY, ...told });
  }

  #closed(number: number, t: number): void {
    const socket = this.#sockets.get(number);
    this.#sockets.delete(number);
    if (!socket) return;
    this.#inOrder(socket);
    for (const [pair, seqs] of socket.numbers) this.#withoutHoles(socket, t, pair, seqs);
  }

  /** Between the first and the last number a socket was told, it was told all, or that it lacks some. */
  #withoutHoles(socket: Socket, closedAt: number, pair: string, seqs: ReadonlySet<number>): void {
    let [first, last] = [Number.POSITIVE_INFINITY, 0];
    for (const seq of seqs) [first, last] = [Math.min(first, seq), Math.max(last, seq)];
    const numbers = this.#numbers.get(pair) ?? [];
    for (let seq = first + 1; seq < last; seq++) {
      const { ackedAt = Number.POSITIVE_INFINITY } = numbers[seq] ?? {};
      const asked = ackedAt < socket.openAt + OPENING_MS || ackedAt > closedAt - TOLD_WITHIN_MS;
      if (seqs.has(seq) || asked || socket.syncAt > ackedAt - OPENING_MS) continue;
      this.findings.add("undelivered", `${socket.page} heard of ${pair} up to ${last}, not ${seq}, and no sync`);
      return;
    }
  }

  /** The order in which a socket's sends were accepted is the order of their numbers. */
  #inOrder(socket: Socket): void {
    for (const [pair, sends] of socket.order) {
      const numbered = sends.filter(({ seq }) => seq > 0);
      for (const [i, { ref, seq }] of numbered.entries()) {
        const before = numbered[i - 1];
        if (before && before.seq > seq) {
          this.findings.add(
            "reordered",
            `${pair}: ${before.ref} was sent before ${ref}, and is ${before.seq} after ${seq}`,
          );
        }
      }
    }
  }

  #sent(number: number, ref: string): void {
    const send = this.#sends.get(ref);
    if (!send) return;
    send.sent++;
    const order = this.#sockets.get(number)?.order;
    if (!order) return;
    const pair = pairOf(send.user, send.to);
    const sends = order.get(pair) ?? [];
    if (sends.length === 0) order.set(pair, sends);
    // Refused and handed over again: its place is the new one.
    const earlier = sends.findIndex((other) => other.ref === ref && other.seq === 0);
    if (earlier >= 0) sends.splice(earlier, 1);
    sends.push({ ref, seq: 0 });
  }

  #acked({ t, socket: number, ref, id, seq, peer, duplicate }: Entry & { e: "ack" }): void {
    const socket = this.#sockets.get(number);
    const send = this.#sends.get(ref);
    if (!send) return this.findings.add("phantom", `${ref} was acknowledged to ${socket?.user}, and nobody wrote it`);
    if (send.user !== socket?.user || send.to !== peer)
      return this.findings.add(
        "leaked",
        `${ref} of ${send.user} to ${send.to} was acknowledged to ${socket?.user} as to ${peer}`,
      );
    this.#note(socket, pairOf(send.user, send.to), seq);
    if (send.ack && (send.ack.id !== id || send.ack.seq !== seq)) {
      this.findings.add(
        "duplicate",
        `${ref} was acknowledged as ${send.ack.seq} (${send.ack.id}) and as ${seq} (${id})`,
      );
    }
    const numbered = this.#tell({ from: send.user, to: send.to, id, seq, hash: send.hash });
    if (!send.ack) numbered.ackedAt = t;
    send.ack ??= { id, seq, t };
    const place = socket.order.get(pairOf(send.user, send.to))?.findLast((other) => other.ref === ref);
    if (place && !duplicate) place.seq = seq;
  }

  #note(socket: Socket, pair: string, seq: number): void {
    const seqs = socket.numbers.get(pair);
    if (seqs) seqs.add(seq);
    else socket.numbers.set(pair, new Set([seq]));
  }

  #refused(ref: string): void {
    const send = this.#sends.get(ref);
    if (send) send.refused++;
  }

  #heard(entry: Entry & { e: "message" }): void {
    const socket = this.#sockets.get(entry.socket);
    if (!socket) return;
    if (socket.heard.has(entry.id))
      this.findings.add(
        "duplicate",
        `${socket.page} heard ${entry.seq} (${entry.id}) of ${entry.from} twice on one socket`,
      );
    socket.heard.add(entry.id);
    this.#note(socket, pairOf(entry.from, entry.to), entry.seq);
    this.#wasTold(socket.user, entry.from === socket.user ? entry.to : entry.from, [entry]);
  }

  /** Somebody was told messages of a conversation with `peer`, in order. */
  #wasTold(user: string, peer: string, rows: readonly ObservedMessage[]): void {
    let before = 0;
    for (const row of rows) {
      if (pairOf(row.from, row.to) !== pairOf(user, peer))
        this.findings.add("leaked", `${user} was told ${row.seq} (${row.id}) of ${row.from} to ${row.to}`);
      if (row.seq <= before) this.findings.add("reordered", `${user} was told ${row.seq} of ${peer} after ${before}`);
      before = row.seq;
      this.#tell(row);
      const send = row.ref === undefined ? undefined : this.#sends.get(row.ref);
      if (row.ref !== undefined && !send)
        this.findings.add("phantom", `${user} was told ${row.ref} of ${row.from}, and nobody wrote it`);
      if (send && send.hash !== row.hash) this.findings.add("altered", `${user} was told another text for ${row.ref}`);
    }
  }

  /** A number of a conversation belongs to one message, whoever tells it. */
  #tell({ from, to, id, seq, hash }: ObservedMessage): Numbered {
    const pair = pairOf(from, to);
    let numbers = this.#numbers.get(pair);
    if (!numbers) this.#numbers.set(pair, (numbers = []));
    const known = numbers[seq];
    if (!known) return (numbers[seq] = { id, hash, ackedAt: Number.POSITIVE_INFINITY });
    if (known.id !== id) this.findings.add("reordered", `${pair}: ${seq} was told as ${known.id} and as ${id}`);
    else if (known.hash !== hash) this.findings.add("altered", `${pair}: ${seq} was told with two texts`);
    return known;
  }

  #marked({ socket: number, kind, reader, peer, seq }: Entry & { e: "mark" }): void {
    const user = this.#sockets.get(number)?.user;
    if (user !== reader && user !== peer) {
      return this.findings.add("leaked", `${user} heard that ${reader} has ${kind} what ${peer} wrote`);
    }
    const key = `${kind} ${reader} ${peer}`;
    const told = this.#markTold.get(key);
    if (!told || told.seq < seq) this.#markTold.set(key, { seq, kind, reader, peer });
  }

  #stands({ page: name, ...now }: Entry & { e: "summary" }): void {
    const page = this.#pages.get(name);
    if (!page) return;
    const before = page.standing.get(now.peer);
    for (const mark of ["last", "read", "peerRead", "peerDelivered"] as const) {
      if (before && now[mark] < before[mark])
        this.findings.add(
          "mark_regressed",
          `${name} with ${now.peer}: ${mark} fell from ${before[mark]} to ${now[mark]}`,
        );
    }
    if (now.peerRead > now.peerDelivered || now.peerDelivered > now.last || now.read > now.last)
      this.findings.add("mark_regressed", `${name} with ${now.peer}: ${JSON.stringify(now)}`);
    page.standing.set(now.peer, now);
  }

  #rose(now: Marks): void {
    const key = pairOf(now.low, now.high);
    const before = this.#marks.get(key);
    for (const mark of ["last", "lowRead", "highRead", "lowDelivered", "highDelivered"] as const) {
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

  /** Whatever was acknowledged while all was whole, and this page open, is here within the bound. */
  #holds({ t, page: name, peer, seq }: Entry & { e: "contiguous" }): void {
    const page = this.#pages.get(name);
    if (!page) return;
    const before = page.held.get(peer) ?? 0;
    page.held.set(peer, seq);
    if (this.#faults.size > 0) return;
    const numbers = this.#numbers.get(pairOf(page.user, peer)) ?? [];
    for (let at = before + 1; at <= seq; at++) {
      const since = Math.max(numbers[at]?.ackedAt ?? Number.POSITIVE_INFINITY, this.#healedAt, page.openAt);
      if (t - since > DELIVERED_WITHIN_MS) {
        this.findings.add("undelivered", `${name} had ${at} of ${peer} after ${Math.round(t - since)} ms only`);
        break;
      }
    }
  }

  #unseen(ref: string): void {
    const send = this.#sends.get(ref);
    if (send) send.unseen = true;
    this.findings.add("early_ack", `${ref} was acknowledged, and another connection to PostgreSQL did not see it`);
  }

  #row(row: Entry & { e: "row" }): void {
    const { from, to, ref = "", hash, read } = row;
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
      return this.findings.add("phantom", `${ref} of ${from} to ${to} is stored, and was never sent`);
    send.stored++;
    if (send.hash !== hash) this.findings.add("altered", `${ref} is stored with another text`);
    if (send.refused >= send.sent) this.findings.add("phantom", `${ref} is stored, and was refused`);
    if (send.stored > 1) this.findings.add("duplicate", `${ref} is stored ${send.stored} times`);
    if (send.ack && send.stored === 1 && (send.ack.id !== row.id || send.ack.seq !== row.seq)) {
      this.findings.add(
        "reordered",
        `${ref} was acknowledged as ${send.ack.seq} (${send.ack.id}), and is ${row.seq} (${row.id}) in the table`,
      );
    }
  }

  #order(pair: string, rows: ObservedMessage[]): void {
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
      this.findings.add("reordered", `${pair}: the last number is ${last}, and there are ${rows.length} messages`);
  }

  #compareSends(): void {
    for (const [ref, send] of this.#sends) {
      if (!send.ack || send.stored > 0 || send.unseen) continue;
      const { t } = send.ack;
      if (this.#crashes.some((crash) => crash >= t))
        this.findings.add("early_ack", `${ref} was acknowledged before a crash of PostgreSQL, and is gone`);
      else this.findings.add("lost", `${ref} of ${send.user} was acknowledged, and is not in the table`);
    }
  }

  #compareNumbers(): void {
    for (const [pair, numbers] of this.#numbers) {
      const rows = new Map(this.#table.get(pair)?.map((row) => [row.seq, row]));
      for (const [seq, { id }] of numbers.entries().filter(([, told]) => told !== undefined)) {
        const row = rows.get(seq);
        if (!row) this.findings.add("phantom", `${pair}: ${seq} (${id}) was told, and is not in the table`);
        else if (row.id !== id) this.findings.add("reordered", `${pair}: ${seq} was told as ${id}, and is ${row.id}`);
      }
    }
  }

  #conversation(final: Entry & { e: "conversation" }): void {
    const pair = pairOf(final.low, final.high);
    this.#rose(final);
    this.#conversations.set(pair, final);
    for (const [me, peer, count] of [
      [final.low, final.high, final.lowUnread],
      [final.high, final.low, final.highUnread],
    ] as const) {
      const rows = this.#unread.get(me)?.get(peer) ?? 0;
      if (count !== rows)
        this.findings.add("unread_mismatch", `${me} has ${count} unread of ${peer}, and ${rows} rows are not read`);
    }
  }

  #rest({ user, peer, rows }: Entry & { e: "final_history" }): void {
    this.#wasTold(user, peer, rows);
    const stored = this.#table.get(pairOf(user, peer)) ?? [];
    const there = new Set(rows.map(({ id }) => id));
    for (const { id, seq } of stored) {
      if (!there.has(id))
        this.findings.add("lost", `${seq} (${id}) is not in the history that ${user} gets of ${peer}`);
    }
    if (rows.length > stored.length)
      this.findings.add("phantom", `${user} gets ${rows.length} messages of ${peer}, and ${stored.length} are stored`);
  }

  #counts(user: string, counts: Readonly<Record<string, number>>): void {
    const rows = this.#unread.get(user) ?? new Map<string, number>();
    for (const peer of new Set([...rows.keys(), ...Object.keys(counts)])) {
      const [told, stored] = [counts[peer] ?? 0, rows.get(peer) ?? 0];
      if (told !== stored)
        this.findings.add(
          "unread_mismatch",
          `${user} is told ${told} unread of ${peer}, and ${stored} rows are not read`,
        );
    }
  }

  /** What a page shows in the end is the end of the conversation, whole. */
  #shown({ page: name, peer, rows, first, unread }: Entry & { e: "displayed" }): void {
    const user = this.#pages.get(name)?.user ?? "";
    const stored = (this.#table.get(pairOf(user, peer)) ?? []).toSorted((a, b) => a.seq - b.seq);
    const last = stored.at(-1)?.seq ?? 0;
    const shownLast = rows.at(-1)?.[0] ?? 0;
    if (shownLast < last)
      return this.findings.add("undelivered", `${name} shows ${peer} up to ${shownLast}, and ${last} is the last`);
    const bySeq = new Map(rows);
    for (const { seq, hash } of stored) {
      if (seq < first) continue;
      const shown = bySeq.get(seq);
      if (shown === undefined) this.findings.add("undelivered", `${name} does not show ${seq} of ${peer}`);
      else if (shown !== hash) this.findings.add("altered", `${name} shows another text for ${seq} of ${peer}`);
    }
    if (rows.length > last - first + 1)
      this.findings.add("duplicate", `${name} shows ${rows.length} messages of ${peer} from ${first} to ${last}`);
    const count = this.#unread.get(user)?.get(peer) ?? 0;
    if (unread !== count)
      this.findings.add("unread_mismatch", `${name} shows ${unread} unread of ${peer}, and ${count} rows are not read`);
  }
}

/** The marks of one of the two. */
function sideOf(marks: Marks, name: string): { read: number; delivered: number } {
  return name === marks.low
    ? { read: marks.lowRead, delivered: marks.lowDelivered }
    : { read: marks.highRead, delivered: marks.highDelivered };
}
