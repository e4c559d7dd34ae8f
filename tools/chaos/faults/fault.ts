/** The interface of faults, and the environment that they can use. */

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
  /** A duration: `seconds(8)` is 8 s in a short run, and up to twice as long in a long one. */
  seconds(short: number): number;
  /** Records an exceeded bound. */
  violation(message: string): void;
  /** A user with a session and without a part in the workload. */
  spareUser(): string;
}

export interface Fault {
  readonly id: `F${string}`;
  readonly name: string;
  /** PostgreSQL loses what is not on the disk. */
  readonly crash?: true;
  /** The number of pods it needs. */
  readonly pods?: number;
  /**
   * Injects it, waits, and heals it.
   *
   * @returns a note for the timeline
   * @throws Unsupported when it cannot be injected on this machine or in this run
   */
  run(context: FaultContext): Promise<string>;
}

/** The fault cannot be injected here; the message says why. */
export class Unsupported extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Unsupported";
  }
}

/** A pod with clients, if there is one. */
export function pickPod({ cluster, random, history }: FaultContext): Pod {
  const busy = cluster.pods.filter((pod) => history.socketsOn([pod.index]).size > 0);
  return random.pick(busy.length > 0 ? busy : cluster.pods);
}

/** @throws Unsupported when a program is missing */
export function requireTool(name: string, options: { root?: true } = {}): string {
  const path = Bun.which(name);
  if (!path) throw new Unsupported(`${name} is not installed`);
  if (options.root && process.getuid?.() !== 0) throw new Unsupported("it needs root");
  return path;
}

/** A user's sockets, as connections of the proxies. */
export function connectionsOf({ cluster }: FaultContext, name: string): Connection[] {
  return cluster.pods
    .flatMap((pod) => pod.proxy.connections)
    .filter(({ requestHead }) => requestHead.startsWith(`GET /ws/${name} `));
}

/** Sleeps for the duration of a lasting fault. @returns it in words */
export async function last(seconds: number): Promise<string> {
  await Bun.sleep(seconds * 1_000);
  return `for ${seconds.toFixed(0)} s`;
}
