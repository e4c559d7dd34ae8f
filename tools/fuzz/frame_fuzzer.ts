/** One user with one socket who sends hostile frames in batches, and compares every answer with the expected outcome. */

import type { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { Random } from "../chaos/random.ts";
import { cookieOf, nameOf } from "../support/users.ts";
import { hostileFrame, type Outcome, plainFrame } from "./frames.ts";
import { keyOf } from "./names.ts";
import { type ChangedRow, type Oracle, type Sent, show } from "./oracle.ts";
import { SentChanges, SEQ_MAX } from "./sent_changes.ts";
import { Signal } from "./signal.ts";

const BATCH = 60;
const SETTLE_MS = 10_000;
/** The same where a rate limit may reject or ignore a frame. */
const LIMITED_SETTLE_MS = 300;
/** The time given to a frame whose outcome RFC 6455 leaves open. */
const UNSPECIFIED_MS = 20;

export interface FrameCounts {
  sent: number;
  acks: number;
  duplicates: number;
  rejected: Record<string, number>;
  accepted: Record<string, number>;
  closed: Record<string, number>;
  rateLimited: number;
}

export function frameCounts(): FrameCounts {
  return { sent: 0, acks: 0, duplicates: 0, rejected: {}, accepted: {}, closed: {}, rateLimited: 0 };
}

interface Parts {
  readonly port: number;
  readonly seed: number;
  readonly user: number;
  /** Users with accounts, to whom it writes. */
  readonly peers: readonly string[];
  /** Users with a device on another pod. */
  readonly victims: readonly string[];
  readonly oracle: Oracle;
  readonly counts: FrameCounts;
  readonly problems: Problems;
  /** The server has rate limits: it may reject valid frames, or close the socket. */
  readonly limited: boolean;
}

export class FrameFuzzer {
  readonly #parts: Parts;
  readonly #name: string;
  readonly #known: ReadonlySet<string>;
  /** Unanswered sends by ref. */
  readonly #waiting = new Map<string, Sent>();
  /** Unanswered sends without a ref. */
  #withoutRef: Sent[] = [];
  /** Stored messages by ref. */
  readonly #stored = new Map<string, Sent & { id: number; seq: number }>();
  readonly #changes: SentChanges;
  readonly #refs: string[] = [];
  /** Refs of unknown outcome: the socket closed first. */
  readonly #unknown = new Set<string>();
  #refCount = 0;
  #client: SocketClient | undefined;
  #closeCode: number | undefined;
  /** Immediate answers, in the order of the frames: rejections and pongs. */
  #answers: string[] = [];
  #presences = 0;
  #batches = 0;
  readonly #signal = new Signal();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#name = nameOf(parts.user);
    this.#known = new Set(parts.peers.map(keyOf));
    this.#changes = new SentChanges(this.#name, this.#known, parts.oracle);
  }

  async run(frames: number, onProgress: () => void): Promise<void> {
    const { seed, user, counts } = this.#parts;
    for (let sent = 0; sent < frames;) {
      if (!this.#client) await this.#open();
      const batch = this.#batches++;
      const random = new Random(seed ^ Math.imul(user + 1, 0x9e3779b1) ^ Math.imul(batch + 1, 0x85ebca6b));
      const size = await this.#batch(random, Math.min(BATCH, frames - sent), `batch ${user}/${batch}`);
      sent += size;
      counts.sent += size;
      onProgress();
    }
    this.close();
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
    this.#forgetUnanswered();
  }

  /** @param label names it in problems @returns how many frames it sent */
  async #batch(random: Random, maxFrames: number, label: string): Promise<number> {
    const { limited, problems, counts, peers, victims } = this.#parts;
    const frames: Buffer[] = [];
    const expected: string[] = [];
    let closing: { bytes: Buffer; outcome: Outcome } | undefined;
    let presences = 0;
    const sender = {
      peers,
      victims,
      ref: () => this.#ref(random),
      changeRef: () => this.#changes.ref(random, this.#refPrefix),
      again: () => (random.next() < 0.5 ? this.#again(random) : this.#changes.again(random)),
      known: () => this.#changes.known(random),
    };
    this.#answers = [];
    this.#presences = 0;
    while (frames.length < maxFrames && !closing) {
      const { bytes, outcome } = hostileFrame(random, sender);
      // At most one frame per ref is in flight; under rate limits, a rejection without a ref could not be attributed.
      const isAnswered = outcome.kind === "send" || outcome.kind === "change";
      if (isAnswered && (outcome.ref === undefined ? limited : this.#isWaiting(outcome.ref))) continue;
      if (outcome.kind === "closed" || outcome.kind === "unspecified") {
        closing = { bytes, outcome };
        break;
      }
      frames.push(bytes);
      if (outcome.kind === "rejected") expected.push(outcome.code);
      else if (outcome.kind === "pong") expected.push("pong");
      else if (outcome.kind === "send") this.#expect(outcome);
      else if (outcome.kind === "change") this.#changes.expect(outcome);
      else if (outcome.type === "watch") presences++;
    }
    this.#client?.write(Buffer.concat([...frames, plainFrame('{"type":"ping"}')]));
    expected.push("pong");
    const closesEarly = closing !== undefined && random.next() < 0.3;
    const isAnswered = () => this.#answers.length >= expected.length && this.#presences >= presences;
    const isSettled = () => isAnswered() && this.#unanswered === 0;
    const settled = closesEarly || (await this.#until(isSettled, limited ? LIMITED_SETTLE_MS : SETTLE_MS)) || limited;
    if (this.#client === undefined) {
      count(counts.closed, String(this.#closeCode));
      if (!limited) problems.add(`${label}: closed with ${this.#closeCode}, although no frame requires that`);
      return frames.length;
    }
    if (!settled) {
      problems.add(
        `${label}: within ${SETTLE_MS / 1_000} s, ${this.#unanswered} sends and changes had no answer, and ${this.#answers.length} of ${expected.length} frames and ${this.#presences} of ${presences} watches had one`,
      );
      this.close();
      return frames.length;
    }
    if (!closesEarly && !limited) this.#compare(expected, frames, label);
    if (presences > 0) count(counts.accepted, "watch", presences);
    if (limited && !isSettled()) this.close();
    else if (closing) await this.#sendClosing(closing, label);
    return frames.length + (closing ? 1 : 0);
  }

  /** Sends a frame that must, or may, close the socket. */
  async #sendClosing({ bytes, outcome }: { bytes: Buffer; outcome: Outcome }, label: string): Promise<void> {
    const { counts, problems } = this.#parts;
    this.#client?.write(bytes);
    const isClosed = () => this.#client === undefined;
    const closed = await this.#until(isClosed, outcome.kind === "closed" ? SETTLE_MS : UNSPECIFIED_MS);
    count(counts.closed, closed ? String(this.#closeCode) : "by us");
    if (!closed && outcome.kind === "closed")
      problems.add(`${label}: its last frame must close the socket: ${bytes.toString("hex").slice(0, 100)}`);
    this.close();
  }

  #compare(expected: readonly string[], frames: readonly Buffer[], label: string): void {
    const at = expected.findIndex((answer, i) => this.#answers[i] !== answer);
    if (at < 0 && this.#answers.length === expected.length) return;
    const text = show(Buffer.concat(frames).toString("latin1"));
    this.#parts.problems.add(
      `${label}: expected answer ${at} to be ${expected[at]}, and got ${this.#answers[at]}; the frames: ${text}`,
    );
  }

  async #open(): Promise<void> {
    const { port, user, problems, limited } = this.#parts;
    this.#closeCode = undefined;
    const listener = {
      text: (text: string) => this.#receive(text),
      chunk: () => this.#signal.notify(),
      closed: (code: number) => {
        this.#closeCode = code;
        this.#client = undefined;
        this.#forgetUnanswered();
        this.#signal.notify();
      },
    };
    for (let tries = 0; ; tries++) {
      try {
        this.#client = await SocketClient.open({ port, name: this.#name, cookie: cookieOf(user), listener });
        return;
      } catch (error) {
        if (!limited || tries === 50) {
          problems.add(`${this.#name} could not reconnect: ${error instanceof Error ? error.message : error}`);
          throw error;
        }
        await Bun.sleep(100);
      }
    }
  }

  #receive(text: string): void {
    const { counts } = this.#parts;
    const frame = JSON.parse(text) as Record<string, unknown>;
    switch (frame["type"]) {
      case "ack":
        return this.#receiveAck(frame);
      case "message":
        return this.#receiveMessage(text);
      case "changed":
        return this.#receiveChange(text);
      case "error":
        return this.#receiveError(String(frame["code"]), frame["ref"] as string | undefined);
      case "pong":
        count(counts.accepted, "ping");
        return void this.#answers.push("pong");
      case "presence":
        return void this.#presences++;
      case "read":
        if (frame["reader"] === this.#name) count(counts.accepted, "read");
        return;
      case "typing":
        return count(counts.accepted, "typing");
    }
  }

  #receiveMessage(text: string): void {
    const { from, seq } = JSON.parse(utf8(text)) as { from: string; seq: number };
    if (from !== this.#name) this.#changes.note({ peer: from, seq, isMine: false });
  }

  #receiveChange(text: string): void {
    const { counts, problems } = this.#parts;
    const frame = JSON.parse(utf8(text)) as { ref?: string; peer: string; revision: number; message: ChangedRow };
    const { ref, peer, revision, message } = frame;
    if (ref === undefined) return; // another user's, which the observers check
    const type = this.#changes.typeOf(ref);
    const problem = this.#changes.answered(ref, peer, revision, message);
    if (problem) problems.add(`${this.#name} ${problem}`);
    else if (type) count(counts.accepted, type);
  }

  #receiveAck({ ref, id, seq, peer, duplicate }: Record<string, unknown>): void {
    const { oracle, counts, problems } = this.#parts;
    const name = keyOf(utf8(String(peer)));
    const sent = this.#take(ref as string | undefined, ({ to }) => keyOf(to) === name); // per conversation in order
    if (!sent) return problems.add(`${this.#name} got an unexpected ack: ref ${String(ref)}, id ${String(id)}`);
    if (!this.#known.has(keyOf(sent.to)))
      problems.add(`a message to ${show(sent.to)}, an unknown user, was acknowledged`);
    const before = ref === undefined ? undefined : this.#stored.get(ref as string);
    if (duplicate === true) {
      counts.duplicates++;
      // The server does not compare the text of a message that was changed.
      const isChanged = before && oracle.mayBeChanged(this.#name, before.to, before.seq);
      if (!before && this.#unknown.has(ref as string)) oracle.acked(this.#name, id as number, sent.message);
      else if (before?.id !== id || (before?.message !== sent.message && !isChanged))
        problems.add(
          `${this.#name}'s resend of ${String(ref)} was acknowledged as ${String(id)}, and is ${before?.id}`,
        );
      return;
    }
    if (before) problems.add(`${this.#name}'s ref ${String(ref)} was stored twice, as ${before.id} and ${String(id)}`);
    if (oracle.ack(id as number)) problems.add(`the id ${String(id)} was acknowledged twice`);
    const { replyTo } = sent;
    if (replyTo !== undefined && (replyTo < 1 || replyTo > SEQ_MAX))
      problems.add(`${this.#name}'s reply to ${replyTo} was acknowledged`);
    counts.acks++;
    count(counts.accepted, "message");
    if (replyTo !== undefined) count(counts.accepted, "reply");
    oracle.acked(this.#name, id as number, sent.message, replyTo ?? null);
    this.#changes.note({ peer: sent.to, seq: seq as number, isMine: true });
    if (ref === undefined) return;
    this.#stored.set(ref as string, { ...sent, id: id as number, seq: seq as number });
    if (this.#refs.length < 200) this.#refs.push(ref as string);
  }

  #receiveError(code: string, ref: string | undefined): void {
    const { counts, problems } = this.#parts;
    count(counts.rejected, code);
    if (code === "bad_request" || code === "invalid_text") return void this.#answers.push(code);
    if (ref !== undefined && this.#changes.isWaiting(ref)) {
      if (code === "rate_limited") counts.rateLimited++;
      const problem = this.#changes.rejected(code, ref);
      if (problem) problems.add(`${this.#name} ${problem}`);
      return;
    }
    if (code === "rate_limited") {
      counts.rateLimited++;
      if (ref !== undefined) this.#waiting.delete(ref);
      return;
    }
    if (code !== "no_such_user" && code !== "ref_reused" && code !== "no_such_message")
      return problems.add(`${this.#name} got the error ${code}`);
    const sent = this.#take(ref, ({ to, replyTo }) =>
      code === "no_such_message" ? replyTo !== undefined && this.#known.has(keyOf(to)) : !this.#known.has(keyOf(to)),
    );
    if (!sent) return problems.add(`${this.#name} got ${code} for a send that is not in flight: ${ref}`);
    const before = this.#stored.get(ref ?? "");
    if (code === "no_such_user" && this.#known.has(keyOf(sent.to)))
      problems.add(`${this.#name} got no_such_user for ${show(sent.to)}, who exists`);
    if (code === "no_such_message" && (sent.replyTo === undefined || this.#changes.exists(sent.to, sent.replyTo)))
      problems.add(`${this.#name} got no_such_message for ${show(JSON.stringify(sent))}, which exists`);
    if (code !== "ref_reused" || this.#unknown.has(ref ?? "")) return;
    if (!before || (before.message === sent.message && keyOf(before.to) === keyOf(sent.to))) {
      const [now, then] = [sent, before ?? null].map((value) => show(JSON.stringify(value)));
      problems.add(`${this.#name} got ref_reused for ${ref}, which it used for ${now} and before for ${then}`);
    }
  }

  #expect({ ref, to, message, replyTo }: Sent & { ref: string | undefined }): void {
    if (ref === undefined) this.#withoutRef.push({ to, message, replyTo });
    else this.#waiting.set(ref, { to, message, replyTo });
  }

  /** The number of sends and changes without an answer. */
  get #unanswered(): number {
    return this.#waiting.size + this.#withoutRef.length + this.#changes.size;
  }

  #isWaiting(ref: string): boolean {
    return this.#waiting.has(ref) || this.#changes.isWaiting(ref);
  }

  /** The send that an answer belongs to. @param matches selects among those without a ref */
  #take(ref: string | undefined, matches: (sent: Sent) => boolean): Sent | undefined {
    if (ref === undefined) {
      const at = this.#withoutRef.findIndex(matches);
      return at < 0 ? undefined : this.#withoutRef.splice(at, 1)[0];
    }
    const sent = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return sent;
  }

  /** The socket is closed: what was in flight may be stored or not. */
  #forgetUnanswered(): void {
    const { oracle } = this.#parts;
    for (const sent of [...this.#waiting.values(), ...this.#withoutRef]) oracle.unknown(this.#name, sent);
    for (const ref of this.#waiting.keys()) this.#unknown.add(ref);
    this.#waiting.clear();
    this.#withoutRef = [];
    this.#changes.forget();
  }

  #ref(random: Random): string {
    if (this.#refs.length > 0 && random.next() < 0.1) return random.pick(this.#refs);
    return `${this.#refPrefix}-${++this.#refCount}`;
  }

  get #refPrefix(): string {
    return `fuzz-${this.#parts.user}-${this.#parts.limited ? "limited" : "unlimited"}`;
  }

  #again(random: Random): { to: string; message: string; ref: string } | undefined {
    const ref = this.#refs.length > 0 ? random.pick(this.#refs) : "";
    const stored = this.#stored.get(ref);
    return stored && { to: stored.to, message: stored.message, ref };
  }

  /** @returns whether the condition held before the socket closed and before the deadline */
  #until(condition: () => boolean, withinMs: number): Promise<boolean> {
    return this.#signal.until(condition, { withinMs, gaveUp: () => this.#client === undefined });
  }
}

/** A text as received, in latin1. */
function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString();
}

export function count(counts: Record<string, number>, key: string, by = 1): void {
  counts[key] = (counts[key] ?? 0) + by;
}
