/** Two pairs of people who write to each other while the server is under fire: a process of their own, whose clock nobody holds up. */

import { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { work } from "../bench/worker.ts";
import { type Latency, latency } from "../support/statistics.ts";
import { cookieOf, nameOf, newSalt, type Pair, refOf, textOf } from "../support/users.ts";

const EVERY_MS = 50;
const LAST_MS = 10_000;

interface Told {
  readonly sent: number;
  readonly ack: Latency;
  readonly longest: number;
  readonly problems: string[];
  /** What every one of them was acknowledged. */
  readonly acks: readonly { readonly name: string; readonly ref: string; readonly id: number }[];
}

/** What else one hears whom only one other writes to; the rest would be somebody else's, or forged. */
const EXPECTED: ReadonlySet<string> = new Set(["hello", "delivered", "sync"]);

/** One who writes at an even pace, whatever comes of it. */
class Canary {
  readonly salt = newSalt();
  readonly acks: { name: string; ref: string; id: number }[] = [];
  readonly times: number[] = [];
  sent = 0;
  heard = 0;
  peer!: Canary;
  readonly #name: string;
  readonly #peerName: string;
  readonly #problems: Problems;
  readonly #sentAt = new Map<string, number>();
  #client!: SocketClient;
  /** Whether it was told so. */
  #isPeerThere = false;
  #timer: Timer | undefined;

  constructor(person: number, peer: number, problems: Problems) {
    this.#name = nameOf(person);
    this.#peerName = nameOf(peer);
    this.#problems = problems;
  }

  async open(port: number, person: number): Promise<void> {
    this.#client = await SocketClient.open({
      port,
      name: this.#name,
      cookie: cookieOf(person),
      listener: {
        text: (text) => this.#hear(text),
        closed: (code) => this.#problems.add(`${this.#name}, who did nothing wrong, was closed with ${code}`),
      },
    });
    this.#client.send(`{"type":"watch","users":["${this.#peerName}"]}`);
  }

  write(): void {
    this.#timer = setInterval(() => {
      const ref = refOf(this.salt, this.sent++);
      this.#sentAt.set(ref, performance.now());
      this.#client.send(`{"to":"${this.#peerName}","message":"${textOf(ref)}","ref":"${ref}"}`);
    }, EVERY_MS);
  }

  pause(): void {
    clearInterval(this.#timer);
  }

  get settled(): boolean {
    return this.acks.length === this.sent && this.peer.heard === this.sent;
  }

  close(): void {
    this.#client.close();
    if (this.acks.length < this.sent)
      this.#problems.add(`${this.#name} got no ack for ${this.sent - this.acks.length}`);
    const lost = this.acks.length - this.peer.heard;
    if (lost > 0) this.#problems.add(`${this.#peerName} did not get ${lost} acknowledged messages of ${this.#name}`);
  }

  #hear(text: string): void {
    const frame = JSON.parse(text) as Record<string, unknown>;
    if (frame["type"] === "ack") {
      const ref = String(frame["ref"]);
      const at = this.#sentAt.get(ref);
      if (at === undefined) return this.#problems.add(`${this.#name} got an ack for ${ref}, which is not under way`);
      this.#sentAt.delete(ref);
      this.times.push(performance.now() - at);
      this.acks.push({ name: this.#name, ref, id: Number(frame["id"]) });
    } else if (frame["type"] === "message") {
      const expected = refOf(this.peer.salt, this.heard++);
      if (frame["ref"] !== expected || frame["message"] !== textOf(expected) || frame["from"] !== this.#peerName)
        this.#problems.add(`${this.#name} expected ${expected} of ${this.#peerName} and got ${text}`);
    } else if (frame["type"] === "presence") {
      const { [this.#peerName]: peer, ...others } = frame["users"] as Record<string, { online: boolean }>;
      if (Object.keys(others).length > 0 || (this.#isPeerThere && peer?.online === false))
        this.#problems.add(`${this.#name} was told ${text}, and ${this.#peerName} is there`);
      this.#isPeerThere ||= peer?.online === true;
    } else if (!EXPECTED.has(String(frame["type"]))) {
      this.#problems.add(`${this.#name}, who did nothing wrong, heard ${text}`);
    }
  }
}

let problems = new Problems();
let canaries: Canary[] = [];

const jobs = {
  /** @param ports of pods: the two of a pair are on different ones */
  async start({ ports, pairs }: { ports: readonly [number, number]; pairs: readonly Pair[] }): Promise<void> {
    problems = new Problems();
    canaries = [];
    for (const [one, other] of pairs) {
      const ends = [new Canary(one, other, problems), new Canary(other, one, problems)] as const;
      [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
      await Promise.all([ends[0].open(ports[0], one), ends[1].open(ports[1], other)]);
      canaries.push(...ends);
    }
    for (const canary of canaries) canary.write();
  },

  async stop(): Promise<Told> {
    for (const canary of canaries) canary.pause();
    const until = performance.now() + LAST_MS;
    while (!canaries.every((canary) => canary.settled) && performance.now() < until) await Bun.sleep(10);
    for (const canary of canaries) canary.close();
    const times = canaries.flatMap((canary) => canary.times);
    return {
      sent: canaries.reduce((sum, { sent }) => sum + sent, 0),
      ack: latency(times),
      longest: Math.max(...times),
      problems: problems.report(),
      acks: canaries.flatMap((canary) => canary.acks),
    };
  },
};

export type CanaryJobs = typeof jobs;

await work(jobs);
