/** The bus over Valkey or Redis PUBLISH and SUBSCRIBE, for high loads. Nothing is stored there. */

import { RedisClient } from "bun";

import { PacketBus, type PacketBusOptions } from "./packet_bus.ts";
import type { Publisher, Subscriber, Transport } from "./transport.ts";

/** Large enough to batch a busy pod's events, small enough not to delay the next packet. */
const PACKET_MAX_BYTES = 64 * 1024;

export class RedisBus extends PacketBus {
  /**
   * @param options.url `redis://`, `rediss://`, `valkey://` or `valkeys://`
   * @param options.realm known only to the pods of one database; separates installations on one
   *   server
   */
  constructor(options: PacketBusOptions & { readonly url: string; readonly realm: string }) {
    super(transport(options.url, options.realm), options);
  }
}

function transport(url: string, realm: string): Transport {
  const number = URL.parse(url)?.pathname.slice(1) || "0"; // channels ignore database numbers
  const older = `chatify:${number}:${realm}`;
  const channel = `${older}:sealed`;
  return {
    maxBytes: PACKET_MAX_BYTES,
    maxPackets: 1, // one is large enough
    subscribe: (on) => subscribe(url, channel, on),
    publisher: () => publisher(url, channel),
    olderPublisher: () => publisher(url, older),
  };
}

/** One client per connection: Bun's automatic reconnect does not resubscribe. */
function open(url: string, closed: (client: RedisClient) => void): RedisClient {
  const client = new RedisClient(url, { autoReconnect: false });
  client.onclose = () => closed(client); // oxlint-disable-line unicorn/prefer-add-event-listener -- it has no addEventListener
  return client;
}

function subscribe(url: string, channel: string, on: { packet(text: string): void; closed(): void }): Subscriber {
  const client = open(url, on.closed);
  return {
    ready: client.subscribe(channel, on.packet),
    end: () => client.close(),
  };
}

function publisher(url: string, channel: string): Publisher {
  let client: RedisClient | undefined;
  return {
    send([packet = ""]) {
      client ??= open(url, (closed) => {
        if (client === closed) client = undefined; // an idle connection loses nothing; the next packet opens a new one
      });
      return client.publish(channel, packet);
    },
    end: () => client?.close(),
  };
}
