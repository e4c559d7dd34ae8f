/** Uploads and downloads of large files: their rate, memory, what they cost sends, and previews. */

import { Database } from "../../../src/db/database.ts";
import * as fileChunks from "../../../src/db/file_chunks.ts";
import { encodePng, RGBA } from "../../../src/util/png.ts";
import { SILENT } from "../../support/sandbox.ts";
import { type Latency, median, medianLatency } from "../../support/statistics.ts";
import { rssBytes } from "../../support/usage.ts";
import { cookieOf, nameOf, pairs } from "../../support/users.ts";
import type { Part } from "../part.ts";

const SIZE = 25_000_000;
const CHUNK = 256 * 1024;
/** PUTs of a file under way, as the page sends them. */
const PUTS = 3;
const WRITERS = pairs(25, 200);

export const files: Part = {
  seconds: ({ short }) => (short ? 40 : 200),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("files");
    const count = short ? 10 : 100;
    const database = await sandbox.database(300);
    const { port, pid } = await sandbox.serve({ database });
    const client = new FileClient(port);
    const bytes = random(SIZE);

    progress.step("uploading");
    const rates: number[] = [];
    const bare: number[] = [];
    const db = new Database({ target: database.url, name: "bench-bare", max: 2, log: SILENT });
    let id = "";
    for (let round = 0; round < 3; round++) {
      let startedAt = performance.now();
      id = await client.upload(cookieOf(0), bytes);
      rates.push(SIZE / (performance.now() - startedAt) / 1e3);
      startedAt = performance.now();
      await eachChunk(bytes, 2, (n, chunk) => fileChunks.put(db, `bare-${round}`, n, chunk));
      bare.push(SIZE / (performance.now() - startedAt) / 1e3);
    }
    await db.end();
    add.figure("upload of 25 MB", {
      value: median(rates) * 1e6,
      unit: "B/s",
      baseline: { name: "the same chunks written into PostgreSQL", value: median(bare) * 1e6 },
      bound: { least: 0.5 },
    });

    progress.step("making previews");
    const photo = await new Bun.Image(await smallPhoto()).resize(4_000, 3_000).jpeg({ quality: 85 }).bytes();
    const times: number[] = [];
    let picture = "";
    for (let round = 0; round < 5; round++) {
      picture = await client.upload(cookieOf(1), photo, (lastMs) => times.push(lastMs));
    }
    add.figure("preview of a JPEG of 12 million pixels", { value: median(times), unit: "ms", bound: { most: 400 } });
    const generator = sandbox.generator();
    const throughput = async (path: string) => {
      const options = { port, paths: [path], headers: { Cookie: cookieOf(1) }, connections: 4 };
      const { perSecond, problems } = await generator.ask("measureThroughput", { ...options, seconds: short ? 1 : 3 });
      add.check(`every response to ${path.split("/").at(-1)} is whole`, problems);
      return perSecond;
    };
    const previews = await throughput(`/files/${picture}/preview`);
    const [pages, rows] = [await throughput("/sw.js"), await throughput("/me")];
    add.figure("GET of a preview", {
      value: previews,
      unit: "/s",
      baseline: { name: "a static file", value: pages }, // which needs neither a session nor PostgreSQL
    });
    add.figure("GET of a preview", {
      value: previews,
      unit: "/s",
      baseline: { name: "GET /me", value: rows },
      bound: { least: 0.3 },
    });

    // the same bytes, for other users to download
    await database.sql`
      insert into files (id, owner, name, announced_type, is_original, size, chunks, store, blob, completed_at, type)
      select left(md5(u.username), 22), u.username, f.name, '', true, f.size, f.chunks, f.store, f.blob, now(), f.type
      from files f, users u
      where f.id = ${id} and u.username < ${nameOf(count)}
    `;
    const copies = await database.sql<{ id: string }[]>`
      select id from files where id = left(md5(owner), 22) order by owner
    `;
    await generator.ask("openMessageLoad", { ports: [port], pairs: WRITERS });
    const wrong: string[] = [];
    const sends = async (): Promise<Latency> => {
      const lastSeqs = await database.lastSeqs(WRITERS);
      const options = { pairs: WRITERS, lastSeqs, window: 1, warmUpSeconds: 0.3, seconds: short ? 1 : 3, marks: false };
      const result = await generator.ask("runMessageLoad", { port, ...options, pids: { server: [pid] } });
      wrong.push(...result.problems);
      return result.ack;
    };
    progress.step("sending messages");
    const alone = medianLatency([await sends(), await sends(), await sends()]);
    progress.step(`${count} uploads and ${count} downloads at once`);
    const before = rssBytes(pid);
    let most = before;
    const meter = setInterval(() => (most = Math.max(most, rssBytes(pid))), 50);
    const startedAt = performance.now();
    const transfers = Promise.all(
      copies.flatMap(({ id: copy }, user) => [
        client.upload(cookieOf(user), bytes),
        client.download(cookieOf(user), copy),
      ]),
    );
    const beside = medianLatency([await sends(), await sends(), await sends()]);
    const sizes = await transfers.finally(() => clearInterval(meter));
    const seconds = (performance.now() - startedAt) / 1_000;
    add.check(
      "every download is whole",
      sizes.every((size) => typeof size === "string" || size === SIZE) ? [] : ["cut"],
    );
    add.check("every frame is right meanwhile", wrong);
    const mib = (value: number) => `${(value / 2 ** 20).toFixed(0)} MiB`;
    add.figure(`memory growth in ${count} uploads and ${count} downloads at once`, {
      value: most - before,
      unit: "bytes",
      bound: { most: 200 * 2 ** 20 },
      note: `${mib(before)} before`,
    });
    add.figure("both together", { value: (2 * count * SIZE) / seconds, unit: "B/s" });
    add.figure("ack p99 meanwhile, 50 users", {
      value: beside.p99,
      unit: "ms",
      baseline: { name: "without transfers", value: alone.p99 },
      bound: { most: 3 },
    });
  },
};

/** Uploads and downloads as the page does, without keeping what it reads. */
class FileClient {
  readonly #origin: string;

  constructor(port: number) {
    this.#origin = `http://127.0.0.1:${port}`;
  }

  /** @param completed called with the milliseconds that the last chunk took @returns the id */
  async upload(cookie: string, bytes: Uint8Array, completed: (ms: number) => void = () => {}): Promise<string> {
    const headers = { cookie, "content-type": "application/json" };
    const body = JSON.stringify({ name: "a.bin", size: bytes.length });
    const begun = await fetch(`${this.#origin}/files`, { method: "POST", body, headers });
    if (begun.status !== 201) throw new Error(`POST /files answered ${begun.status}`);
    const { id } = (await begun.json()) as { id: string };
    const last = Math.ceil(bytes.length / CHUNK) - 1;
    await eachChunk(bytes.subarray(0, last * CHUNK), PUTS, (n, chunk) => this.#put(cookie, `${id}/${n}`, chunk));
    const startedAt = performance.now();
    await this.#put(cookie, `${id}/${last}`, bytes.subarray(last * CHUNK));
    completed(performance.now() - startedAt);
    return id;
  }

  async #put(cookie: string, path: string, bytes: Uint8Array): Promise<void> {
    for (;;) {
      const body = bytes as Uint8Array<ArrayBuffer>;
      const { status } = await fetch(`${this.#origin}/files/${path}`, { method: "PUT", body, headers: { cookie } });
      if (status === 204) return;
      if (status !== 503) throw new Error(`PUT answered ${status}`);
      await Bun.sleep(500 + Math.random() * 500); // too many at once
    }
  }

  /** Continues where it was cut, as browsers do. @returns how many bytes arrived */
  async download(cookie: string, id: string): Promise<number> {
    let size = 0;
    for (let tries = 0; size < SIZE && tries < 10; tries++) {
      try {
        const headers = { cookie, range: `bytes=${size}-` };
        const answer = await fetch(`${this.#origin}/files/${id}`, { headers });
        if (answer.status !== 206) continue;
        for await (const piece of answer.body ?? []) size += piece.length;
      } catch {
        await Bun.sleep(500); // PostgreSQL was too busy for ten seconds
      }
    }
    return size;
  }
}

/** Calls `put` with each chunk, a few at a time. */
async function eachChunk(
  bytes: Uint8Array,
  concurrency: number,
  put: (n: number, chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK) }, (_, n) => n).values();
  const work = async () => {
    for (const n of chunks) await put(n, bytes.subarray(n * CHUNK, (n + 1) * CHUNK));
  };
  await Promise.all(Array.from({ length: concurrency }, work));
}

function random(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** A PNG with some detail. */
function smallPhoto(): Promise<Uint8Array> {
  const [width, height] = [200, 150];
  return encodePng({ width, height, bytes: Buffer.from(random(width * height * RGBA)) });
}
