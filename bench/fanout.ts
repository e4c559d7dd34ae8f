/**
 * `bun bench/fanout.ts`: what the bus costs at 10, 100 and 1,000 pods, with both ways to decide who hears what. A simulation of a
 * few seconds' events, drawn at random; what a packet costs to write and to read is measured here, with the code that does it.
 *
 * - everything: one channel, every pod hears every packet, as today. A pod's events of one moment share packets.
 * - a channel per person: a pod listens for the people whose sockets it has. An event goes to each person's channel by itself.
 *
 * It counts packets and their bytes, and the CPU of `src/bus/codec.ts` and `packet_cipher.ts`; drivers, kernels and the bus's server come on top (the
 * benchmark's part `pods` measures those). Presence stays out: where people come and go once in ten minutes it is one event in fifty.
 * It says too what each pod's list of everyone online takes in memory.
 */

import { type BusEvent, MemoryBus } from "../src/bus/bus.ts";
import { decodePacket, encodePacket, Packer } from "../src/bus/codec.ts";
import { PacketCipher, sealedRoom } from "../src/bus/packet_cipher.ts";
import { Log } from "../src/log.ts";
import { deliveredFrame, readFrame } from "../src/protocol.ts";
import { Roster } from "../src/roster.ts";
import { nameOf, refOf, textOf } from "./people.ts";
import { median } from "./statistics.ts";

const PODS = [10, 100, 1_000];
const PEOPLE_OF_A_POD = 10_000;
/** Each person writes this often. */
const WRITES_EVERY_S = 20;
/** A second device, on some other pod, is what so many have. */
const SECOND_DEVICE = 0.3;
/** So many of those written to are online. */
const ONLINE = 0.5;
/** What a pod stores in one statement it tells in one go: about as long as a statement takes. */
const GATHER_MS = 5;
const SECONDS = 1;
const BEATS_PER_SECOND = 2;
const ROSTER_PEOPLE = 200_000;
const POD = "0123456789abcdef0123456789abcdef";
const PACKET_MAX_BYTES = sealedRoom(64 * 1024);
const sealer = new PacketCipher("secret", POD);
const opener = new PacketCipher("secret", POD.replace("0", "1"));
/** Of a packet without events; and how much longer sealing makes events. */
const HEADER_BYTES = sealer.seal(encodePacket("events", 1_000_000)).length;
const SEALED = 4 / 3;

/** Microseconds: `packet` of each, `event` of each in it. */
interface Cost {
  readonly packet: number;
  readonly event: number;
}

interface Load {
  sent: number;
  sentBytes: number;
  sentEvents: number;
  heard: number;
  heardBytes: number;
  heardEvents: number;
}

/** What one message leads to: itself, its delivered mark, its read mark; and whom each is for, besides the pod that tells it. */
const EVENTS = {
  message: { to: ["receiver", "sender"], bytes: bytesOf(sample("message")) },
  delivered: { to: ["sender"], bytes: bytesOf(sample("delivered")) },
  read: { to: ["receiver", "sender"], bytes: bytesOf(sample("read")) },
} as const;

const writing = measure((events) => {
  const packer = new Packer(PACKET_MAX_BYTES);
  for (const event of events) packer.add(event);
  return sealer.seal(encodePacket("events", 1, packer.take()));
});
const reading = measureText((text) => decodePacket(opener.open(text)?.text ?? "", () => {}));
const show = (number: number) => Math.round(number).toLocaleString("en");
const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 1);

console.log(
  `writing a packet takes ${writing.packet.toFixed(2)} µs and ${writing.event.toFixed(2)} µs an event, reading one ${reading.packet.toFixed(2)} µs and ${reading.event.toFixed(2)} µs an event`,
);
console.log(
  `${show(PEOPLE_OF_A_POD)} people a pod, each writes every ${WRITES_EVERY_S} s; a message, its delivered and its read mark: ${EVENTS.message.bytes}, ${EVENTS.delivered.bytes} and ${EVENTS.read.bytes} bytes\n`,
);
const head = ["pods", "messages/s", "who hears", "sent/s", "heard/s", "MiB/s heard", "CPU", "all heard/s", "all MiB/s"];
const rows = [head];
for (const pods of PODS) {
  for (const [name, load] of [
    ["everything", everything(pods)],
    ["per person", perPerson(pods)],
  ] as const) {
    const each = (count: number) => count / pods / SECONDS;
    const micros =
      each(load.sent) * writing.packet +
      each(load.sentEvents) * writing.event +
      each(load.heard) * reading.packet +
      each(load.heardEvents) * reading.event;
    rows.push([
      show(pods),
      show((pods * PEOPLE_OF_A_POD) / WRITES_EVERY_S),
      name,
      show(each(load.sent)),
      show(each(load.heard)),
      mebibytes(each(load.heardBytes)),
      `${(micros / 1e4).toFixed(micros < 1e5 ? 1 : 0)} %`,
      show(load.heard / SECONDS),
      mebibytes(load.heardBytes / SECONDS),
    ]);
  }
}
const widths = head.map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
for (const row of rows) {
  console.log(
    row.map((cell, i) => (i === 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join("  "),
  );
}
console.log(`\neverybody online is in the list of every pod: ${show(rosterBytes())} bytes a person`);
console.log("sent, heard and CPU (of one core) are of one pod; the last two of all pods together");

/** One channel: what a pod tells within a moment goes to all pods, itself included, in as few packets as possible. */
function everything(pods: number): Load {
  const load: Load = { sent: 0, sentBytes: 0, sentEvents: 0, heard: 0, heardBytes: 0, heardEvents: 0 };
  const perGather = (PEOPLE_OF_A_POD / WRITES_EVERY_S) * (GATHER_MS / 1_000);
  for (let i = 0; i < (pods * SECONDS * 1_000) / GATHER_MS; i++) {
    const counts = Object.values(EVENTS).map(({ bytes }) => [poisson(perGather), bytes] as const);
    const events = counts.reduce((sum, [count]) => sum + count, 0);
    if (events === 0) continue;
    const body = counts.reduce((sum, [count, bytes]) => sum + count * bytes, 0);
    const packets = Math.ceil(body / (PACKET_MAX_BYTES - HEADER_BYTES));
    add(load, { packets, events, bytes: body + packets * HEADER_BYTES, hearers: pods });
  }
  beat(load, pods);
  return load;
}

/** A channel for each person: an event goes to the channel of each it is for, and to the pods where they have sockets. */
function perPerson(pods: number): Load {
  const load: Load = { sent: 0, sentBytes: 0, sentEvents: 0, heard: 0, heardBytes: 0, heardEvents: 0 };
  const messages = poisson(((pods * PEOPLE_OF_A_POD) / WRITES_EVERY_S) * SECONDS);
  for (let i = 0; i < messages; i++) {
    const second = () => (Math.random() < SECOND_DEVICE ? 1 : 0);
    const listening = { sender: 1 + second(), receiver: Math.random() < ONLINE ? 1 + second() : 0 };
    for (const { to, bytes } of Object.values(EVENTS)) {
      for (const person of to)
        add(load, { packets: 1, events: 1, bytes: bytes + HEADER_BYTES, hearers: listening[person] });
    }
  }
  beat(load, pods);
  return load;
}

/** Heartbeats have a channel that every pod hears. */
function beat(load: Load, pods: number): void {
  const packets = pods * BEATS_PER_SECOND * SECONDS;
  add(load, { packets, events: 0, bytes: packets * HEADER_BYTES, hearers: pods });
}

function add(load: Load, what: { packets: number; events: number; bytes: number; hearers: number }): void {
  load.sent += what.packets;
  load.sentBytes += what.bytes;
  load.sentEvents += what.events;
  load.heard += what.packets * what.hearers;
  load.heardBytes += what.bytes * what.hearers;
  load.heardEvents += what.events * what.hearers;
}

function sample(kind: "message" | "delivered" | "read", n = 1_234): BusEvent {
  const [one, other] = [nameOf(n), nameOf(n + 1)];
  const ref = refOf("0123456789abcdef", n);
  const timestamp = "2026-11-22T18:30:00.500000Z";
  if (kind === "delivered") return { kind: "frame", to: [one], frame: deliveredFrame(other, n) };
  if (kind === "read") return { kind: "frame", to: [other, one], frame: readFrame(other, one, n) };
  const id = 1_000_000 + n;
  return { kind: "message", from: one, to: other, message: textOf(ref), id, seq: n, timestamp, ref, hidden: false };
}

function bytesOf(event: BusEvent): number {
  const packer = new Packer(PACKET_MAX_BYTES);
  packer.add(event);
  return Math.round(packer.bytes * SEALED);
}

/** Memory of a pod's list for each person online somewhere. */
function rosterBytes(): number {
  const log = new Log({ level: "error", format: "text", write: () => {} });
  const db = undefined as never; // asked by `start` at the earliest
  const roster = new Roster({ db, bus: new MemoryBus(), log, changed: () => {} });
  const memory = () => {
    Bun.gc(true);
    return process.memoryUsage.rss();
  };
  const before = memory();
  for (let i = 0; i < ROSTER_PEOPLE; i += 1_000) {
    const people = Array.from({ length: 1_000 }, (_, j) => [nameOf(i + j), nameOf(i + j)] as const);
    const packer = new Packer(PACKET_MAX_BYTES);
    packer.add({ kind: "snapshot", first: i === 0, people });
    const packet = decodePacket(Buffer.from(encodePacket("events", 1, packer.take())).toString(), () => {});
    for (const event of packet?.events ?? []) if (event.kind === "snapshot") roster.hear(event, POD);
  }
  const bytes = (memory() - before) / ROSTER_PEOPLE;
  void roster.stop(); // nobody is left to be written: the list of the table was never read
  return bytes;
}

/** A line through the times of a packet with one event and of one with many. */
function measure(act: (events: readonly BusEvent[]) => string): Cost {
  const kinds = ["message", "delivered", "read"] as const;
  const lists = [3, 60].map((count) =>
    Array.from({ length: count }, (_, i) => sample(kinds[i % 3] ?? "message", 1_000 + i)),
  );
  return line(lists.map((events) => [events.length, microsOf(() => act(events).charCodeAt(9_999_999))])); // charCodeAt has the text made whole, as sending does
}

function measureText(act: (text: string) => unknown): Cost {
  const kinds = ["message", "delivered", "read"] as const;
  const texts = [3, 60].map((count) => {
    const packer = new Packer(PACKET_MAX_BYTES);
    for (let i = 0; i < count; i++) packer.add(sample(kinds[i % 3] ?? "message", 1_000 + i));
    return [count, Buffer.from(sealer.seal(encodePacket("events", 1, packer.take())))] as const;
  });
  return line(texts.map(([count, bytes]) => [count, microsOf(() => act(bytes.toString()))]));
}

function line(points: (readonly [number, number])[]): Cost {
  const [[few, fewTook], [many, manyTook]] = points as [readonly [number, number], readonly [number, number]];
  const event = (manyTook - fewTook) / (many - few);
  return { packet: Math.max(0, fewTook - few * event), event };
}

/** The median of many short runs, so that what else the machine does counts little. */
function microsOf(act: () => unknown): number {
  const times: number[] = [];
  const until = performance.now() + 400;
  for (let round = 0; performance.now() < until; round++) {
    const begun = performance.now();
    for (let i = 0; i < 50; i++) act();
    if (round > 20) times.push(((performance.now() - begun) * 1_000) / 50);
  }
  return median(times);
}

/** How many of something that happens `mean` times on average. */
function poisson(mean: number): number {
  if (mean > 50)
    return Math.max(
      0,
      Math.round(
        mean + Math.sqrt(mean) * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()),
      ),
    );
  let count = 0;
  for (let product = Math.random(); product > Math.exp(-mean); product *= Math.random()) count++;
  return count;
}
