/** This pod's sockets by user: sends frames to them, closes and counts them. */

import { CLOSE, type CloseCode } from "../protocol.ts";

/** Longer than an upgrade takes, including its session look-up. */
const ENDED_FOR_MS = 60_000;

const CLOSES_PER_SLICE = 500;

/** A user's open socket. */
export interface Socket {
  readonly username: string;
  readonly nameKey: string;
  readonly sessionId: number;
  /**
   * @returns false when the frame was dropped because the socket is closed or over its limit of
   *   unsent bytes
   */
  send(frame: string): boolean;
  /** Sends several frames in one write. @returns false when one was dropped */
  sendAll(frames: readonly string[]): boolean;
  close(code: CloseCode): void;
}

export class Hub {
  /** Arrays, replaced on change: for one socket, a `Set` takes more memory than the socket. */
  readonly #byUser = new Map<string, readonly Socket[]>();
  /** Recently ended: an upgrade that looked the session up just before must not keep its socket. */
  readonly #endedSessions = new Set<number>();
  #size = 0;

  /** Open sockets on this pod. */
  get socketCount(): number {
    return this.#size;
  }

  /** Users with a socket on this pod. */
  get userCount(): number {
    return this.#byUser.size;
  }

  add(socket: Socket): void {
    this.#byUser.set(socket.nameKey, [...this.socketsOf(socket.nameKey), socket]);
    this.#size++;
  }

  /** @returns whether it was the user's last socket on this pod */
  remove(socket: Socket): boolean {
    const sockets = this.socketsOf(socket.nameKey);
    const left = sockets.filter((other) => other !== socket);
    if (left.length === sockets.length) return false;
    this.#size--;
    if (left.length > 0) this.#byUser.set(socket.nameKey, left);
    else this.#byUser.delete(socket.nameKey);
    return left.length === 0;
  }

  /** Sends a frame to a user's sockets. */
  deliver(nameKey: string, frame: string, except?: Socket): void {
    for (const socket of this.socketsOf(nameKey)) if (socket !== except) socket.send(frame);
  }

  /** A user's sockets on this pod. */
  socketsOf(nameKey: string): readonly Socket[] {
    return this.#byUser.get(nameKey) ?? [];
  }

  /** All open sockets of this pod. */
  *sockets(): Generator<Socket> {
    for (const sockets of this.#byUser.values()) yield* sockets;
  }

  /** Closes the sockets of an ended session, including those whose upgrade is still in progress. */
  endSession(sessionId: number): void {
    this.#endedSessions.add(sessionId);
    setTimeout(() => this.#endedSessions.delete(sessionId), ENDED_FOR_MS).unref();
    this.closeWhere(CLOSE.sessionEnded, (socket) => socket.sessionId === sessionId);
  }

  /** Whether a session ended within the last minute. */
  hasEnded(sessionId: number): boolean {
    return this.#endedSessions.has(sessionId);
  }

  /** Closes the sockets that match a predicate. */
  closeWhere(code: CloseCode, matches: (socket: Socket) => boolean): void {
    const matching = this.sockets().filter(matches).toArray(); // a copy: closing removes sockets
    for (const socket of matching) socket.close(code);
  }

  /** Closes all sockets in slices, so that clients do not all reconnect at once. */
  async closeAll(code: CloseCode, { pauseMs }: { pauseMs: number }): Promise<void> {
    const open = [...this.sockets()];
    for (let i = 0; i < open.length; i += CLOSES_PER_SLICE) {
      for (const socket of open.slice(i, i + CLOSES_PER_SLICE)) socket.close(code);
      await Bun.sleep(pauseMs);
    }
  }
}

/** Frames collected per socket and written at once: a write costs more than a frame. */
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

  /** Whether at least one of a user's sockets accepted its frames. */
  wasAccepted(nameKey: string, except?: Socket): boolean {
    for (const socket of this.#hub.socketsOf(nameKey)) {
      if (socket !== except && this.#frames.has(socket) && !this.#dropped.has(socket)) return true;
    }
    return false;
  }
}
