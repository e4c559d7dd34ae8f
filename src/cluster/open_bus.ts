/** Opens the bus that the settings name, with what all pods of a chat share; and announces events from a process that serves nobody. */

import type { Database, Target } from "../db/client.ts";
import { servingPods, sessionNameOf } from "../db/pods.ts";
import * as settings from "../db/settings.ts";
import { newToken } from "../util/token.ts";
import type { BusEvent } from "./bus.ts";
import type { PacketBus, PacketBusOptions } from "./packet_bus.ts";
import { PostgresBus } from "./postgres_bus.ts";
import { RedisBus } from "./redis_bus.ts";

/** Pods that serve are met within a beat or two, or not at all. */
const MEET_MS = 2_000;

interface BusContext extends Omit<PacketBusOptions, "secret"> {
  readonly db: Database;
  readonly target: Target;
  /** `application_name` of its connections to PostgreSQL. */
  readonly name: string;
}

/** How many connections to PostgreSQL the bus at an address takes. */
export function busConnections(address: string): number {
  return address === "postgres" ? PostgresBus.CONNECTIONS : 0;
}

/** @param address "postgres", or the URL of a Valkey @returns a bus that is not started yet */
export async function openBus(address: string, place: BusContext): Promise<PacketBus> {
  const { db, target, ...options } = place;
  const realm = await settings.sharedSetting(db, "bus_realm", newToken());
  const secret = await settings.sharedSetting(db, "bus_key", newToken());
  return address === "postgres"
    ? new PostgresBus({ ...options, target, realm, secret })
    : new RedisBus({ ...options, url: address, realm, secret });
}

/** Publishes events to the pods that serve. It meets them first: they accept nothing from a pod that has not answered their challenge. */
export async function announce(address: string, place: BusContext, events: readonly BusEvent[]): Promise<void> {
  const serving = await servingPods(place.db);
  if (serving.length === 0 || events.length === 0) return;
  const bus = await openBus(address, place);
  try {
    await bus.start({ deliver() {}, lost() {}, joined() {}, vanished() {} });
    const hasMetAll = () => {
      const met = new Set(bus.peers.map(sessionNameOf));
      return serving.every(({ name }) => met.has(name));
    };
    for (const giveUpAt = performance.now() + MEET_MS; !hasMetAll() && performance.now() < giveUpAt;)
      await Bun.sleep(20);
    bus.publish(events);
    if (!hasMetAll()) await bus.alertOlderPods();
  } finally {
    await bus.stop();
  }
}
