/**
 * Sends the full list of online users to sockets that never sent `watch`, such as those of
 * clients of the original, within a budget of bytes per pod.
 */

import type { Socket } from "../delivery/hub.ts";
import { statusFrame } from "../protocol.ts";
import type { BlockedPairs } from "./blocked_pairs.ts";
import type { PresenceRegistry } from "./registry.ts";

/** The interval at which `send` is called. */
export const TICK_MS = 500;
/** A socket receives at most one list in this time. */
const LIST_EVERY_MS = 1_000;
/** The budget for all lists of a pod. */
const BYTES_PER_SECOND = 8 * 1024 * 1024;

export class FullLists {
  readonly #registry: PresenceRegistry;
  readonly #blockedPairs: BlockedPairs;
  /** When each socket last received the list. */
  readonly #sentAt = new Map<Socket, number>();
  /**
   * The last list sent to a user with blocked peers. Repeating an equal list would reveal that a
   * blocked peer came online or left.
   */
  readonly #lastFiltered = new WeakMap<Socket, string>();
  #changedAt = 0;
  /** When the budget allows the next lists. */
  #budgetAt = 0;

  constructor(parts: { registry: PresenceRegistry; blockedPairs: BlockedPairs }) {
    this.#registry = parts.registry;
    this.#blockedPairs = parts.blockedPairs;
  }

  get sockets(): IterableIterator<Socket> {
    return this.#sentAt.keys();
  }

  /** Sends the socket the list soon and after each change, until it is deleted. */
  add(socket: Socket): void {
    this.#sentAt.set(socket, Number.NEGATIVE_INFINITY);
  }

  delete(socket: Socket): void {
    this.#sentAt.delete(socket);
  }

  /** Sends the list of a user's sockets again soon. @param key the user's name key */
  resend(key: string): void {
    for (const socket of this.#sentAt.keys()) if (socket.nameKey === key) this.add(socket);
  }

  /** Records that a user came online or went offline. */
  noteChange(): void {
    this.#changedAt = performance.now();
  }

  /**
   * Sends the list to sockets that lack the last change, each at most once a second: longest waiting
   * first, so new sockets before all others, and as many as a tick's bytes allow.
   */
  send(now: number): void {
    if (now < this.#budgetAt) return;
    const before = now - LIST_EVERY_MS + TICK_MS / 2; // timers are not exact
    const isLoaded = (socket: Socket) => this.#blockedPairs.of(socket.nameKey) !== undefined;
    const due = [...this.#sentAt].filter(
      ([socket, sentAt]) => sentAt < this.#changedAt && sentAt < before && isLoaded(socket),
    );
    if (due.length === 0) return;
    const frame = statusFrame(this.#registry.online);
    const cost = (Buffer.byteLength(frame) / BYTES_PER_SECOND) * 1_000;
    const count = Math.max(1, Math.floor(TICK_MS / cost));
    due.sort(([, one], [, other]) => one - other);
    const sentAt = performance.now(); // not `now`: the list includes changes made during this tick
    for (const [socket] of due.slice(0, count)) {
      this.#sentAt.set(socket, sentAt);
      this.#sendTo(socket, frame);
    }
    this.#budgetAt = now + cost * Math.min(count, due.length) - TICK_MS / 2;
  }

  /** Sends a socket the list without blocked peers. @param whole the frame with all users */
  #sendTo(socket: Socket, whole: string): void {
    const blocked = this.#blockedPairs.of(socket.nameKey);
    if (!blocked?.size) {
      this.#lastFiltered.delete(socket);
      socket.send(whole);
      return;
    }
    const frame = statusFrame(this.#registry.onlineWithout(blocked));
    if (this.#lastFiltered.get(socket) === frame) return;
    this.#lastFiltered.set(socket, frame);
    socket.send(frame);
  }
}
