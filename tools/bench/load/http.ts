/** HTTP requests over kept-alive connections, with as little client work as possible. */

import type { Socket } from "bun";

import { type Latency, latency } from "../../support/statistics.ts";
import { Problems } from "./audit.ts";

export interface Response {
  readonly status: number;
  readonly headers: string;
  readonly body: Buffer;
  /** Of the whole response on the wire. */
  readonly bytes: number;
}

/** One connection, one request at a time. */
export class HttpClient {
  readonly #port: number;
  readonly #headers: string;
  #socket: Socket<HttpClient> | undefined;
  #chunks: Buffer[] = [];
  #received = 0;
  #needed = 0;
  #waiting: PromiseWithResolvers<Response> | undefined;

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

  get(path: string): Promise<Response> {
    this.#waiting = Promise.withResolvers();
    this.#chunks = [];
    this.#received = this.#needed = 0;
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
      socket.data.#receive(bytes);
    },
    close(socket: Socket<HttpClient>) {
      socket.data.#waiting?.reject(
        new Error(`The server on port ${socket.data.#port} closed the connection before it answered`),
      );
    },
    error(socket: Socket<HttpClient>, error: Error) {
      socket.data.#waiting?.reject(error);
    },
  };

  #receive(chunk: Buffer): void {
    this.#chunks.push(Buffer.from(chunk));
    this.#received += chunk.length;
    if (this.#received < this.#needed) return;
    const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const headers = bytes.toString("latin1", 0, end);
    const body = this.#body(bytes, end + 4, headers);
    if (body === undefined) return;
    this.#waiting?.resolve({ status: Number(headers.slice(9, 12)), headers, body, bytes: this.#received });
  }

  /** @returns the body, or undefined while it is incomplete: `#needed` bytes in total */
  #body(bytes: Buffer, start: number, headers: string): Buffer | undefined {
    const length = /\r\ncontent-length: *(\d+)/i.exec(headers)?.[1];
    if (length !== undefined) {
      this.#needed = start + Number(length);
      return this.#received < this.#needed ? undefined : bytes.subarray(start);
    }
    if (!/\r\ntransfer-encoding: *chunked/i.test(headers)) {
      this.#waiting?.reject(new Error(`A response without a length:\n${headers}`));
      return undefined;
    }
    const body = dechunk(bytes, start);
    if (typeof body !== "number") return body;
    this.#needed = body;
    return undefined;
  }
}

/** Decodes a chunked body (RFC 9112, 7.1) from `at`. @returns the body, or the total length needed to try again */
function dechunk(bytes: Buffer, at: number): Buffer | number {
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

/** A request to be repeated. */
export interface TimedRequest {
  readonly name: string;
  readonly port: number;
  readonly path: string;
  readonly cookie?: string;
  /** Expected length of the JSON array, or number of keys of the JSON object. */
  readonly rows?: number;
}

/** Sends each request in turn, repeatedly, one at a time. @returns latencies by name */
export async function timeRequests(options: {
  requests: readonly TimedRequest[];
  rounds: number;
}): Promise<{ times: Record<string, Latency>; problems: string[] }> {
  const problems = new Problems();
  const times = new Map<string, number[]>(options.requests.map(({ name }) => [name, []]));
  const clients = await Promise.all(
    options.requests.map(({ port, cookie }) => HttpClient.open(port, cookie === undefined ? {} : { Cookie: cookie })),
  );
  for (let round = -3; round < options.rounds; round++) {
    for (const [i, { name, path, rows }] of options.requests.entries()) {
      const startedAt = performance.now();
      const { status, body } = await (clients[i] as HttpClient).get(path);
      const ms = performance.now() - startedAt;
      if (round < 0) checkResponse(name, status, body, rows, problems);
      else if (status !== 200) problems.add(`${name} was answered ${status}`);
      if (round >= 0) times.get(name)?.push(ms);
    }
  }
  for (const client of clients) client.close();
  return {
    times: Object.fromEntries([...times].map(([name, values]) => [name, latency(values)])),
    problems: problems.report(),
  };
}

function checkResponse(name: string, status: number, body: Buffer, rows: number | undefined, problems: Problems): void {
  if (status !== 200) return problems.add(`${name} was answered ${status}: ${body.toString().slice(0, 200)}`);
  const value = JSON.parse(body.toString()) as object;
  const found = Array.isArray(value) ? value.length : Object.keys(value).length;
  if (rows !== undefined && found !== rows) problems.add(`${name} was answered with ${found} rows, expected ${rows}`);
}

/** Requests the paths in turn over several connections, as fast as possible. */
export async function measureThroughput(options: {
  port: number;
  paths: readonly string[];
  headers: Record<string, string>;
  connections: number;
  seconds: number;
}): Promise<{ perSecond: number; problems: string[] }> {
  const { port, paths, headers, connections, seconds } = options;
  const problems = new Problems();
  const lengths = new Map<string, number>();
  const state = { done: 0, measuring: false, running: true };
  const clients = await Promise.all(Array.from({ length: connections }, () => HttpClient.open(port, headers)));
  const runs = clients.map(async (client, i) => {
    for (let at = i; state.running; at++) {
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
  const startedAt = performance.now();
  await Bun.sleep(seconds * 1_000);
  state.measuring = false;
  const elapsed = (performance.now() - startedAt) / 1_000;
  state.running = false;
  await Promise.all(runs);
  for (const client of clients) client.close();
  return { perSecond: state.done / elapsed, problems: problems.report() };
}

/** Reads a response of any length without keeping it. Each `seq` must follow the last. */
export async function readStream(options: {
  port: number;
  path: string;
  cookie: string;
}): Promise<{ rows: number; bytes: number; seconds: number; problems: string[] }> {
  const startedAt = performance.now();
  const problems = new Problems();
  const response = await fetch(`http://127.0.0.1:${options.port}${options.path}`, {
    headers: { cookie: options.cookie },
  });
  if (response.status !== 200 || !response.body)
    throw new Error(`${options.path} was answered ${response.status}: ${await response.text()}`);
  let [rows, bytes, rest, text] = [0, 0, "", ""];
  for await (const chunk of response.body) {
    bytes += chunk.length;
    text = rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("latin1");
    const complete = text.lastIndexOf("}") + 1;
    for (let at = text.indexOf('"seq":'); at >= 0 && at < complete; at = text.indexOf('"seq":', at + 6)) {
      const seq = Number.parseInt(text.slice(at + 6, at + 18), 10);
      if (seq !== ++rows) problems.add(`expected number ${rows} and read ${seq}`);
    }
    rest = text.slice(complete);
  }
  if (rest !== "]") problems.add(`the array ends with ${JSON.stringify(rest.slice(-50))}`);
  return { rows, bytes, seconds: (performance.now() - startedAt) / 1_000, problems: problems.report() };
}
