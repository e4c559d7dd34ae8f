/**
 * Checks the table during a run: every acknowledged message and every answered change is visible to another
 * connection, and marks and revisions only rise.
 */

import type { Entry, History, Marks, ObservedMessage } from "./history.ts";
import type { Postgres } from "./postgres.ts";

const ACKS_EVERY_MS = 20;
const MARKS_EVERY_MS = 500;

interface AnsweredChange {
  readonly ref: string;
  readonly revision: number;
  readonly message: ObservedMessage;
}

export class InvariantMonitor {
  readonly #postgres: Pick<Postgres, "sql">;
  readonly #history: History;
  readonly #owners = new Map<string, string>();
  #acked: string[] = [];
  #changed: AnsweredChange[] = [];
  #running = true;
  readonly #done: Promise<unknown>;

  constructor(postgres: Pick<Postgres, "sql">, history: History) {
    this.#postgres = postgres;
    this.#history = history;
    history.subscribe((entry) => this.#receive(entry));
    this.#done = Promise.all([
      this.#repeat(ACKS_EVERY_MS, () => this.#checkAcks()),
      this.#repeat(ACKS_EVERY_MS, () => this.#checkChanges()),
      this.#repeat(MARKS_EVERY_MS, () => this.#recordMarks()),
    ]);
  }

  /** Checks the last acks and answers, then stops. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
    await this.#checkAcks();
    await this.#checkChanges();
  }

  #receive(entry: Entry): void {
    if (entry.e === "write") this.#owners.set(entry.ref, entry.user);
    else if (entry.e === "ack" && this.#owners.has(entry.ref)) this.#acked.push(entry.ref);
    else if (entry.e === "changed" && entry.ref !== undefined && entry.revision > 0) {
      const { ref, revision, message } = entry;
      this.#changed.push({ ref, revision, message });
    }
  }

  /** Acks received while PostgreSQL is down are checked once it is back. */
  async #checkAcks(): Promise<void> {
    const refs = this.#acked;
    if (refs.length === 0) return;
    this.#acked = [];
    const owners = refs.map((ref) => this.#owners.get(ref) as string);
    try {
      const rows = await this.#postgres.sql.run(
        (sql) => sql<{ ref: string }[]>`
          select m.ref
          from unnest(${owners}::text[], ${refs}::text[]) as t (sender, ref)
          join messages m on m.sender = t.sender collate "C" and m.ref = t.ref collate "C"
        `,
      );
      const seen = new Set(rows.map(({ ref }) => ref));
      for (const [i, ref] of refs.entries()) {
        if (!seen.has(ref)) this.#history.add({ e: "not_visible", user: owners[i] as string, ref });
      }
    } catch {
      this.#acked.unshift(...refs);
    }
  }

  /** A message has the revision of each answer, or a later one. */
  async #checkChanges(): Promise<void> {
    const changes = this.#changed;
    if (changes.length === 0) return;
    this.#changed = [];
    try {
      const rows = await this.#postgres.sql.run(
        (sql) => sql<{ ref: string }[]>`
          select t.ref
          from unnest(
            ${changes.map(({ ref }) => ref)}::text[],
            ${changes.map(({ message }) => message.from)}::text[],
            ${changes.map(({ message }) => message.to)}::text[],
            ${changes.map(({ message }) => message.seq)}::bigint[],
            ${changes.map(({ revision }) => revision)}::bigint[]
          ) as t (ref, sender, receiver, seq, revision)
          join conversations c
            on c.low = least(t.sender collate "C", t.receiver) and c.high = greatest(t.sender collate "C", t.receiver)
          join messages m on m.conversation_id = c.id and m.seq = t.seq and m.revision >= t.revision
        `,
      );
      const seen = new Set(rows.map(({ ref }) => ref));
      for (const { ref } of changes) if (!seen.has(ref)) this.#history.add({ e: "not_visible", user: "", ref });
    } catch {
      this.#changed.unshift(...changes);
    }
  }

  async #recordMarks(): Promise<void> {
    for (const row of await conversations(this.#postgres).catch(() => [])) {
      const { lowUnread: _, highUnread: __, ...marks } = row;
      this.#history.add({ e: "marks", ...marks });
    }
  }

  async #repeat(everyMs: number, check: () => Promise<void>): Promise<void> {
    while (this.#running) {
      await check();
      await Bun.sleep(everyMs);
    }
  }
}

/** Every conversation's marks and unread counts in the table. */
export function conversations(
  postgres: Pick<Postgres, "sql">,
): Promise<(Marks & { lowUnread: number; highUnread: number })[]> {
  return postgres.sql.run(
    (sql) => sql<(Marks & { lowUnread: number; highUnread: number })[]>`
      select
        low, high, last_seq as last, revision, low_read_seq as "lowRead", high_read_seq as "highRead",
        low_delivered_seq as "lowDelivered", high_delivered_seq as "highDelivered",
        low_unread as "lowUnread", high_unread as "highUnread"
      from conversations
    `,
  );
}
