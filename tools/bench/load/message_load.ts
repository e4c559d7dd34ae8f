/**
 * Pairs of people who write to each other in a closed loop: each keeps a window of sends unacknowledged, and each ack lets the
 * next one out. Every frame is held against what it must be.
 */

import { connect } from "../../../src/db/client.ts";
import { type Latency, latency } from "../../support/statistics.ts";
import { cpuSeconds } from "../../support/usage.ts";
import { cookieOf, nameOf, newSalt, numberOfRef, type Pair, refOf, textOf } from "../../support/users.ts";
import { auditAcks, Problems, SeqTracker } from "./audit.ts";
import { frame, SocketClient } from "./socket.ts";

const DRAIN_MS = 10_000;

/** One round of writing. */
export interface LoadOptions {
  readonly pairs: readonly Pair[];
  /** The last number of each pair's conversation before the round; absent: nobody else has written since the last round. */
  readonly lastSeqs?: readonly number[];
  readonly window: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** Whether receivers mark what they got as read, after each chunk of frames. */
  readonly marks: boolean;
  /** Processes whose CPU seconds are counted; `bus` is a Valkey or Redis. */
  readonly pids: { readonly server: readonly number[]; readonly postgres?: number; readonly bus?: number };
  /** Only the first person of each pair writes. */
  readonly oneWay?: boolean;
}

export interface LoadResult {
  readonly seconds: number;
  /** Messages acknowledged, and messages received, while it was measured. */
  readonly acked: number;
  readonly delivered: number;
  /** Messages acknowledged from the first to the last, the warm-up and the draining included. */
  readonly total: number;
  readonly ack: Latency;
  readonly receive: Latency;
  readonly cpu: {
    readonly server: number;
    readonly postgres: number;
    readonly bus: number;
    readonly generator: number;
  };
  /** Times that somebody was told to ask for what they may lack: right whenever a pod falls silent, so no problem among many. */
  readonly syncs: number;
  /** Frames and bytes received. */
  readonly frames: number;
  readonly bytes: number;
  readonly problems: string[];
}

/** Everybody's open sockets on one server, and everything they were ever acknowledged. */
export class MessageLoad {
  readonly #participants = new Map<number, Participant>();
  readonly #round: Round = {
    measuring: false,
    sending: false,
    acks: [],
    receives: [],
    syncs: 0,
    problems: new Problems(),
  };

  #servers = 0;

  /** Opens a socket for each person, watching their peer, as the page does. @param ports of several servers each pair is split over two */
  async open(ports: readonly number[], pairs: readonly Pair[]): Promise<void> {
    this.#servers = ports.length;
    for (const [i, [one, other]] of pairs.entries()) {
      const portOf = (end: number) => ports[(i + end) % ports.length] as number;
      const ends = [new Participant(one, other, this.#round), new Participant(other, one, this.#round)] as const;
      await Promise.all(ends.map((end, j) => end.open(portOf(j))));
      ends[0].peer = ends[1];
      ends[1].peer = ends[0];
      this.#participants.set(one, ends[0]).set(other, ends[1]);
    }
  }

  close(): void {
    for (const participant of this.#participants.values()) participant.close();
    this.#participants.clear();
  }

  async run(options: LoadOptions): Promise<LoadResult> {
    const { pairs, window, marks, pids } = options;
    const round = this.#round;
    Object.assign(round, {
      measuring: false,
      sending: true,
      acks: [],
      receives: [],
      syncs: 0,
      problems: new Problems(),
    } satisfies Round);
    const participants = pairs.flatMap((pair) => pair.map((person) => this.#participants.get(person) as Participant));
    const before = { frames: 0, bytes: 0, acked: 0 };
    for (const [i, participant] of participants.entries()) {
      participant.begin(options.lastSeqs?.[i >> 1], marks);
      before.frames += participant.frames;
      before.bytes += participant.bytes;
      before.acked += participant.ackCount;
    }
    for (const [i, participant] of participants.entries()) if (!options.oneWay || i % 2 === 0) participant.send(window);
    await Bun.sleep(options.warmUpSeconds * 1_000);

    const secondsOf = (...pids: (number | undefined)[]) =>
      pids.reduce<number>((sum, pid) => sum + (pid === undefined ? 0 : cpuSeconds(pid)), 0);
    const cpu = () => [secondsOf(...pids.server), secondsOf(pids.postgres), secondsOf(pids.bus), ownCpuSeconds()];
    const cpuBefore = cpu();
    const begun = performance.now();
    round.measuring = true;
    await Bun.sleep(options.seconds * 1_000);
    round.measuring = false;
    const seconds = (performance.now() - begun) / 1_000;
    const [server, postgres, bus, generator] = cpu().map((now, i) => now - (cpuBefore[i] as number)) as [
      number,
      number,
      number,
      number,
    ];
    const [acked, delivered] = [round.acks.length, round.receives.length];

    round.sending = false;
    const isQuiet = () => participants.every((participant) => participant.isSettled);
    for (const since = performance.now(); !isQuiet() && performance.now() - since < DRAIN_MS;) await Bun.sleep(5);
    if (this.#servers === 1 && round.syncs > 0) round.problems.add(`${round.syncs} times a lone server said "sync"`);
    let total = -before.acked;
    let frames = -before.frames;
    let bytes = -before.bytes;
    for (const participant of participants) {
      participant.end();
      total += participant.ackCount;
      frames += participant.frames;
      bytes += participant.bytes;
    }
    return {
      seconds,
      acked,
      delivered,
      total,
      ack: latency(round.acks),
      receive: latency(round.receives),
      cpu: { server, postgres, bus, generator },
      syncs: round.syncs,
      frames,
      bytes,
      problems: round.problems.report(),
    };
  }

  /** Holds every ack that was ever received against the table. @returns how many, and what was wrong */
  async audit(database: string): Promise<{ acks: number; problems: string[] }> {
    const sql = connect(database, { name: "bench-audit" });
    const problems = new Problems();
    let acks = 0;
    try {
      for (const participant of this.#participants.values()) {
        const theirs = participant.acks();
        acks += theirs.length;
        const rows = await sql<{ ref: string; id: number; seq: number; content: string }[]>`
          select ref, id, seq, content
          from messages
          where sender = ${participant.name} and right(ref, 16) = ${participant.salt}
        `;
        for (const problem of auditAcks(participant.name, theirs, rows, textOf)) problems.add(problem);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
    return { acks, problems: problems.report() };
  }
}

/** What all participants of a round write into. */
interface Round {
  measuring: boolean;
  sending: boolean;
  /** Milliseconds from send to ack, and from send to the receiver. */
  acks: number[];
  receives: number[];
  syncs: number;
  problems: Problems;
}

/** One person at one end of a conversation. */
class Participant {
  readonly name: string;
  readonly salt = newSalt();
  peer: Participant | undefined;
  /** Of each send, by its number: when, and the id and seq of its ack. */
  readonly #sentAt: number[] = [];
  readonly #ids: number[] = [];
  readonly #seqs: number[] = [];
  readonly #peerName: string;
  readonly #cookie: string;
  readonly #round: Round;
  #client: SocketClient | undefined;
  #numbers = new SeqTracker(0);
  #heard = 0;
  #marks = false;
  #markSeq = 0;
  #marked = 0;
  #due = 0;
  #deliveredSeq = 0;
  #readSeq = 0;
  readonly #greeted = Promise.withResolvers<void>();

  constructor(person: number, peer: number, round: Round) {
    this.name = nameOf(person);
    this.#peerName = nameOf(peer);
    this.#cookie = cookieOf(person);
    this.#round = round;
  }

  get frames(): number {
    return this.#client?.frames ?? 0;
  }

  get bytes(): number {
    return this.#client?.bytes ?? 0;
  }

  get ackCount(): number {
    return this.#seqs.length;
  }

  /** Everything sent is acknowledged, everything acknowledged has arrived at the other end. */
  get isSettled(): boolean {
    return this.#seqs.length === this.#sentAt.length && (this.peer as Participant).#heard === this.#sentAt.length;
  }

  async open(port: number): Promise<void> {
    this.#client = await SocketClient.open({
      port,
      name: this.name,
      cookie: this.#cookie,
      listener: {
        text: (text, client) => this.#hear(JSON.parse(text) as ServerFrame, client),
        chunk: () => this.#answer(),
        closed: (code) => this.#round.problems.add(`${this.name}'s socket was closed with ${code}`),
      },
    });
    const timer = setTimeout(() => this.#greeted.reject(new Error(`${this.name} was not greeted within 10 s`)), 10_000);
    await this.#greeted.promise.finally(() => clearTimeout(timer));
  }

  close(): void {
    this.#client?.close();
  }

  begin(lastSeq: number | undefined, marks: boolean): void {
    this.#numbers = new SeqTracker(lastSeq ?? this.#numbers.last);
    this.#marks = marks;
    this.#markSeq = 0;
  }

  /** After everything has arrived: nothing may be missing. */
  end(): void {
    const { problems } = this.#round;
    const unknown = this.#sentAt.length - this.#seqs.length;
    if (unknown > 0) problems.add(`${this.name} got no ack for ${unknown} messages within ${DRAIN_MS / 1_000} s`);
    const lost = this.#seqs.length - (this.peer as Participant).#heard;
    if (lost > 0) problems.add(`${this.#peerName} did not receive ${lost} acknowledged messages of ${this.name}`);
    if (this.#numbers.waiting > 0) {
      problems.add(`${this.name} misses number ${this.#numbers.last + 1} and has ${this.#numbers.waiting} above`);
    }
  }

  /** All acks ever received, in the order of the sends. */
  acks(): { ref: string; id: number; seq: number }[] {
    return this.#seqs.map((seq, n) => ({ ref: refOf(this.salt, n), id: this.#ids[n] as number, seq }));
  }

  /** Sends `count` messages in one write. */
  send(count: number): void {
    const now = performance.now();
    const frames: Buffer[] = [];
    for (let i = 0; i < count; i++) {
      const ref = refOf(this.salt, this.#sentAt.length);
      frames.push(frame(`{"to":"${this.#peerName}","message":"${textOf(ref)}","ref":"${ref}"}`));
      this.#sentAt.push(now);
    }
    this.#client?.write(frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames));
  }

  #hear(message: ServerFrame, client: SocketClient): void {
    switch (message.type) {
      case "ack":
        return this.#hearAck(message);
      case "message":
        return this.#hearMessage(message);
      case "hello":
        if (message.username !== this.name) this.#round.problems.add(`${this.name} was greeted as ${message.username}`);
        client.send(`{"type":"watch","users":["${this.#peerName}"]}`);
        return;
      case "presence":
        return this.#greeted.resolve();
      case "delivered":
        return this.#hearDelivered(message);
      case "read":
        return this.#hearRead(message);
      case "status_update": // a relay's sockets and those that have not watched yet
        return;
      case "sync":
        this.#round.syncs++;
        return;
      default:
        this.#round.problems.add(`${this.name} heard ${JSON.stringify(message)}`);
    }
  }

  #hearAck({ ref, id, seq, peer, duplicate }: Extract<ServerFrame, { type: "ack" }>): void {
    const n = this.#seqs.length; // sends of one socket are stored, and acknowledged, in their order
    const { problems, measuring, sending, acks } = this.#round;
    if (ref !== refOf(this.salt, n)) {
      return problems.add(`${this.name} expected the ack of send ${n} and got that of ${numberOfRef(ref)} (${ref})`);
    }
    if (peer !== this.#peerName || duplicate)
      problems.add(`${this.name}'s ack of ${ref} names ${peer}, duplicate ${duplicate}`);
    if (!this.#numbers.add(seq)) problems.add(`${this.name} learned number ${seq} twice`);
    if (n > 0 && id <= (this.#ids[n - 1] as number))
      problems.add(`${this.name}'s ids fell from ${this.#ids[n - 1]} to ${id}`);
    this.#ids.push(id);
    this.#seqs.push(seq);
    if (measuring) acks.push(performance.now() - (this.#sentAt[n] as number));
    if (sending) this.#due++;
  }

  #hearMessage({ from, to, message, ref, seq }: Extract<ServerFrame, { type: "message" }>): void {
    const { problems, measuring, receives } = this.#round;
    const sender = this.peer as Participant;
    const n = this.#heard++;
    const expected = refOf(sender.salt, n);
    if (from !== this.#peerName || to !== this.name)
      problems.add(`${this.name} received a message from ${from} to ${to}`);
    if (ref !== expected)
      problems.add(`${this.name} expected ${from}'s send ${n} and received ${numberOfRef(ref ?? "")} (${ref})`);
    else if (message !== textOf(expected))
      problems.add(`${this.name} received a wrong text: ${JSON.stringify(message)}`);
    if (!this.#numbers.add(seq)) problems.add(`${this.name} learned number ${seq} twice`);
    if (measuring) receives.push(performance.now() - (sender.#sentAt[n] as number));
    this.#markSeq = seq;
  }

  #hearDelivered({ peer, seq }: Extract<ServerFrame, { type: "delivered" }>): void {
    const { problems } = this.#round;
    if (peer !== this.#peerName) problems.add(`${this.name} heard that ${peer} has the messages to ${this.#peerName}`);
    if (seq < this.#deliveredSeq)
      problems.add(`${this.name}'s delivered mark fell from ${this.#deliveredSeq} to ${seq}`);
    this.#deliveredSeq = seq;
  }

  #hearRead({ reader, peer, seq }: Extract<ServerFrame, { type: "read" }>): void {
    const { problems } = this.#round;
    if (reader === this.name) {
      if (peer !== this.#peerName || seq > this.#marked)
        problems.add(`${this.name} did not mark ${peer}'s messages up to ${seq}`);
      return;
    }
    if (reader !== this.#peerName || peer !== this.name)
      problems.add(`${this.name} heard that ${reader} read what ${peer} wrote`);
    if (seq < this.#readSeq) problems.add(`${this.name}'s read mark fell from ${this.#readSeq} to ${seq}`);
    this.#readSeq = seq;
  }

  /** After a chunk: the next sends, and the mark of what it brought. */
  #answer(): void {
    if (this.#due > 0) this.send(this.#due);
    this.#due = 0;
    if (!this.#marks || this.#markSeq === 0) return;
    this.#marked = this.#markSeq;
    this.#markSeq = 0;
    this.#client?.send(`{"type":"read","peer":"${this.#peerName}","seq":${this.#marked}}`);
  }
}

type ServerFrame =
  | { type: "hello"; username: string }
  | { type: "presence" | "status_update" | "sync" }
  | { type: "ack"; ref: string; id: number; seq: number; peer: string; duplicate: boolean }
  | { type: "message"; from: string; to: string; message: string; ref?: string; seq: number }
  | { type: "delivered"; peer: string; seq: number }
  | { type: "read"; reader: string; peer: string; seq: number };

function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
