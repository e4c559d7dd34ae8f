/**
 * Notifies this pod's sockets of who is online. Sockets that sent `watch` receive changes of the
 * users they watch; the others receive the full list (`full_lists.ts`).
 */

import type { Database } from "../db/database.ts";
import { findMany } from "../db/users.ts";
import type { Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { newUserFrame, ONLINE, presenceEntry, presenceFrame, type PresenceState } from "../protocol.ts";
import { Batcher } from "../util/batcher.ts";
import { RateLimit } from "../util/rate_limit.ts";
import { keyOfReference } from "../util/text.ts";
import type { BlockedPairs } from "./blocked_pairs.ts";
import { FullLists, TICK_MS } from "./full_lists.ts";
import type { PresenceRegistry } from "./registry.ts";

const REFRESH_SOON_MS = 100;
/** Longer than an upgrade takes, including its session lookup. */
const PRIVACY_REMEMBERED_MS = 60_000;

/** When the database takes longer, users who went offline are reported without their last seen. */
const LOOKUP_MAX_MS = 1_000;

/** Without the database, users are reported offline without further details. */
function ignoreNotReady(error: unknown): undefined {
  if (!(error instanceof ChatError) || error.code !== "not_ready") throw error;
}

/** A user watched by at least one socket. */
interface WatchedUser {
  readonly key: string;
  /** Number of watching sockets. */
  sockets: number;
  /** The presence entry that the next tick sends. */
  entry: string | undefined;
  /** The same without last seen, for watchers who hide their own. */
  entryWithoutLastSeen: string | undefined;
  /** The frame of a changed profile that the next tick sends. */
  profile: string | undefined;
  /** The most recent change. */
  state: PresenceState | undefined;
}

/** What the table holds of a user. */
interface UserRow {
  readonly username: string;
  readonly lastSeenAt: string | null;
  readonly hidesLastSeen: boolean;
}

export class PresenceSubscriptions {
  readonly #db: Database;
  readonly #registry: PresenceRegistry;
  readonly #blockedPairs: BlockedPairs;
  readonly #watched = new Map<string, WatchedUser>();
  readonly #watching = new Map<Socket, readonly WatchedUser[]>();
  /**
   * By name key: whether each user with a socket on this pod hides their last seen. Mutual: a user
   * who hides it cannot see other users' either.
   */
  readonly #hidesLastSeen = new Map<string, boolean>();
  /** Recent changes of this setting: an upgrade that looked the session up just before has the old value. */
  readonly #recentPrivacy = new Map<string, { hidesLastSeen: boolean }>();
  /** For sockets that never sent `watch`. */
  readonly #fullLists: FullLists;
  /** Watched users whose watchers must be notified. */
  readonly #changed = new Set<WatchedUser>();
  readonly #lookups: Batcher<readonly string[], Map<string, UserRow>>;
  readonly #newUsers = new RateLimit({ burst: 10, perSecond: 10 });
  /** Sockets that sent `watch` and requested sign-up notifications. */
  readonly #newUserSubscribers = new Set<Socket>();
  /** Watched users who went offline, and their usernames. */
  readonly #wentOffline = new Map<WatchedUser, string>();
  readonly #timer: Timer;
  #refreshing: Timer | undefined;

  constructor(parts: { db: Database; registry: PresenceRegistry; blockedPairs: BlockedPairs }) {
    this.#db = parts.db;
    this.#registry = parts.registry;
    this.#blockedPairs = parts.blockedPairs;
    this.#fullLists = new FullLists(parts);
    this.#lookups = new Batcher((requests) => this.#lookUp(requests), { max: 50 });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Registers an opened socket. @param hidesLastSeen whether its user hides their last seen */
  connect(socket: Socket, hidesLastSeen: boolean): void {
    const recent = this.#recentPrivacy.get(socket.nameKey);
    this.#hidesLastSeen.set(socket.nameKey, recent?.hidesLastSeen ?? hidesLastSeen);
    this.#blockedPairs.connect(socket.nameKey, socket.username);
    this.#fullLists.add(socket);
    this.#registry.connect(socket.nameKey, socket.username);
  }

  /** Unregisters a closed socket. @param isLast whether it was the user's last on this pod */
  disconnect(socket: Socket, isLast: boolean): void {
    this.#fullLists.delete(socket);
    this.#unwatch(socket);
    if (!isLast) return;
    this.#blockedPairs.disconnect(socket.nameKey);
    const hidesLastSeen = this.#hidesLastSeen.get(socket.nameKey) === true;
    this.#hidesLastSeen.delete(socket.nameKey);
    this.#registry.disconnect(socket.nameKey, { hidesLastSeen });
  }

  /** Records that a user began or stopped hiding their last seen. */
  setHidesLastSeen(key: string, hidesLastSeen: boolean): void {
    if (this.#hidesLastSeen.has(key)) this.#hidesLastSeen.set(key, hidesLastSeen);
    const change = { hidesLastSeen };
    this.#recentPrivacy.set(key, change);
    setTimeout(() => {
      if (this.#recentPrivacy.get(key) === change) this.#recentPrivacy.delete(key);
    }, PRIVACY_REMEMBERED_MS).unref();
  }

  /**
   * Replaces the users that a socket watches, and sends their current presence.
   *
   * @param options.newUsers whether the socket is also notified of sign-ups
   */
  async subscribe(socket: Socket, users: readonly string[], { newUsers }: { newUsers?: true }): Promise<void> {
    this.#fullLists.delete(socket);
    this.#unwatch(socket);
    if (newUsers) this.#newUserSubscribers.add(socket);
    const keys = users.map((user) => keyOfReference(user) ?? "");
    const watched = [...new Set(keys)].filter(Boolean);
    this.#watching.set(
      socket,
      watched.map((key) => this.#addWatcher(key)),
    );
    await this.#sendPresence(socket, users);
  }

  /**
   * After one of two users blocked or unblocked the other, sends each the other's presence as now
   * permitted. Never throws.
   */
  async blockChanged(keys: readonly string[]): Promise<void> {
    await Promise.all(
      keys.map(async (key) => {
        const changed = new Set(await this.#blockedPairs.refresh(key));
        if (changed.size === 0) return;
        for (const [socket, watchedUsers] of this.#watching) {
          if (socket.nameKey !== key) continue;
          const changedKeys = watchedUsers.map((user) => user.key).filter((watched) => changed.has(watched));
          if (changedKeys.length === 0) continue;
          await this.#sendPresence(socket, changedKeys).catch(() => {}); // a hint; the next watch is answered correctly
        }
        this.#fullLists.resend(key);
      }),
    );
  }

  /** Reloads all blocks soon, because a change may have been lost; once for a burst of losses. */
  scheduleBlockRefresh(): void {
    this.#refreshing ??= setTimeout(() => {
      this.#refreshing = undefined;
      const keys = [...this.#watching.keys(), ...this.#fullLists.sockets].map((socket) => socket.nameKey);
      void this.blockChanged([...new Set(keys)]);
    }, REFRESH_SOON_MS);
  }

  /** Sends a socket the current presence of these users. */
  async #sendPresence(socket: Socket, users: readonly string[]): Promise<void> {
    const keys = users.map((user) => keyOfReference(user) ?? "");
    const blocked = await this.#blockedPairs.loaded(socket.nameKey);
    const offline = new Set(keys.filter((key) => key !== "" && !this.#registry.isOnline(key)));
    const known = offline.size > 0 ? await this.#lookups.add([...offline]).catch(ignoreNotReady) : undefined;
    const hidesOwn = this.#hidesLastSeen.get(socket.nameKey) === true;
    const entries = users.map((user, i) => {
      const key = keys[i] as string;
      const isHidden = blocked?.has(key) !== false;
      const onlineName = this.#registry.nameOf(key);
      if (onlineName !== undefined && !isHidden) return presenceEntry(onlineName, ONLINE);
      const { username = onlineName ?? user, lastSeenAt = null, hidesLastSeen = false } = known?.get(key) ?? {};
      const isShown = !isHidden && !hidesOwn && !hidesLastSeen;
      return presenceEntry(username, { online: false, last_seen: isShown ? lastSeenAt : null });
    });
    socket.send(presenceFrame(entries));
  }

  /**
   * Notifies sockets of a sign-up: those that never sent `watch` and those that requested it.
   * Sign-ups beyond ten a second are not announced.
   */
  announceSignup(username: string): void {
    if (this.#newUsers.charge("") > 0) return;
    const frame = newUserFrame(username);
    for (const socket of this.#fullLists.sockets) socket.send(frame);
    for (const socket of this.#newUserSubscribers) socket.send(frame);
  }

  /** Sends the frame of a changed profile to the sockets that watch the user, at the next tick; not across a block. */
  profileChanged(key: string, frame: string): void {
    const user = this.#watched.get(key);
    if (!user) return;
    user.profile = frame;
    this.#changed.add(user);
  }

  /** Sends a socket those of these frames of profiles, by name key, whose users it watches; not across a block. */
  sendProfiles(socket: Socket, frames: ReadonlyMap<string, string>): void {
    const blocked = this.#blockedPairs.of(socket.nameKey);
    for (const { key } of (blocked && this.#watching.get(socket)) ?? []) {
      const frame = frames.get(key);
      if (frame !== undefined && !blocked?.has(key)) socket.send(frame);
    }
  }

  /** Records that a user came online or went offline; the next tick notifies their watchers. */
  notifyWatchers(key: string, username: string, state: PresenceState): void {
    this.#fullLists.noteChange();
    const user = this.#watched.get(key);
    if (!user) return;
    user.state = state;
    this.#wentOffline.delete(user);
    if (state.online) this.#queueEntry(user, presenceEntry(username, state));
    else this.#wentOffline.set(user, username);
  }

  /**
   * Looks up whether users who went offline hide their last seen, so that no pod has to remember it
   * for offline users.
   */
  async #notifyOffline(): Promise<void> {
    if (this.#wentOffline.size === 0) return;
    const offline = [...this.#wentOffline].map(([user, username]) => ({ user, username, state: user.state }));
    this.#wentOffline.clear();
    const known = await Promise.race([
      this.#lookUp([offline.map(({ user }) => user.key)]).catch(() => undefined),
      Bun.sleep(LOOKUP_MAX_MS),
    ]);
    for (const { user, username, state } of offline) {
      if (!state || user.state !== state) continue; // online again, or changed since
      const withoutLastSeen = presenceEntry(username, { online: false, last_seen: null });
      const isShown = known?.[0]?.get(user.key)?.hidesLastSeen === false;
      this.#queueEntry(user, isShown ? presenceEntry(username, state) : withoutLastSeen, withoutLastSeen);
    }
    this.#sendChanges();
  }

  #queueEntry(user: WatchedUser, entry: string, entryWithoutLastSeen = entry): void {
    if (user.sockets === 0) return;
    user.entry = entry;
    user.entryWithoutLastSeen = entryWithoutLastSeen;
    this.#changed.add(user);
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#refreshing);
  }

  #addWatcher(key: string): WatchedUser {
    const user = this.#watched.getOrInsertComputed(key, () => {
      return {
        key,
        sockets: 0,
        entry: undefined,
        entryWithoutLastSeen: undefined,
        profile: undefined,
        state: undefined,
      };
    });
    user.sockets++;
    return user;
  }

  #unwatch(socket: Socket): void {
    for (const user of this.#watching.get(socket) ?? []) {
      if (--user.sockets > 0) continue;
      this.#watched.delete(user.key);
      this.#changed.delete(user);
      this.#wentOffline.delete(user);
    }
    this.#watching.delete(socket);
    this.#newUserSubscribers.delete(socket);
  }

  /** One statement for many requests, since thousands of clients may reconnect at once. */
  async #lookUp(requests: readonly (readonly string[])[]): Promise<Map<string, UserRow>[]> {
    const rows = await findMany(this.#db, [...new Set(requests.flat())]);
    const known = new Map(rows.map((user) => [user.nameKey, user]));
    return requests.map(() => known);
  }

  #tick(): void {
    this.#sendChanges();
    void this.#notifyOffline();
    this.#fullLists.send(performance.now());
  }

  /**
   * Scans every socket's list instead of indexing watchers by user: 10,000 sockets that watch 50
   * users take 5 ms, at most twice a second, and an index would double the memory.
   */
  #sendChanges(): void {
    if (this.#changed.size === 0) return;
    for (const [socket, watchedUsers] of this.#watching) {
      const blocked = this.#blockedPairs.of(socket.nameKey);
      if (!blocked) continue; // still loading; the reply to its watch follows
      let entries: string[] | undefined;
      const hidesOwn = this.#hidesLastSeen.get(socket.nameKey) === true;
      for (const { key, entry, entryWithoutLastSeen, profile } of watchedUsers) {
        const shown = hidesOwn ? entryWithoutLastSeen : entry;
        if (shown !== undefined && !blocked.has(key)) (entries ??= []).push(shown);
        if (profile !== undefined && !blocked.has(key)) socket.send(profile);
      }
      if (entries) socket.send(presenceFrame(entries));
    }
    for (const user of this.#changed) user.entry = user.entryWithoutLastSeen = user.profile = undefined;
    this.#changed.clear();
  }
}
