/**
 * Tells this pod's sockets who is online. Changes are gathered and told to the sockets that watch the person; sockets that never
 * watched get the full list, within a budget of the pod's bytes.
 */

import type { Database } from "../db/client.ts";
import { findMany } from "../db/users.ts";
import type { Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { newUserFrame, ONLINE, presenceEntry, presenceFrame, type PresenceState, statusFrame } from "../protocol.ts";
import { Batcher } from "../util/batcher.ts";
import { RateLimit } from "../util/rate_limit.ts";
import { keyOfReference } from "../util/text.ts";
import type { BlockedPairs } from "./blocked_pairs.ts";
import type { PresenceRegistry } from "./registry.ts";

const TICK_MS = 500;
const REFRESH_SOON_MS = 100;
/** All full lists of a pod together, bytes a second (CONTRACT §4). */
const FULL_LISTS_PER_SECOND = 8 * 1024 * 1024;

/** Without a database that answers, whoever goes is told without when they were last seen. */
const LOOKUP_MAX_MS = 1_000;

/** Without a database those who are away are offline, and no more is said of them. */
function ifNotReady(error: unknown): undefined {
  if (!(error instanceof ChatError) || error.code !== "not_ready") throw error;
}

/** A person some socket watches. */
interface Watched {
  readonly key: string;
  /** How many sockets do. */
  sockets: number;
  /** What the next tick tells them. */
  entry: string | undefined;
  /** And those of them who are not to see when others were last seen. */
  veiled: string | undefined;
  /** The last of their comings and goings. */
  state: PresenceState | undefined;
}

/** What the table knows of somebody. */
interface Known {
  readonly username: string;
  readonly lastSeenAt: string | null;
  readonly hidesLastSeen: boolean;
}

export class PresenceSubscriptions {
  readonly #db: Database;
  readonly #roster: PresenceRegistry;
  readonly #blocked: BlockedPairs;
  readonly #watched = new Map<string, Watched>();
  readonly #watching = new Map<Socket, readonly Watched[]>();
  /** People with a socket here who hide when they were last seen: they do not see it of others. */
  readonly #veiled = new Set<string>();
  /** Sockets that never sent `watch`, and when each was told the full list last. */
  readonly #plain = new Map<Socket, number>();
  /** Last list sent to a plain socket whose user has blocked peers. An equal list, sent again, would reveal that a blocked peer came or went. */
  readonly #filtered = new WeakMap<Socket, string>();
  /** Watched people of whom something new is to be told. */
  readonly #changed = new Set<Watched>();
  readonly #lookups: Batcher<readonly string[], Map<string, Known>>;
  readonly #newUsers = new RateLimit({ burst: 10, perSecond: 10 });
  /** Sockets that watch, and asked to be notified of sign-ups. */
  readonly #newUserSubscribers = new Set<Socket>();
  /** Watched people who went, and their names. */
  readonly #went = new Map<Watched, string>();
  #listChangedAt = 0;
  /** When the pod may spend bytes on full lists again. */
  #budgetAt = 0;
  readonly #timer: Timer;
  #refreshing: Timer | undefined;

  constructor(parts: { db: Database; roster: PresenceRegistry; blocked: BlockedPairs }) {
    this.#db = parts.db;
    this.#roster = parts.roster;
    this.#blocked = parts.blocked;
    this.#lookups = new Batcher((asked) => this.#lookUp(asked), { max: 50 });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** A socket opened. @param veiled whether its person hides when they were last seen */
  connect(socket: Socket, veiled: boolean): void {
    this.setHidesLastSeen(socket.nameKey, veiled);
    this.#blocked.connect(socket.nameKey, socket.username);
    this.#plain.set(socket, Number.NEGATIVE_INFINITY);
    this.#roster.connect(socket.nameKey, socket.username);
  }

  /** A socket closed. @param last whether it was the person's last */
  disconnect(socket: Socket, last: boolean): void {
    this.#plain.delete(socket);
    this.#unwatch(socket);
    if (!last) return;
    this.#blocked.disconnect(socket.nameKey);
    this.#roster.disconnect(socket.nameKey, { hidden: this.#veiled.delete(socket.nameKey) });
  }

  /** Somebody hides when they were last seen, or no longer; what they see of others changes with it. */
  setHidesLastSeen(key: string, on: boolean): void {
    if (on) this.#veiled.add(key);
    else this.#veiled.delete(key);
  }

  /**
   * From now on a socket hears of these people only, first of how things stand.
   *
   * @param options.newUsers whether it is notified of sign-ups, too
   */
  async subscribe(socket: Socket, users: readonly string[], { newUsers }: { newUsers?: true }): Promise<void> {
    this.#plain.delete(socket);
    this.#unwatch(socket);
    if (newUsers) this.#newUserSubscribers.add(socket);
    const keys = users.map((user) => keyOfReference(user) ?? "");
    const asked = [...new Set(keys)].filter(Boolean);
    this.#watching.set(
      socket,
      asked.map((key) => this.#record(key)),
    );
    await this.#tell(socket, users);
  }

  /** One of two users blocked the other or ended a block: sends each the other's presence as it may be seen now. Never throws. */
  async blockChanged(keys: readonly string[]): Promise<void> {
    await Promise.all(
      keys.map(async (key) => {
        const changed = new Set(await this.#blocked.refresh(key));
        if (changed.size === 0) return;
        for (const [socket, people] of this.#watching) {
          if (socket.nameKey !== key) continue;
          const watched = people.filter((person) => changed.has(person.key));
          if (watched.length === 0) continue;
          const names = watched.map((person) => person.key);
          await this.#tell(socket, names).catch(() => {}); // a hint: the answer to the next watch is right
        }
        for (const socket of this.#plain.keys()) {
          if (socket.nameKey === key) this.#plain.set(socket, Number.NEGATIVE_INFINITY);
        }
      }),
    );
  }

  /** A change of a block may have been lost: all are looked up again, once for losses that come together. */
  scheduleBlockRefresh(): void {
    this.#refreshing ??= setTimeout(() => {
      this.#refreshing = undefined;
      const keys = [...this.#watching.keys(), ...this.#plain.keys()].map((socket) => socket.nameKey);
      void this.blockChanged([...new Set(keys)]);
    }, REFRESH_SOON_MS);
  }

  /** Sends a socket the current presence of these users. */
  async #tell(socket: Socket, users: readonly string[]): Promise<void> {
    const keys = users.map((user) => keyOfReference(user) ?? "");
    const hidden = await this.#blocked.loaded(socket.nameKey);
    const away = new Set(keys.filter((key) => key !== "" && !this.#roster.isOnline(key)));
    const known = away.size > 0 ? await this.#lookups.add([...away]).catch(ifNotReady) : undefined;
    const isVeiled = this.#veiled.has(socket.nameKey);
    const entries = users.map((user, i) => {
      const key = keys[i] as string;
      const isHidden = hidden?.has(key) !== false;
      const here = this.#roster.nameOf(key);
      if (here !== undefined && !isHidden) return presenceEntry(here, ONLINE);
      const { username = here ?? user, lastSeenAt = null, hidesLastSeen = false } = known?.get(key) ?? {};
      const isShown = !isHidden && !isVeiled && !hidesLastSeen;
      return presenceEntry(username, { online: false, last_seen: isShown ? lastSeenAt : null });
    });
    socket.send(presenceFrame(entries));
  }

  /** Somebody signed up: sockets that never watched, or asked for it, hear of it; beyond ten a second of none. */
  announceSignup(username: string): void {
    if (this.#newUsers.take("") > 0) return;
    const frame = newUserFrame(username);
    for (const socket of this.#plain.keys()) socket.send(frame);
    for (const socket of this.#newUserSubscribers) socket.send(frame);
  }

  /** Somebody came online or went, on whatever pod: told with the next tick. */
  notifyWatchers(key: string, username: string, state: PresenceState): void {
    this.#listChangedAt = performance.now();
    const person = this.#watched.get(key);
    if (!person) return;
    person.state = state;
    this.#went.delete(person);
    if (state.online) this.#note(person, presenceEntry(username, state));
    else this.#went.set(person, username);
  }

  /** Whether those who went hide when they were last seen is asked when it is to be told: no pod has to remember it of people who are away. */
  async #tellWent(): Promise<void> {
    if (this.#went.size === 0) return;
    const went = [...this.#went].map(([person, username]) => ({ person, username, state: person.state }));
    this.#went.clear();
    const known = await Promise.race([
      this.#lookUp([went.map(({ person }) => person.key)]).catch(() => undefined),
      Bun.sleep(LOOKUP_MAX_MS),
    ]);
    for (const { person, username, state } of went) {
      if (!state || person.state !== state) continue; // they are back
      const veiled = presenceEntry(username, { online: false, last_seen: null });
      const isShown = known?.[0]?.get(person.key)?.hidesLastSeen === false;
      this.#note(person, isShown ? presenceEntry(username, state) : veiled, veiled);
    }
    this.#tellWatchers();
  }

  #note(person: Watched, entry: string, veiled = entry): void {
    if (person.sockets === 0) return;
    person.entry = entry;
    person.veiled = veiled;
    this.#changed.add(person);
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#refreshing);
  }

  /** The record of a person for one more socket that watches them. */
  #record(key: string): Watched {
    let person = this.#watched.get(key);
    if (!person)
      this.#watched.set(key, (person = { key, sockets: 0, entry: undefined, veiled: undefined, state: undefined }));
    person.sockets++;
    return person;
  }

  #unwatch(socket: Socket): void {
    for (const person of this.#watching.get(socket) ?? []) {
      if (--person.sockets > 0) continue;
      this.#watched.delete(person.key);
      this.#changed.delete(person);
      this.#went.delete(person);
    }
    this.#watching.delete(socket);
    this.#newUserSubscribers.delete(socket);
  }

  /** Thousands come back at once: a statement for many of them. */
  async #lookUp(asked: readonly (readonly string[])[]): Promise<Map<string, Known>[]> {
    const rows = await findMany(this.#db, [...new Set(asked.flat())]);
    const known = new Map(rows.map((user) => [user.nameKey, user]));
    return asked.map(() => known);
  }

  #tick(): void {
    this.#tellWatchers();
    void this.#tellWent();
    this.#tellList(performance.now());
  }

  /**
   * Walks every list instead of keeping each person's watchers: 10,000 sockets that watch 50 take 5 ms, twice a second at most,
   * and the lists that would save it as much memory again.
   */
  #tellWatchers(): void {
    if (this.#changed.size === 0) return;
    for (const [socket, people] of this.#watching) {
      const hidden = this.#blocked.of(socket.nameKey);
      if (!hidden) continue; // still loading: the answer to its watch follows
      let entries: string[] | undefined;
      const isVeiled = this.#veiled.size > 0 && this.#veiled.has(socket.nameKey);
      for (const { key, entry, veiled } of people) {
        const told = isVeiled ? veiled : entry;
        if (told !== undefined && !hidden.has(key)) (entries ??= []).push(told);
      }
      if (entries) socket.send(presenceFrame(entries));
    }
    for (const person of this.#changed) person.entry = person.veiled = undefined;
    this.#changed.clear();
  }

  /**
   * The full list to those that never watched and have not heard of the last change, each at most once a second: those that
   * waited longest first, so newcomers before all, and as many as a tick's bytes allow.
   */
  #tellList(now: number): void {
    if (now < this.#budgetAt) return;
    const before = now - 1_000 + TICK_MS / 2; // a timer's ticks are not exact
    const isKnown = (socket: Socket) => this.#blocked.of(socket.nameKey) !== undefined;
    const owed = [...this.#plain].filter(
      ([socket, toldAt]) => toldAt < this.#listChangedAt && toldAt < before && isKnown(socket),
    );
    if (owed.length === 0) return;
    const frame = statusFrame(this.#roster.online);
    const cost = (Buffer.byteLength(frame) / FULL_LISTS_PER_SECOND) * 1_000;
    const count = Math.max(1, Math.floor(TICK_MS / cost));
    owed.sort(([, one], [, other]) => one - other);
    const toldAt = performance.now(); // not `now`: who left in this very tick is in the list
    for (const [socket] of owed.slice(0, count)) {
      this.#plain.set(socket, toldAt);
      this.#sendList(socket, frame);
    }
    this.#budgetAt = now + cost * Math.min(count, owed.length) - TICK_MS / 2;
  }

  /** Sends a full list, without blocked peers. @param whole the frame with everyone */
  #sendList(socket: Socket, whole: string): void {
    const hidden = this.#blocked.of(socket.nameKey);
    if (!hidden?.size) {
      this.#filtered.delete(socket);
      socket.send(whole);
      return;
    }
    const frame = statusFrame(this.#roster.onlineWithout(hidden));
    if (this.#filtered.get(socket) === frame) return;
    this.#filtered.set(socket, frame);
    socket.send(frame);
  }
}
