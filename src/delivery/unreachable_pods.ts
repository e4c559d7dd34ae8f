/**
 * Detects pods that serve on this database but are not reachable over the bus: an older version
 * during an upgrade, another `BUS`, a Valkey that only some pods reach. Events then travel through
 * the database: this pod resyncs its users every second, and an alert makes older pods do the same.
 * Pods are recognized by their PostgreSQL sessions, which no other role can forge.
 */

import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import { applicationNameOf, DISCOVERED_WITHIN_MS, type ServingPod, servingPods } from "../db/pods.ts";
import type { Log } from "../log.ts";
import type { Resync } from "./resync.ts";

const CHECK_MS = 1_000;
/** The interval once every pod has been reachable for `calmAfterMs`. */
const CALM_CHECK_MS = 10_000;
const CALM_AFTER_MS = 60_000;
/** A statement may commit this long after the time it stores (`statement_timeout`). */
const STATEMENT_MS = 5_000;
/** For the time from the check to the query of the resync. */
const SLACK_MS = 1_000;

export class UnreachablePods {
  readonly #db: Database;
  readonly #bus: Pick<Bus, "pod" | "peers">;
  readonly #log: Log;
  readonly #resync: Pick<Resync, "schedule">;
  readonly #alertOlderPods: () => void;
  readonly #calmAfterMs: number;
  #timer: Timer | undefined;
  #calmAt: number;
  /** The start of the last check that succeeded. */
  #checkedAt = performance.now();
  /** The active unreachable pods of that check. */
  #active: ReadonlySet<string> = new Set();
  #hasUnreachable = false;
  #isStopped = false;

  /**
   * @param parts.alertOlderPods makes older pods query the database
   * @param parts.calmAfterMs checks become rare once every pod has been reachable for this long
   */
  constructor(parts: {
    db: Database;
    bus: Pick<Bus, "pod" | "peers">;
    log: Log;
    resync: Pick<Resync, "schedule">;
    alertOlderPods: () => void;
    calmAfterMs?: number;
  }) {
    this.#db = parts.db;
    this.#bus = parts.bus;
    this.#log = parts.log;
    this.#resync = parts.resync;
    this.#alertOlderPods = parts.alertOlderPods;
    this.#calmAfterMs = parts.calmAfterMs ?? CALM_AFTER_MS;
    this.#calmAt = performance.now() + this.#calmAfterMs;
  }

  /** To be called once the bus has started. */
  start(): void {
    void this.#check();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #check(): Promise<void> {
    const startedAt = performance.now();
    const sinceLastMs = startedAt - this.#checkedAt;
    const unreachable = await this.#find(sinceLastMs).catch(() => undefined); // other queries report a database that does not respond
    if (this.#isStopped) return;
    if (unreachable) {
      this.#checkedAt = startedAt;
      this.#report(unreachable, sinceLastMs);
    }
    const isCalm = (unreachable ?? []).length === 0 && performance.now() > this.#calmAt;
    this.#timer = setTimeout(() => void this.#check(), isCalm ? CALM_CHECK_MS : CHECK_MS);
  }

  /** Pods with sessions in the database that are unknown to the bus. */
  async #find(sinceLastMs: number): Promise<ServingPod[]> {
    const serving = await servingPods(this.#db, sinceLastMs + STATEMENT_MS);
    const reachable = new Set([this.#bus.pod, ...this.#bus.peers].map(applicationNameOf));
    return serving.filter(({ name }) => !reachable.has(name));
  }

  #report(unreachable: readonly ServingPod[], sinceLastMs: number): void {
    if (unreachable.length === 0 && this.#hasUnreachable) {
      this.#hasUnreachable = false;
      this.#log.info("all pods are reachable over the bus");
    }
    const active = unreachable.filter(({ isActive }) => isActive).map(({ name }) => name);
    const before = this.#active;
    this.#active = new Set(active);
    if (active.length === 0) return; // idle pods count as unreachable only once they store something
    const hasNew = active.some((name) => !before.has(name));
    // A stopping pod leaves the bus before the database, so a single check would report it.
    if (!this.#hasUnreachable && active.some((name) => before.has(name))) {
      this.#hasUnreachable = true;
      this.#log.warn("pods are unreachable over the bus, messages between them take about two seconds", {
        pods: active.join(" "),
        help: "expected while an older version runs during an upgrade; otherwise set the same BUS on all pods",
      });
    }
    this.#calmAt = performance.now() + this.#calmAfterMs;
    this.#alertOlderPods();
    // A new pod may have stored messages before the last check, when it was too young to count.
    this.#resync.schedule(sinceLastMs + STATEMENT_MS + SLACK_MS + (hasNew ? DISCOVERED_WITHIN_MS : 0));
  }
}
