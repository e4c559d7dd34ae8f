/** Requests over connections that stay open, answer after answer, with as little work as a client can do. */

import type { Socket } from "bun";

import { type Latency, latency } from "../../support/statistics.ts";
import { Problems } from "./audit.ts";

export interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: Buffer;
  /** Of the whole answer, as it came over the wire. */
  readonly bytes: number;
}

/** One connection; a request at a time. */
export class HttpClient {
  readonly #port: number;
  readonly #headers: string;
  #socket: Socket<HttpClient> | undefined;
  #chunks: Buffer[] = [];
  #have = 0;
  #need = 0;
  #waiting: PromiseWithResolvers<Answer> | undefined;

  private constructor(port: number, headers: Record<string, string>) {
    this.#port = port;
    this.#headers = Object.entries({ Host: `127.0.0.1:${port}`, ...headers })
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("");
  }

  static async open(port: number, headers: Record<string, string> = {}): Promise<HttpClient> {
    const client = new HttpClient(port, headers);
    client.#socket = await Bun.connect({ hostname: "127.0.0.1", port, data: client, socket: HttpClient.#handlers });
    return client;
  }

  get(path: string): Promise<Answer> {
    this.#waiting = Promise.withResolvers();
    this.#chunks = [];
    this.#have = this.#need = 0;
    this.#socket?.write(`GET ${path} HTTP/1.1\r\n${this.#headers}\r\n`);
    return this.#waiting.promise;
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket?.terminate();
  }

  static readonly #handlers = {
    binaryType: "buffer" as const,
    data(socket: Socket<HttpClient>, bytes: Buffer) {
      socket.data.#take(bytes);
    },
    close(socket: Socket<HttpClient>) {
      socket.data.#waiting?.reject(new Error(`The server on port ${socket.data.#port} closed before it had answered`));
    },
    error(socket: Socket<HttpClient>, error: Error) {
      socket.data.#waiting?.reject(error);
    },
  };

  #take(chunk: Buffer): void {
    this.#chunks.push(Buffer.from(chunk));
    this.#have += chunk.length;
    if (this.#have < this.#need) return;
    const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const headers = bytes.toString("latin1", 0, end);
    const body = this.#body(bytes, end + 4, headers);
    if (body === undefined) return;
    this.#waiting?.resolve({ status: Number(headers.slice(9, 12)), headers, body, bytes: this.#have });
  }

  /** @returns the body, or undefined while a part of it is missing: `#need` says how much */
  #body(bytes: Buffer, begin: number, headers: string): Buffer | undefined {
    const length = /\r\ncontent-length: *(\d+)/i.exec(headers)?.[1];
    if (length !== undefined) {
      this.#need = begin + Number(length);
      return this.#have < this.#need ? undefined : bytes.subarray(begin);
    }
    if (!/\r\ntransfer-encoding: *chunked/i.test(headers)) {
      this.#waiting?.reject(new Error(`An answer without a length:\n${headers}`));
      return undefined;
    }
    const body = dechunked(bytes, begin);
    if (typeof body !== "number") return body;
    this.#need = body;
    return undefined;
  }
}

/**
 * Reads a chunked body (RFC 9112, 7.1).
 *
 * @param at where its first chunk begins
 * @returns the body, or how many bytes there must be at least before it can be read further
 */
function dechunked(bytes: Buffer, at: number): Buffer | number {
  const chunks: Buffer[] = [];
  for (;;) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return bytes.length + 1;
    const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
    at = line + 2 + size + 2;
    if (bytes.length < at) return at;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(bytes.subarray(line + 2, at - 2));
  }
}

/** A request to be repeated, and what must hold of its answer. */
export interface Question {
  readonly name: string;
  readonly port: number;
  readonly path: string;
  readonly cookie?: string;
  /** Length of the JSON array, or number of keys of the JSON object, that answers. */
  readonly rows?: number;
}

/** Asks each in turn, over and over, one request at a time. @returns milliseconds, by name */
export async function ask(options: {
  questions: readonly Question[];
  rounds: number;
}): Promise<{ times: Record<string, Latency>; problems: string[] }> {
  const problems = new Problems();
  const times = new Map<string, number[]>(options.questions.map(({ name }) => [name, []]));
  const clients = await Promise.all(
    options.questions.map(({ port, cookie }) => HttpClient.open(port, cookie === undefined ? {} : { Cookie: cookie })),
  );
  for (let round = -3; round < options.rounds; round++) {
    for (const [i, { name, path, rows }] of options.questions.entries()) {
      const begun = performance.now();
      const { status, body } = await (clients[i] as HttpClient).get(path);
      const took = performance.now() - begun;
      if (round < 0) checkAnswer(name, status, body, rows, problems);
      else if (status !== 200) problems.add(`${name} was answered ${status}`);
      if (round >= 0) times.get(name)?.push(took);
    }
  }
  for (const client of clients) client.close();
  return {
    times: Object.fromEntries([...times].map(([name, took]) => [name, latency(took)])),
    problems: problems.report(),
  };
}

function checkAnswer(name: string, status: number, body: Buffer, rows: number | undefined, problems: Problems): void {
  if (status !== 200) return problems.add(`${name} was answered ${status}: ${body.toString().slice(0, 200)}`);
  const answer = JSON.parse(body.toString()) as object;
  const found = Array.isArray(answer) ? answer.length : Object.keys(answer).length;
  if (rows !== undefined && found !== rows) problems.add(`${name} was answered with ${found} rows, expected ${rows}`);
}

/** Asks for the paths in turn over several connections, as fast as answers come. */
export async function rush(options: {
  port: number;
  paths: readonly string[];
  headers: Record<string, string>;
  connections: number;
  seconds: number;
}): Promise<{ perSecond: number; problems: string[] }> {
  const { port, paths, headers, connections, seconds } = options;
  const problems = new Problems();
  const lengths = new Map<string, number>();
  const state = { done: 0, measuring: false, going: true };
  const clients = await Promise.all(Array.from({ length: connections }, () => HttpClient.open(port, headers)));
  const runs = clients.map(async (client, i) => {
    for (let at = i; state.going; at++) {
      const path = paths[at % paths.length] as string;
      const { status, body } = await client.get(path);
      const length = lengths.get(path);
      if (length === undefined) lengths.set(path, body.length);
      if (status !== 200 || (length !== undefined && length !== body.length))
        problems.add(`${path} was answered ${status}, ${body.length} bytes`);
      if (state.measuring) state.done++;
    }
  });
  await Bun.sleep(200);
  state.measuring = true;
  const begun = performance.now();
  await Bun.sleep(seconds * 1_000);
  state.measuring = false;
  const elapsed = (performance.now() - begun) / 1_000;
  state.going = false;
  await Promise.all(runs);
  for (const client of clients) client.close();
  return { perSecond: state.done / elapsed, problems: problems.report() };
}

/** Reads an answer of any length to its end, keeping none of it. Every `seq` in it must be the last one plus one. */
export async function swallow(options: {
  port: number;
  path: string;
  cookie: string;
}): Promise<{ rows: number; bytes: number; seconds: number; problems: string[] }> {
  const begun = performance.now();
  const problems = new Problems();
  const answer = await fetch(`http://127.0.0.1:${options.port}${options.path}`, {
    headers: { cookie: options.cookie },
  });
  if (answer.status !== 200 || !answer.body)
    throw new Error(`${options.path} was answered ${answer.status}: ${await answer.text()}`);
  let [rows, bytes, rest, text] = [0, 0, "", ""];
  for await (const chunk of answer.body) {
    bytes += chunk.length;
    text = rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("latin1");
    const whole = text.lastIndexOf("}") + 1;
    for (let at = text.indexOf('"seq":'); at >= 0 && at < whole; at = text.indexOf('"seq":', at + 6)) {
      const seq = Number.parseInt(text.slice(at + 6, at + 18), 10);
      if (seq !== ++rows) problems.add(`number ${seq} stands where ${rows} should`);
    }
    rest = text.slice(whole);
  }
  if (rest !== "]") problems.add(`the array ends with ${JSON.stringify(rest.slice(-50))}`);
  return { rows, bytes, seconds: (performance.now() - begun) / 1_000, problems: problems.report() };
}
