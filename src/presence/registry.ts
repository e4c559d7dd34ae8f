/**
 * Which users are online, over all pods, mirrored in `users.is_online`. A user stays online for 5 s
 * after their last socket closes, so that a reload or a move to another pod causes no event.
 * `PresenceSubscriptions` decides which sockets are notified.
 */

import type { Bus, BusEvent } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import { markOnline, onlineKeys } from "../db/users.ts";
import { errorText, type Log } from "../log.ts";
import { ONLINE, type PresenceState } from "../protocol.ts";
import { isElected } from "../util/election.ts";

const GRACE_MS = 5_000;
/** For users who hide their last seen: random, so that going offline does not reveal the time. */
const HIDDEN_GRACE_MS = { min: 60_000, max: 300_000 };
/**
 * Clients of a stopping pod start to reconnect within 5 s (docs/protocol.md §4); 1.5 s more to
 * connect.
 */
const RECONNECT_GRACE_MS = GRACE_MS + 1_500;
const TICK_MS = 500;
/** A snapshot request without a reply is repeated after this time. */
const SNAPSHOT_RETRY_MS = 2_000;
/** After a start: by then, every live pod has sent a heartbeat. */
const SETTLED_MS = 1_500;
const WRITE_EVERY_MS = 2_000;
/** Pods that stop at the same time learn of each other within this time. */
const CONCURRENT_STOP_MS = 250;
/**
 * The table is reread and corrected this often, in case two pods wrote at once or an admin edited it.
 */
const RECONCILE_EVERY_MS = 60_000;

export class PresenceRegistry {
  readonly #db: Database;
  readonly #bus: Bus;
  readonly #log: Log;
  readonly #changed: (nameKey: string, username: string, state: PresenceState) => void;
  /** Online users by name key, in the order they came online, with the number of their pods. */
  readonly #online = new Map<string, { readonly username: string; readonly position: number; pods: number }>();
  #nextPosition = 0;
  /** This pod's users, including those in their grace period. */
  readonly #localUsers = new Set<string>();
  /** This pod's users without a socket, and when they go offline. */
  readonly #graceEndsAt = new Map<string, number>();
  /** Name keys of the other pods' users. */
  readonly #remoteUsers = new Map<string, Set<string>>();
  /** Pods that have left, and when their users go offline. */
  readonly #departed = new Map<string, number>();
  /** Pods that announced their shutdown. */
  readonly #stopping = new Set<string>();
  #shutdownAnnouncedAt = Number.NEGATIVE_INFINITY;
  /** Snapshots being received: the pod's known users not in it so far, and the last part's time. */
  readonly #unconfirmed = new Map<string, { readonly keys: Set<string>; at: number }>();
  /** Pods whose snapshot is awaited, and when it was requested. */
  readonly #requestedAt = new Map<string, number>();
  #isSnapshotRequested = false;
  #startedAt = Number.POSITIVE_INFINITY;
  /** The users online according to the table; undefined when this pod does not know. */
  #written: Set<string> | undefined;
  #reconciledAt = 0;
  #writing: Promise<void> | undefined;
  readonly #timers: Timer[];

  readonly #hiddenGraceMs: { readonly min: number; readonly max: number };

  /** @param parts.changed called when a user comes online or goes offline */
  constructor(parts: {
    db: Database;
    bus: Bus;
    log: Log;
    changed: (nameKey: string, username: string, state: PresenceState) => void;
    hiddenGraceMs?: { readonly min: number; readonly max: number };
  }) {
    this.#hiddenGraceMs = parts.hiddenGraceMs ?? HIDDEN_GRACE_MS;
    this.#db = parts.db;
    this.#bus = parts.bus;
    this.#log = parts.log;
    this.#changed = parts.changed;
    this.#timers = [setInterval(() => this.#tick(), TICK_MS), setInterval(() => this.#write(), WRITE_EVERY_MS)];
  }

  /** To be called once the bus has started. */
  start(): void {
    this.#startedAt = performance.now();
  }

  /** Usernames of all online users. */
  get online(): string[] {
    return [...this.#online.values()].map(({ username }) => username);
  }

  /** As `online`, without these users. */
  onlineWithout(nameKeys: ReadonlySet<string>): string[] {
    return [...this.#online].filter(([key]) => !nameKeys.has(key)).map(([, { username }]) => username);
  }

  /**
   * As `onlineWithout`, in pages read over time. Users who come online meanwhile are omitted, so
   * that no user is listed twice.
   */
  async *onlinePages(size: number, { without }: { without: ReadonlySet<string> }): AsyncGenerator<string[], string[]> {
    const end = this.#nextPosition;
    let page: string[] = [];
    for (const [key, { username, position }] of this.#online) {
      if (position >= end) break;
      if (without.has(key)) continue;
      if (page.push(username) < size) continue;
      yield page;
      page = [];
    }
    return page;
  }

  /** The username of an online user, otherwise undefined. */
  nameOf(nameKey: string): string | undefined {
    return this.#online.get(nameKey)?.username;
  }

  isOnline(nameKey: string): boolean {
    return this.#online.has(nameKey);
  }

  /** Handles a new or returned pod: its known users stay online until its snapshot omits them. */
  podJoined(pod: string): void {
    this.#departed.delete(pod);
    this.#written = undefined; // while partitioned, both pods may have written
    this.requestSnapshots(pod);
  }

  /** Records that a user has a socket on this pod. */
  connect(nameKey: string, username: string): void {
    this.#graceEndsAt.delete(nameKey);
    if (this.#localUsers.has(nameKey)) return;
    this.#localUsers.add(nameKey);
    this.#increment(nameKey, username);
    this.#bus.publish([{ kind: "online", nameKey, username }]);
  }

  /**
   * Starts the grace period of a user whose last socket on this pod closed.
   *
   * @param options.hidesLastSeen starts a longer, random one
   */
  disconnect(nameKey: string, { hidesLastSeen = false } = {}): void {
    const { min, max } = this.#hiddenGraceMs;
    const graceMs = hidesLastSeen ? min + Math.random() * (max - min) : GRACE_MS;
    this.#graceEndsAt.set(nameKey, performance.now() + graceMs);
  }

  /** Applies a presence event of another pod. */
  receive(event: BusEvent, from: string): void {
    if (event.kind === "snapshotRequest") this.#isSnapshotRequested ||= event.pod === this.#bus.pod;
    else if (event.kind === "online") this.#addRemote(from, event.nameKey, event.username);
    else if (event.kind === "offline") this.#removeRemote(from, event.nameKey, event.lastSeen);
    else if (event.kind === "snapshot") this.#applySnapshot(from, event.first, event.people);
    else if (event.kind === "leaving") this.#stopping.add(from);
  }

  /** Requests the snapshot of a pod, or of all, after events may have been lost. */
  requestSnapshots(pod?: string): void {
    const pods = this.#bus.peers.filter((other) => pod === undefined || other === pod);
    for (const other of pods) this.#requestedAt.set(other, performance.now());
    this.#bus.publish(pods.map((other) => ({ kind: "snapshotRequest", pod: other })));
  }

  /**
   * Handles a pod that left.
   *
   * @param graceful whether it said goodbye: its clients are then reconnecting to other pods
   */
  podLeft(pod: string, graceful: boolean): void {
    this.#requestedAt.delete(pod);
    this.#stopping.delete(pod);
    if (this.#remoteUsers.has(pod)) this.#departed.set(pod, performance.now() + (graceful ? RECONNECT_GRACE_MS : 0));
  }

  /**
   * Announces that this pod will stop. Otherwise pods that stop together would each leave the last
   * write to another.
   */
  announceShutdown(): void {
    this.#shutdownAnnouncedAt = performance.now();
    this.#bus.publish([{ kind: "leaving" }]);
  }

  /** Marks all users offline in the table, unless another pod remains and does so. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#writing;
    const otherRemains = () => this.#bus.peers.some((pod) => !this.#stopping.has(pod));
    while (otherRemains() && performance.now() < this.#shutdownAnnouncedAt + CONCURRENT_STOP_MS) await Bun.sleep(10);
    if (otherRemains()) return;
    // Including users of pods that left just before.
    await this.#writeChanges([], [...new Set([...(this.#written ?? []), ...this.#online.keys()])]);
  }

  #tick(): void {
    const now = performance.now();
    const lastSeen = new Date().toISOString();
    for (const [key, at] of this.#graceEndsAt) {
      if (at > now) continue;
      this.#graceEndsAt.delete(key);
      if (!this.#localUsers.delete(key)) continue;
      this.#decrement(key, lastSeen);
      this.#bus.publish([{ kind: "offline", nameKey: key, lastSeen }]);
    }
    for (const [pod, at] of this.#departed) {
      if (at > now) continue;
      for (const key of this.#remoteUsers.get(pod) ?? []) this.#decrement(key, lastSeen);
      this.#remoteUsers.delete(pod);
      this.#unconfirmed.delete(pod);
      this.#departed.delete(pod);
    }
    for (const [pod, { keys, at }] of this.#unconfirmed) {
      // Further parts may be in transit, or were lost and requested again.
      if (now - at < TICK_MS || this.#requestedAt.has(pod)) continue;
      this.#unconfirmed.delete(pod);
      for (const key of keys) this.#removeRemote(pod, key, lastSeen);
    }
    for (const [pod, at] of this.#requestedAt) if (now - at > SNAPSHOT_RETRY_MS) this.requestSnapshots(pod);
    if (this.#isSnapshotRequested) this.#publishSnapshot();
  }

  #publishSnapshot(): void {
    this.#isSnapshotRequested = false;
    const people = [...this.#localUsers].map((key) => [key, this.nameOf(key) ?? key] as const);
    this.#bus.publish([{ kind: "snapshot", first: true, people }]);
  }

  /** Applies one part of another pod's snapshot. */
  #applySnapshot(pod: string, first: boolean, people: readonly (readonly [string, string])[]): void {
    const at = performance.now();
    if (first) {
      this.#requestedAt.delete(pod);
      this.#unconfirmed.set(pod, { keys: new Set(this.#remoteUsers.get(pod)), at });
    }
    const unconfirmed = this.#unconfirmed.get(pod);
    if (unconfirmed) unconfirmed.at = at;
    for (const [key, username] of people) this.#addRemote(pod, key, username);
  }

  #addRemote(pod: string, key: string, username: string): void {
    this.#unconfirmed.get(pod)?.keys.delete(key);
    const keys = this.#remoteUsers.getOrInsertComputed(pod, () => new Set());
    if (keys.has(key)) return;
    keys.add(key);
    this.#increment(key, username);
  }

  #removeRemote(pod: string, key: string, lastSeen: string): void {
    if (this.#remoteUsers.get(pod)?.delete(key)) this.#decrement(key, lastSeen);
  }

  #increment(key: string, username: string): void {
    const user = this.#online.get(key);
    if (user) user.pods++;
    else {
      this.#online.set(key, { username, position: this.#nextPosition++, pods: 1 });
      this.#changed(key, username, ONLINE);
    }
  }

  #decrement(key: string, lastSeen: string): void {
    const user = this.#online.get(key);
    if (!user || --user.pods > 0) return;
    this.#online.delete(key);
    this.#changed(key, user.username, { online: false, last_seen: lastSeen });
  }

  /**
   * Writes changes to the table: only the elected pod writes, once it knows the users
   * of all pods.
   */
  #write(): void {
    if (this.#writing) return;
    const now = performance.now();
    const isWriter = isElected(this.#bus);
    if (!isWriter) this.#written = undefined;
    const isComplete =
      this.#requestedAt.size === 0 && this.#unconfirmed.size === 0 && now - this.#startedAt >= SETTLED_MS;
    if (!isWriter || !isComplete) return;
    this.#writing = this.#writeDifference(now).finally(() => (this.#writing = undefined));
  }

  async #writeDifference(now: number): Promise<void> {
    try {
      if (!this.#written || now - this.#reconciledAt > RECONCILE_EVERY_MS) {
        this.#written = await onlineKeys(this.#db);
        this.#reconciledAt = now;
      }
    } catch (error) {
      this.#log.warn("reading presence failed, will retry", { error: errorText(error) });
      return;
    }
    const written = this.#written;
    const online = [...this.#online.keys()].filter((key) => !written.has(key));
    const offline = [...written].filter((key) => !this.#online.has(key));
    await this.#writeChanges(online, offline);
  }

  async #writeChanges(online: readonly string[], offline: readonly string[]): Promise<void> {
    if (online.length === 0 && offline.length === 0) return;
    try {
      await markOnline(this.#db, online, offline);
      for (const key of online) this.#written?.add(key);
      for (const key of offline) this.#written?.delete(key);
    } catch (error) {
      this.#log.warn("presence update failed, will retry", { error: errorText(error) });
    }
  }
}
