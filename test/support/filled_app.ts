/** Servers with thousands of rows, written by SQL in a second. */

import { TestDatabase } from "../../tools/support/database.ts";
import { cookieOf, nameOf, SESSION_SECRET } from "../../tools/support/users.ts";
import { migratedDatabase, Person, startApp, type TestApp } from "./harness.ts";

export interface FilledApp extends TestApp {
  /** A user by number, signed in. */
  user(number: number): Person;
}

/** Starts a server on a database filled by `fill`. */
export async function startFilledApp(fill: (database: TestDatabase) => Promise<void>): Promise<FilledApp> {
  const url = await migratedDatabase();
  const database = new TestDatabase("test", url);
  await fill(database);
  await database.sql.end();
  const app = await startApp({ database: url, env: { SESSION_SECRET } });
  return { ...app, user: (number) => new Person(app.url, nameOf(number), cookieOf(number)) };
}

/** Spaces conversations a minute apart and their messages a second. */
export async function spreadOverTime({ sql }: TestDatabase): Promise<void> {
  await sql`update conversations set last_at = now() - id * interval '1 minute'`;
  await sql`
    update messages m set timestamp = c.last_at - (c.last_seq - m.seq) * interval '1 second'
    from conversations c
    where c.id = m.conversation_id
  `;
}
