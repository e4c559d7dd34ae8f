/** What a fault is, and what it has at hand. */

import type { Cluster, Pod } from "../cluster.ts";
import type { Connection } from "../fault_proxy.ts";
import type { History } from "../history.ts";
import type { Random } from "../random.ts";
import type { Workload } from "../workload.ts";

export interface FaultContext {
  readonly cluster: Cluster;
  readonly workload: Workload;
  readonly history: History;
  readonly random: Random;
  /** How long what lasts goes on: `seconds(8)` is 8 s in a short run, and up to three times as long in a long one. */
  seconds(short: number): number;
  /** A bound that was not kept. */
  wrong(words: string): void;
  /** Somebody with an account and a session who has no part in the workload. */
  spareUser(): string;
}

export interface Fault {
  readonly id: `F${string}`;
  readonly name: string;
  /** PostgreSQL loses what is not on the disk. */
  readonly crash?: true;
  /** Pods it takes to mean anything. */
  readonly pods?: number;
  /**
   * Makes it, waits, and heals it.
   *
   * @returns what was done, for the timeline
   * @throws Unsupported when it cannot be made on this machine, or in this run
   */
  run(context: FaultContext): Promise<string>;
}

/** A fault that cannot be made here; the message says why. */
export class Unsupported extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Unsupported";
  }
}

/** The pod a fault strikes: one that people are on, if there is one. */
export function pickPod({ cluster, random, history }: FaultContext): Pod {
  const busy = cluster.pods.filter((pod) => history.socketsOn([pod.index]).size > 0);
  return random.pick(busy.length > 0 ? busy : cluster.pods);
}

/** @throws Unsupported */
export function requireTool(tool: string, options: { root?: true } = {}): string {
  const found = Bun.which(tool);
  if (!found) throw new Unsupported(`${tool} is not installed`);
  if (options.root && process.getuid?.() !== 0) throw new Unsupported("only root can");
  return found;
}

/** The sockets of a person, as the proxies see them. */
export function connectionsOf({ cluster }: FaultContext, name: string): Connection[] {
  return cluster.pods
    .flatMap((pod) => pod.proxy.connections)
    .filter(({ requestHead }) => requestHead.startsWith(`GET /ws/${name} `));
}
