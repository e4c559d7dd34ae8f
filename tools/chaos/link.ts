/**
 * A way between two parties that can be broken: a proxy that forwards bytes, holds them back, throws them away or cuts. It stands between
 * clients and pods, and between pods and PostgreSQL, so that a broken network needs no root. Knows nothing of what is said, but for who says it.
 */

import type { Socket } from "bun";

/** `stall`: bytes wait, as behind a firewall that drops packets. `drop`: they are gone, and the connection has to go when it heals. */
export type Way = "pass" | "stall" | "drop";
/** `up`: towards the server. */
export type Ways = { readonly up: Way; readonly down: Way };
export type Place = { readonly hostname: string; readonly port: number } | { readonly unix: string };

const OPEN: Ways = { up: "pass", down: "pass" };
/** Enough of what a client says first to know who it is. */
const GREETING_BYTES = 4_096;

export class Link {
  readonly #to: () => Place | undefined;
  readonly #listener: { stop(force?: boolean): void; readonly port?: number };
  readonly #connections = new Set<Connection>();
  #ways: Ways = OPEN;

  /**
   * @param at where to listen: a socket's path, or nothing for a port of 127.0.0.1
   * @param to asked for each connection; undefined refuses it
   */
  constructor(to: () => Place | undefined, at?: { unix: string }) {
    this.#to = to;
    const socket = {
      open: (socket: Socket<Half>) => this.#accept(socket),
      ...HANDLERS,
    };
    this.#listener = at
      ? Bun.listen<Half>({ unix: at.unix, socket })
      : Bun.listen<Half>({ hostname: "127.0.0.1", port: 0, socket });
  }

  /** Where it listens, unless that is a path. */
  get port(): number {
    return this.#listener.port ?? 0;
  }

  /** Connections open now. */
  get connections(): readonly Connection[] {
    return [...this.#connections];
  }

  /** Sets the ways of all connections, those to come included. Healing cuts those that lost something. */
  set(ways: Partial<Ways>): void {
    this.#ways = { ...this.#ways, ...ways };
    for (const connection of this.connections) connection.set(ways);
  }

  /** Every way is open again, of single connections too. */
  heal(): void {
    this.set(OPEN);
  }

  /** Cuts every connection. @returns how many */
  cut(): number {
    const open = this.connections;
    for (const connection of open) connection.cut();
    return open.length;
  }

  close(): void {
    this.#listener.stop(true);
    this.cut();
  }

  #accept(client: Socket<Half>): void {
    const connection = new Connection(client, this.#ways, () => this.#connections.delete(connection));
    this.#connections.add(connection);
    const place = this.#to();
    if (place) void connection.lead(place);
    else connection.cut();
  }
}

/** One connection through a link. */
export class Connection {
  readonly #up: Half;
  readonly #down: Half;
  readonly #gone: () => void;

  constructor(client: Socket<Half>, ways: Ways, gone: () => void) {
    this.#up = new Half(client, this);
    this.#down = new Half(undefined, this);
    this.#up.other = this.#down;
    this.#down.other = this.#up;
    this.#gone = gone;
    client.data = this.#up;
    this.set(ways);
  }

  /** What the client said first: a request line and headers. */
  get greeting(): string {
    return this.#up.head.toString("latin1");
  }

  /** The backend of a PostgreSQL connection, told in its `BackendKeyData` (manual §54.7) before it is first ready. */
  get backend(): number | undefined {
    const { head } = this.#down;
    for (let at = head.indexOf(READY); at >= 13; at = head.indexOf(READY, at + 1)) {
      if (head[at - 13] === 0x4b && head.readUInt32BE(at - 12) === 12) return head.readUInt32BE(at - 8);
    }
    return undefined;
  }

  /** Whether the server has closed it, be that known to the client or not. */
  get left(): boolean {
    return this.#down.ended;
  }

  set(ways: Partial<Ways>): void {
    const lost = this.#up.lost || this.#down.lost;
    if (lost && (ways.up ?? this.#up.way) !== "drop" && (ways.down ?? this.#down.way) !== "drop") return this.cut();
    if (ways.up) this.#up.set(ways.up);
    if (ways.down) this.#down.set(ways.down);
  }

  cut(): void {
    for (const half of [this.#up, this.#down]) half.from?.terminate();
    this.#gone();
  }

  async lead(place: Place): Promise<void> {
    try {
      const upstream = { data: this.#down, socket: HANDLERS };
      this.#down.join(
        await ("unix" in place
          ? Bun.connect<Half>({ ...place, ...upstream })
          : Bun.connect<Half>({ ...place, ...upstream })),
      );
      this.#up.pump();
    } catch {
      this.cut(); // nobody there
    }
  }

  /** One side closed: what it said still arrives, unless the way is stalled; then the close waits too. */
  ended(half: Half): void {
    half.ended = true;
    half.pump();
    if (!half.other?.from) this.cut();
  }

  /** Both directions are done. */
  done(): void {
    this.#gone();
  }
}

/** `ReadyForQuery`, idle. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** One direction of a connection: what comes `from` one socket and goes to the other's. */
class Half {
  from: Socket<Half> | undefined;
  other: Half | undefined;
  way: Way = "pass";
  lost = false;
  ended = false;
  head: Buffer = Buffer.alloc(0);
  readonly connection: Connection;
  #waiting: Uint8Array[] = [];

  constructor(from: Socket<Half> | undefined, connection: Connection) {
    this.from = from;
    this.connection = connection;
  }

  join(from: Socket<Half>): void {
    this.from = from;
    if (this.way === "stall") from.pause();
  }

  set(way: Way): void {
    this.way = way;
    if (way === "stall")
      this.from?.pause(); // so that the sender's buffers fill, as they would
    else this.from?.resume();
    this.pump();
  }

  take(bytes: Uint8Array): void {
    if (this.head.length < GREETING_BYTES) this.head = Buffer.concat([this.head, bytes]).subarray(0, GREETING_BYTES);
    if (this.way === "drop") this.lost = true;
    else {
      this.#waiting.push(new Uint8Array(bytes)); // a copy: the chunk is used again
      this.pump();
    }
  }

  /** Hands on what waits, as far as it is taken. */
  pump(): void {
    const to = this.other?.from;
    if (!to || this.way !== "pass") return;
    while (this.#waiting.length > 0) {
      const chunk = this.#waiting[0] as Uint8Array;
      const written = to.write(chunk);
      if (written < chunk.length) {
        this.#waiting[0] = chunk.subarray(Math.max(0, written));
        this.from?.pause();
        return;
      }
      this.#waiting.shift();
    }
    if (this.ended) {
      to.end();
      this.connection.done();
    } else this.from?.resume();
  }
}

const HANDLERS = {
  binaryType: "uint8array" as const,
  data: (socket: Socket<Half>, bytes: Uint8Array) => socket.data.take(bytes),
  drain: (socket: Socket<Half>) => socket.data.other?.pump(),
  close: (socket: Socket<Half>) => socket.data.connection.ended(socket.data),
  error: () => {},
};
