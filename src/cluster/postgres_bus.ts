/** The bus over PostgreSQL's LISTEN and NOTIFY, which needs no further service. */

import { connect, listen, notify, type Target } from "../db/client.ts";
import { PacketBus, type PacketBusOptions } from "./packet_bus.ts";
import type { Publisher, Transport } from "./transport.ts";

/** The channel of older versions, whose packets any role of the server could read. */
const OLDER_CHANNEL = "chatify";
/** PostgreSQL rejects 8,000. */
const PAYLOAD_MAX_BYTES = 7_999;
/** A busy pod sends about ten; one statement is one commit and wakes each listener once. */
const PACKETS_MAX = 16;

export class PostgresBus extends PacketBus {
  /** One for LISTEN, one for NOTIFY. */
  static readonly CONNECTIONS = 2;

  /**
   * @param options.name `application_name` of its connections
   * @param options.realm secret part of the channel name, since any role may listen to a channel
   */
  constructor(options: PacketBusOptions & { readonly target: Target; readonly name: string; readonly realm: string }) {
    super(transport(options.target, options.name, `chatify_${options.realm}`), options);
  }
}

/**
 * NOTIFY has its own connection: in the statement that stores messages, it would hold a server-wide
 * lock until the commit.
 */
function transport(target: Target, name: string, channel: string): Transport {
  return {
    maxBytes: PAYLOAD_MAX_BYTES,
    maxPackets: PACKETS_MAX,
    subscribe: ({ packet, closed }) => listen(target, { name, channel, received: packet, closed }),
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
