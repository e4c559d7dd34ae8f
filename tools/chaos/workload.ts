/**
 * Everybody of a run: who has which tabs, who writes to whom and when, who reads. They talk and fall silent, since a loss shows only where
 * nothing comes after it.
 */

import { cookieOf, nameOf } from "../support/users.ts";
import { hashOf, type History, pairOf } from "./history.ts";
import { conversations } from "./invariant_monitor.ts";
import { Page, toldOf } from "./page.ts";
import type { Postgres } from "./postgres.ts";
import type { Random } from "./random.ts";

const TICK_MS = 10;
const TALK_MS = [4_000, 12_000] as const;
const SILENCE_MS = [3_000, 14_000] as const;
const READ_AFTER_MS = [100, 2_500] as const;
const RELOAD_EVERY_MS = 1_500;
const MARKED_WITHIN_MS = 1_200;
/** Pages of history that a tab scrolls back in the end. */
const SCROLLS = 20;
/** Too long for a notification: other pods are told to ask. */
const LONG = "🪨".repeat(3_000);
const LONG_SHARE = 0.01;
export const TEXTS = [
  "hello",
  "did you see the one about the two cats? I could not stop laughing, and then the neighbour came",
  'quotes " and \\ backslashes, {braces}, [brackets], commas, null and NULL',
  "'; drop table messages; --",
  "<script>alert(1)</script> & &amp;",
  "Καλημέρα, τι κάνεις; 👋🏽",
  "👨‍👩‍👧‍👦 a family in one sign, and é in two: e\u0301",
  "مرحبا بالعالم",
  "line one\nline two\ttabbed",
  "x".repeat(900),
];

/** The ring: each person writes with the one before and the one after. */
interface Talk {
  readonly one: string;
  readonly other: string;
  talking: boolean;
  until: number;
}

export class Workload {
  readonly #history: History;
  readonly #random: Random;
  readonly #ports: readonly number[];
  readonly #rate: number;
  readonly #talks: readonly Talk[];
  readonly #pages = new Map<string, Page[]>();
  readonly #people: number;
  #timer: Timer | undefined;
  #due = 0;
  #texts = 0;
  #openings = 0;
  #reloadAt = 0;
  /** Nobody writes while a fault wants silence. */
  paused = false;
  /** Who is not to reload. */
  readonly held = new Set<string>();

  /** @param options.people three or more @param options.rate messages a second, of all together */
  constructor(options: { people: number; rate: number; ports: readonly number[]; history: History; random: Random }) {
    this.#history = options.history;
    this.#random = options.random;
    this.#ports = options.ports;
    this.#rate = options.rate;
    this.#people = options.people;
    this.#talks = Array.from({ length: options.people }, (_, i) => ({
      one: nameOf(i),
      other: nameOf((i + 1) % options.people),
      talking: i % 2 === 0,
      until: this.#random.between(0, TALK_MS[1]),
    }));
  }

  get names(): string[] {
    return [...this.#pages.keys()];
  }

  /** Everybody's tabs: every third person has two, every tenth three, on different pods. */
  async open(): Promise<void> {
    for (let i = 0; i < this.#people; i++) {
      const tabs = i % 10 === 9 ? 3 : i % 3 === 2 ? 2 : 1;
      const name = nameOf(i);
      this.#pages.set(
        name,
        Array.from({ length: tabs }, (_, tab) => this.#openPage(name, i + tab)),
      );
    }
    await until(() => this.pages.every((page) => page.connected), 30_000);
  }

  get pages(): Page[] {
    return [...this.#pages.values()].flat();
  }

  pagesOf(name: string): readonly Page[] {
    return this.#pages.get(name) ?? [];
  }

  /** Whom a person writes with. */
  peersOf(name: string): string[] {
    return this.#talks.flatMap(({ one, other }) => (one === name ? [other] : other === name ? [one] : []));
  }

  /** Everybody begins to write, read and reload. */
  begin(): void {
    let before = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      if (!this.paused) this.#due += ((now - before) / 1_000) * this.#rate;
      before = now;
      this.#turn(now);
      while (this.#due >= 1) this.#say();
      if (now > this.#reloadAt && !this.paused) this.#reload(now);
    }, TICK_MS);
  }

  /** Nobody writes any more. */
  end(): void {
    clearInterval(this.#timer);
  }

  /** One text of a person, from their first tab. @param text instead of one of the usual */
  say(from: string, to: string, text?: string): boolean {
    const page = this.pagesOf(from)[0];
    return page?.write(to, text ?? this.#text()) ?? false;
  }

  /** Whoever waits for a pod to take what they wrote reloads, and comes to another. @returns how many */
  leave(pod: number): number {
    let left = 0;
    for (const pages of this.#pages.values()) {
      for (const [i, page] of pages.entries()) {
        if (page.pod !== pod || page.waiting === 0) continue;
        this.#reopen(pages, i, (pod + 1) % this.#ports.length);
        left++;
      }
    }
    return left;
  }

  /** Waits until nothing is unsettled, and then until everybody has everything, for so long at most. */
  async settle(postgres: Pick<Postgres, "sql">, within: { settledMs: number; wholeMs: number }): Promise<void> {
    const settled = () => this.pages.every((page) => page.connected && page.waiting === 0);
    await until(settled, within.settledMs);
    const before = await conversations(postgres);
    const last = new Map(before.map((row) => [pairOf(row.low, row.high), row.last]));
    const whole = () =>
      this.pages.every((page) =>
        this.peersOf(page.user).every(
          (peer) =>
            page.show(peer) && page.conversation(peer).contiguousSeq >= (last.get(pairOf(page.user, peer)) ?? 0),
        ),
      );
    await until(whole, within.wholeMs);
    // Marks follow what arrived: everybody has looked, and the last of it is stored, when nothing changes for a while.
    await Bun.sleep(READ_AFTER_MS[1]);
    let marks = JSON.stringify(await conversations(postgres));
    for (let tries = 0; tries < 10; tries++) {
      await Bun.sleep(MARKED_WITHIN_MS);
      const now = JSON.stringify(await conversations(postgres));
      if (now === marks) break;
      marks = now;
    }
  }

  /** Writes down how everything stands: the table, what everybody is told, what every tab shows. */
  async recordFinalState(postgres: Pick<Postgres, "sql">): Promise<void> {
    for await (const row of table(postgres)) this.#history.add({ e: "row", ...row });
    for (let i = 0; i < this.#people; i++) {
      const [user, cookie] = [nameOf(i), cookieOf(i)];
      const counts = (await this.#get(`/unread_counts/${user}`, cookie)) as Record<string, number>;
      this.#history.add({ e: "unread", user, counts });
      for (const peer of this.peersOf(user)) {
        const rows = await this.#everything(user, peer, cookie);
        this.#history.add({ e: "final_history", user, peer, rows: rows.map(toldOf) });
      }
    }
    for (const page of this.pages) await this.#lookAt(page);
    this.close();
    await Bun.sleep(MARKED_WITHIN_MS); // whatever was fetched just now is delivered, too
    for (const row of await conversations(postgres)) this.#history.add({ e: "conversation", ...row });
  }

  close(): void {
    this.end();
    for (const page of this.pages) page.close();
  }

  async #lookAt(page: Page): Promise<void> {
    for (const ref of page.pending.keys()) this.#history.add({ e: "unsent", page: page.name, ref });
    for (const peer of this.peersOf(page.user)) {
      const conversation = page.conversation(peer);
      for (let i = 0; i < SCROLLS && conversation.loaded && !conversation.complete; i++)
        await page.messenger.loadOlder(peer);
      const rows = conversation.messages().map(({ seq, text }) => [seq, hashOf(text)] as const);
      const { unread, firstSeq } = conversation;
      this.#history.add({ e: "displayed", page: page.name, peer, first: firstSeq, rows, unread });
    }
  }

  /** The whole history of a conversation: one streamed answer for one of the two, pages from the beginning for the other. */
  async #everything(user: string, peer: string, cookie: string): Promise<Parameters<typeof toldOf>[0][]> {
    if (user < peer)
      return (await this.#get(`/messages/${user}/${peer}?peek=1`, cookie)) as Parameters<typeof toldOf>[0][];
    const all: Parameters<typeof toldOf>[0][] = [];
    for (;;) {
      const path = `/messages/${user}/${peer}?peek=1&limit=200&after=${all.at(-1)?.seq ?? 0}`;
      const rows = (await this.#get(path, cookie)) as typeof all;
      all.push(...rows);
      if (rows.length < 200) return all;
    }
  }

  async #get(path: string, cookie: string): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      try {
        const answer = await fetch(`http://127.0.0.1:${this.#random.pick(this.#ports)}${path}`, {
          headers: { cookie },
        });
        if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`);
        return await answer.json();
      } catch (error) {
        if (tries === 5) throw error;
        await Bun.sleep(500);
      }
    }
  }

  #openPage(user: string, pod: number, pending?: Page["pending"]): Page {
    const person = Number(user.slice(1));
    const page = new Page(
      { name: `${user}.${++this.#openings}`, user, cookie: cookieOf(person), pod, ...(pending ? { pending } : {}) },
      { history: this.#history, random: this.#random, ports: this.#ports },
    );
    if (person % 4 !== 3) this.#read(page); // the others never look: their unread messages add up
    page.open(this.peersOf(user));
    return page;
  }

  /** Looks at what arrives, a little later. */
  #read(page: Page): void {
    const looking = new Set<string>();
    page.messenger.addEventListener("thread", (event) => {
      const peer = (event as CustomEvent<string>).detail;
      if (looking.has(peer)) return;
      looking.add(peer);
      setTimeout(
        () => {
          looking.delete(peer);
          page.look(peer);
        },
        this.#random.between(...READ_AFTER_MS),
      );
    });
  }

  /** Talks begin and end. */
  #turn(now: number): void {
    for (const talk of this.#talks) {
      if (now < talk.until) continue;
      talk.talking = !talk.talking;
      talk.until = now + (talk.talking ? this.#random.between(...TALK_MS) : this.#random.between(...SILENCE_MS));
    }
  }

  /** A burst of one to three texts: what is sent together has to stay in order. */
  #say(): void {
    const talking = this.#talks.filter((talk) => talk.talking);
    const { one, other } = this.#random.pick(talking.length > 0 ? talking : this.#talks);
    const [from, to] = this.#random.next() < 0.5 ? [one, other] : [other, one];
    const page = this.#random.pick(this.pagesOf(from));
    if (this.#random.next() < 0.1) page.messenger.presence.sendTyping(to);
    for (let burst = 1 + this.#random.below(3); burst > 0; burst--) {
      page.write(to, this.#text());
      this.#due--;
    }
  }

  #text(): string {
    const text = this.#random.next() < LONG_SHARE ? LONG : this.#random.pick(TEXTS);
    return `${++this.#texts} ${text}`;
  }

  /** Somebody reloads a tab: the new one takes up what the old one left. */
  #reload(now: number): void {
    this.#reloadAt = now + this.#random.between(0, 2 * RELOAD_EVERY_MS);
    const [name, pages] = this.#random.pick([...this.#pages]);
    if (this.held.has(name)) return;
    this.#reopen(pages, this.#random.below(pages.length), this.#random.below(this.#ports.length));
  }

  #reopen(pages: Page[], i: number, pod: number): void {
    const page = pages[i] as Page;
    page.close();
    pages[i] = this.#openPage(page.user, pod, page.pending);
  }
}

/** Waits for something, at most so long. @returns whether it came */
export async function until(done: () => boolean, withinMs: number): Promise<boolean> {
  const begun = performance.now();
  while (!done()) {
    if (performance.now() - begun > withinMs) return false;
    await Bun.sleep(20);
  }
  return true;
}

/** Every message stored. */
async function* table(postgres: Pick<Postgres, "sql">) {
  for (let after = 0; ;) {
    const rows = await postgres.sql.run(
      (sql) => sql<
        { sender: string; receiver: string; id: number; seq: number; content: string; ref: string; read: boolean }[]
      >`
        select sender, receiver, id, seq, content, ref, read
        from messages
        where id > ${after}
        order by id
        limit 20000
      `,
    );
    for (const row of rows) yield { ...toldOf(row), read: row.read };
    const last = rows.at(-1);
    if (!last) return;
    after = last.id;
  }
}
