/** This pod's sockets by person. Delivers, closes, counts; decides nothing about what is delivered. */

import { CLOSE, type CloseCode } from "../protocol.ts";

/** Longer than an upgrade takes, its look-up included. */
const ENDED_FOR_MS = 60_000;

/** An open socket and who is behind it. */
export interface Socket {
  readonly username: string;
  readonly nameKey: string;
  readonly sessionId: number;
  /** @returns false when the frame was dropped: the socket is closed or its reader fell too far behind */
  send(frame: string): boolean;
  /** Several frames in one write. @returns false when one was dropped */
  sendAll(frames: readonly string[]): boolean;
  close(code: CloseCode): void;
}

export class Hub {
  /** Lists, replaced and not changed: most people have one socket, and a `Set` of one costs more than the socket. */
  readonly #byPerson = new Map<string, readonly Socket[]>();
  /** Sessions that ended lately: an upgrade that found one just before must not stay. */
  readonly #ended = new Set<number>();
  #size = 0;

  /** Sockets open. */
  get socketCount(): number {
    return this.#size;
  }

  /** People with a socket here. */
  get userCount(): number {
    return this.#byPerson.size;
  }

  /** @returns whether it is the person's first here */
  add(socket: Socket): boolean {
    const theirs = this.#byPerson.get(socket.nameKey) ?? [];
    this.#byPerson.set(socket.nameKey, [...theirs, socket]);
    this.#size++;
    return theirs.length === 0;
  }

  /** @returns whether it was the person's last here */
  remove(socket: Socket): boolean {
    const theirs = this.#byPerson.get(socket.nameKey) ?? [];
    const left = theirs.filter((other) => other !== socket);
    if (left.length === theirs.length) return false;
    this.#size--;
    if (left.length > 0) this.#byPerson.set(socket.nameKey, left);
    else this.#byPerson.delete(socket.nameKey);
    return left.length === 0;
  }

  /** Gives a frame to a person's sockets. @returns whether at least one took it */
  deliver(nameKey: string, frame: string, except?: Socket): boolean {
    let taken = false;
    for (const socket of this.socketsOf(nameKey)) {
      if (socket !== except && socket.send(frame)) taken = true;
    }
    return taken;
  }

  /** A person's sockets here. */
  socketsOf(nameKey: string): readonly Socket[] {
    return this.#byPerson.get(nameKey) ?? [];
  }

  /** Every socket open now. */
  *sockets(): Generator<Socket> {
    for (const theirs of this.#byPerson.values()) yield* theirs;
  }

  /** Closes the sockets of a session that ended, and those of it that still come. */
  endSession(sessionId: number): void {
    this.#ended.add(sessionId);
    setTimeout(() => this.#ended.delete(sessionId), ENDED_FOR_MS).unref();
    this.closeWhere(CLOSE.sessionEnded, (socket) => socket.sessionId === sessionId);
  }

  /** Whether a session ended within the last minute. */
  hasEnded(sessionId: number): boolean {
    return this.#ended.has(sessionId);
  }

  /** Closes the sockets a predicate picks. */
  closeWhere(code: CloseCode, picks: (socket: Socket) => boolean): void {
    const picked = this.sockets().filter(picks).toArray(); // first: closing changes what is iterated
    for (const socket of picked) socket.close(code);
  }
}

/** Frames gathered by socket, so that each gets all of a batch in one write: a write a frame costs more than the frame. */
export class WriteBatch {
  readonly #hub: Hub;
  readonly #frames = new Map<Socket, string[]>();
  readonly #dropped = new Set<Socket>();

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  add(socket: Socket, frame: string): void {
    const frames = this.#frames.get(socket);
    if (frames) frames.push(frame);
    else this.#frames.set(socket, [frame]);
  }

  addForUser(nameKey: string, frame: string, except?: Socket): void {
    for (const socket of this.#hub.socketsOf(nameKey)) if (socket !== except) this.add(socket, frame);
  }

  send(): void {
    for (const [socket, frames] of this.#frames) if (!socket.sendAll(frames)) this.#dropped.add(socket);
  }

  /** Whether at least one socket of a person took what was sent to all of them. */
  wasAccepted(nameKey: string, except?: Socket): boolean {
    for (const socket of this.#hub.socketsOf(nameKey)) {
      if (socket !== except && this.#frames.has(socket) && !this.#dropped.has(socket)) return true;
    }
    return false;
  }
}
