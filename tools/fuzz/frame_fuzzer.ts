/** One person with one socket who sends hostile frames, a batch at a time, and holds every answer against what must become of each. */

import type { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { Random } from "../chaos/random.ts";
import { cookieOf, nameOf } from "../support/users.ts";
import { hostileFrame, type Outcome, plainFrame } from "./frames.ts";
import { type Oracle, type Sent, show } from "./oracle.ts";

const BATCH = 60;
const SETTLE_MS = 10_000;
/** The same where it may be refused for a limit. */
const LIMITED_SETTLE_MS = 300;
/** How long a frame that RFC 6455 leaves open may take to be made out. */
const UNSPECIFIED_MS = 20;

/** What all frameFuzzers count. */
export interface FrameCounts {
  sent: number;
  acks: number;
  duplicates: number;
  refused: Record<string, number>;
  accepted: Record<string, number>;
  closed: Record<string, number>;
  rateLimited: number;
}

export function frameCounts(): FrameCounts {
  return { sent: 0, acks: 0, duplicates: 0, refused: {}, accepted: {}, closed: {}, rateLimited: 0 };
}

interface Parts {
  readonly port: number;
  readonly seed: number;
  readonly person: number;
  /** Whom it writes to: names that have accounts. */
  readonly peers: readonly string[];
  /** People with a device on another pod. */
  readonly victims: readonly string[];
  readonly oracle: Oracle;
  readonly counts: FrameCounts;
  readonly problems: Problems;
  /** The server has limits: it may refuse what is good, or close. */
  readonly limited: boolean;
}

export class FrameFuzzer {
  readonly #parts: Parts;
  readonly #name: string;
  readonly #known: ReadonlySet<string>;
  /** By ref: sends whose outcome is not told; one for each ref. */
  readonly #waiting = new Map<string, Sent>();
  /** The same of sends without a ref. */
  #nameless: Sent[] = [];
  /** By ref: what is stored under it. */
  readonly #stored = new Map<string, Sent & { id: number }>();
  readonly #refs: string[] = [];
  /** Refs whose socket closed before their outcome was told. */
  readonly #lost = new Set<string>();
  #refCount = 0;
  #client: SocketClient | undefined;
  #closedWith: number | undefined;
  /** Told at once, in the order of the frames: refusals and pongs. */
  #told: string[] = [];
  #presences = 0;
  #batches = 0;
  #wake: () => void = () => {};

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#name = nameOf(parts.person);
    this.#known = new Set(parts.peers.map(keyOf));
  }

  /** Sends so many frames. */
  async run(frames: number, step: () => void): Promise<void> {
    const { seed, person, counts } = this.#parts;
    for (let sent = 0; sent < frames;) {
      if (!this.#client) await this.#open();
      const batch = this.#batches++;
      const random = new Random(seed ^ Math.imul(person + 1, 0x9e3779b1) ^ Math.imul(batch + 1, 0x85ebca6b));
      const size = await this.#batch(random, Math.min(BATCH, frames - sent), `${person}/${batch}`);
      sent += size;
      counts.sent += size;
      step();
    }
    this.close();
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
    this.#forget();
  }

  /** @returns how many frames it sent */
  async #batch(random: Random, most: number, where: string): Promise<number> {
    const { limited, problems, counts } = this.#parts;
    const bytes: Buffer[] = [];
    const expected: string[] = [];
    let last: Outcome | undefined;
    let presences = 0;
    const { peers, victims } = this.#parts;
    const sender = { peers, victims, ref: () => this.#ref(random), again: () => this.#again(random) };
    this.#told = [];
    this.#presences = 0;
    while (bytes.length < most && last === undefined) {
      const next = hostileFrame(random, sender);
      const { outcome } = next;
      // One of a ref at a time; and where anything may be refused, nobody could tell which of those without a ref was.
      if (outcome.kind === "send" && (outcome.ref === undefined ? limited : this.#waiting.has(outcome.ref))) continue;
      bytes.push(next.bytes);
      if (outcome.kind === "rejected") expected.push(outcome.code);
      else if (outcome.kind === "pong") expected.push("pong");
      else if (outcome.kind === "accepted") {
        if (outcome.type === "watch") presences++;
      } else if (outcome.kind === "send") this.#expect(outcome);
      else last = outcome;
    }
    const goodbye = last ? bytes.pop() : undefined;
    this.#client?.write(Buffer.concat([...bytes, plainFrame('{"type":"ping"}')]));
    expected.push("pong");
    const hurried = goodbye !== undefined && random.next() < 0.3;
    const isTold = () => this.#told.length >= expected.length && this.#presences >= presences;
    const isSettled = () => isTold() && this.#waiting.size + this.#nameless.length === 0;
    const settled = hurried || (await this.#until(isSettled, limited ? LIMITED_SETTLE_MS : SETTLE_MS)) || limited;
    if (this.#client === undefined) {
      count(counts.closed, String(this.#closedWith));
      if (!limited)
        problems.add(`batch ${where}: closed with ${this.#closedWith}, although nothing in it asks for that`);
      return bytes.length;
    }
    if (!settled) {
      problems.add(
        `batch ${where}: within ${SETTLE_MS / 1_000} s ${this.#waiting.size + this.#nameless.length} sends had no answer, and ${this.#told.length} of ${expected.length} frames were told at once, ${this.#presences} of ${presences} lists`,
      );
      this.close();
      return bytes.length;
    }
    if (!hurried && !limited) this.#compare(expected, bytes, where);
    if (presences > 0) count(counts.accepted, "watch", presences);
    if (limited && !isSettled()) this.close();
    else if (goodbye && last) await this.#part(goodbye, last, where);
    return bytes.length + (goodbye ? 1 : 0);
  }

  /** Sends what the socket does not survive, or may not. */
  async #part(bytes: Buffer, outcome: Outcome, where: string): Promise<void> {
    const { counts, problems } = this.#parts;
    this.#client?.write(bytes);
    const gone = () => this.#client === undefined;
    const closed = await this.#until(gone, outcome.kind === "closed" ? SETTLE_MS : UNSPECIFIED_MS);
    count(counts.closed, closed ? String(this.#closedWith) : "by us");
    if (!closed && outcome.kind === "closed")
      problems.add(
        `batch ${where}: the last frame must cost its socket and does not: ${bytes.toString("hex").slice(0, 100)}`,
      );
    this.close();
  }

  /** Refusals and pongs, one by one. */
  #compare(expected: readonly string[], frames: readonly Buffer[], where: string): void {
    const at = expected.findIndex((code, i) => this.#told[i] !== code);
    if (at < 0 && this.#told.length === expected.length) return;
    this.#parts.problems.add(
      `batch ${where}: answer ${at} should be ${expected[at]} and is ${this.#told[at]}; the frames: ${show(Buffer.concat(frames).toString("latin1"))}`,
    );
  }

  async #open(): Promise<void> {
    const { port, person, problems, limited } = this.#parts;
    this.#closedWith = undefined;
    for (let tries = 0; ; tries++) {
      try {
        this.#client = await SocketClient.open({
          port,
          name: this.#name,
          cookie: cookieOf(person),
          listener: {
            text: (text) => this.#hear(text),
            chunk: () => this.#wake(),
            closed: (code) => {
              this.#closedWith = code;
              this.#client = undefined;
              this.#forget();
              this.#wake();
            },
          },
        });
        return;
      } catch (error) {
        if (!limited || tries === 50) {
          problems.add(`${this.#name} could not come back: ${error instanceof Error ? error.message : error}`);
          throw error;
        }
        await Bun.sleep(100);
      }
    }
  }

  #hear(text: string): void {
    const { counts } = this.#parts;
    const frame = JSON.parse(text) as Record<string, unknown>;
    switch (frame["type"]) {
      case "ack":
        return this.#hearAck(frame);
      case "error":
        return this.#hearError(String(frame["code"]), frame["ref"] as string | undefined);
      case "pong":
        count(counts.accepted, "ping");
        return void this.#told.push("pong");
      case "presence":
        return void this.#presences++;
      case "read":
        if (frame["reader"] === this.#name) count(counts.accepted, "read");
        return;
      case "typing":
        return count(counts.accepted, "typing");
    }
  }

  #hearAck({ ref, id, peer, duplicate }: Record<string, unknown>): void {
    const { oracle, counts, problems } = this.#parts;
    const name = keyOf(Buffer.from(String(peer), "latin1").toString());
    const sent = this.#take(ref as string | undefined, ({ to }) => keyOf(to) === name); // in order within a conversation
    if (!sent) return problems.add(`${this.#name} got an ack nobody waits for: ref ${String(ref)}, id ${String(id)}`);
    if (!this.#known.has(keyOf(sent.to)))
      problems.add(`a message to ${show(sent.to)}, who is nobody, was acknowledged`);
    const before = ref === undefined ? undefined : this.#stored.get(ref as string);
    if (duplicate === true) {
      counts.duplicates++;
      if (!before && this.#lost.has(ref as string)) oracle.acked(this.#name, id as number, sent.message);
      else if (before?.id !== id || before?.message !== sent.message)
        problems.add(
          `${this.#name}'s resend of ${String(ref)} was acknowledged as ${String(id)}, and is ${before?.id}`,
        );
      return;
    }
    if (before) problems.add(`${this.#name}'s ref ${String(ref)} was stored twice, as ${before.id} and ${String(id)}`);
    if (oracle.ack(id as number)) problems.add(`the id ${String(id)} was acknowledged twice`);
    counts.acks++;
    count(counts.accepted, "message");
    oracle.acked(this.#name, id as number, sent.message);
    if (ref === undefined) return;
    this.#stored.set(ref as string, { ...sent, id: id as number });
    if (this.#refs.length < 200) this.#refs.push(ref as string);
  }

  #hearError(code: string, ref: string | undefined): void {
    const { counts, problems } = this.#parts;
    count(counts.refused, code);
    if (code === "bad_request" || code === "invalid_text") return void this.#told.push(code);
    if (code === "rate_limited") {
      counts.rateLimited++;
      if (ref !== undefined) this.#waiting.delete(ref);
      return;
    }
    if (code !== "no_such_user" && code !== "ref_reused") return problems.add(`${this.#name} was told ${code}`);
    const sent = this.#take(ref, ({ to }) => !this.#known.has(keyOf(to)));
    if (!sent) return problems.add(`${this.#name} was told ${code} of a send nobody waits for: ${ref}`);
    const before = this.#stored.get(ref ?? "");
    if (code === "no_such_user" && this.#known.has(keyOf(sent.to)))
      problems.add(`${this.#name} was told that ${show(sent.to)} is nobody`);
    if (code !== "ref_reused" || this.#lost.has(ref ?? "")) return;
    if (!before || (before.message === sent.message && keyOf(before.to) === keyOf(sent.to)))
      problems.add(
        `${this.#name} was told that ${ref} was used, for ${show(JSON.stringify(sent))}, and had it for ${show(JSON.stringify(before ?? null))}`,
      );
  }

  #expect({ ref, to, message }: Sent & { ref: string | undefined }): void {
    if (ref === undefined) this.#nameless.push({ to, message });
    else this.#waiting.set(ref, { to, message });
  }

  /** The send that an answer is about. @param such which of those without a ref */
  #take(ref: string | undefined, such: (sent: Sent) => boolean): Sent | undefined {
    if (ref === undefined) {
      const at = this.#nameless.findIndex(such);
      return at < 0 ? undefined : this.#nameless.splice(at, 1)[0];
    }
    const sent = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return sent;
  }

  /** The socket is gone: what was under way may be stored or not. */
  #forget(): void {
    const { oracle } = this.#parts;
    for (const sent of [...this.#waiting.values(), ...this.#nameless]) oracle.lost(this.#name, sent);
    for (const ref of this.#waiting.keys()) this.#lost.add(ref);
    this.#waiting.clear();
    this.#nameless = [];
  }

  #ref(random: Random): string {
    if (this.#refs.length > 0 && random.next() < 0.1) return random.pick(this.#refs);
    return `fuzz-${this.#parts.person}-${this.#parts.limited ? "limited" : "free"}-${++this.#refCount}`;
  }

  #again(random: Random): { to: string; message: string; ref: string } | undefined {
    const ref = this.#refs.length > 0 ? random.pick(this.#refs) : "";
    const stored = this.#stored.get(ref);
    return stored && { to: stored.to, message: stored.message, ref };
  }

  /** @returns whether it came true, before the socket closed and before the time was over */
  async #until(isTrue: () => boolean, ms = SETTLE_MS): Promise<boolean> {
    const until = performance.now() + ms;
    while (!isTrue()) {
      const left = until - performance.now();
      if (left <= 0 || this.#client === undefined) return isTrue();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, left);
      await promise;
      clearTimeout(timer);
    }
    return true;
  }
}

/** What is read of a name (contract §1): without white space and zero-width characters around it, in NFKC. */
export function nameRead(typed: string): string {
  return typed
    .normalize("NFKC")
    .replace(/^[\s\u0085\u180e\u200b-\u200d\u2060]+|[\s\u0085\u180e\u200b-\u200d\u2060]+$/gu, "");
}

/** How names are matched (contract §1), of those in use here. */
function keyOf(name: string): string {
  return nameRead(name).toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

export function count(counts: Record<string, number>, what: string, by = 1): void {
  counts[what] = (counts[what] ?? 0) + by;
}
