/** Many users who connect, watch others or not, reconnect, disconnect, and send nothing. Frames and bytes are counted. */

import { cookieOf, nameOf } from "../../support/users.ts";
import { Problems } from "./audit.ts";
import { SocketClient } from "./socket.ts";

/** Concurrent handshakes; a server's accept queue holds some hundred. */
const CONCURRENCY = 200;
const WATCHED = 50;
const OPEN_MS = 10_000;

export interface Counts {
  readonly frames: number;
  readonly bytes: number;
}

export class ConnectionLoad {
  readonly #port: number;
  readonly #size: number;
  readonly #watching: boolean;
  readonly #greets: boolean;
  readonly #open = new Map<number, SocketClient>();
  readonly #problems = new Problems();
  #frames = 0;
  #bytes = 0;

  /**
   * @param options.size number of users; each watches the 50 after them, the last ones the first
   * @param options.greets whether the server sends `hello`; a bare one does not
   */
  constructor(options: { port: number; size: number; watching: boolean; greets: boolean }) {
    this.#port = options.port;
    this.#size = options.size;
    this.#watching = options.watching;
    this.#greets = options.greets;
  }

  /** Everything received so far, closed sockets included. */
  get counts(): Counts {
    let [frames, bytes] = [this.#frames, this.#bytes];
    for (const client of this.#open.values()) {
      frames += client.frames;
      bytes += client.bytes;
    }
    return { frames, bytes };
  }

  get problems(): string[] {
    return this.#problems.report();
  }

  /** Connects users, a bounded number at a time. @returns seconds */
  async connect(users: readonly number[]): Promise<number> {
    const startedAt = performance.now();
    let next = 0;
    const connectNext = async () => {
      while (next < users.length) await this.#connect(users[next++] as number);
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, users.length) }, connectNext));
    return (performance.now() - startedAt) / 1_000;
  }

  disconnect(users: readonly number[]): void {
    for (const user of users) this.#disconnect(user);
  }

  /**
   * Disconnects `perSecond` users for a while. They reconnect at once, but every fifth only after `awayMs`.
   *
   * @returns what the sockets received meanwhile
   */
  async churn(options: { seconds: number; perSecond: number; awayMs: number }): Promise<Counts & { seconds: number }> {
    const before = this.counts;
    const startedAt = performance.now();
    const elapsed = () => (performance.now() - startedAt) / 1_000;
    const reconnecting: Promise<unknown>[] = [];
    let user = 0;
    let done = 0;
    for (; elapsed() < options.seconds; await Bun.sleep(100)) {
      for (const due = Math.floor(elapsed() * options.perSecond); done < due; done++) {
        const one = user;
        user = (user + 7) % this.#size; // neighbours watch each other: not one after the other
        if (!this.#open.has(one)) continue;
        this.#disconnect(one);
        const awayMs = done % 5 === 0 ? options.awayMs : 0;
        reconnecting.push(awayMs === 0 ? this.#connect(one) : Bun.sleep(awayMs).then(() => this.#connect(one)));
      }
    }
    const { frames, bytes } = this.counts;
    const seconds = elapsed();
    await Promise.all(reconnecting);
    return { frames: frames - before.frames, bytes: bytes - before.bytes, seconds };
  }

  close(): void {
    this.disconnect([...this.#open.keys()]);
  }

  async #connect(user: number): Promise<void> {
    const name = nameOf(user);
    const ready = Promise.withResolvers<void>();
    const awaited = this.#watching ? "presence of those it watches" : "hello";
    const late = () => ready.reject(new Error(`${name} got no ${awaited} within ${OPEN_MS / 1_000} s`));
    const timer = setTimeout(late, OPEN_MS);
    const isWatched = (other: string) => {
      const distance = (Number(other.slice(1)) - user + this.#size) % this.#size;
      return distance >= 1 && distance <= WATCHED;
    };
    const receive = (text: string, client: SocketClient) => {
      if (text.startsWith('{"type":"hello"')) {
        if (!text.includes(`"username":"${name}"`)) this.#problems.add(`the hello of ${name} was ${text}`);
        if (this.#watching) client.send(`{"type":"watch","users":${JSON.stringify(this.#watchedBy(user))}}`);
        else ready.resolve();
      } else if (text.startsWith('{"type":"presence"')) {
        const { users } = JSON.parse(text) as { users: Record<string, { online: boolean }> };
        const names = Object.keys(users);
        if (!this.#watching || !names.every(isWatched))
          this.#problems.add(`${name} received the presence of users it does not watch: ${text}`);
        if (names.length === WATCHED) ready.resolve(); // the full answer; a change may overtake it
      } else if (!text.startsWith('{"type":"status_update"')) this.#problems.add(`${name} received ${text}`);
    };
    const closed = (code: number) => this.#problems.add(`the socket of ${name} was closed with ${code}`);
    const listener = { text: receive, closed };
    const client = await SocketClient.open({ port: this.#port, name, cookie: cookieOf(user), listener });
    this.#open.set(user, client);
    if (!this.#greets) ready.resolve();
    await ready.promise.finally(() => clearTimeout(timer));
  }

  #disconnect(user: number): void {
    const client = this.#open.get(user);
    if (!client) return;
    client.close();
    this.#frames += client.frames;
    this.#bytes += client.bytes;
    this.#open.delete(user);
  }

  #watchedBy(user: number): string[] {
    return Array.from({ length: WATCHED }, (_, i) => nameOf((user + 1 + i) % this.#size));
  }
}
