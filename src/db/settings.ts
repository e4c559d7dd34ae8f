/** What all pods share in the database besides people and messages: values that one of them made. */

import type { Database } from "./client.ts";

/**
 * A value of all pods, made by whoever asks first.
 *
 * @param name `session_secret`: signs cookies when `SESSION_SECRET` is absent; `bus_realm`: part of the channel's name on the bus; `bus_key`:
 *   seals the packets there, and is known to nobody else
 */
export async function sharedSetting(
  db: Database,
  name: "session_secret" | "bus_realm" | "bus_key",
  made: string,
): Promise<string> {
  const [row] = await db.run(
    (sql) => sql<[{ value: string }]>`
      with made as (
        insert into settings (name, value)
        values (${name}, ${made})
        on conflict (name) do nothing
        returning value
      )
      select value from made
      union all
      select value from settings where name = ${name}
      limit 1
    `,
  );
  // Two pods at once: the second inserts nothing and cannot see the first's row yet.
  return row ? row.value : sharedSetting(db, name, made);
}

/** Whether PostgreSQL answers, known within a second: a probe that waits longer counts as failed. */
export async function answers(db: Database): Promise<boolean> {
  const answered = db
    .run((sql) => sql`select 1`, { giveUpAfterMs: 500 })
    .then(
      () => true,
      () => false,
    );
  return Promise.race([answered, Bun.sleep(1_000).then(() => false)]);
}
