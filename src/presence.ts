/**
 * Who is here. People whose last socket closed count for 5 s more, so a reload is silent. Changes are gathered and told to the
 * sockets that watch the person; sockets that never watched get the full list, within a budget of the pod's bytes.
 */

import type { Database } from "./db/client.ts";
import { findMany, markOnline, resetOnline } from "./db/users.ts";
import type { Socket } from "./hub.ts";
import type { Log } from "./log.ts";
import { newUserFrame, presenceEntry, presenceFrame, type PresenceState, statusFrame } from "./protocol.ts";
import { RateLimit } from "./rate_limit.ts";
import { keyOfReference } from "./text.ts";

const GRACE_MS = 5_000;
const TICK_MS = 500;
const WRITE_EVERY_MS = 2_000;
/** All full lists of a pod together, bytes a second (CONTRACT §4). */
const FULL_LISTS_PER_SECOND = 8 * 1024 * 1024;

export class Presence {
  readonly #db: Database;
  readonly #log: Log;
  /** Everyone online, by key; the name as its owner wrote it. */
  readonly #online = new Map<string, string>();
  /** People without a socket, and when that begins to count. */
  readonly #leaving = new Map<string, number>();
  readonly #watchers = new Map<string, Set<Socket>>();
  readonly #watching = new Map<Socket, readonly string[]>();
  /** Sockets that never sent `watch`; true: owed a full list whatever changed. */
  readonly #plain = new Map<Socket, boolean>();
  readonly #changed = new Map<string, { username: string; state: PresenceState }>();
  readonly #newUsers = new RateLimit({ burst: 10, perSecond: 10 });
  #listChanged = false;
  #nextListAt = 0;
  /** When the pod may spend bytes on full lists again. */
  #budgetAt = 0;
  /** What `users.is_online` says, as far as this pod wrote it. */
  readonly #written = new Set<string>();
  #writing: Promise<void> | undefined;
  readonly #timers: Timer[];

  constructor(parts: { db: Database; log: Log }) {
    this.#db = parts.db;
    this.#log = parts.log;
    this.#timers = [setInterval(() => this.#tick(), TICK_MS), setInterval(() => void this.#write(), WRITE_EVERY_MS)];
  }

  /** Whoever an earlier run left online in the table is not. */
  async start(): Promise<void> {
    await resetOnline(this.#db);
  }

  /** Names of everyone online, as their owners wrote them. */
  get online(): string[] {
    return [...this.#online.values()];
  }

  isOnline(nameKey: string): boolean {
    return this.#online.has(nameKey);
  }

  /** A socket opened. */
  arrive(socket: Socket): void {
    this.#plain.set(socket, true);
    this.#leaving.delete(socket.nameKey);
    if (this.#online.has(socket.nameKey)) return;
    this.#online.set(socket.nameKey, socket.username);
    this.#change(socket.nameKey, socket.username, { online: true, last_seen: null });
  }

  /** A socket closed. @param last whether it was the person's last */
  leave(socket: Socket, last: boolean): void {
    this.#plain.delete(socket);
    this.#unwatch(socket);
    if (last) this.#leaving.set(socket.nameKey, performance.now() + GRACE_MS);
  }

  /** From now on a socket hears of these people only, first of how things stand. */
  async watch(socket: Socket, users: readonly string[]): Promise<void> {
    this.#plain.delete(socket);
    this.#unwatch(socket);
    const asked = new Map(users.map((user) => [keyOfReference(user), user]));
    const keys = [...asked.keys()].filter((key) => key !== undefined);
    this.#watching.set(socket, keys);
    for (const key of keys) {
      const watchers = this.#watchers.get(key);
      if (watchers) watchers.add(socket);
      else this.#watchers.set(key, new Set([socket]));
    }
    const known = new Map((await findMany(this.#db, keys)).map((user) => [user.nameKey, user]));
    const entries = users.map((user) => {
      const key = keyOfReference(user) ?? "";
      const { username = user, lastSeenAt = null } = known.get(key) ?? {};
      return presenceEntry(username, { online: this.#online.has(key), last_seen: lastSeenAt });
    });
    socket.send(presenceFrame(entries));
  }

  /** Somebody signed up: sockets that never watched hear of it, beyond ten a second of none. */
  announce(username: string): void {
    if (this.#newUsers.take("") > 0) return;
    const frame = newUserFrame(username);
    for (const socket of this.#plain.keys()) socket.send(frame);
  }

  /** Nobody is here any more, in the table too. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#online.clear();
    await this.#write();
  }

  #unwatch(socket: Socket): void {
    for (const key of this.#watching.get(socket) ?? []) {
      const watchers = this.#watchers.get(key);
      watchers?.delete(socket);
      if (watchers?.size === 0) this.#watchers.delete(key);
    }
    this.#watching.delete(socket);
  }

  #change(key: string, username: string, state: PresenceState): void {
    this.#changed.set(key, { username, state });
    this.#listChanged = true;
  }

  #tick(): void {
    const now = performance.now();
    for (const [key, at] of this.#leaving) {
      if (at > now) break; // in the order they left
      this.#leaving.delete(key);
      const username = this.#online.get(key);
      if (username === undefined || !this.#online.delete(key)) continue;
      this.#change(key, username, { online: false, last_seen: new Date().toISOString() });
    }
    this.#tellWatchers();
    this.#tellList(now);
  }

  #tellWatchers(): void {
    const told = new Map<Socket, string[]>();
    for (const [key, { username, state }] of this.#changed) {
      const entry = presenceEntry(username, state);
      for (const socket of this.#watchers.get(key) ?? []) {
        const entries = told.get(socket);
        if (entries) entries.push(entry);
        else told.set(socket, [entry]);
      }
    }
    this.#changed.clear();
    for (const [socket, entries] of told) socket.send(presenceFrame(entries));
  }

  /** The full list to those that never watched: to all after a change, at most once a second; else to those that are new. */
  #tellList(now: number): void {
    if (now < this.#budgetAt) return;
    const toAll = this.#listChanged && now >= this.#nextListAt;
    const owed = [...this.#plain].filter(([, isNew]) => toAll || isNew).map(([socket]) => socket);
    if (toAll) this.#listChanged = false;
    if (owed.length === 0) return;
    if (toAll) this.#nextListAt = now + 1_000 - TICK_MS / 2; // a timer's ticks are not exact
    const frame = statusFrame(this.online);
    for (const socket of owed) {
      this.#plain.set(socket, false);
      socket.send(frame);
    }
    this.#budgetAt = now + ((Buffer.byteLength(frame) * owed.length) / FULL_LISTS_PER_SECOND) * 1_000;
  }

  /** Writes to the table what changed since it was written last. */
  async #write(): Promise<void> {
    await this.#writing;
    const came = [...this.#online.keys()].filter((key) => !this.#written.has(key));
    const went = [...this.#written].filter((key) => !this.#online.has(key));
    if (came.length === 0 && went.length === 0) return;
    this.#writing = this.#writeChanges(came, went);
    await this.#writing;
  }

  async #writeChanges(came: readonly string[], went: readonly string[]): Promise<void> {
    try {
      await markOnline(this.#db, came, went);
      for (const key of came) this.#written.add(key);
      for (const key of went) this.#written.delete(key);
    } catch (error) {
      this.#log.warn("presence not written, trying again", { error: String(error) });
    }
  }
}
