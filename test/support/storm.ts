/**
 * Three times 200 concurrent logins with wrong passwords, each from its own address, in a separate process so as not to disturb the
 * measurement. `STORM_URL`, `STORM_NAMES` (number of accounts); prints the responses as JSON.
 */

const { STORM_URL = "", STORM_NAMES = "1" } = Bun.env;
const AT_ONCE = 200;
const ROUNDS = 3;

/** The responses to a storm. */
export interface Storm {
  /** Responses by status. */
  statuses: Record<number, number>;
  /** The least `Retry-After` of the rejected, 0 if one had none. */
  leastWait: number;
}

const seen: Storm = { statuses: {}, leastWait: Number.MAX_SAFE_INTEGER };

async function logIn(round: number, i: number): Promise<void> {
  const answer = await fetch(STORM_URL, {
    method: "POST",
    body: new URLSearchParams({ username: `chatter${i % Number(STORM_NAMES)}`, password: "wrong" }),
    headers: { "x-forwarded-for": `10.${round}.0.${i}` },
    redirect: "manual",
  });
  await answer.bytes();
  seen.statuses[answer.status] = (seen.statuses[answer.status] ?? 0) + 1;
  if (answer.status !== 401) seen.leastWait = Math.min(seen.leastWait, Number(answer.headers.get("retry-after")));
}

for (let round = 0; round < ROUNDS; round++) {
  await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => logIn(round, i)));
}
process.stdout.write(JSON.stringify(seen));
