/**
 * The users of a run: which tabs they have, who writes to whom and when, who reads. Conversations alternate between
 * activity and silence, since a loss shows only where no later message heals it.
 */

import { cookieOf, nameOf } from "../support/users.ts";
import { hashOf, type History, type ObservedMessage, pairOf } from "./history.ts";
import { conversations } from "./invariant_monitor.ts";
import { observedOf, Page } from "./page.ts";
import type { Postgres } from "./postgres.ts";
import type { Random } from "./random.ts";

const TICK_MS = 10;
const ACTIVE_MS = [4_000, 12_000] as const;
const SILENCE_MS = [3_000, 14_000] as const;
const READ_AFTER_MS = [100, 2_500] as const;
const RELOAD_EVERY_MS = 1_500;
const MARKED_WITHIN_MS = 1_200;
/** The share of changes of what users do, and the share of replies among messages. */
const CHANGE_SHARE = 0.1;
const REPLY_SHARE = 0.1;
/** Users change and answer the last messages. */
const RECENT = 10;
const EMOJI = ["👍", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🇬🇷", ""];
/** Pages of history that a tab scrolls back at the end. */
const SCROLLS = 20;
/** Too long for a notification: other pods get a hint to fetch it. */
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

/** The users form a ring: each writes to the one before and the one after. */
interface Conversation {
  readonly first: string;
  readonly second: string;
  isActive: boolean;
  until: number;
}

export class Workload {
  readonly #history: History;
  readonly #random: Random;
  readonly #ports: readonly number[];
  readonly #rate: number;
  readonly #changeShare: number;
  readonly #conversations: readonly Conversation[];
  readonly #pages = new Map<string, Page[]>();
  readonly #users: number;
  #timer: Timer | undefined;
  #due = 0;
  #texts = 0;
  #openings = 0;
  #reloadAt = 0;
  /** No user writes. */
  paused = false;
  /** Users whose tabs do not reload. */
  readonly noReload = new Set<string>();

  /**
   * @param options.users three or more
   * @param options.rate messages and changes a second, of all together
   * @param options.changeShare the share of changes
   */
  constructor(options: {
    users: number;
    rate: number;
    changeShare?: number;
    ports: readonly number[];
    history: History;
    random: Random;
  }) {
    this.#history = options.history;
    this.#random = options.random;
    this.#ports = options.ports;
    this.#rate = options.rate;
    this.#changeShare = options.changeShare ?? CHANGE_SHARE;
    this.#users = options.users;
    this.#conversations = Array.from({ length: options.users }, (_, i) => ({
      first: nameOf(i),
      second: nameOf((i + 1) % options.users),
      isActive: i % 2 === 0,
      until: this.#random.between(0, ACTIVE_MS[1]),
    }));
  }

  get names(): string[] {
    return [...this.#pages.keys()];
  }

  /** Opens all tabs: every third user has two, every tenth three, on different pods. */
  async open(): Promise<void> {
    for (let i = 0; i < this.#users; i++) {
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

  /** The users that this one writes to. */
  peersOf(name: string): string[] {
    return this.#conversations.flatMap(({ first, second }) =>
      first === name ? [second] : second === name ? [first] : [],
    );
  }

  /** Users start to write, read and reload. */
  start(): void {
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      if (!this.paused) this.#due += ((now - last) / 1_000) * this.#rate;
      last = now;
      this.#toggleActivity(now);
      while (this.#due >= 1) this.#writeBurst();
      if (now > this.#reloadAt && !this.paused) this.#reload(now);
    }, TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One message from the user's first tab. */
  write(from: string, to: string, text: string): boolean {
    const page = this.pagesOf(from)[0];
    return page?.write(to, text) ?? false;
  }

  /** Tabs with unsent messages on a pod reload, and connect to another. @returns how many */
  moveAwayFrom(pod: number): number {
    let moved = 0;
    for (const pages of this.#pages.values()) {
      for (const [i, page] of pages.entries()) {
        if (page.pod !== pod || page.pendingCount === 0) continue;
        this.#reopen(pages, i, (pod + 1) % this.#ports.length);
        moved++;
      }
    }
    return moved;
  }

  /** Waits until every send is settled, and then until every tab has every message, each within its limit. */
  async settle(postgres: Pick<Postgres, "sql">, within: { settledMs: number; wholeMs: number }): Promise<void> {
    const settled = () => this.pages.every((page) => page.connected && page.pendingCount === 0);
    await until(settled, within.settledMs);
    const before = await conversations(postgres);
    const last = new Map(before.map((row) => [pairOf(row.low, row.high), row]));
    const whole = () =>
      this.pages.every((page) =>
        this.peersOf(page.user).every(
          (peer) =>
            page.show(peer) &&
            page.conversation(peer).contiguousSeq >= (last.get(pairOf(page.user, peer))?.last ?? 0) &&
            page.changes.revision(peer) >= (last.get(pairOf(page.user, peer))?.revision ?? 0),
        ),
      );
    await until(whole, within.wholeMs);
    // Marks follow delivery: they are final once they stop changing.
    await Bun.sleep(READ_AFTER_MS[1]);
    let marks = JSON.stringify(await conversations(postgres));
    for (let tries = 0; tries < 10; tries++) {
      await Bun.sleep(MARKED_WITHIN_MS);
      const now = JSON.stringify(await conversations(postgres));
      if (now === marks) break;
      marks = now;
    }
  }

  /** Records the table, every user's history and counts, and what every tab displays. */
  async recordFinalState(postgres: Pick<Postgres, "sql">): Promise<void> {
    for await (const row of table(postgres)) this.#history.add({ e: "row", ...row });
    for (const row of await changesMade(postgres)) this.#history.add({ e: "change_made", ...row });
    for (let i = 0; i < this.#users; i++) {
      const [user, cookie] = [nameOf(i), cookieOf(i)];
      const counts = (await this.#get(`/unread_counts/${user}`, cookie)) as Record<string, number>;
      this.#history.add({ e: "unread", user, counts });
      for (const peer of this.peersOf(user)) {
        const rows = await this.#fullHistory(user, peer, cookie);
        this.#history.add({ e: "final_history", user, peer, rows: rows.map(observedOf) });
      }
    }
    for (const page of this.pages) await this.#recordTab(page);
    this.close();
    await Bun.sleep(MARKED_WITHIN_MS); // fetching marked messages as delivered
    for (const row of await conversations(postgres)) this.#history.add({ e: "conversation", ...row });
  }

  close(): void {
    this.stop();
    for (const page of this.pages) page.close();
  }

  async #recordTab(page: Page): Promise<void> {
    const { messages, changes } = page.pending;
    const peers = this.peersOf(page.user);
    for (const ref of [...messages.keys(), ...changes.keys()]) this.#history.add({ e: "unsent", page: page.name, ref });
    const displayed: { peer: string; first: number; rows: ReturnType<Page["displayed"]> }[] = [];
    for (const peer of peers) {
      const conversation = page.conversation(peer);
      for (let i = 0; i < SCROLLS && conversation.isLoaded && !conversation.reachesStart; i++)
        await page.chat.history.loadOlder(peer);
      displayed.push({ peer, first: conversation.firstSeq, rows: page.displayed(peer) });
    }
    // Only now: it fetches what the page lacks.
    if (peers.some((peer) => page.changes.hasDeleted(peer))) await page.refreshUnread();
    for (const each of displayed) {
      const { unread } = page.conversation(each.peer);
      this.#history.add({ e: "displayed", page: page.name, ...each, unread });
    }
  }

  /** The full history of a conversation: one streamed response for one of its users, pages for the other. */
  async #fullHistory(user: string, peer: string, cookie: string): Promise<Parameters<typeof observedOf>[0][]> {
    if (user < peer)
      return (await this.#get(`/messages/${user}/${peer}?peek=1`, cookie)) as Parameters<typeof observedOf>[0][];
    const all: Parameters<typeof observedOf>[0][] = [];
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
        const response = await fetch(`http://127.0.0.1:${this.#random.pick(this.#ports)}${path}`, {
          headers: { cookie },
        });
        if (!response.ok) throw new Error(`${path} was answered ${response.status}: ${await response.text()}`);
        return await response.json();
      } catch (error) {
        if (tries === 5) throw error;
        await Bun.sleep(500);
      }
    }
  }

  #openPage(user: string, pod: number, pending?: Page["pending"]): Page {
    const number = Number(user.slice(1));
    const page = new Page(
      { name: `${user}.${++this.#openings}`, user, cookie: cookieOf(number), pod, ...(pending ? { pending } : {}) },
      { history: this.#history, random: this.#random, ports: this.#ports },
    );
    if (number % 4 !== 3) this.#markRead(page); // the others never read: their unread counts grow
    page.open(this.peersOf(user));
    return page;
  }

  /** Marks incoming messages as read, with a delay. */
  #markRead(page: Page): void {
    const reading = new Set<string>();
    page.chat.conversations.on("conversation", (peer) => {
      if (reading.has(peer)) return;
      reading.add(peer);
      setTimeout(
        () => {
          reading.delete(peer);
          page.markRead(peer);
        },
        this.#random.between(...READ_AFTER_MS),
      );
    });
  }

  #toggleActivity(now: number): void {
    for (const conversation of this.#conversations) {
      if (now < conversation.until) continue;
      conversation.isActive = !conversation.isActive;
      conversation.until =
        now + (conversation.isActive ? this.#random.between(...ACTIVE_MS) : this.#random.between(...SILENCE_MS));
    }
  }

  /** One to three messages or changes at once, whose order must be kept. */
  #writeBurst(): void {
    const isActive = this.#conversations.filter((conversation) => conversation.isActive);
    const { first, second } = this.#random.pick(isActive.length > 0 ? isActive : this.#conversations);
    const [from, to] = this.#random.next() < 0.5 ? [first, second] : [second, first];
    const page = this.#random.pick(this.pagesOf(from));
    if (this.#random.next() < 0.1) page.chat.people.presence.sendTyping(to);
    for (let burst = 1 + this.#random.below(3); burst > 0; burst--) {
      if (this.#random.next() < this.#changeShare) this.#change(page, to);
      else page.write(to, this.#text(), this.#random.next() < REPLY_SHARE ? this.#recent(page, to)?.seq : undefined);
      this.#due--;
    }
  }

  #recent(page: Page, peer: string) {
    const messages = page.conversation(peer).messages().slice(-RECENT);
    return messages.length > 0 ? this.#random.pick(messages) : undefined;
  }

  /** A reaction; or, to the user's own message, an edit or a deletion, also of one that is deleted already. */
  #change(page: Page, peer: string): void {
    const message = this.#recent(page, peer);
    if (!message) return;
    const { seq, from } = message;
    const roll = from === page.user ? this.#random.next() : 1;
    if (roll < 0.15) page.changes.ask({ peer, kind: "delete", seq, text: "" });
    else if (roll < 0.6) page.changes.ask({ peer, kind: "edit", seq, text: this.#text() });
    else page.changes.ask({ peer, kind: "react", seq, text: this.#random.pick(EMOJI) });
  }

  #text(): string {
    const text = this.#random.next() < LONG_SHARE ? LONG : this.#random.pick(TEXTS);
    return `${++this.#texts} ${text}`;
  }

  /** Reloads a random tab: the new one takes over the old one's unsent messages. */
  #reload(now: number): void {
    this.#reloadAt = now + this.#random.between(0, 2 * RELOAD_EVERY_MS);
    const [name, pages] = this.#random.pick([...this.#pages]);
    if (this.noReload.has(name)) return;
    this.#reopen(pages, this.#random.below(pages.length), this.#random.below(this.#ports.length));
  }

  #reopen(pages: Page[], i: number, pod: number): void {
    const page = pages[i] as Page;
    page.close();
    pages[i] = this.#openPage(page.user, pod, page.pending);
  }
}

/** Waits for a condition. @returns whether it held in time */
export async function until(done: () => boolean, withinMs: number): Promise<boolean> {
  const startedAt = performance.now();
  while (!done()) {
    if (performance.now() - startedAt > withinMs) return false;
    await Bun.sleep(20);
  }
  return true;
}

interface TableRow {
  readonly sender: string;
  readonly receiver: string;
  readonly id: number;
  readonly seq: number;
  readonly content: string;
  readonly ref: string;
  readonly read: boolean;
  readonly replyTo: number | null;
  readonly revision: number | null;
  readonly isEdited: boolean;
  readonly isDeleted: boolean;
  readonly senderReaction: string | null;
  readonly receiverReaction: string | null;
}

async function* table(postgres: Pick<Postgres, "sql">) {
  for (let after = 0; ;) {
    const rows = await postgres.sql.run(
      (sql) => sql<TableRow[]>`
        select
          sender, receiver, id, seq, content, ref, read, reply_to as "replyTo", revision,
          edited_at is not null as "isEdited", deleted_at is not null as "isDeleted",
          sender_reaction as "senderReaction", receiver_reaction as "receiverReaction"
        from messages
        where id > ${after}
        order by id
        limit 20000
      `,
    );
    for (const row of rows) yield { ...observedRow(row), read: row.read };
    const last = rows.at(-1);
    if (!last) return;
    after = last.id;
  }
}

function observedRow(row: TableRow): ObservedMessage {
  const { sender: from, receiver: to, id, seq, content, ref, replyTo, revision } = row;
  const { isEdited, isDeleted, senderReaction, receiverReaction } = row;
  const reactions = {
    ...(senderReaction !== null && { [from]: senderReaction }),
    ...(receiverReaction !== null && { [to]: receiverReaction }),
  };
  return {
    from,
    to,
    id,
    seq,
    hash: hashOf(content),
    ref,
    ...(replyTo !== null && { replyTo }),
    ...(revision !== null && { revision }),
    ...(isEdited && { edited: true as const }),
    ...(isDeleted && { deleted: true as const }),
    reactions,
  };
}

/** Every change that was made: its user, its ref and its message. */
function changesMade(postgres: Pick<Postgres, "sql">) {
  return postgres.sql.run(
    (sql) => sql<{ user: string; ref: string; low: string; high: string; seq: number }[]>`
      select r.sender as "user", r.ref, c.low, c.high, r.seq
      from change_refs r
      join conversations c on c.id = r.conversation_id
    `,
  );
}
