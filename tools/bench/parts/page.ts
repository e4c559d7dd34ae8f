/** Pages and their files: how fast they are served, and their size. */

import { brotliDecompressSync } from "node:zlib";

import { median } from "../../support/statistics.ts";
import { cookieOf } from "../../support/users.ts";
import { HttpClient } from "../load/http.ts";
import type { Part } from "../part.ts";

/** Dynamic imports that a first visit loads; the others wait until a user needs them. */
const LOADED_AT_ONCE = /\/(?:translations\/en|service_worker|draft_sync)\.js$/;
/** The Accept-Encoding of browsers. */
const ENCODINGS = "gzip, deflate, br, zstd";
const CONNECTIONS = 16;

export const page: Part = {
  seconds: ({ short }) => (short ? 5 : 11),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("page");
    const rounds = short ? 2 : 3;
    const database = await sandbox.database(1);
    const server = await sandbox.serve({ database });
    const [generator, baseline] = [sandbox.generator(), sandbox.baseline()];
    await waitForCompression(server.port);

    const chat = await download(server.port, "/", { Cookie: cookieOf(0) });
    const paths = [...chat.files.keys()].filter((path) => path.startsWith("/static/"));
    add.check("no file of another host", chat.foreign);
    const login = await download(server.port, "/login", {});

    const files = [...login.files, ...chat.files].map(([path, { headers, body }]) => [
      path,
      { headers: parseHeaders(headers), body: body.toString("base64") },
    ]);
    const { port } = await baseline.ask("files", { files: Object.fromEntries(files) });
    const problems: string[] = [];
    for (const [name, requested] of Object.entries({ "GET /login": ["/login"], "the chat page's files": paths })) {
      const measured: number[] = [];
      const compared: number[] = [];
      for (let round = 1; round <= rounds; round++) {
        progress.step(`${name}, round ${round} of ${rounds}`);
        for (const [at, rates] of [
          [server.port, measured],
          [port, compared],
        ] as const) {
          const result = await generator.ask("measureThroughput", {
            port: at,
            paths: requested,
            headers: { "Accept-Encoding": ENCODINGS },
            connections: CONNECTIONS,
            seconds: short ? 0.3 : 0.6,
          });
          problems.push(...result.problems);
          rates.push(result.perSecond);
        }
      }
      add.figure(name, {
        value: median(measured),
        unit: "/s",
        baseline: { name: "a static server", value: median(compared) },
        ratio: median(measured.map((rate, i) => rate / (compared[i] as number))),
        bound: { least: 0.8 },
      });
    }
    add.check("every response has status 200 and the same length", problems);
    const note = `${chat.files.size} responses, headers included`;
    const bound = { most: 75 * 1024 };
    add.figure("the chat page, first visit", { value: chat.bytes, unit: "bytes", bound, note });
    const loginNote = `${login.files.size} responses`;
    add.figure("the login page, first visit", { value: login.bytes, unit: "bytes", note: loginNote });
  },
};

/** Files are compressed within a second of the start. */
async function waitForCompression(port: number): Promise<void> {
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
  /** References to other hosts. */
  readonly foreign: string[];
}

/** Fetches a page and everything it refers to, as a browser with an empty cache and English as its language. */
export async function download(port: number, path: string, headers: Record<string, string>): Promise<Visit> {
  const client = await HttpClient.open(port, { "Accept-Encoding": ENCODINGS, ...headers });
  const files: Visit["files"] = new Map();
  const foreign: string[] = [];
  let bytes = 0;
  const queue = [path, "/sw.js"];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (files.has(next)) continue;
    const response = await client.get(next);
    if (response.status !== 200) throw new Error(`${next}, which ${path} needs, was answered ${response.status}`);
    bytes += response.bytes;
    files.set(next, { headers: response.headers, body: response.body });
    for (const reference of references(decode(response.headers, response.body))) {
      const address = new URL(reference, `http://here${next}`);
      if (address.protocol === "data:") continue;
      if (address.host !== "here") foreign.push(`${next} refers to ${address.host}`);
      else queue.push(address.pathname);
    }
  }
  client.close();
  return { files, bytes, foreign };
}

/** Links of HTML, imports and URLs of CSS, imports of modules. */
function references(source: string): string[] {
  const patterns = [
    /<link\b(?! rel="apple-touch-icon")[^>]*\bhref="([^"]+)"/g,
    /<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"/g,
    /\burl\(\s*["']?([^"')]+)["']?\s*\)/g,
    /@import\s+["']([^"']+)["']/g,
    /(?:^|[;}])\s*(?:import|export)\b[^"';()]*?["'](\.{0,2}\/[^"']+|https?:[^"']+)["']/gm,
  ];
  const dynamic = [...source.matchAll(/\bimport\(\s*["']([^"']+)["']\s*\)/g)].map(([, reference = ""]) => reference);
  return patterns
    .flatMap((pattern) => [...source.matchAll(pattern)].map(([, reference = ""]) => reference))
    .filter((reference) => !reference.startsWith("#"))
    .concat(dynamic.filter((reference) => LOADED_AT_ONCE.test(reference)));
}

function decode(headers: string, body: Buffer): string {
  const encoding = /\r\ncontent-encoding: *(\w+)/i.exec(headers)?.[1]?.toLowerCase();
  const bytes = new Uint8Array(body);
  if (encoding === "br") return Buffer.from(brotliDecompressSync(bytes)).toString();
  if (encoding === "gzip") return Buffer.from(Bun.gunzipSync(bytes)).toString();
  if (encoding === "zstd") return Buffer.from(Bun.zstdDecompressSync(bytes)).toString();
  return body.toString();
}

/** A response's headers except those that Bun adds itself. */
function parseHeaders(headers: string): Record<string, string> {
  const lines = headers
    .split("\r\n")
    .slice(1)
    .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()] as const);
  return Object.fromEntries(lines.filter(([name]) => !/^(date|content-length|connection)$/i.test(name)));
}
