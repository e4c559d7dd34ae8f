/**
 * Detects pods that serve on this database but are not reachable over the bus: an older version
 * during an upgrade, another `BUS`, a Valkey that only some pods reach. Events then travel through
 * the database: this pod resyncs its users every second, and an alert makes older pods do the same.
 * Pods are recognized by their PostgreSQL sessions, which no other role can forge.
 */

import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import { type ServingPod, servingPods, sessionNameOf } from "../db/pods.ts";
import type { Log } from "../log.ts";
import type { Resync } from "./resync.ts";

const CHECK_MS = 1_000;
/** The interval once every pod has been reachable for `CALM_AFTER_MS`. */
const CALM_CHECK_MS = 10_000;
const CALM_AFTER_MS = 60_000;
/** Covers the time since the last check and a statement that waited (5 s at most). */
const LOOK_BACK_MS = CHECK_MS + 6_000;

export class UnreachablePods {
  readonly #db: Database;
  readonly #bus: Pick<Bus, "pod" | "peers">;
  readonly #log: Log;
  readonly #resync: Pick<Resync, "schedule">;
  readonly #alert: () => void;
  #timer: Timer | undefined;
  #calmAt = performance.now() + CALM_AFTER_MS;
  #hasUnreachable = false;
  #isStopped = false;

  /** @param parts.alert makes older pods query the database */
  constructor(parts: {
    db: Database;
    bus: Pick<Bus, "pod" | "peers">;
    log: Log;
    resync: Pick<Resync, "schedule">;
    alert: () => void;
  }) {
    this.#db = parts.db;
    this.#bus = parts.bus;
    this.#log = parts.log;
    this.#resync = parts.resync;
    this.#alert = parts.alert;
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
    const unreachable = await this.#find().catch(() => undefined); // other queries report a database that does not respond
    if (this.#isStopped) return;
    if (unreachable) this.#report(unreachable);
    const isCalm = performance.now() > this.#calmAt;
    this.#timer = setTimeout(() => void this.#check(), isCalm ? CALM_CHECK_MS : CHECK_MS);
  }

  /** Pods with sessions in the database that are unknown to the bus. */
  async #find(): Promise<ServingPod[]> {
    const serving = await servingPods(this.#db);
    const reachable = new Set([this.#bus.pod, ...this.#bus.peers].map(sessionNameOf));
    return serving.filter(({ name }) => !reachable.has(name));
  }

  #report(unreachable: readonly ServingPod[]): void {
    if (unreachable.length === 0 && this.#hasUnreachable) {
      this.#hasUnreachable = false;
      this.#log.info("all pods are reachable over the bus");
    }
    const active = unreachable.filter(({ isActive }) => isActive);
    if (active.length === 0) return; // idle pods count as unreachable only once they store something
    if (!this.#hasUnreachable) {
      this.#hasUnreachable = true;
      this.#log.warn("pods are unreachable over the bus, messages between them take about two seconds", {
        pods: active.map(({ name }) => name).join(" "),
        help: "expected while an older version runs during an upgrade; otherwise set the same BUS on all pods",
      });
    }
    this.#calmAt = performance.now() + CALM_AFTER_MS;
    this.#alert();
    this.#resync.schedule(LOOK_BACK_MS);
  }
}
