/** Baselines: minimal programs that do one part of chatify's work, each in its own process. */

import { type Client, connect } from "../../src/db/client.ts";
import { insertMessages, type NewMessage, WRITER_PARAMETERS } from "../../src/db/insert_messages.ts";
import { type Latency, latency } from "../support/statistics.ts";
import { cpuSeconds, ownCpuSeconds } from "../support/usage.ts";
import { nameOf, newSalt, type Pair, refOf, textOf } from "../support/users.ts";
import { work } from "./worker.ts";

/** Rows in a batch of `statement`: about what the server gathers while a statement is running. */
const BATCH = 200;

interface InsertOptions {
  readonly pairs: readonly Pair[];
  readonly seconds: number;
  /** The process id of PostgreSQL, for its CPU time. */
  readonly postgres: number;
}

export interface Inserted {
  readonly rows: number;
  /** Including those of the warm-up. */
  readonly total: number;
  readonly seconds: number;
  /** Of a statement with its commit. */
  readonly latency: Latency;
  readonly cpu: { readonly client: number; readonly postgres: number };
}

let sql: Client | undefined;
let sent = 0;
const salt = newSalt();
/** Conversation ids that no conversation has, for plain inserts. */
const unusedId = -Math.floor((1 + Math.random()) * 2 ** 40);

const jobs = {
  /** One connection with the settings of the server's writer. */
  connect({ database }: { database: string }) {
    sql = connect(database, { name: "bench-baseline", parameters: WRITER_PARAMETERS });
  },

  /** The server's own storing statement, batch after batch. */
  statement: (options: InsertOptions) => insert(options, BATCH),
  /** The same with one row per statement. */
  oneRow: (options: InsertOptions) => insert(options, 1),
  /** Plain inserts, each committed before the next, as in a program without batching. */
  naive: ({ pairs, ...options }: InsertOptions) =>
    repeat(options, async (sql, n) => {
      const [one, other] = pairs[n % pairs.length] as Pair;
      const ref = refOf(salt, sent++);
      await sql`
        insert into messages (conversation_id, seq, sender, receiver, content, timestamp, ref)
        values (${unusedId - one}, ${sent}, ${nameOf(one)}, ${nameOf(other)}, ${textOf(ref)}, now(), ${ref})
      `;
      return 1;
    }),

  relay,
  map,
  files,
};

export type BaselineJobs = typeof jobs;

await work(jobs);

/** The users of each pair write in turn. */
function insert({ pairs, ...options }: InsertOptions, batch: number): Promise<Inserted> {
  return repeat(options, async (sql) => {
    const messages = Array.from({ length: batch }, (): NewMessage => {
      const pair = pairs[(sent >> 1) % pairs.length] as Pair;
      const [from, to] = sent % 2 === 0 ? pair : pair.toReversed();
      const ref = refOf(salt, sent++);
      const [sender, toKey] = [nameOf(from as number), nameOf(to as number)];
      return { sender, toKey, ref, sendId: sent, content: textOf(ref) };
    });
    const stored = await insertMessages(sql, messages);
    if (stored.some((row) => row === undefined || row.alreadyStored)) throw new Error("insertMessages omitted a row");
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
  const readCpu = () => ({ client: ownCpuSeconds(), postgres: cpuSeconds(options.postgres) });
  const before = readCpu();
  const startedAt = performance.now();
  let rows = 0;
  for (let now = startedAt, n = 0; now - startedAt < options.seconds * 1_000; n++) {
    rows += await act(sql, n);
    const last = now;
    now = performance.now();
    times.push(now - last);
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const after = readCpu();
  const cpu = { client: after.client - before.client, postgres: after.postgres - before.postgres };
  return { rows, total: total + rows, seconds, latency: latency(times), cpu };
}

type Socket = Bun.ServerWebSocket<{ name: string }>;

/** A WebSocket server that knows its users by name. */
function serveSockets(handlers: {
  opened?: (socket: Socket) => void;
  received?: (socket: Socket, text: string, sockets: ReadonlyMap<string, Socket>) => void;
}): { port: number } {
  const sockets = new Map<string, Socket>();
  const { port = 0 } = Bun.serve<{ name: string }>({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, server) =>
      server.upgrade(request, { data: { name: new URL(request.url).pathname.slice(4) } })
        ? undefined
        : new Response("", { status: 400 }),
    websocket: {
      open(socket) {
        sockets.set(socket.data.name, socket);
        handlers.opened?.(socket);
      },
      message: (socket, text) => handlers.received?.(socket, String(text), sockets),
      close: ({ data }) => void sockets.delete(data.name),
    },
  });
  return { port };
}

/** Forwards and acknowledges messages, numbers them in memory, stores nothing. */
function relay(): { port: number } {
  const numbers = new Map<string, number>();
  let id = 0;
  return serveSockets({
    opened: (socket) => void socket.send(`{"type":"hello","username":"${socket.data.name}"}`),
    received(socket, text, sockets) {
      const { to, message, ref, type } = JSON.parse(text) as Record<"to" | "message" | "ref" | "type", string>;
      if (type === "watch") return void socket.send('{"type":"presence","users":{}}');
      const from = socket.data.name;
      const pair = from < to ? from + to : to + from;
      const seq = (numbers.get(pair) ?? 0) + 1;
      numbers.set(pair, seq);
      socket.send(JSON.stringify({ type: "ack", ref, id: ++id, seq, peer: to, duplicate: false }));
      sockets.get(to)?.send(JSON.stringify({ type: "message", from, to, message, id, seq, ref }));
    },
  });
}

/** Knows its connected users, and nothing else. */
function map(): { port: number } {
  return serveSockets({});
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
  const { port = 0 } = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const file = known.get(new URL(request.url).pathname);
      return file ? new Response(file.body, { headers: file.headers }) : new Response("", { status: 404 });
    },
  });
  return { port };
}
