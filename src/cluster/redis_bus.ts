/** The bus over Valkey or Redis, for crowds: PUBLISH and SUBSCRIBE, nothing is stored there. */

import { RedisClient } from "bun";

import { PacketBus, type PacketBusOptions } from "./packet_bus.ts";
import type { Publisher, Subscriber, Transport } from "./transport.ts";

/** Large enough that a busy pod's events gather, small enough that no packet waits long behind it. */
const PACKET_MAX_BYTES = 64 * 1024;

export class RedisBus extends PacketBus {
  /**
   * @param options.url `redis://`, `rediss://`, `valkey://` or `valkeys://`, a database number at its end or not
   * @param options.realm what only pods of the same database share: without it, two chatifys on one server would share a channel
   */
  constructor(options: PacketBusOptions & { readonly url: string; readonly realm: string }) {
    super(transport(options.url, options.realm), options);
  }
}

function transport(url: string, realm: string): Transport {
  const number = URL.parse(url)?.pathname.slice(1) || "0"; // channels know nothing of database numbers
  const older = `chatify:${number}:${realm}`;
  const channel = `${older}:sealed`;
  return {
    maxBytes: PACKET_MAX_BYTES,
    maxPackets: 1, // large enough each
    subscribe: (on) => subscribe(url, channel, on),
    publisher: () => publisher(url, channel),
    olderPublisher: () => publisher(url, older),
  };
}

/** Bun's client, connecting again by itself, would not subscribe again: each is used for one connection. */
function open(url: string, closed: (client: RedisClient) => void): RedisClient {
  const client = new RedisClient(url, { autoReconnect: false });
  client.onclose = () => closed(client); // oxlint-disable-line unicorn/prefer-add-event-listener -- it has no other way
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
        if (client === closed) client = undefined; // while idle nothing is lost: the next packet takes a new one
      });
      return client.publish(channel, packet);
    },
    end: () => client?.close(),
  };
}
