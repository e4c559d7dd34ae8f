/** One connection after another that sends hostile requests, and holds every answer against what may become of each. */

import type { Socket, SocketHandler } from "bun";

import type { Problems } from "../bench/load/audit.ts";
import { Random } from "../chaos/random.ts";
import { count, nameRead } from "./frame_fuzzer.ts";
import { type Oracle, show } from "./oracle.ts";
import { type HostileRequest, hostileRequest, type Identity, type Target } from "./requests.ts";

const ANSWER_MS = 10_000;
/** How long bytes that are no request may wait for an answer. */
const MALFORMED_MS = 50;

export interface RequestCounts {
  sent: number;
  statuses: Record<string, number>;
  /** By method and route: requests sent, and those that were answered 101, 2xx or 3xx. */
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

interface Answer {
  readonly status: number;
  readonly head: string;
}

export class RequestFuzzer {
  readonly #parts: Parts;
  #line: Line | undefined;
  #next = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(requests: number, step: () => void): Promise<void> {
    const { seed, number, target, counts } = this.#parts;
    for (const end = this.#next + requests; this.#next < end;) {
      const i = this.#next++;
      const random = new Random(seed ^ Math.imul(number + 1, 0xc2b2ae35) ^ Math.imul(i + 1, 0x27d4eb2f));
      await this.#ask(hostileRequest(random, target), `${number}/${i}`);
      counts.sent++;
      step();
    }
    this.#line?.close();
  }

  async #ask(request: HostileRequest, where: string): Promise<void> {
    const { port, counts, problems } = this.#parts;
    const { route, method, bytes, wellFormed, forbidden } = request;
    if (!this.#line?.isOpen) this.#line = await Line.open(port);
    const answer = await this.#line.ask(bytes, method, wellFormed ? ANSWER_MS : MALFORMED_MS);
    if (!wellFormed || !answer || answer.status === 101 || /^connection: *close/im.test(answer.head)) {
      this.#line.close();
      this.#line = undefined;
    }
    const what = () => `request ${where}: ${show(bytes.toString("latin1"))}`;
    count(counts.statuses, String(answer?.status ?? "none"));
    if (route) count(counts.tried, route);
    this.#book(request, answer);
    if (!answer) {
      if (wellFormed) problems.add(`${what()} got no answer within ${ANSWER_MS / 1_000} s`);
      return;
    }
    const { status, head } = answer;
    if (route && status < 400) count(counts.accepted, route);
    const mayBeBusy = status === 503 && /^retry-after:/im.test(head) && /\/(login|signup)$/.test(route ?? "");
    const isOfBun = status === 505 && !wellFormed; // what it says to any request line that it cannot read
    if (status >= 500 && !mayBeBusy && !isOfBun) problems.add(`${what()} was answered ${status}`);
    if (forbidden.includes(status))
      problems.add(`${what()} was answered ${status}, which nobody may be identity asks so`);
  }

  /** Accounts and invitations made, sessions begun and ended, or perhaps. */
  #book({ route, method, identity, form, wellFormed }: HostileRequest, answer: Answer | undefined): void {
    const { oracle, tokenOf } = this.#parts;
    const path = route?.split(" ")[1];
    if (path === "/invites" && method === "POST") {
      if (answer?.status === 200) oracle.invited(true);
      else if (!answer || !wellFormed) oracle.invited(false);
    }
    if (path !== "/login" && path !== "/signup" && path !== "/logout") return;
    const told = answer?.status === 302;
    // Of bytes that are partly a request the good part may be acted on, and the answer be about the rest.
    if (method === "HEAD" || (answer && !told && wellFormed)) return;
    const old = tokenOf(identity);
    if (old !== undefined) oracle.signedOut(old, told);
    if (path === "/logout" || method !== "POST") return;
    const [, token] = /^set-cookie: *\w+=([\w-]{20,})\./im.exec(answer?.head ?? "") ?? [];
    const name = form?.get("username");
    if (path === "/signup" && typeof name === "string") oracle.signedUp(nameRead(name), token);
    else oracle.signedIn(token);
  }
}

/** One connection, one request at a time. */
class Line {
  isOpen = true;
  readonly #socket: Socket<Line>;
  #unsent: Buffer | undefined;
  #chunks: Buffer[] = [];
  #wake: () => void = () => {};

  private constructor(socket: Socket<Line>) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Line> {
    const opened = Promise.withResolvers<Line>();
    await Bun.connect({ hostname: "127.0.0.1", port, socket: Line.handlers(opened.resolve) });
    return opened.promise;
  }

  /** What `Bun.connect` calls. */
  static handlers(opened: (line: Line) => void): SocketHandler<Line> {
    const over = ({ data: line }: Socket<Line>) => {
      line.isOpen = false;
      line.#wake();
    };
    return {
      open(socket) {
        socket.data = new Line(socket);
        opened(socket.data);
      },
      data({ data: line }, bytes) {
        line.#chunks.push(Buffer.from(bytes));
        line.#wake();
      },
      drain: ({ data: line }) => line.#flush(),
      close: over,
      error: over,
    };
  }

  #flush(): void {
    if (!this.#unsent) return;
    const written = Math.max(0, this.#socket.write(this.#unsent));
    this.#unsent = written < this.#unsent.length ? this.#unsent.subarray(written) : undefined;
  }

  /** @returns undefined when none came in time, or the connection closed before it was whole */
  async ask(bytes: Buffer, method: string, withinMs: number): Promise<Answer | undefined> {
    this.#chunks = [];
    this.#unsent = bytes;
    this.#flush();
    const until = performance.now() + withinMs;
    for (;;) {
      const answer = readAnswer(Buffer.concat(this.#chunks), method, !this.isOpen);
      const left = until - performance.now();
      if (answer || !this.isOpen || left <= 0) return answer;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, left);
      await promise;
      clearTimeout(timer);
    }
  }

  close(): void {
    this.isOpen = false;
    this.#socket.terminate();
  }
}

/** An answer when it is whole: by its length, by its last chunk, or by the end of the connection. */
function readAnswer(bytes: Buffer, method: string, ended: boolean): Answer | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = bytes.toString("latin1", 0, end);
  const status = Number(head.slice(9, 12));
  if (status === 100) return readAnswer(bytes.subarray(end + 4), method, ended);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  const bare = method === "HEAD" || status === 101 || status === 204 || status === 304;
  const isWhole =
    bare ||
    ended ||
    (length === undefined
      ? /^transfer-encoding: *chunked/im.test(head) && bytes.subarray(-5).equals(Buffer.from("0\r\n\r\n"))
      : bytes.length >= end + 4 + Number(length));
  return isWhole ? { status, head } : undefined;
}
