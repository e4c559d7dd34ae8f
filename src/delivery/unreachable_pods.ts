/**
 * Notices pods that serve on this database and cannot be heard on the bus: an older version during an upgrade, another `BUS`, a Valkey that
 * only some of them reach. Messages then cross by way of the database: those concerned are told to fetch, here every second, and on older
 * pods by an alert that makes those ask. Other pods are recognized by their sessions in PostgreSQL, which no other role can forge.
 */

import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/client.ts";
import { type ServingPod, servingPods, sessionNameOf } from "../db/pods.ts";
import type { Log } from "../log.ts";
import type { Resync } from "./resync.ts";

const CHECK_MS = 1_000;
/** When every pod has been heard for a while, checks become rare. */
const CALM_CHECK_MS = 10_000;
const CALM_AFTER_MS = 60_000;
/** Of the changes before a check: time since the last one, and for a statement that waited (5 s at most). */
const LOOK_BACK_MS = CHECK_MS + 6_000;

export class UnreachablePods {
  readonly #db: Database;
  readonly #bus: Pick<Bus, "pod" | "peers">;
  readonly #log: Log;
  readonly #resync: Pick<Resync, "schedule">;
  readonly #alert: () => void;
  #timer: Timer | undefined;
  #calmAt = performance.now() + CALM_AFTER_MS;
  #isUnheard = false;
  #isStopped = false;

  /** @param parts.alert makes older pods ask the database */
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

  /** To be called when the bus has started. */
  start(): void {
    void this.#check();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #check(): Promise<void> {
    const unheard = await this.#find().catch(() => undefined); // out of reach: whoever asks the database will notice
    if (this.#isStopped) return;
    if (unheard) this.#note(unheard);
    const isCalm = performance.now() > this.#calmAt;
    this.#timer = setTimeout(() => void this.#check(), isCalm ? CALM_CHECK_MS : CHECK_MS);
  }

  /** Pods with sessions in the database that the bus does not know. */
  async #find(): Promise<ServingPod[]> {
    const serving = await servingPods(this.#db);
    const heard = new Set([this.#bus.pod, ...this.#bus.peers].map(sessionNameOf));
    return serving.filter(({ name }) => !heard.has(name));
  }

  #note(unheard: readonly ServingPod[]): void {
    if (unheard.length === 0 && this.#isUnheard) {
      this.#isUnheard = false;
      this.#log.info("all pods are heard on the bus");
    }
    const active = unheard.filter(({ isActive }) => isActive);
    if (active.length === 0) return; // others may be at rest, and store something in a moment
    if (!this.#isUnheard) {
      this.#isUnheard = true;
      this.#log.warn("pods are not heard on the bus, messages between them take about two seconds", {
        pods: active.map(({ name }) => name).join(" "),
        help: "an older version during an upgrade is expected; else BUS must be the same for all",
      });
    }
    this.#calmAt = performance.now() + CALM_AFTER_MS;
    this.#alert();
    this.#resync.schedule(LOOK_BACK_MS);
  }
}
