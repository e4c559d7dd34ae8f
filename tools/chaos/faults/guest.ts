/** A socket that a fault speaks on: it sends what it is told, and the history knows. */

import { cookieOf } from "../../support/people.ts";
import { hashOf } from "../history.ts";
import { TappedSocket } from "../page.ts";
import { until } from "../town.ts";
import type { Scene } from "./fault.ts";

let guests = 0;
/** Refs somebody has written already: the same one can be sent on several sockets. */
const known = new Set<string>();

/** Somebody's socket without a page. */
export class Guest {
  answered = 0;
  refused = 0;
  errors = 0;
  code: number | undefined;
  readonly #scene: Scene;
  readonly #who: string;
  readonly #socket: TappedSocket;

  private constructor(scene: Scene, who: string, socket: TappedSocket) {
    this.#scene = scene;
    this.#who = who;
    this.#socket = socket;
  }

  static async open(scene: Scene, who: string, pod: number): Promise<Guest> {
    const { history, stage } = scene;
    const page = `${who}.guest${++guests}`;
    history.add({ e: "page", page, who });
    const cookie = cookieOf(Number(who.slice(1)));
    const url = `ws://127.0.0.1:${stage.ports[pod]}/ws/${who}`;
    const socket = new TappedSocket({ url, cookie, page, pod, lost: () => {} }, history);
    const guest = new Guest(scene, who, socket);
    let greeted = false;
    socket.addEventListener("message", (event) => {
      const { type, ref } = JSON.parse((event as MessageEvent<string>).data) as { type: string; ref?: string };
      if (type === "hello") greeted = true;
      if (type === "ack" || (type === "error" && ref)) guest.answered++;
      if (type === "error" && ref) guest.refused++;
      if (type === "error" && !ref) guest.errors++;
    });
    socket.addEventListener("close", (event) => (guest.code = (event as CloseEvent).code));
    if (!(await until(() => greeted, 10_000)))
      scene.wrong(`${stage.pods[pod]?.name} takes no socket of ${who} within 10 s`);
    return guest;
  }

  send(to: string, message: string, ref: string): void {
    const { history } = this.#scene;
    if (!known.has(ref)) history.add({ e: "write", who: this.#who, to, ref, hash: hashOf(message) });
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
