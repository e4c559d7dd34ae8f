/** Fills in name skeletons and current name keys of accounts created by older versions. */

import { errorText, type Log } from "../log.ts";
import { nameKey, skeletonsOf } from "../util/text.ts";
import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { codeOf } from "./failures.ts";

const STEP = 1_000;
const EVERY_MS = 60_000;

/**
 * Completes all accounts, 300,000 in about 20 s; safe on several pods at once. Existing lookalikes
 * keep their names.
 */
export async function fillSkeletons(db: Database, log: Log): Promise<void> {
  while (await db.run((sql) => fillStep(sql, log)));
}

/** Completes accounts in the background: older pods still create some during a rolling upgrade. */
export class SkeletonFiller {
  readonly #db: Database;
  readonly #log: Log;
  readonly #timer: Timer;
  #filling: Promise<void> | undefined;
  #isStopped = false;

  constructor({ db, log }: { db: Database; log: Log }) {
    this.#db = db;
    this.#log = log;
    this.#timer = setInterval(() => void this.fill(), EVERY_MS);
  }

  /** Resolves when all accounts are complete or the database has failed. */
  fill(): Promise<void> {
    return (this.#filling ??= fillSkeletons(this.#db, this.#log)
      .catch((error: unknown) => {
        if (this.#isStopped) return;
        this.#log.warn("filling in name skeletons failed, will retry in a minute", { error: errorText(error) });
      })
      .finally(() => (this.#filling = undefined)));
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }
}

/** @returns whether incomplete accounts may remain */
async function fillStep(sql: Sql, log: Log): Promise<boolean> {
  const accounts = await sql<{ id: number; username: string; nameKey: string }[]>`
    select id, username, name_key as "nameKey"
    from users
    where not has_skeletons
    order by id
    limit ${STEP}
  `;
  if (accounts.length === 0) return false;
  for (const { id, username, nameKey: stored } of accounts) {
    const key = nameKey(username);
    if (key === stored || (await setKey(sql, id, key))) continue;
    log.warn("account unreachable by name: another account has its key", { id, key });
  }
  const rows = accounts.flatMap(({ id, username }) =>
    skeletonsOf(username).map((skeleton, place) => ({ id, skeleton, place })),
  );
  await sql`
    with filled as (
      insert into name_skeletons (user_id, skeleton, is_shown)
      select t.id, t.skeleton, t.place = 0
      from unnest(
        ${rows.map(({ id }) => id)}::bigint[],
        ${rows.map(({ skeleton }) => skeleton)}::text[],
        ${rows.map(({ place }) => place)}::bigint[]
      ) as t (id, skeleton, place)
      on conflict do nothing
    ), locked as (
      select id
      from users
      where id = any(${accounts.map(({ id }) => id)}::bigint[])
      order by id -- or pods that start together would deadlock
      for update
    )
    update users u
    set has_skeletons = true
    from locked
    where u.id = locked.id
  `;
  return accounts.length === STEP;
}

/** @returns false when another account has the key */
async function setKey(sql: Sql, id: number, key: string): Promise<boolean> {
  try {
    await sql`update users set name_key = ${key} where id = ${id}`;
    return true;
  } catch (error) {
    if (codeOf(error) === "23505") return false;
    throw error;
  }
}
