/**
 * Who is online, over all pods, and that `users.is_online` says so. A person counts for 5 s after their last socket closed, so a
 * reload, or a move to another pod, is silent. Whom it concerns is presence's business.
 */

import type { Bus, BusEvent } from "../cluster/bus.ts";
import type { Database } from "../db/client.ts";
import { markOnline, onlineKeys } from "../db/users.ts";
import { errorText, type Log } from "../log.ts";
import { ONLINE, type PresenceState } from "../protocol.ts";

const GRACE_MS = 5_000;
/** For users who hide when they were last seen: drawn at random, so that going offline does not reveal when they left. */
const HIDDEN_GRACE_MS = { least: 60_000, most: 300_000 };
/** Whom a leaving pod sends away comes back after up to 5 s (CONTRACT §4), and then has to get there. */
const SENT_AWAY_MS = GRACE_MS + 1_500;
const TICK_MS = 500;
/** An unanswered question for a pod's list is asked again. */
const ASK_AGAIN_MS = 2_000;
/** After a start: by then every pod that lives has been heard. */
const SETTLED_MS = 1_500;
const WRITE_EVERY_MS = 2_000;
/** Pods that end together hear it of each other within so long. */
const TOGETHER_MS = 250;
/** The table is read and put right this often: what two writers at once, or a hand, left there. */
const RECONCILE_EVERY_MS = 60_000;

export class PresenceRegistry {
  readonly #db: Database;
  readonly #bus: Bus;
  readonly #log: Log;
  readonly #changed: (nameKey: string, username: string, state: PresenceState) => void;
  /** Everyone online, in the order they came: the name as its owner wrote it, and on how many pods. */
  readonly #online = new Map<string, { readonly username: string; readonly place: number; pods: number }>();
  #entered = 0;
  /** This pod's people, those who may come back included. */
  readonly #here = new Set<string>();
  /** People of this pod without a socket, and when that begins to count. */
  readonly #leaving = new Map<string, number>();
  /** The other pods' people. */
  readonly #elsewhere = new Map<string, Set<string>>();
  /** Pods that are gone, and when their people are. */
  readonly #gone = new Map<string, number>();
  /** Pods that said that they are about to end. */
  readonly #ending = new Set<string>();
  #leavingAt = Number.NEGATIVE_INFINITY;
  /** Of pods that sent a new list: whom it has not named so far, and when its last part came. */
  readonly #unnamed = new Map<string, { readonly keys: Set<string>; at: number }>();
  /** Pods whose list is awaited, and when it was asked for. */
  readonly #asked = new Map<string, number>();
  #isAsked = false;
  #startedAt = Number.POSITIVE_INFINITY;
  /** Who is online according to the table; undefined when this pod does not know. */
  #written: Set<string> | undefined;
  #reconciledAt = 0;
  #writing: Promise<void> | undefined;
  readonly #timers: Timer[];

  readonly #hiddenGraceMs: { readonly least: number; readonly most: number };

  /** @param parts.changed told when somebody comes online or goes */
  constructor(parts: {
    db: Database;
    bus: Bus;
    log: Log;
    changed: (nameKey: string, username: string, state: PresenceState) => void;
    hiddenGraceMs?: { readonly least: number; readonly most: number };
  }) {
    this.#hiddenGraceMs = parts.hiddenGraceMs ?? HIDDEN_GRACE_MS;
    this.#db = parts.db;
    this.#bus = parts.bus;
    this.#log = parts.log;
    this.#changed = parts.changed;
    this.#timers = [setInterval(() => this.#tick(), TICK_MS), setInterval(() => this.#write(), WRITE_EVERY_MS)];
  }

  /** To be called when the bus has started. */
  start(): void {
    this.#startedAt = performance.now();
  }

  /** Names of everyone online, as their owners wrote them. */
  get online(): string[] {
    return [...this.#online.values()].map(({ username }) => username);
  }

  /** The same without these users. */
  onlineWithout(nameKeys: ReadonlySet<string>): string[] {
    return [...this.#online].filter(([key]) => !nameKeys.has(key)).map(([, { username }]) => username);
  }

  /** The same in pages, to be taken over a while: people who come meanwhile are left out, so that nobody is named twice. */
  async *onlinePages(size: number, { without }: { without: ReadonlySet<string> }): AsyncGenerator<string[], string[]> {
    const end = this.#entered;
    let page: string[] = [];
    for (const [key, { username, place }] of this.#online) {
      if (place >= end) break;
      if (without.has(key)) continue;
      if (page.push(username) < size) continue;
      yield page;
      page = [];
    }
    return page;
  }

  /** How the owner of a name wrote it; undefined when they are not online. */
  nameOf(nameKey: string): string | undefined {
    return this.#online.get(nameKey)?.username;
  }

  isOnline(nameKey: string): boolean {
    return this.#online.has(nameKey);
  }

  /** A pod is heard that was not there before, or was given up: its people stay until its list says otherwise. */
  podJoined(pod: string): void {
    this.#gone.delete(pod);
    this.#written = undefined; // while neither heard the other, both may have written
    this.requestSnapshots(pod);
  }

  /** Somebody has a socket here. */
  connect(nameKey: string, username: string): void {
    this.#leaving.delete(nameKey);
    if (this.#here.has(nameKey)) return;
    this.#here.add(nameKey);
    this.#enter(nameKey, username);
    this.#bus.publish([{ kind: "online", nameKey, username }]);
  }

  /** A user's last socket here closed. @param options.hidden the user hides when they were last seen */
  disconnect(nameKey: string, { hidden = false } = {}): void {
    const { least, most } = this.#hiddenGraceMs;
    const graceMs = hidden ? least + Math.random() * (most - least) : GRACE_MS;
    this.#leaving.set(nameKey, performance.now() + graceMs);
  }

  /** What other pods say of their people, or ask of ours. */
  receive(event: BusEvent, from: string): void {
    if (event.kind === "snapshotRequest") this.#isAsked ||= event.pod === this.#bus.pod;
    else if (event.kind === "online") this.#enterAt(from, event.nameKey, event.username);
    else if (event.kind === "offline") this.#exitFrom(from, event.nameKey, event.lastSeen);
    else if (event.kind === "snapshot") this.#take(from, event.first, event.people);
    else if (event.kind === "leaving") this.#ending.add(from);
  }

  /** Another pod's people may be others than those known. @param pod undefined: of any pod; one that is gone answers no more */
  requestSnapshots(pod?: string): void {
    const pods = this.#bus.peers.filter((other) => pod === undefined || other === pod);
    for (const other of pods) this.#asked.set(other, performance.now());
    this.#bus.publish(pods.map((other) => ({ kind: "snapshotRequest", pod: other })));
  }

  /** A pod is gone. @param graceful it said goodbye: its people were told to come back elsewhere */
  podLeft(pod: string, graceful: boolean): void {
    this.#asked.delete(pod);
    this.#ending.delete(pod);
    if (this.#elsewhere.has(pod)) this.#gone.set(pod, performance.now() + (graceful ? SENT_AWAY_MS : 0));
  }

  /** This pod is about to end. Of pods that end together each would leave the last word to the others, were they not told. */
  announceShutdown(): void {
    this.#leavingAt = performance.now();
    this.#bus.publish([{ kind: "leaving" }]);
  }

  /** Nobody is here any more; in the table too, unless a pod that stays sees to that. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#writing;
    const stays = () => this.#bus.peers.some((pod) => !this.#ending.has(pod));
    while (stays() && performance.now() < this.#leavingAt + TOGETHER_MS) await Bun.sleep(10);
    if (stays()) return;
    // Those of pods that left just before, too.
    await this.#writeChanges([], [...new Set([...(this.#written ?? []), ...this.#online.keys()])]);
  }

  #tick(): void {
    const now = performance.now();
    const lastSeen = new Date().toISOString();
    for (const [key, at] of this.#leaving) {
      if (at > now) continue;
      this.#leaving.delete(key);
      if (!this.#here.delete(key)) continue;
      this.#exit(key, lastSeen);
      this.#bus.publish([{ kind: "offline", nameKey: key, lastSeen }]);
    }
    for (const [pod, at] of this.#gone) {
      if (at > now) continue;
      for (const key of this.#elsewhere.get(pod) ?? []) this.#exit(key, lastSeen);
      this.#elsewhere.delete(pod);
      this.#unnamed.delete(pod);
      this.#gone.delete(pod);
    }
    for (const [pod, { keys, at }] of this.#unnamed) {
      if (now - at < TICK_MS || this.#asked.has(pod)) continue; // the rest of the list may be under way, or was lost
      this.#unnamed.delete(pod);
      for (const key of keys) this.#exitFrom(pod, key, lastSeen);
    }
    for (const [pod, at] of this.#asked) if (now - at > ASK_AGAIN_MS) this.requestSnapshots(pod);
    if (this.#isAsked) this.#answer();
  }

  /** This pod's people, for whoever asked. */
  #answer(): void {
    this.#isAsked = false;
    const people = [...this.#here].map((key) => [key, this.nameOf(key) ?? key] as const);
    this.#bus.publish([{ kind: "snapshot", first: true, people }]);
  }

  /** A part of another pod's list. */
  #take(pod: string, first: boolean, people: readonly (readonly [string, string])[]): void {
    const at = performance.now();
    if (first) {
      this.#asked.delete(pod);
      this.#unnamed.set(pod, { keys: new Set(this.#elsewhere.get(pod)), at });
    }
    const unnamed = this.#unnamed.get(pod);
    if (unnamed) unnamed.at = at;
    for (const [key, username] of people) this.#enterAt(pod, key, username);
  }

  #enterAt(pod: string, key: string, username: string): void {
    this.#unnamed.get(pod)?.keys.delete(key);
    let theirs = this.#elsewhere.get(pod);
    if (!theirs) this.#elsewhere.set(pod, (theirs = new Set()));
    if (theirs.has(key)) return;
    theirs.add(key);
    this.#enter(key, username);
  }

  #exitFrom(pod: string, key: string, lastSeen: string): void {
    if (this.#elsewhere.get(pod)?.delete(key)) this.#exit(key, lastSeen);
  }

  #enter(key: string, username: string): void {
    const known = this.#online.get(key);
    if (known) known.pods++;
    else {
      this.#online.set(key, { username, place: this.#entered++, pods: 1 });
      this.#changed(key, username, ONLINE);
    }
  }

  #exit(key: string, lastSeen: string): void {
    const known = this.#online.get(key);
    if (!known || --known.pods > 0) return;
    this.#online.delete(key);
    this.#changed(key, known.username, { online: false, last_seen: lastSeen });
  }

  /** Writes what changed since the table was written last: one pod for all, as soon as it knows of all. */
  #write(): void {
    if (this.#writing) return;
    const now = performance.now();
    const isWriter = this.#bus.peers.every((other) => this.#bus.pod < other);
    if (!isWriter) this.#written = undefined;
    const isSure = this.#asked.size === 0 && this.#unnamed.size === 0 && now - this.#startedAt >= SETTLED_MS;
    if (!isWriter || !isSure) return;
    this.#writing = this.#writeDifference(now).finally(() => (this.#writing = undefined));
  }

  async #writeDifference(now: number): Promise<void> {
    try {
      if (!this.#written || now - this.#reconciledAt > RECONCILE_EVERY_MS) {
        this.#written = await onlineKeys(this.#db);
        this.#reconciledAt = now;
      }
    } catch (error) {
      this.#log.warn("who is online in the table is not known, trying again", { error: errorText(error) });
      return;
    }
    const written = this.#written;
    const came = [...this.#online.keys()].filter((key) => !written.has(key));
    const went = [...written].filter((key) => !this.#online.has(key));
    await this.#writeChanges(came, went);
  }

  async #writeChanges(came: readonly string[], went: readonly string[]): Promise<void> {
    if (came.length === 0 && went.length === 0) return;
    try {
      await markOnline(this.#db, came, went);
      for (const key of came) this.#written?.add(key);
      for (const key of went) this.#written?.delete(key);
    } catch (error) {
      this.#log.warn("presence not written, trying again", { error: errorText(error) });
    }
  }
}
