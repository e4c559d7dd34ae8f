/** What a fault is, and what it has at hand. */

import type { History } from "../history.ts";
import type { Connection } from "../link.ts";
import type { Random } from "../random.ts";
import type { Pod, Stage } from "../stage.ts";
import type { Town } from "../town.ts";

export interface Scene {
  readonly stage: Stage;
  readonly town: Town;
  readonly history: History;
  readonly random: Random;
  /** How long what lasts goes on: `seconds(8)` is 8 s in a short run, and up to three times as long in a long one. */
  seconds(short: number): number;
  /** A bound that was not kept. */
  wrong(words: string): void;
  /** Somebody with an account and a session who has no part in the town. */
  visitor(): string;
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
   * @throws NotHere when it cannot be made on this machine, or in this run
   */
  run(scene: Scene): Promise<string>;
}

/** A fault that cannot be made here; the message says why. */
export class NotHere extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NotHere";
  }
}

/** The pod a fault strikes: one that people are on, if there is one. */
export function anyPod({ stage, random, history }: Scene): Pod {
  const busy = stage.pods.filter((pod) => history.socketsOn([pod.index]).size > 0);
  return random.pick(busy.length > 0 ? busy : stage.pods);
}

/** @throws NotHere */
export function need(tool: string, options: { root?: true } = {}): string {
  const found = Bun.which(tool);
  if (!found) throw new NotHere(`${tool} is not installed`);
  if (options.root && process.getuid?.() !== 0) throw new NotHere("only root can");
  return found;
}

/** The sockets of a person, as the links see them. */
export function connectionsOf({ stage }: Scene, name: string): Connection[] {
  return stage.pods
    .flatMap((pod) => pod.link.connections)
    .filter(({ greeting }) => greeting.startsWith(`GET /ws/${name} `));
}
