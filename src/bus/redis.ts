/** The bus over Valkey or Redis, for crowds: PUBLISH and SUBSCRIBE, nothing is stored there. */

import { RedisClient } from "bun";

import type { BusEvent } from "./bus.ts";
import { type Ear, type Mouth, PacketBus, type PacketBusOptions, tellOnce, type Wire } from "./packet_bus.ts";

/** Large enough that a busy pod's events gather, small enough that nobody waits behind it. */
const PACKET_MAX_BYTES = 64 * 1024;

export class RedisBus extends PacketBus {
  /**
   * @param options.url `redis://`, `rediss://`, `valkey://` or `valkeys://`, a database number at its end or not
   * @param options.realm what only pods of the same database share: without it, two chatifys on one server hear each other
   */
  constructor(options: PacketBusOptions & { readonly url: string; readonly realm?: string }) {
    super(wire(options.url, channelOf(options)), options);
  }

  /** Tells every pod, from a process that is none. */
  static tell(options: { url: string; realm?: string }, events: readonly BusEvent[]): Promise<void> {
    return tellOnce(wire(options.url, channelOf(options)), events);
  }
}

/** Channels know nothing of database numbers, so the number goes into the name. */
function channelOf({ url, realm }: { url: string; realm?: string }): string {
  const number = URL.parse(url)?.pathname.slice(1) || "0";
  return ["chatify", number, ...(realm === undefined ? [] : [realm])].join(":");
}

function wire(url: string, channel: string): Wire {
  return {
    maxBytes: PACKET_MAX_BYTES,
    maxPackets: 1, // large enough each
    hear: (on) => hear(url, channel, on),
    speak: () => speak(url, channel),
  };
}

/** Bun's client, connecting again by itself, would not subscribe again: each is used for one connection. */
function open(url: string, closed: (client: RedisClient) => void): RedisClient {
  const client = new RedisClient(url, { autoReconnect: false });
  client.onclose = () => closed(client); // oxlint-disable-line unicorn/prefer-add-event-listener -- it has no other way
  return client;
}

function hear(url: string, channel: string, on: { packet(text: string): void; closed(): void }): Ear {
  const client = open(url, on.closed);
  return {
    ready: client.subscribe(channel, on.packet),
    end: () => client.close(),
  };
}

function speak(url: string, channel: string): Mouth {
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
