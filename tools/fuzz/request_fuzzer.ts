/** Sends hostile requests over one connection after another, and compares every answer with what is allowed. */

import type { Socket, SocketHandler } from "bun";

import type { Problems } from "../bench/load/audit.ts";
import { Random } from "../chaos/random.ts";
import { count } from "./frame_fuzzer.ts";
import { normalizeName } from "./names.ts";
import { type Oracle, show } from "./oracle.ts";
import { type HostileRequest, hostileRequest, type Identity, type Target } from "./requests.ts";
import { Signal } from "./signal.ts";

const ANSWER_MS = 10_000;
/** Routes behind a bounded queue, or with one request per user at a time. */
const BOUNDED = /\/(login|signup|me\/photo)$/;
/** How long malformed bytes may wait for an answer. */
const MALFORMED_MS = 50;

export interface RequestCounts {
  sent: number;
  statuses: Record<string, number>;
  /** By method and route: requests sent, and those answered 101, 2xx or 3xx. */
  tried: Record<string, number>;
  accepted: Record<string, number>;
}

export function requestCounts(): RequestCounts {
  return { sent: 0, statuses: {}, tried: {}, accepted: {} };
}

interface Parts {
  readonly port: number;
  readonly seed: number;
  readonly number: number;
  readonly target: Target;
  readonly oracle: Oracle;
  readonly counts: RequestCounts;
  readonly problems: Problems;
  readonly tokenOf: (identity: Identity) => string | undefined;
}

interface Response {
  readonly status: number;
  readonly head: string;
}

export class RequestFuzzer {
  readonly #parts: Parts;
  #connection: Connection | undefined;
  #next = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(requests: number, onProgress: () => void): Promise<void> {
    const { seed, number, target, counts } = this.#parts;
    for (const end = this.#next + requests; this.#next < end;) {
      const i = this.#next++;
      const random = new Random(seed ^ Math.imul(number + 1, 0xc2b2ae35) ^ Math.imul(i + 1, 0x27d4eb2f));
      await this.#send(hostileRequest(random, target), `${number}/${i}`);
      counts.sent++;
      onProgress();
    }
    this.#connection?.close();
  }

  async #send(request: HostileRequest, id: string): Promise<void> {
    const { port, counts, problems } = this.#parts;
    const { route, method, bytes, wellFormed, forbidden } = request;
    if (!this.#connection?.isOpen) this.#connection = await Connection.open(port);
    const response = await this.#connection.send(bytes, method, wellFormed ? ANSWER_MS : MALFORMED_MS);
    if (!wellFormed || !response || response.status === 101 || /^connection: *close/im.test(response.head)) {
      this.#connection.close();
      this.#connection = undefined;
    }
    count(counts.statuses, String(response?.status ?? "none"));
    if (route) count(counts.tried, route);
    this.#informOracle(request, response);
    const problem = (text: string) => problems.add(`request ${id} ${text}: ${show(bytes.toString("latin1"))}`);
    if (!response) {
      if (wellFormed) problem(`got no answer within ${ANSWER_MS / 1_000} s`);
      return;
    }
    const { status, head } = response;
    if (route && status < 400) count(counts.accepted, route);
    const mayBeBusy = status === 503 && /^retry-after:/im.test(head) && BOUNDED.test(route ?? "");
    const isFromBun = status === 505 && !wellFormed; // Bun's answer to a request line that it cannot parse
    if (status >= 500 && !mayBeBusy && !isFromBun) problem(`was answered ${status}`);
    if (forbidden.includes(status))
      problem(`was answered ${status}, which reveals or changes what is not the sender's`);
  }

  /** Reports accounts, sessions and invitations that were created or ended, or may have been. */
  #informOracle({ route, method, identity, form, wellFormed }: HostileRequest, response: Response | undefined): void {
    const { oracle, tokenOf } = this.#parts;
    const path = route?.split(" ")[1];
    if (path === "/invites" && method === "POST") {
      if (response?.status === 200) oracle.invited(true);
      else if (!response || !wellFormed) oracle.invited(false);
    }
    if (path !== "/login" && path !== "/signup" && path !== "/logout") return;
    const succeeded = response?.status === 302;
    // Of malformed bytes a valid prefix may take effect, and the answer be about the rest.
    if (method === "HEAD" || (response && !succeeded && wellFormed)) return;
    const old = tokenOf(identity);
    if (old !== undefined) oracle.signedOut(old, succeeded);
    if (path === "/logout" || method !== "POST") return;
    const [, token] = /^set-cookie: *\w+=([\w-]{20,})\./im.exec(response?.head ?? "") ?? [];
    const name = form?.get("username");
    if (path === "/signup" && typeof name === "string") oracle.signedUp(normalizeName(name), token);
    else oracle.signedIn(token);
  }
}

/** One connection, one request at a time. It sends any bytes and accepts any answer, unlike `HttpClient` and `fetch`. */
class Connection {
  isOpen = true;
  readonly #socket: Socket<Connection>;
  readonly #signal = new Signal();
  #unsent: Buffer | undefined;
  #chunks: Buffer[] = [];

  private constructor(socket: Socket<Connection>) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Connection> {
    const opened = Promise.withResolvers<Connection>();
    await Bun.connect({ hostname: "127.0.0.1", port, socket: Connection.handlers(opened.resolve) });
    return opened.promise;
  }

  static handlers(opened: (connection: Connection) => void): SocketHandler<Connection> {
    const closed = ({ data: connection }: Socket<Connection>) => {
      connection.isOpen = false;
      connection.#signal.notify();
    };
    return {
      open(socket) {
        socket.data = new Connection(socket);
        opened(socket.data);
      },
      data({ data: connection }, bytes) {
        connection.#chunks.push(Buffer.from(bytes));
        connection.#signal.notify();
      },
      drain: ({ data: connection }) => connection.#flush(),
      close: closed,
      error: closed,
    };
  }

  #flush(): void {
    if (!this.#unsent) return;
    const written = Math.max(0, this.#socket.write(this.#unsent));
    this.#unsent = written < this.#unsent.length ? this.#unsent.subarray(written) : undefined;
  }

  /** @returns undefined when there was no complete answer in time */
  async send(bytes: Buffer, method: string, withinMs: number): Promise<Response | undefined> {
    this.#chunks = [];
    this.#unsent = bytes;
    this.#flush();
    let response: Response | undefined;
    const isAnswered = () => (response = readResponse(Buffer.concat(this.#chunks), method, !this.isOpen)) !== undefined;
    await this.#signal.until(isAnswered, { withinMs, gaveUp: () => !this.isOpen });
    return response;
  }

  close(): void {
    this.isOpen = false;
    this.#socket.terminate();
  }
}

/** A response once it is complete: by its length, its last chunk, or the end of the connection. */
function readResponse(bytes: Buffer, method: string, ended: boolean): Response | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = bytes.toString("latin1", 0, end);
  const status = Number(head.slice(9, 12));
  if (status === 100) return readResponse(bytes.subarray(end + 4), method, ended);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  const hasNoBody = method === "HEAD" || status === 101 || status === 204 || status === 304;
  const isComplete =
    hasNoBody ||
    ended ||
    (length === undefined
      ? /^transfer-encoding: *chunked/im.test(head) && bytes.subarray(-5).equals(Buffer.from("0\r\n\r\n"))
      : bytes.length >= end + 4 + Number(length));
  return isComplete ? { status, head } : undefined;
}
