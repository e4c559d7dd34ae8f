/** What chatify is compared with: the least that does a part of its work. A process of its own for each. */

import { type Client, connect } from "../../src/db/client.ts";
import { insertMessages, type NewMessage, WRITER_PARAMETERS } from "../../src/db/insert_messages.ts";
import { type Latency, latency } from "../support/statistics.ts";
import { cpuSeconds } from "../support/usage.ts";
import { nameOf, newSalt, type Pair, refOf, textOf } from "../support/users.ts";
import { work } from "./worker.ts";

/** Rows in a batch of `limit`: about what gathers in the server while a statement is under way. */
const BATCH = 200;

interface Inserting {
  readonly pairs: readonly Pair[];
  readonly seconds: number;
  /** PostgreSQL, whose CPU seconds are counted. */
  readonly postgres: number;
}

export interface Inserted {
  readonly rows: number;
  /** With those before the clock started. */
  readonly total: number;
  readonly seconds: number;
  /** Milliseconds of a statement, its commit included. */
  readonly took: Latency;
  readonly cpu: { readonly client: number; readonly postgres: number };
}

let sql: Client | undefined;
let sent = 0;
const salt = newSalt();
/** Where plain inserts go: numbers that no conversation has. */
const nowhere = -Math.floor((1 + Math.random()) * 2 ** 40);

const jobs = {
  /** One connection with the settings of the server's canary. */
  connect({ database }: { database: string }) {
    sql = connect(database, { name: "bench-baseline", parameters: WRITER_PARAMETERS });
  },

  /** The server's own statement, batch after batch. */
  limit: (options: Inserting) => insert(options, BATCH),
  /** The same with one row each time. */
  single: (options: Inserting) => insert(options, 1),
  /** One plain insert after another, each committed before the next, as a program does that does not gather. */
  naive: ({ pairs, ...options }: Inserting) =>
    repeat(options, async (sql, n) => {
      const [one, other] = pairs[n % pairs.length] as Pair;
      const ref = refOf(salt, sent++);
      await sql`
        insert into messages (conversation_id, seq, sender, receiver, content, timestamp, ref)
        values (${nowhere - one}, ${sent}, ${nameOf(one)}, ${nameOf(other)}, ${textOf(ref)}, now(), ${ref})
      `;
      return 1;
    }),

  relay,
  map,
  files,
};

export type BaselineJobs = typeof jobs;

await work(jobs);

/** Everybody's next message in turn, from one end of a pair and then from the other. */
function insert({ pairs, ...options }: Inserting, batch: number): Promise<Inserted> {
  return repeat(options, async (sql) => {
    const drafts = Array.from({ length: batch }, (): NewMessage => {
      const pair = pairs[(sent >> 1) % pairs.length] as Pair;
      const [from, to] = sent % 2 === 0 ? pair : pair.toReversed();
      const ref = refOf(salt, sent++);
      return {
        sender: nameOf(from as number),
        toKey: nameOf(to as number),
        ref,
        attemptId: sent,
        content: textOf(ref),
      };
    });
    const stored = await insertMessages(sql, drafts);
    if (stored.some((row) => row === undefined || row.alreadyStored)) throw new Error("insertMessages left a row out");
    return batch;
  });
}

async function repeat(
  options: { seconds: number; postgres: number },
  act: (sql: Client, n: number) => Promise<number>,
): Promise<Inserted> {
  if (!sql) throw new RangeError("Not connected");
  let total = 0;
  for (let n = 0; n < 5; n++) total += await act(sql, n);
  const times: number[] = [];
  const cpuBefore = [ownCpuSeconds(), cpuSeconds(options.postgres)] as const;
  const begun = performance.now();
  let rows = 0;
  for (let now = begun, n = 0; now - begun < options.seconds * 1_000; n++) {
    rows += await act(sql, n);
    const then = now;
    now = performance.now();
    times.push(now - then);
  }
  const seconds = (performance.now() - begun) / 1_000;
  const cpu = { client: ownCpuSeconds() - cpuBefore[0], postgres: cpuSeconds(options.postgres) - cpuBefore[1] };
  return { rows, total: total + rows, seconds, took: latency(times), cpu };
}

/** Forwards and acknowledges, numbers in memory, stores nothing. */
function relay(): { port: number } {
  const sockets = new Map<string, Bun.ServerWebSocket<{ name: string }>>();
  const numbers = new Map<string, number>();
  let id = 0;
  const server = Bun.serve<{ name: string }>({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, server) =>
      server.upgrade(request, { data: { name: new URL(request.url).pathname.slice(4) } })
        ? undefined
        : new Response("", { status: 400 }),
    websocket: {
      open(ws) {
        sockets.set(ws.data.name, ws);
        ws.send(`{"type":"hello","username":"${ws.data.name}"}`);
      },
      message(ws, text) {
        const { to, message, ref, type } = JSON.parse(String(text)) as {
          to: string;
          message: string;
          ref: string;
          type?: string;
        };
        if (type === "watch") return void ws.send('{"type":"presence","users":{}}');
        const from = ws.data.name;
        const pair = from < to ? from + to : to + from;
        const seq = (numbers.get(pair) ?? 0) + 1;
        numbers.set(pair, seq);
        ws.send(JSON.stringify({ type: "ack", ref, id: ++id, seq, peer: to, duplicate: false }));
        sockets.get(to)?.send(JSON.stringify({ type: "message", from, to, message, id, seq, ref }));
      },
      close: (ws) => void sockets.delete(ws.data.name),
    },
  });
  return { port: server.port as number };
}

/** Knows who is connected, and nothing else. */
function map(): { port: number } {
  const sockets = new Map<string, Bun.ServerWebSocket<{ name: string }>>();
  const server = Bun.serve<{ name: string }>({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, server) =>
      server.upgrade(request, { data: { name: new URL(request.url).pathname.slice(4) } })
        ? undefined
        : new Response("", { status: 400 }),
    websocket: {
      open: (ws) => void sockets.set(ws.data.name, ws),
      message() {},
      close: (ws) => void sockets.delete(ws.data.name),
    },
  });
  return { port: server.port as number };
}

interface File {
  readonly headers: Record<string, string>;
  /** base64 */
  readonly body: string;
}

/** Answers each path with its bytes and headers. */
function files({ files }: { files: Record<string, File> }): { port: number } {
  const known = new Map(
    Object.entries(files).map(([path, { headers, body }]) => [path, { headers, body: Buffer.from(body, "base64") }]),
  );
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const file = known.get(new URL(request.url).pathname);
      return file ? new Response(file.body, { headers: file.headers }) : new Response("", { status: 404 });
    },
  });
  return { port: server.port as number };
}

function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
