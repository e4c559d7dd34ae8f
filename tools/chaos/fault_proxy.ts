/**
 * A TCP proxy that forwards, stalls, drops or resets. It sits between clients and pods, and between pods and
 * PostgreSQL, so that most network faults need no root. It knows nothing of the protocols but how a connection begins.
 */

import type { Socket } from "bun";

/** `stall`: bytes wait, as behind a firewall. `drop`: bytes are discarded, and healing resets the connection. */
export type Mode = "pass" | "stall" | "drop";
/** `upstream`: towards the server. */
export type Modes = { readonly upstream: Mode; readonly downstream: Mode };
export type Address = { readonly hostname: string; readonly port: number } | { readonly unix: string };

const PASS: Modes = { upstream: "pass", downstream: "pass" };
/** Enough of a connection's first bytes to tell its user or backend. */
const HEAD_BYTES = 4_096;

export class FaultProxy {
  readonly #target: () => Address | undefined;
  readonly #listener: { stop(force?: boolean): void; readonly port?: number };
  readonly #connections = new Set<Connection>();
  #modes = PASS;

  /**
   * @param target called for each connection; undefined refuses it
   * @param listen a socket's path; by default a free port of 127.0.0.1
   */
  constructor(target: () => Address | undefined, listen?: { unix: string }) {
    this.#target = target;
    const socket = { open: (client: Socket<Direction>) => this.#accept(client), ...HANDLERS };
    this.#listener = listen
      ? Bun.listen<Direction>({ unix: listen.unix, socket })
      : Bun.listen<Direction>({ hostname: "127.0.0.1", port: 0, socket });
  }

  /** 0 on a socket's path. */
  get port(): number {
    return this.#listener.port ?? 0;
  }

  get connections(): readonly Connection[] {
    return [...this.#connections];
  }

  /** Sets the modes of all connections, future ones included. Leaving `drop` resets connections that lost bytes. */
  set(modes: Partial<Modes>): void {
    this.#modes = { ...this.#modes, ...modes };
    for (const connection of this.connections) connection.set(modes);
  }

  heal(): void {
    this.set(PASS);
  }

  /** Resets every connection. @returns how many */
  reset(): number {
    const open = this.connections;
    for (const connection of open) connection.reset();
    return open.length;
  }

  close(): void {
    this.#listener.stop(true);
    this.reset();
  }

  #accept(client: Socket<Direction>): void {
    const connection = new Connection(client, this.#modes, () => this.#connections.delete(connection));
    this.#connections.add(connection);
    const target = this.#target();
    if (target) void connection.connect(target);
    else connection.reset();
  }
}

/** One connection through a proxy. */
export class Connection {
  readonly #upstream: Direction;
  readonly #downstream: Direction;
  readonly #onClose: () => void;

  constructor(client: Socket<Direction>, modes: Modes, onClose: () => void) {
    this.#upstream = new Direction(client, this);
    this.#downstream = new Direction(undefined, this);
    this.#upstream.opposite = this.#downstream;
    this.#downstream.opposite = this.#upstream;
    this.#onClose = onClose;
    client.data = this.#upstream;
    this.set(modes);
  }

  /** The client's first bytes: a request line and headers. */
  get requestHead(): string {
    return this.#upstream.head.toString("latin1");
  }

  /** The process id of a PostgreSQL connection's backend, from `BackendKeyData` (manual §54.7). */
  get backend(): number | undefined {
    const { head } = this.#downstream;
    for (let at = head.indexOf(READY); at >= 13; at = head.indexOf(READY, at + 1)) {
      if (head[at - 13] === 0x4b && head.readUInt32BE(at - 12) === 12) return head.readUInt32BE(at - 8);
    }
    return undefined;
  }

  /** Whether the server has closed it, even if the client does not know yet. */
  get closedByServer(): boolean {
    return this.#downstream.ended;
  }

  set(modes: Partial<Modes>): void {
    const [up, down] = [this.#upstream, this.#downstream];
    const keepsDropping = (modes.upstream ?? up.mode) === "drop" || (modes.downstream ?? down.mode) === "drop";
    if ((up.lost || down.lost) && !keepsDropping) return this.reset();
    if (modes.upstream) up.set(modes.upstream);
    if (modes.downstream) down.set(modes.downstream);
  }

  reset(): void {
    for (const direction of [this.#upstream, this.#downstream]) direction.source?.terminate();
    this.#onClose();
  }

  async connect(target: Address): Promise<void> {
    try {
      const options = { data: this.#downstream, socket: HANDLERS };
      this.#downstream.attach(
        await ("unix" in target
          ? Bun.connect<Direction>({ ...target, ...options })
          : Bun.connect<Direction>({ ...target, ...options })),
      );
      this.#upstream.pump();
    } catch {
      this.reset();
    }
  }

  /** One side closed. Its bytes are still delivered first; in a stalled direction the close waits too. */
  sourceClosed(direction: Direction): void {
    direction.ended = true;
    direction.pump();
    if (!direction.opposite?.source) this.reset();
  }

  /** Both directions are done. */
  done(): void {
    this.#onClose();
  }
}

/** `ReadyForQuery`, idle. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** One direction of a connection: from `source` to the source of the opposite direction. */
class Direction {
  source: Socket<Direction> | undefined;
  opposite: Direction | undefined;
  mode: Mode = "pass";
  /** Bytes were dropped. */
  lost = false;
  ended = false;
  head: Buffer = Buffer.alloc(0);
  readonly connection: Connection;
  #queue: Uint8Array[] = [];

  constructor(source: Socket<Direction> | undefined, connection: Connection) {
    this.source = source;
    this.connection = connection;
  }

  attach(source: Socket<Direction>): void {
    this.source = source;
    if (this.mode === "stall") source.pause();
  }

  set(mode: Mode): void {
    this.mode = mode;
    if (mode === "stall")
      this.source?.pause(); // so that the sender's buffers fill, as on a real network
    else this.source?.resume();
    this.pump();
  }

  receive(bytes: Uint8Array): void {
    if (this.head.length < HEAD_BYTES) this.head = Buffer.concat([this.head, bytes]).subarray(0, HEAD_BYTES);
    if (this.mode === "drop") this.lost = true;
    else {
      this.#queue.push(new Uint8Array(bytes)); // a copy: Bun reuses the chunk
      this.pump();
    }
  }

  /** Writes what is queued, as far as the receiver accepts it. */
  pump(): void {
    const to = this.opposite?.source;
    if (!to || this.mode !== "pass") return;
    while (this.#queue.length > 0) {
      const chunk = this.#queue[0] as Uint8Array;
      const written = to.write(chunk);
      if (written < chunk.length) {
        this.#queue[0] = chunk.subarray(Math.max(0, written));
        this.source?.pause();
        return;
      }
      this.#queue.shift();
    }
    if (this.ended) {
      to.end();
      this.connection.done();
    } else this.source?.resume();
  }
}

const HANDLERS = {
  binaryType: "uint8array" as const,
  data: (socket: Socket<Direction>, bytes: Uint8Array) => socket.data.receive(bytes),
  drain: (socket: Socket<Direction>) => socket.data.opposite?.pump(),
  close: (socket: Socket<Direction>) => socket.data.connection.sourceClosed(socket.data),
  error: () => {},
};
