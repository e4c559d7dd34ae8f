/** Pages and their files: how fast they leave, and how much of them there is. */

import { brotliDecompressSync } from "node:zlib";

import { median } from "../../support/statistics.ts";
import { cookieOf } from "../../support/users.ts";
import { HttpClient } from "../load/http.ts";
import type { Part } from "../part.ts";

/** Of what scripts load on demand, what a first visit does load; the rest waits until somebody asks for it. */
const LOADED_AT_ONCE = /\/(?:words\/en|service_worker|draft_sync)\.js$/;
/** What browsers say they take. */
const ENCODINGS = "gzip, deflate, br, zstd";
const CONNECTIONS = 16;

export const page: Part = {
  seconds: ({ short }) => (short ? 5 : 11),

  async run({ sandbox, report, progress, short }) {
    const rounds = short ? 2 : 3;
    const database = await sandbox.database(1);
    const server = await sandbox.serve({ database });
    const [generator, baseline] = [sandbox.generator(), sandbox.baseline()];
    await compressed(server.port);

    const visit = await download(server.port, "/", { Cookie: cookieOf(0) });
    const files = [...visit.files.keys()].filter((path) => path.startsWith("/static/"));
    report.check("page", "nothing comes from another host", visit.foreign);
    const login = await download(server.port, "/login", {});

    const known = new Map(
      [...login.files, ...visit.files].map(([path, { headers, body }]) => [
        path,
        { headers: kept(headers), body: body.toString("base64") },
      ]),
    );
    const { port } = await baseline.ask("files", { files: Object.fromEntries(known) });
    const headers = { "Accept-Encoding": ENCODINGS };
    const problems: string[] = [];
    for (const { name, paths } of [
      { name: "GET /login", paths: ["/login"] },
      { name: "the chat page's files", paths: files },
    ]) {
      const rates: { ours: number; theirs: number }[] = [];
      for (let round = 1; round <= rounds; round++) {
        progress.step(`${name}, round ${round} of ${rounds}`);
        const ask = (port: number) =>
          generator.ask("rush", { port, paths, headers, connections: CONNECTIONS, seconds: short ? 0.3 : 0.6 });
        const [ours, theirs] = [await ask(server.port), await ask(port)];
        problems.push(...ours.problems, ...theirs.problems);
        rates.push({ ours: ours.perSecond, theirs: theirs.perSecond });
      }
      report.add({
        part: "page",
        name,
        value: median(rates.map(({ ours }) => ours)),
        unit: "/s",
        baseline: { name: "a static server", value: median(rates.map(({ theirs }) => theirs)) },
        ratio: median(rates.map(({ ours, theirs }) => ours / theirs)),
        bound: { least: 0.8 },
      });
    }
    report.check("page", "every answer 200 and of one length", problems);
    const note = `${visit.files.size} answers, headers included`;
    report.add({
      part: "page",
      name: "the chat page, first visit",
      value: visit.bytes,
      unit: "bytes",
      bound: { most: 75 * 1024 },
      note,
    });
    report.add({
      part: "page",
      name: "the login page, first visit",
      value: login.bytes,
      unit: "bytes",
      note: `${login.files.size} answers`,
    });
  },
};

/** Files are compressed in the second after the start. */
async function compressed(port: number): Promise<void> {
  const client = await HttpClient.open(port, { "Accept-Encoding": ENCODINGS });
  for (let tries = 0; tries < 100; tries++) {
    if (/\r\ncontent-encoding: *br/i.test((await client.get("/login")).headers)) break;
    await Bun.sleep(100);
  }
  client.close();
}

interface Visit {
  readonly files: Map<string, { headers: string; body: Buffer }>;
  readonly bytes: number;
  /** What a browser would fetch from elsewhere. */
  readonly foreign: string[];
}

/** Fetches a page and all it refers to, as a browser does that has nothing and speaks English. */
export async function download(port: number, path: string, headers: Record<string, string>): Promise<Visit> {
  const client = await HttpClient.open(port, { "Accept-Encoding": ENCODINGS, ...headers });
  const files: Visit["files"] = new Map();
  const foreign: string[] = [];
  let bytes = 0;
  const queue = [path, "/sw.js"];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (files.has(next)) continue;
    const answer = await client.get(next);
    if (answer.status !== 200) throw new Error(`${next}, which ${path} needs, was answered ${answer.status}`);
    bytes += answer.bytes;
    files.set(next, { headers: answer.headers, body: answer.body });
    for (const reference of references(text(answer.headers, answer.body))) {
      const address = new URL(reference, `http://here${next}`);
      if (address.protocol === "data:") continue;
      if (address.host !== "here") foreign.push(`${next} refers to ${address.host}`);
      else queue.push(address.pathname);
    }
  }
  client.close();
  return { files, bytes, foreign };
}

/** What HTML links to, CSS brings in and modules import. */
function references(source: string): string[] {
  const patterns = [
    /<link\b(?! rel="apple-touch-icon")[^>]*\bhref="([^"]+)"/g,
    /<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"/g,
    /\burl\(\s*["']?([^"')]+)["']?\s*\)/g,
    /@import\s+["']([^"']+)["']/g,
    /(?:^|[;}])\s*(?:import|export)\b[^"';()]*?["'](\.{0,2}\/[^"']+|https?:[^"']+)["']/gm,
  ];
  const demanded = [...source.matchAll(/\bimport\(\s*["']([^"']+)["']\s*\)/g)].map(([, reference = ""]) => reference);
  return patterns
    .flatMap((pattern) => [...source.matchAll(pattern)].map(([, reference = ""]) => reference))
    .filter((reference) => !reference.startsWith("#"))
    .concat(demanded.filter((reference) => LOADED_AT_ONCE.test(reference)));
}

function text(headers: string, body: Buffer): string {
  const encoding = /\r\ncontent-encoding: *(\w+)/i.exec(headers)?.[1]?.toLowerCase();
  const bytes = new Uint8Array(body);
  if (encoding === "br") return Buffer.from(brotliDecompressSync(bytes)).toString();
  if (encoding === "gzip") return Buffer.from(Bun.gunzipSync(bytes)).toString();
  if (encoding === "zstd") return Buffer.from(Bun.zstdDecompressSync(bytes)).toString();
  return body.toString();
}

/** The headers of an answer, as the baseline sends them: those that Bun makes itself left out. */
function kept(headers: string): Record<string, string> {
  const lines = headers
    .split("\r\n")
    .slice(1)
    .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()] as const);
  return Object.fromEntries(lines.filter(([name]) => !/^(date|content-length|connection)$/i.test(name)));
}
