/** The bus over PostgreSQL's LISTEN and NOTIFY: nothing further to run, and enough for most. */

import { connect, listen, notify, type Target } from "../db/client.ts";
import { PacketBus, type PacketBusOptions } from "./packet_bus.ts";
import type { Publisher, Transport } from "./transport.ts";

/** Every chatify had this channel, and wrote to it what any role of the server could read. */
const OLDER_CHANNEL = "chatify";
/** PostgreSQL refuses 8,000. */
const PAYLOAD_MAX_BYTES = 7_999;
/** A busy pod's batch is ten or so: in one statement they are one commit, and wake each listener once. */
const PACKETS_MAX = 16;

export class PostgresBus extends PacketBus {
  /** One listens, one notifies. */
  static readonly CONNECTIONS = 2;

  /**
   * @param options.name `application_name` of its connections
   * @param options.realm what only the pods of a chat know: channels have no owner, so their names must not be guessed
   */
  constructor(options: PacketBusOptions & { readonly target: Target; readonly name: string; readonly realm: string }) {
    super(transport(options.target, options.name, `chatify_${options.realm}`), options);
  }
}

/**
 * Connections of its own, away from the pools: a NOTIFY in the statement that stores would hold a lock of the whole server
 * until its commit.
 */
function transport(target: Target, name: string, channel: string): Transport {
  return {
    maxBytes: PAYLOAD_MAX_BYTES,
    maxPackets: PACKETS_MAX,
    subscribe: ({ packet, closed }) => listen(target, { name, channel, hear: packet, closed }),
    publisher: () => publisher(target, name, channel),
    olderPublisher: () => publisher(target, name, OLDER_CHANNEL),
  };
}

function publisher(target: Target, name: string, channel: string): Publisher {
  const client = connect(target, { name, parameters: { statement_timeout: 5_000, synchronous_commit: "off" } }); // nothing is stored
  return {
    send: (packets) => notify(client, channel, packets),
    end: () => client.end({ timeout: 0 }),
  };
}
