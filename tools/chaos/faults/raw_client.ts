/** A socket that a fault speaks on: it sends what it is told, and the history knows. */

import { cookieOf } from "../../support/users.ts";
import { hashOf } from "../history.ts";
import { RecordingSocket } from "../page.ts";
import { until } from "../workload.ts";
import type { FaultContext } from "./fault.ts";

let clients = 0;
/** Refs somebody has written already: the same one can be sent on several sockets. */
const known = new Set<string>();

/** Somebody's socket without a page. */
export class RawClient {
  answered = 0;
  refused = 0;
  errors = 0;
  code: number | undefined;
  readonly #context: FaultContext;
  readonly #user: string;
  readonly #socket: RecordingSocket;

  private constructor(context: FaultContext, user: string, socket: RecordingSocket) {
    this.#context = context;
    this.#user = user;
    this.#socket = socket;
  }

  static async open(context: FaultContext, user: string, pod: number): Promise<RawClient> {
    const { history, cluster } = context;
    const page = `${user}.client${++clients}`;
    history.add({ e: "page", page, user });
    const cookie = cookieOf(Number(user.slice(1)));
    const url = `ws://127.0.0.1:${cluster.ports[pod]}/ws/${user}`;
    const socket = new RecordingSocket({ url, cookie, page, pod, lost: () => {} }, history);
    const client = new RawClient(context, user, socket);
    let greeted = false;
    socket.addEventListener("message", (event) => {
      const { type, ref } = JSON.parse((event as MessageEvent<string>).data) as { type: string; ref?: string };
      if (type === "hello") greeted = true;
      if (type === "ack" || (type === "error" && ref)) client.answered++;
      if (type === "error" && ref) client.refused++;
      if (type === "error" && !ref) client.errors++;
    });
    socket.addEventListener("close", (event) => (client.code = (event as CloseEvent).code));
    if (!(await until(() => greeted, 10_000)))
      context.wrong(`${cluster.pods[pod]?.name} takes no socket of ${user} within 10 s`);
    return client;
  }

  send(to: string, message: string, ref: string): void {
    const { history } = this.#context;
    if (!known.has(ref)) history.add({ e: "write", user: this.#user, to, ref, hash: hashOf(message) });
    known.add(ref);
    this.say(JSON.stringify({ type: "message", to, message, ref }));
  }

  /** A frame as it is. */
  say(frame: string): void {
    this.#socket.send(frame);
  }

  close(): void {
    this.#socket.close();
  }
}

export function newRef(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
