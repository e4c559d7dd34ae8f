/** Many people who open sockets, watch others or not, come back, leave, and say nothing. Frames and bytes are counted. */

import { cookieOf, nameOf } from "../../support/users.ts";
import { Problems } from "./audit.ts";
import { SocketClient } from "./socket.ts";

/** Handshakes under way at one time; a server's queue of connections holds no more than some hundred. */
const AT_ONCE = 200;
const WATCHED = 50;

export interface Counts {
  readonly sockets: number;
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
   * @param options.size people there are; each watches the 50 after them, the last ones the first
   * @param options.greets whether the server says `hello`; a bare one does not
   */
  constructor(options: { port: number; size: number; watching: boolean; greets: boolean }) {
    this.#port = options.port;
    this.#size = options.size;
    this.#watching = options.watching;
    this.#greets = options.greets;
  }

  /** Everything received so far, by sockets that are closed too. */
  get counts(): Counts {
    let [frames, bytes] = [this.#frames, this.#bytes];
    for (const client of this.#open.values()) {
      frames += client.frames;
      bytes += client.bytes;
    }
    return { sockets: this.#open.size, frames, bytes };
  }

  get problems(): string[] {
    return this.#problems.report();
  }

  /** Lets people in, some at a time, each greeted before the next takes the place. @returns seconds */
  async arrive(people: readonly number[]): Promise<number> {
    const begun = performance.now();
    let next = 0;
    const usher = async () => {
      while (next < people.length) await this.#enter(people[next++] as number);
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, people.length) }, usher));
    return (performance.now() - begun) / 1_000;
  }

  leave(people: readonly number[]): void {
    for (const person of people) this.#part(person);
  }

  /**
   * People come and go for a while, `perSecond` of them: they reconnect at once, but each fifth stays away for `awayMs`.
   *
   * @returns what the sockets received meanwhile
   */
  async churn(options: { seconds: number; perSecond: number; awayMs: number }): Promise<Counts & { seconds: number }> {
    const before = this.counts;
    const begun = performance.now();
    const tickMs = 100;
    const returning: Promise<unknown>[] = [];
    let person = 0;
    let done = 0;
    for (;;) {
      const elapsed = (performance.now() - begun) / 1_000;
      if (elapsed >= options.seconds) break;
      for (const due = Math.floor(elapsed * options.perSecond); done < due; done++) {
        const one = person;
        person = (person + 7) % this.#size; // neighbours watch each other: not one after the other
        if (!this.#open.has(one)) continue;
        this.#part(one);
        const away = done % 5 === 0 ? options.awayMs : 0;
        returning.push(away === 0 ? this.#enter(one) : Bun.sleep(away).then(() => this.#enter(one)));
      }
      await Bun.sleep(tickMs);
    }
    const { sockets, frames, bytes } = this.counts;
    const seconds = (performance.now() - begun) / 1_000;
    await Promise.all(returning);
    return { sockets, frames: frames - before.frames, bytes: bytes - before.bytes, seconds };
  }

  close(): void {
    this.leave([...this.#open.keys()]);
  }

  async #enter(person: number): Promise<void> {
    const name = nameOf(person);
    const ready = Promise.withResolvers<void>();
    const late = this.#watching ? "not told of those it watches" : "not greeted";
    const timer = setTimeout(() => ready.reject(new Error(`${name} was ${late} within 10 s`)), 10_000);
    const isWatched = (other: string) => {
      const distance = (Number(other.slice(1)) - person + this.#size) % this.#size;
      return distance >= 1 && distance <= WATCHED;
    };
    const client = await SocketClient.open({
      port: this.#port,
      name,
      cookie: cookieOf(person),
      listener: {
        text: (text, client) => {
          if (text.startsWith('{"type":"hello"')) {
            if (!text.includes(`"username":"${name}"`)) this.#problems.add(`${name} was greeted with ${text}`);
            if (this.#watching) client.send(`{"type":"watch","users":${JSON.stringify(this.#watchedBy(person))}}`);
            else ready.resolve();
          } else if (text.startsWith('{"type":"presence"')) {
            const { users } = JSON.parse(text) as { users: Record<string, { online: boolean }> };
            const named = Object.keys(users);
            if (!this.#watching || !named.every(isWatched))
              this.#problems.add(`${name} heard of people it does not watch: ${text}`);
            if (named.length === WATCHED) ready.resolve(); // how they stand; a change may overtake it
          } else if (!text.startsWith('{"type":"status_update"')) this.#problems.add(`${name} heard ${text}`);
        },
        closed: (code) => this.#problems.add(`${name}'s socket was closed with ${code}`),
      },
    });
    this.#open.set(person, client);
    if (!this.#greets) ready.resolve();
    await ready.promise.finally(() => clearTimeout(timer));
  }

  #part(person: number): void {
    const client = this.#open.get(person);
    if (!client) return;
    client.close();
    this.#frames += client.frames;
    this.#bytes += client.bytes;
    this.#open.delete(person);
  }

  #watchedBy(person: number): string[] {
    return Array.from({ length: WATCHED }, (_, i) => nameOf((person + 1 + i) % this.#size));
  }
}
