/**
 * Closed-loop load: pairs of users write to each other, each with a window of unacknowledged sends; every ack releases
 * the next one. Every frame is verified.
 */

import { connect } from "../../../src/db/client.ts";
import { type Latency, latency } from "../../support/statistics.ts";
import { cpuSeconds, ownCpuSeconds } from "../../support/usage.ts";
import { cookieOf, nameOf, newSalt, numberOfRef, type Pair, refOf, textOf } from "../../support/users.ts";
import { auditAcks, Problems, SeqTracker } from "./audit.ts";
import { frame, SocketClient } from "./socket.ts";

const DRAIN_MS = 10_000;
const OPEN_MS = 10_000;

export interface LoadOptions {
  readonly pairs: readonly Pair[];
  /** The last number of each pair's conversation; by default what the last round left. */
  readonly lastSeqs?: readonly number[];
  readonly window: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** Recipients mark what they received as read, after each chunk of frames. */
  readonly marks: boolean;
  /** Processes whose CPU time is measured; `bus` is a Valkey or Redis. */
  readonly pids: { readonly server: readonly number[]; readonly postgres?: number; readonly bus?: number };
  /** Only the first user of each pair writes. */
  readonly oneWay?: boolean;
}

export interface LoadResult {
  /** Messages both acknowledged and delivered. */
  readonly perSecond: number;
  /** Messages acknowledged, including warm-up and draining. */
  readonly total: number;
  /** From send to ack, and from send to the recipient. */
  readonly ack: Latency;
  readonly receive: Latency;
  /** CPU microseconds per message. */
  readonly cpu: Readonly<Record<"server" | "postgres" | "bus" | "generator", number>>;
  /** Sync frames; several pods may send them whenever one falls silent. */
  readonly syncs: number;
  readonly problems: string[];
}

/** The open sockets of one or more servers, and every ack they received. */
export class MessageLoad {
  readonly #participants = new Map<number, Participant>();
  readonly #round = new Round();
  #servers = 0;

  /** Opens a socket for each user, which watches the peer. @param ports each pair is split over two of them */
  async open(ports: readonly number[], pairs: readonly Pair[]): Promise<void> {
    this.#servers = ports.length;
    for (const [i, [one, other]] of pairs.entries()) {
      const ends = [new Participant(one, other, this.#round), new Participant(other, one, this.#round)] as const;
      await Promise.all(ends.map((end, j) => end.open(ports[(i + j) % ports.length] as number)));
      ends[0].peer = ends[1];
      ends[1].peer = ends[0];
      this.#participants.set(one, ends[0]).set(other, ends[1]);
    }
  }

  async run({ pairs, lastSeqs, window, marks, pids, oneWay, ...times }: LoadOptions): Promise<LoadResult> {
    const round = this.#round;
    round.reset();
    const participants = pairs.flatMap((pair) => pair.map((user) => this.#participants.get(user) as Participant));
    const acked = () => participants.reduce((sum, { ackCount }) => sum + ackCount, 0);
    const ackedBefore = acked();
    for (const [i, participant] of participants.entries()) participant.begin(lastSeqs?.[i >> 1], marks);
    for (const [i, participant] of participants.entries()) if (!oneWay || i % 2 === 0) participant.send(window);
    await Bun.sleep(times.warmUpSeconds * 1_000);

    const cpuOf = (pid: number | undefined) => (pid === undefined ? 0 : cpuSeconds(pid));
    const readCpu = () => ({
      server: pids.server.reduce((sum, pid) => sum + cpuOf(pid), 0),
      postgres: cpuOf(pids.postgres),
      bus: cpuOf(pids.bus),
      generator: ownCpuSeconds(),
    });
    const cpuBefore = readCpu();
    const startedAt = performance.now();
    round.measuring = true;
    await Bun.sleep(times.seconds * 1_000);
    round.measuring = false;
    const seconds = (performance.now() - startedAt) / 1_000;
    const cpuAfter = readCpu();
    const messages = Math.min(round.acks.length, round.receives.length);
    const micros = (process: keyof LoadResult["cpu"]) => ((cpuAfter[process] - cpuBefore[process]) * 1e6) / messages;

    round.sending = false;
    const isSettled = () => participants.every((participant) => participant.isSettled);
    for (const since = performance.now(); !isSettled() && performance.now() - since < DRAIN_MS;) await Bun.sleep(5);
    if (this.#servers === 1 && round.syncs > 0) round.problems.add(`a single server sent ${round.syncs} sync frames`);
    for (const participant of participants) participant.end();
    return {
      perSecond: messages / seconds,
      total: acked() - ackedBefore,
      ack: latency(round.acks),
      receive: latency(round.receives),
      cpu: {
        server: micros("server"),
        postgres: micros("postgres"),
        bus: micros("bus"),
        generator: micros("generator"),
      },
      syncs: round.syncs,
      problems: round.problems.report(),
    };
  }

  /** Compares every ack with the table. @returns their number, and what was wrong */
  async audit(database: string): Promise<{ acks: number; problems: string[] }> {
    const sql = connect(database, { name: "bench-audit" });
    const problems = new Problems();
    let count = 0;
    try {
      for (const { name, salt, acks } of this.#participants.values()) {
        count += acks.length;
        const rows = await sql<{ ref: string; id: number; seq: number; content: string }[]>`
          select ref, id, seq, content
          from messages
          where sender = ${name} and right(ref, 16) = ${salt}
        `;
        for (const problem of auditAcks(name, acks, rows, textOf)) problems.add(problem);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
    return { acks: count, problems: problems.report() };
  }
}

/** What all participants of a round record. */
class Round {
  measuring = false;
  sending = true;
  /** Milliseconds from send to ack, and from send to the recipient. */
  acks: number[] = [];
  receives: number[] = [];
  syncs = 0;
  problems = new Problems();

  reset(): void {
    Object.assign(this, new Round());
  }
}

/** One user of a pair. */
class Participant {
  readonly name: string;
  readonly salt = newSalt();
  peer: Participant | undefined;
  /** Of each send: its time, and the id and seq of its ack. */
  readonly #sentAt: number[] = [];
  readonly #ids: number[] = [];
  readonly #seqs: number[] = [];
  readonly #peerName: string;
  readonly #cookie: string;
  readonly #round: Round;
  readonly #opened = Promise.withResolvers<void>();
  #client: SocketClient | undefined;
  #numbers = new SeqTracker(0);
  #received = 0;
  #marks = false;
  #markSeq = 0;
  #marked = 0;
  #due = 0;
  #deliveredSeq = 0;
  #readSeq = 0;

  constructor(user: number, peer: number, round: Round) {
    this.name = nameOf(user);
    this.#peerName = nameOf(peer);
    this.#cookie = cookieOf(user);
    this.#round = round;
  }

  get ackCount(): number {
    return this.#seqs.length;
  }

  /** Every send is acknowledged and received. */
  get isSettled(): boolean {
    return this.#seqs.length === this.#sentAt.length && (this.peer as Participant).#received === this.#sentAt.length;
  }

  async open(port: number): Promise<void> {
    const listener = {
      text: (text: string, client: SocketClient) => this.#receive(JSON.parse(text) as ServerFrame, client),
      chunk: () => this.#answer(),
      closed: (code: number) => this.#problem(`its socket was closed with ${code}`),
    };
    this.#client = await SocketClient.open({ port, name: this.name, cookie: this.#cookie, listener });
    const late = () => this.#opened.reject(new Error(`${this.name} got no hello within ${OPEN_MS / 1_000} s`));
    const timer = setTimeout(late, OPEN_MS);
    await this.#opened.promise.finally(() => clearTimeout(timer));
  }

  begin(lastSeq: number | undefined, marks: boolean): void {
    this.#numbers = new SeqTracker(lastSeq ?? this.#numbers.last);
    this.#marks = marks;
    this.#markSeq = 0;
  }

  /** Once drained, nothing may be missing. */
  end(): void {
    const unanswered = this.#sentAt.length - this.#seqs.length;
    if (unanswered > 0) this.#problem(`no ack for ${unanswered} messages within ${DRAIN_MS / 1_000} s`);
    const lost = this.#seqs.length - (this.peer as Participant).#received;
    if (lost > 0) this.#problem(`${this.#peerName} did not receive ${lost} acknowledged messages`);
    const { waiting, last } = this.#numbers;
    if (waiting > 0) this.#problem(`number ${last + 1} is missing, below ${waiting} others`);
  }

  /** Every ack, in the order of the sends. */
  get acks(): { ref: string; id: number; seq: number }[] {
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

  #problem(text: string): void {
    this.#round.problems.add(`${this.name}: ${text}`);
  }

  #receive(message: ServerFrame, client: SocketClient): void {
    switch (message.type) {
      case "ack":
        return this.#receiveAck(message);
      case "message":
        return this.#receiveMessage(message);
      case "hello":
        if (message.username !== this.name) this.#problem(`hello names ${message.username}`);
        client.send(`{"type":"watch","users":["${this.#peerName}"]}`);
        return;
      case "presence":
        return this.#opened.resolve();
      case "delivered":
        return this.#receiveDelivered(message);
      case "read":
        return this.#receiveRead(message);
      case "status_update": // before the first watch
        return;
      case "sync":
        this.#round.syncs++;
        return;
      default:
        this.#problem(`unexpected frame ${JSON.stringify(message)}`);
    }
  }

  #receiveAck({ ref, id, seq, peer, duplicate }: Extract<ServerFrame, { type: "ack" }>): void {
    const n = this.#seqs.length; // a socket's sends are stored and acknowledged in order
    const { measuring, sending, acks } = this.#round;
    if (ref !== refOf(this.salt, n))
      return this.#problem(`expected the ack of send ${n} and got that of ${numberOfRef(ref)} (${ref})`);
    if (peer !== this.#peerName || duplicate)
      this.#problem(`the ack of ${ref} has peer ${peer}, duplicate ${duplicate}`);
    if (!this.#numbers.add(seq)) this.#problem(`number ${seq} arrived twice`);
    if (n > 0 && id <= (this.#ids[n - 1] as number)) this.#problem(`ids fell from ${this.#ids[n - 1]} to ${id}`);
    this.#ids.push(id);
    this.#seqs.push(seq);
    if (measuring) acks.push(performance.now() - (this.#sentAt[n] as number));
    if (sending) this.#due++;
  }

  #receiveMessage({ from, to, message, ref, seq }: Extract<ServerFrame, { type: "message" }>): void {
    const sender = this.peer as Participant;
    const n = this.#received++;
    const expected = refOf(sender.salt, n);
    if (from !== this.#peerName || to !== this.name) this.#problem(`received a message from ${from} to ${to}`);
    if (ref !== expected) this.#problem(`expected ${from}'s send ${n} and received ${numberOfRef(ref ?? "")} (${ref})`);
    else if (message !== textOf(expected)) this.#problem(`received a wrong text: ${JSON.stringify(message)}`);
    if (!this.#numbers.add(seq)) this.#problem(`number ${seq} arrived twice`);
    if (this.#round.measuring) this.#round.receives.push(performance.now() - (sender.#sentAt[n] as number));
    this.#markSeq = seq;
  }

  #receiveDelivered({ peer, seq }: Extract<ServerFrame, { type: "delivered" }>): void {
    if (peer !== this.#peerName) this.#problem(`got a delivered mark of ${peer}`);
    if (seq < this.#deliveredSeq) this.#problem(`the delivered mark fell from ${this.#deliveredSeq} to ${seq}`);
    this.#deliveredSeq = seq;
  }

  #receiveRead({ reader, peer, seq }: Extract<ServerFrame, { type: "read" }>): void {
    if (reader === this.name) {
      if (peer !== this.#peerName || seq > this.#marked) this.#problem(`did not mark ${peer}'s messages up to ${seq}`);
      return;
    }
    if (reader !== this.#peerName || peer !== this.name) this.#problem(`got a read mark of ${reader} for ${peer}`);
    if (seq < this.#readSeq) this.#problem(`the read mark fell from ${this.#readSeq} to ${seq}`);
    this.#readSeq = seq;
  }

  /** After a chunk: sends what its acks release, and marks its messages as read. */
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
