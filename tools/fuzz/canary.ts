/** Canaries: two pairs of users who write to each other, undisturbed in their own process, while the server is fuzzed. */

import { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { work } from "../bench/worker.ts";
import { type Latency, latency } from "../support/statistics.ts";
import { cookieOf, nameOf, newSalt, type Pair, refOf, textOf } from "../support/users.ts";

const SEND_EVERY_MS = 50;
const SETTLE_MS = 10_000;

interface CanaryResult {
  readonly sent: number;
  readonly ack: Latency;
  readonly maxMs: number;
  readonly problems: string[];
  readonly acks: readonly { readonly name: string; readonly ref: string; readonly id: number }[];
}

/** The other frames of a user with one peer; any more would be another user's, or forged. */
const EXPECTED: ReadonlySet<string> = new Set(["hello", "delivered", "sync"]);

class Canary {
  readonly salt = newSalt();
  readonly acks: { name: string; ref: string; id: number }[] = [];
  readonly times: number[] = [];
  sent = 0;
  received = 0;
  peer!: Canary;
  readonly #name: string;
  readonly #peerName: string;
  readonly #problems: Problems;
  readonly #sentAt = new Map<string, number>();
  #client!: SocketClient;
  /** It was once said to be. */
  #isPeerOnline = false;
  #timer: Timer | undefined;

  constructor(user: number, peer: number, problems: Problems) {
    this.#name = nameOf(user);
    this.#peerName = nameOf(peer);
    this.#problems = problems;
  }

  async open(port: number, user: number): Promise<void> {
    this.#client = await SocketClient.open({
      port,
      name: this.#name,
      cookie: cookieOf(user),
      listener: {
        text: (text) => this.#receive(text),
        closed: (code) => this.#problems.add(`the socket of canary ${this.#name} was closed with ${code}`),
      },
    });
    this.#client.send(`{"type":"watch","users":["${this.#peerName}"]}`);
  }

  start(): void {
    this.#timer = setInterval(() => {
      const ref = refOf(this.salt, this.sent++);
      this.#sentAt.set(ref, performance.now());
      this.#client.send(`{"to":"${this.#peerName}","message":"${textOf(ref)}","ref":"${ref}"}`);
    }, SEND_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get settled(): boolean {
    return this.acks.length === this.sent && this.peer.received === this.sent;
  }

  close(): void {
    this.#client.close();
    const unanswered = this.sent - this.acks.length;
    if (unanswered > 0) this.#problems.add(`${this.#name} got no ack for ${unanswered} messages`);
    const lost = this.acks.length - this.peer.received;
    if (lost > 0)
      this.#problems.add(`${this.#peerName} did not receive ${lost} acknowledged messages of ${this.#name}`);
  }

  #receive(text: string): void {
    const frame = JSON.parse(text) as Record<string, unknown>;
    if (frame["type"] === "ack") {
      const ref = String(frame["ref"]);
      const at = this.#sentAt.get(ref);
      if (at === undefined) return this.#problems.add(`${this.#name} got an ack for ${ref}, which is not in flight`);
      this.#sentAt.delete(ref);
      this.times.push(performance.now() - at);
      this.acks.push({ name: this.#name, ref, id: Number(frame["id"]) });
    } else if (frame["type"] === "message") {
      const expected = refOf(this.peer.salt, this.received++);
      if (frame["ref"] !== expected || frame["message"] !== textOf(expected) || frame["from"] !== this.#peerName)
        this.#problems.add(`${this.#name} expected ${expected} of ${this.#peerName} and received ${text}`);
    } else if (frame["type"] === "presence") {
      const { [this.#peerName]: peer, ...others } = frame["users"] as Record<string, { online: boolean }>;
      if (Object.keys(others).length > 0 || (this.#isPeerOnline && peer?.online === false))
        this.#problems.add(`${this.#name} received ${text}, while ${this.#peerName} is online`);
      this.#isPeerOnline ||= peer?.online === true;
    } else if (!EXPECTED.has(String(frame["type"]))) {
      this.#problems.add(`canary ${this.#name} received ${text}`);
    }
  }
}

let problems = new Problems();
let canaries: Canary[] = [];

const jobs = {
  /** @param ports of two pods: the users of a pair are on different ones */
  async start({ ports, pairs }: { ports: readonly [number, number]; pairs: readonly Pair[] }): Promise<void> {
    problems = new Problems();
    canaries = [];
    for (const [one, other] of pairs) {
      const ends = [new Canary(one, other, problems), new Canary(other, one, problems)] as const;
      [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
      await Promise.all([ends[0].open(ports[0], one), ends[1].open(ports[1], other)]);
      canaries.push(...ends);
    }
    for (const canary of canaries) canary.start();
  },

  async stop(): Promise<CanaryResult> {
    for (const canary of canaries) canary.stop();
    const deadline = performance.now() + SETTLE_MS;
    while (!canaries.every((canary) => canary.settled) && performance.now() < deadline) await Bun.sleep(10);
    for (const canary of canaries) canary.close();
    const times = canaries.flatMap((canary) => canary.times);
    return {
      sent: canaries.reduce((sum, { sent }) => sum + sent, 0),
      ack: latency(times),
      maxMs: Math.max(...times),
      problems: problems.report(),
      acks: canaries.flatMap((canary) => canary.acks),
    };
  },
};

export type CanaryJobs = typeof jobs;

await work(jobs);
