/** The bus over PostgreSQL's LISTEN and NOTIFY: nothing further to run, and enough for most. */

import { connect, listen, notify, type Target } from "../db/client.ts";
import type { BusEvent } from "./bus.ts";
import { PacketBus, type PacketBusOptions, tellOnce, type Wire } from "./packet_bus.ts";

/** A database has channels of its own. */
const CHANNEL = "chatify";
/** PostgreSQL refuses 8,000. */
const PAYLOAD_MAX_BYTES = 7_999;
/** A busy pod's batch is eight or so: in one statement they are one commit, and wake each listener once. */
const PACKETS_MAX = 16;

export class PostgresBus extends PacketBus {
  /** One listens, one notifies. */
  static readonly CONNECTIONS = 2;

  /** @param options.name `application_name` of its two connections */
  constructor(options: PacketBusOptions & { readonly target: Target; readonly name: string }) {
    super(wire(options.target, options.name), options);
  }

  /** Tells every pod, from a process that is none. */
  static tell(options: { target: Target; name: string }, events: readonly BusEvent[]): Promise<void> {
    return tellOnce(wire(options.target, options.name), events);
  }
}

/**
 * Two connections of its own, away from the pools: a NOTIFY in the statement that stores would hold a lock of the whole server
 * until its commit.
 */
function wire(target: Target, name: string): Wire {
  return {
    maxBytes: PAYLOAD_MAX_BYTES,
    maxPackets: PACKETS_MAX,
    hear: ({ packet, closed }) => listen(target, { name, channel: CHANNEL, hear: packet, closed }),
    speak() {
      const client = connect(target, { name, parameters: { statement_timeout: 5_000, synchronous_commit: "off" } }); // nothing is stored
      return {
        send: (packets) => notify(client, CHANNEL, packets),
        end: () => client.end({ timeout: 0 }),
      };
    },
  };
}
