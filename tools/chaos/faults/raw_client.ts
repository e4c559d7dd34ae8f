/** A WebSocket client without a page: it sends a fault's frames, and the history records it. */

import { cookieOf } from "../../support/users.ts";
import { type PendingChange, requestOf } from "../change_client.ts";
import { hashOf } from "../history.ts";
import { RecordingSocket } from "../page.ts";
import { until } from "../workload.ts";
import type { FaultContext } from "./fault.ts";

let clients = 0;
/** Refs recorded as written: one ref can be sent on several sockets. */
const written = new Set<string>();

export class RawClient {
  answered = 0;
  /** The numbers of its acknowledged messages. */
  readonly acked: number[] = [];
  rejected = 0;
  errors = 0;
  closeCode: number | undefined;
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
    const page = `${user}.raw${++clients}`;
    history.add({ e: "page", page, user });
    const cookie = cookieOf(Number(user.slice(1)));
    const url = `ws://127.0.0.1:${cluster.ports[pod]}/ws/${user}`;
    const socket = new RecordingSocket({ url, cookie, page, pod, lost: () => {} }, history);
    const client = new RawClient(context, user, socket);
    let isOpen = false;
    socket.addEventListener("message", (event) => {
      const frame = JSON.parse((event as MessageEvent<string>).data) as { type: string; ref?: string; seq?: number };
      const { type, ref, seq = 0 } = frame;
      if (type === "hello") isOpen = true;
      if (type === "ack" || ((type === "changed" || type === "error") && ref)) client.answered++;
      if (type === "ack") client.acked.push(seq);
      if (type === "error" && ref) client.rejected++;
      if (type === "error" && !ref) client.errors++;
    });
    socket.addEventListener("close", (event) => (client.closeCode = (event as CloseEvent).code));
    if (!(await until(() => isOpen, 10_000)))
      context.violation(`${cluster.pods[pod]?.name} did not open a socket of ${user} within 10 s`);
    return client;
  }

  sendMessage(to: string, message: string, ref: string): void {
    const { history } = this.#context;
    if (!written.has(ref)) history.add({ e: "write", user: this.#user, to, ref, hash: hashOf(message) });
    written.add(ref);
    this.send(JSON.stringify({ type: "message", to, message, ref }));
  }

  sendChange(change: PendingChange): void {
    const { peer, ref, kind, seq, text } = change;
    if (!written.has(ref)) this.#context.history.add({ e: "change", ...requestOf(this.#user, change) });
    written.add(ref);
    const content = kind === "edit" ? { message: text } : kind === "react" ? { emoji: text } : {};
    this.send(JSON.stringify({ type: kind, peer, seq, ...content, ref }));
  }

  send(frame: string): void {
    this.#socket.send(frame);
  }

  close(): void {
    this.#socket.close();
  }
}

export function newRef(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
