/** Messages from the past. */

import type { TestApp } from "./harness.ts";

/** Changes when two users wrote their messages. @param times in milliseconds, for message 1 and up */
export async function setTimes(
  app: TestApp,
  [user, peer]: readonly [string, string],
  times: readonly number[],
): Promise<void> {
  const [conversation] = await app.sql<{ id: string }[]>`
    update conversations set last_at = ${new Date(times.at(-1)!).toISOString()}
    where ${user} in (low, high) and ${peer} in (low, high)
    returning id::text`;
  for (const [index, time] of times.entries())
    await app.sql`
      update messages set timestamp = ${new Date(time).toISOString()}
      where conversation_id = ${conversation!.id}::bigint and seq = ${index + 1}`;
}
