/** The memory that clients that read nothing can pin, measured on a server process. */

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { type Client, connect } from "../../src/db/client.ts";
import { migratedDatabase, Person, raw } from "../support/harness.ts";
import { handshake } from "../support/raw.ts";
import { Served } from "../support/served.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(120_000);

const linux = process.platform === "linux";
/** The longest text there is. */
const LONGEST = "𐍈".repeat(4_000);
/** In JSON six bytes each: a page of them is more than the system keeps for a reader on the same machine. */
const WIDEST = "\u0001".repeat(4_000);
const GROWTH_MAX_MIB = 200;

beforeAll(async () => void (await migratedDatabase())); // the PostgreSQL of the tests first

/** A connection that sends a request and reads nothing. */
async function stall(port: number, request: string): Promise<Bun.Socket> {
  return Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open(socket) {
        socket.pause();
        socket.write(request);
      },
      data() {},
      error() {},
    },
  });
}

/** The sizes of the parts in which an answer was sent; an answer without parts is one. */
function partsOf({ headers, body }: { headers: Headers; body: string }): number[] {
  if (headers.get("transfer-encoding") !== "chunked") return [body.length];
  const sizes = [];
  for (let at = 0, size = 1; size > 0; at = body.indexOf("\r\n", at) + size + 4) {
    size = Number.parseInt(body.slice(at, at + 8), 16);
    sizes.push(size);
  }
  return sizes;
}

const get = (person: Person, path: string, headers = "") =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${person.cookie}\r\n${headers}\r\n`;

/** Creates accounts `prefix_1` … with an invalid password hash. */
async function accounts(sql: Client, prefix: string, count: number): Promise<void> {
  await sql`
    insert into users (username, name_key, search_key, password)
    select ${prefix} || '_' || n, ${prefix} || '_' || n, ${prefix} || '_' || n, '!' from generate_series(1, ${count}::int) n
  `;
}

/** Writes a text of `me` to themselves, so many times. */
async function notes(sql: Client, me: string, count: number, text: string): Promise<void> {
  await sql`
    with c as (insert into conversations (low, high, last_seq, last_at) values (${me}, ${me}, ${count}, now()) returning id)
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select c.id, n, ${me}, ${me}, ${text}, now(), true from c, generate_series(1, ${count}::int) n
  `;
}

/** What makes each answer long: of `ann`, to whom `somebody_1` … belong. */
const LONG: Record<string, (sql: Client) => Promise<unknown>> = {
  "/messages/ann/ann?limit=200": (sql) => notes(sql, "ann", 200, WIDEST),
  "/messages/ann/ann": (sql) => notes(sql, "ann", 300, WIDEST),
  "/conversations?limit=200": (sql) => sql`
    with c as (
      insert into conversations (low, high, last_seq, last_at)
      select 'ann', 'somebody_' || n, 1, now() from generate_series(1, 200) n
      returning id, high
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
    select id, 1, high, 'ann', ${WIDEST}, now() from c
  `,
  "/unread_counts/ann": (sql) => sql`
    insert into conversations (low, high, last_seq, last_at, low_unread)
    select 'ann', 'somebody_with_quite_a_long_name_' || n, 1, now(), 1 from generate_series(1, 150000) n
  `,
  "/blocks": async (sql) => {
    await sql`
    insert into conversations (low, high, last_at, blocked_by)
    select 'ann', 'somebody_with_quite_a_long_name_' || n, now(), array['ann'] from generate_series(1, 150000) n
  `;
    await sql`update memberships set blocked_seq = 0, blocked_at = now() where owner = 'ann'`;
  },
  "/drafts": (sql) => sql`
    insert into drafts (owner, peer, text, at) select 'ann', 'somebody_' || n, ${WIDEST}, now() from generate_series(1, 100) n
  `,
  "/get_users": (sql) => accounts(sql, "somebody_with_quite_a_long_name", 150_000),
  "/export": async (sql) => {
    await notes(sql, "ann", 200, WIDEST);
    await sql`insert into drafts (owner, peer, text, at) select 'ann', 'somebody_' || n, ${WIDEST}, now() from generate_series(1, 100) n`;
  },
};

test.concurrent.skipIf(!linux).each(Object.entries(LONG))(
  "190 clients of %s that read nothing take bounded memory",
  async (path, write) => {
    const served = await Served.start();
    const sql = connect(served.database, { name: "test" });
    const ann = await Person.signUp(served.url, "ann");
    await write(sql);
    await sql`analyze`;
    const before = served.MiB;
    const stalled = await Promise.all(Array.from({ length: 190 }, () => stall(served.port, get(ann, path))));
    const startedAt = performance.now();
    // As long as the memory grows: answers are made one after the other.
    for (let most = 0; most < served.mostMiB || performance.now() - startedAt < 3_000; await Bun.sleep(1_500))
      most = served.mostMiB;
    const growth = served.mostMiB - before;
    for (const socket of stalled) socket.terminate();
    let parts: number[] = [];
    await until("it is answered, whole", async () => {
      const answer = await raw(served.port, get(ann, path, "Connection: close\r\n"));
      parts = partsOf(answer);
      return answer.status === 200;
    });
    const largest = Math.max(...parts);
    console.log(`190 × ${path}: ${before} MiB and ${growth} more; ${parts.length} parts, the largest ${largest} bytes`);
    expect(largest).toBeLessThanOrEqual(256 * 1_024);
    expect(growth).toBeLessThanOrEqual(GROWTH_MAX_MIB);
    await sql.end();
    await served.stop();
  },
);

test.skipIf(!linux)("540 sockets that read nothing take bounded memory", async () => {
  const served = await Served.start();
  const people: Person[] = [];
  for (let i = 0; i < 54; i++) people.push(await Person.signUp(served.url, `person_${i}`));
  const ann = await Person.signUp(served.url, "ann");
  const before = served.MiB;
  const sockets = await Promise.all(
    people.flatMap((person) =>
      Array.from({ length: 10 }, () =>
        stall(served.port, handshake(`/ws/${person.name}`, `Cookie: ${person.cookie}\r\n`)),
      ),
    ),
  );
  const tab = await ann.open({ watch: [] });
  let [sent, acked] = [0, 0];
  tab.socket.addEventListener("message", ({ data }) => void (String(data).includes('"type":"ack"') && acked++));
  const total = 54 * 300; // of 16 KB: 4 MB of each socket lie in the system, the rest in the process
  await until(
    "all is sent",
    () => {
      for (; sent < total && sent - acked < 100; sent++) tab.say({ to: `person_${sent % 54}`, message: LONGEST });
      return acked === total;
    },
    100_000,
  );
  await Bun.sleep(500);
  const growth = served.mostMiB - before;
  console.log(`540 sockets: ${before} MiB and ${growth} more`);
  for (const socket of sockets) socket.terminate();
  expect(growth).toBeLessThanOrEqual(GROWTH_MAX_MIB);
  await tab.close();
  await served.stop();
});

test.skipIf(!linux)("thirty concurrent responses of 12 MB with 60,000 names take bounded memory", async () => {
  const served = await Served.start();
  const sql = connect(served.database, { name: "test" });
  const ann = await Person.signUp(served.url, "ann");
  await accounts(sql, "x".repeat(190), 60_000); // longer than names may be, since rows cost time
  const before = served.MiB;
  const responses = await Promise.all(Array.from({ length: 30 }, async () => (await ann.get("/get_users")).bytes()));
  const growth = served.mostMiB - before;
  console.log(`30 × 60,000 names: ${before} MiB and ${growth} more`);
  expect(JSON.parse(Buffer.from(responses[0]!).toString())).toHaveLength(60_000);
  expect(new Set(responses.map(({ length }) => length)).size).toBe(1);
  expect(growth).toBeLessThanOrEqual(GROWTH_MAX_MIB);
  await sql.end();
  await served.stop();
});
