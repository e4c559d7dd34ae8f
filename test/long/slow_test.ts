/**
 * Clients that hold connections without using them, and their cost to a server in a process of its own. The kinds run concurrently,
 * because each lasts as long as the server waits. Each prints a line with its figures.
 */

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { connect } from "../../src/db/client.ts";
import { migratedDatabase, PASSWORD, Person, post } from "../support/harness.ts";
import { closeCode, frame, handshake, OPCODE, RawSocket } from "../support/raw.ts";
import { Served } from "../support/served.ts";

setDefaultTimeout(60_000);

const linux = process.platform === "linux";
const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b);
const seconds = (ms: number | undefined) => ((ms ?? 0) / 1_000).toFixed(1);

beforeAll(async () => void (await migratedDatabase())); // the PostgreSQL of the tests first: it is none of what is measured

/** @param drip what follows each half second @returns after how many ms each of `count` connections was cut, undefined: never */
async function hold(port: number, count: number, head: string, drip = ""): Promise<(number | undefined)[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const socket = await RawSocket.connect(port);
      const startedAt = performance.now();
      if (head) socket.write(head);
      const timer = drip ? setInterval(() => socket.write(drip), 500) : undefined;
      const cutAt = await Promise.race([socket.closed.then(() => performance.now()), Bun.sleep(20_000)]);
      clearInterval(timer);
      socket.end();
      return cutAt === undefined ? undefined : cutAt - startedAt;
    }),
  );
}

const SLOW: Record<string, [head: string, drip?: string]> = {
  "nothing at all": [""],
  "half a header": ["GET / HTTP/1.1\r\nHost: x\r\nCook"],
  "a header line each half second": ["GET / HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"],
  "a body byte each half second": [
    "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n",
    "x",
  ],
  "a body byte each half second where no body is read": [
    "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    "x",
  ],
  "nothing after an answer": ["GET /test HTTP/1.1\r\nHost: x\r\n\r\n"],
};

test.concurrent.skipIf(!linux)("slow connections are closed within 15 s, and users sign in meanwhile", async () => {
  const served = await Served.start();
  await Person.signUp(served.url, "ann");
  const before = served.MiB;
  const count = Math.floor(2_000 / Object.keys(SLOW).length);
  const held = Promise.all(
    Object.entries(SLOW).map(async ([kind, [head, drip]]) => ({
      kind,
      cuts: await hold(served.port, count, head, drip),
    })),
  );
  await Bun.sleep(1_000);
  const logins: number[] = [];
  for (let i = 0; i < 40; i++) {
    const startedAt = performance.now();
    const answer = await post(`${served.url}/login`, { username: "ann", password: PASSWORD }, { connection: "close" });
    expect(answer.status).toBe(302);
    logins.push(performance.now() - startedAt);
    await Bun.sleep(150);
  }
  const results = await held;
  const slowest = sorted(logins).at(-1) ?? 0;
  const cuts = results.map(({ kind, cuts }) => `${kind} ${seconds(Math.max(...cuts.map((ms) => ms ?? Infinity)))} s`);
  console.log(
    `slowloris: ${count * results.length} connections, cut after at most: ${cuts.join(", ")}; 40 logins p50 ` +
      `${sorted(logins)[20]?.toFixed(0)} ms, max ${slowest.toFixed(0)} ms; RSS ${before} MiB, at most ${served.mostMiB}`,
  );
  for (const { kind, cuts } of results) {
    expect([kind, cuts.filter((ms) => ms === undefined || ms > 15_000).length]).toEqual([kind, 0]);
  }
  expect(slowest).toBeLessThan(8_000);
  expect(served.mostMiB).toBeLessThan(before + 100);
  await served.stop();
});

/** Stops reading a long answer. `pausedMs`: for how long; absent: for good. @returns the whole text, if there was one */
async function stall(port: number, person: Person, pausedMs?: number): Promise<string> {
  const parts: Buffer[] = [];
  const closed = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open(socket) {
        socket.write(
          `GET /messages/ann/bob?peek=1 HTTP/1.1\r\nHost: x\r\nCookie: ${person.cookie}\r\nConnection: close\r\n\r\n`,
        );
        socket.pause();
      },
      data: (_, bytes) => void parts.push(Buffer.from(bytes)),
      close: () => closed.resolve(),
      error: () => closed.resolve(),
    },
  });
  await Bun.sleep(pausedMs ?? 4_000);
  if (pausedMs === undefined) socket.terminate();
  else socket.resume();
  await closed.promise;
  return Buffer.concat(parts).toString();
}

test.concurrent.skipIf(!linux)(
  "clients that stop reading a large response use little memory, and may continue after 14 s",
  async () => {
    const served = await Served.start();
    const [ann, bob] = [await Person.signUp(served.url, "ann"), await Person.signUp(served.url, "bob")];
    const sql = connect(served.database, { name: "test", max: 1 });
    const rows = 2_000; // 33 MB: the longest texts there are
    await sql`
    with c as (insert into conversations (low, high, last_seq, last_at) values ('ann', 'bob', ${rows}, now()) returning id)
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select c.id, n, 'ann', 'bob', repeat('𐍈', 4000), now(), true from c, generate_series(1, ${rows}::int) as n
  `;
    await sql.end();
    const before = served.MiB;
    const patient = stall(served.port, ann, 14_000);
    await Bun.sleep(200);
    const others = Array.from({ length: 3 }, () => stall(served.port, ann));
    const bobs = Array.from({ length: 4 }, () => stall(served.port, bob));
    await Bun.sleep(3_000);
    const refused = await ann.get("/messages/ann/bob?peek=1");
    const page = await ann.get("/messages/ann/bob?peek=1&limit=5"); // pages are not long
    const held = served.mostMiB - before;
    await Promise.all([...others, ...bobs]);
    const text = await patient;
    console.log(
      `readers who stop: 8 of 33 MB each, RSS ${before} MiB and at most ${held} more; one goes on after 14 s`,
    );
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "5"]);
    expect(page.status).toBe(200);
    expect(text.endsWith("]\r\n0\r\n\r\n")).toBe(true); // whole
    expect(held).toBeLessThan(80); // pages of 250 such texts: 115 and more
    const again = await ann.get("/messages/ann/bob?peek=1"); // who left is no longer counted
    expect(again.status).toBe(200);
    expect(((await again.json()) as unknown[]).length).toBe(rows);
    await served.stop();
  },
);

test.concurrent.skipIf(!linux)(
  "more connections than files: users chat on, idle connections are closed, and the server recovers",
  async () => {
    const served = await Served.start({ openFiles: 300 });
    const [ann, bob] = [await Person.signUp(served.url, "ann"), await Person.signUp(served.url, "bob")];
    const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
    const acks: number[] = [];
    const talk = async () => {
      const startedAt = performance.now();
      await a.send("bob", "still here?");
      await b.next("message");
      acks.push(performance.now() - startedAt);
    };
    /** Of one core, while people talk. */
    const load = async (forMs: number): Promise<number> => {
      const [cpu, startedAt] = [served.cpu, performance.now()];
      while (performance.now() - startedAt < forMs) {
        await talk();
        await Bun.sleep(100);
      }
      return ((served.cpu - cpu) * 1_000) / (performance.now() - startedAt);
    };
    const answersWithin = async (ms: number) => {
      const startedAt = performance.now();
      while (performance.now() - startedAt < ms) {
        const signal = AbortSignal.timeout(1_000);
        const answer = await fetch(`${served.url}/login`, { signal, headers: { connection: "close" } }).catch(
          () => undefined,
        );
        if (answer?.status === 200) return performance.now() - startedAt;
      }
      return Infinity;
    };

    // Connections that have been answered and wait, as browsers and load balancers keep them.
    const kept = await Promise.all(
      Array.from({ length: 400 }, async () => {
        const socket = await RawSocket.connect(served.port);
        socket.write("GET /test HTTP/1.1\r\nHost: x\r\n\r\n");
        return socket;
      }),
    );
    const keptMs = await answersWithin(10_000);
    await load(1_000); // one more round of making room
    const keptLoad = await load(2_000);
    const keptOpen = kept.filter(({ isClosed }) => !isClosed).length;
    kept.forEach((socket) => socket.end());

    // Sockets of one person, as many as there is no room for.
    const opening = await Promise.all(
      Array.from({ length: 400 }, async () => {
        const socket = await RawSocket.connect(served.port);
        socket.write(handshake("/ws/ann", `Cookie: ${ann.cookie}\r\n`));
        const head = await socket
          .until((heard) => heard.includes("\r\n\r\n"), 30_000)
          .catch(() => Buffer.from("- none"));
        return { socket, status: head.toString().split(" ")[1] };
      }),
    );
    const statuses = Object.groupBy(opening, ({ status }) => status ?? "closed");
    const socketsLoad = await load(2_000);
    for (const { socket } of opening) socket.end();
    await load(500);

    // Connections that say nothing: Bun hands over none of them and closes none before its 12 s.
    const silent = await Promise.all(Array.from({ length: 400 }, () => RawSocket.connect(served.port)));
    const silentLoad = await load(3_000);
    const silentFiles = served.files;
    silent.forEach((socket) => socket.end());
    const healedMs = await answersWithin(15_000);
    await load(1_200); // what the last round left
    const after = await load(2_000);
    console.log(
      `out of files: 400 kept connections at 300 files: a page after ${seconds(keptMs)} s, ${keptOpen} left open, ${keptLoad.toFixed(2)} of a core; ` +
        `400 sockets: ${Object.entries(statuses)
          .map(([status, all]) => `${all?.length} × ${status}`)
          .join(", ")}, ${socketsLoad.toFixed(2)}; ` +
        `400 silent: ${silentFiles} files, ${silentLoad.toFixed(2)} of a core (Bun spins at the limit), a page ${seconds(healedMs)} s after they left, ${after.toFixed(2)} of a core then; ` +
        `talk meanwhile p50 ${sorted(acks)[acks.length >> 1]?.toFixed(0)} ms, max ${sorted(acks).at(-1)?.toFixed(0)} ms`,
    );
    expect(served.runs).toBe(true);
    expect(keptMs).toBeLessThan(6_000);
    expect(keptLoad).toBeLessThan(0.5);
    expect(statuses["503"]?.length ?? 0).toBeGreaterThan(0);
    expect(statuses["101"]?.length ?? 0).toBeGreaterThan(100);
    expect(Object.keys(statuses).toSorted()).toEqual(["101", "503"]);
    expect(healedMs).toBeLessThan(10_000);
    expect(after).toBeLessThan(0.5);
    expect(served.files).toBeLessThan(40);
    expect(sorted(acks).at(-1)).toBeLessThan(5_000);
    expect(served.runs).toBe(true);
    await Promise.all([a.close(), b.close()]);
    await served.stop();
  },
);

test.concurrent.skipIf(!linux)("oversized frames and compression bombs close with 1009 and use no memory", async () => {
  const served = await Served.start();
  const ann = await Person.signUp(served.url, "ann");
  const { text, continuation } = OPCODE;
  // 50 MB of blanks as deflate packs them: about 48 KiB, and a frame of it that says it is compressed
  const bomb = Bun.deflateSync(new Uint8Array(50_000_000).fill(0x20), { level: 9 });
  const offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
  const mebibyte = "x".repeat(2 ** 20);
  const kinds: [string, Buffer, number, string?][] = [
    ["a frame of 1 MiB", frame(text, mebibyte), 1009],
    ["fragments of 2 MiB", Buffer.concat([frame(text, mebibyte, { fin: false }), frame(continuation, mebibyte)]), 1009],
    ["a length of 2^62", frame(text, "x", { lengthBytes: 8, length: 1n << 62n }), 1009],
    ["a bomb", frame(text, bomb, { reserved: 4 }), 1002, offer], // no compression was agreed on
    ["a bomb in pieces", frame(text, bomb.subarray(0, 1_000), { reserved: 4, fin: false }), 1002, offer],
  ];
  const before = served.MiB;
  for (const [kind, bytes, code, headers = ""] of kinds) {
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = await RawSocket.upgraded(served.port, ann, headers);
        socket.write(bytes);
        await socket.until(() => false, 20_000);
        expect([kind, closeCode(socket.heard)]).toEqual([kind, code]);
      }),
    );
  }
  console.log(
    `bombs: 20 each of ${kinds.map(([kind]) => kind).join(", ")}: RSS ${before} MiB, at most ${served.mostMiB}`,
  );
  expect(served.mostMiB).toBeLessThan(before + 40);
  await served.stop();
});
