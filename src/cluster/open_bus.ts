/** Opens the configured bus with the secrets that pods share, and publishes events of commands. */

import type { Target } from "../db/client.ts";
import type { Database } from "../db/database.ts";
import { applicationNameOf, servingPods } from "../db/pods.ts";
import { sharedSecret } from "../db/shared_secrets.ts";
import { newToken } from "../util/token.ts";
import type { BusEvent } from "./bus.ts";
import type { PacketBus, PacketBusOptions } from "./packet_bus.ts";
import { PostgresBus } from "./postgres_bus.ts";
import { RedisBus } from "./redis_bus.ts";

/** Serving pods are discovered within one or two heartbeats, or not at all. */
const MEET_MS = 2_000;

interface BusContext extends Omit<PacketBusOptions, "secret"> {
  readonly db: Database;
  readonly target: Target;
  /** `application_name` of its connections to PostgreSQL. */
  readonly name: string;
}

/** The number of PostgreSQL connections that the bus at `address` opens. */
export function busConnections(address: string): number {
  return address === "postgres" ? PostgresBus.CONNECTIONS : 0;
}

/** @param address "postgres", or the URL of a Valkey @returns a bus that has not been started */
export async function openBus(address: string, context: BusContext): Promise<PacketBus> {
  const { db, target, ...options } = context;
  const realm = await sharedSecret(db, "bus_realm", newToken());
  const secret = await sharedSecret(db, "bus_key", newToken());
  return address === "postgres"
    ? new PostgresBus({ ...options, target, realm, secret })
    : new RedisBus({ ...options, url: address, realm, secret });
}

/** Publishes events to all serving pods, after joining the bus: pods accept only proven peers. */
export async function announce(address: string, context: BusContext, events: readonly BusEvent[]): Promise<void> {
  const serving = await servingPods(context.db);
  if (serving.length === 0 || events.length === 0) return;
  const bus = await openBus(address, context);
  try {
    await bus.start({ deliver() {}, lost() {}, joined() {}, left() {} });
    const hasDiscoveredAll = () => {
      const discovered = new Set(bus.peers.map(applicationNameOf));
      return serving.every(({ name }) => discovered.has(name));
    };
    for (const giveUpAt = performance.now() + MEET_MS; !hasDiscoveredAll() && performance.now() < giveUpAt;)
      await Bun.sleep(20);
    bus.publish(events);
    if (!hasDiscoveredAll()) await bus.alertOlderPods();
  } finally {
    await bus.stop();
  }
}
