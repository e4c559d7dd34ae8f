/**
 * What every bus promises, as one list of rules run on each kind: in memory, over a PostgreSQL and over a Redis of the tests' own.
 * Faults are made for real: connections cut, servers killed or standing still, packets swallowed on the way.
 */

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Bus, type BusEvent, newPodName } from "../../src/cluster/bus.ts";
import { bodyOf, decodePacket, encodePacket, type Packet } from "../../src/cluster/codec.ts";
import { PacketBus, type PacketBusOptions } from "../../src/cluster/packet_bus.ts";
import { PacketCipher } from "../../src/cluster/packet_cipher.ts";
import { PostgresBus } from "../../src/cluster/postgres_bus.ts";
import { RedisBus } from "../../src/cluster/redis_bus.ts";
import type { Transport } from "../../src/cluster/transport.ts";
import { type Client, connect, listen } from "../../src/db/client.ts";
import { startEmbedded } from "../../src/db/own_postgres.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import type { BusDrop } from "../../src/metrics.ts";
import { draftFrame, SYNC_FRAME } from "../../src/protocol.ts";
import { freePort, REDIS, RedisServer, SILENT } from "../support/harness.ts";
import { MemoryBus } from "../support/memory_bus.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(20_000);

/** A fifth of what pods wait. */
const HURRIED = { beatMs: 100, lateMs: 400, leaseMs: 1_000, echoTimeoutMs: 600, repeatMs: 500 };

/** For rules that say that nothing is lost: what a busy machine holds up for a moment is not. */
const CALM = { ...HURRIED, lateMs: 10_000, leaseMs: 20_000, echoTimeoutMs: 5_000 };

type Options = Partial<PacketBusOptions> & { readonly realm?: string };

/** What the pods of these tests share. */
const SECRET = "the secret of the tests' pods";
const REALM = "the-realm-of-the-tests";
const COMMON = { log: SILENT, secret: SECRET, realm: REALM, timing: HURRIED };

/** A kind of bus, and what can happen to it. */
interface Ground {
  begin(): Promise<void> | void;
  end(): Promise<void> | void;
  /** A bus not started yet. */
  bus(options?: Options): Bus;
}

interface Spy {
  readonly heard: string[];
  end(): void;
}

interface Wired extends Ground {
  /** Sends a packet as some other pod would. */
  say(packet: string): Promise<unknown>;
  /** Collects what is sent. */
  spy(on?: (packet: string) => void): Promise<Spy>;
  /** Cuts the connections that hear, or those that send. @returns how many there were */
  cut(which: "ears" | "mouths"): Promise<number>;
  /** How many connections hear, or send. */
  count(which: "ears" | "mouths"): Promise<number>;
  /** Lets every connection stand still. @returns what lets them go on */
  stall(): Promise<() => void>;
  /** Lets the connections that hear, or those that send, stand still for good. */
  hush(which: "ears" | "mouths"): Promise<void>;
  /** Kills the server and starts it again. */
  crash(): Promise<void>;
  /** A bus whose server is out of reach until `arrive`. */
  away(): { bus: Bus; arrive(): void };
}

class Memory implements Ground {
  readonly #pods = new Set<MemoryBus>();
  begin() {}
  end() {}
  bus = () => new MemoryBus(this.#pods);
}

class Postgres implements Wired {
  #directory = "";
  #embedded!: Embedded;
  #admin!: Client;
  readonly #stopped: number[] = [];

  async begin() {
    this.#directory = mkdtempSync(join(tmpdir(), "chatify-bus-"));
    this.#embedded = await startEmbedded({ directory: this.#directory, log: SILENT });
    this.#admin = connect(this.#embedded.target, { name: "admin" });
  }

  async end() {
    await this.#admin.end({ timeout: 0 });
    await this.#embedded.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  bus = (options: Options = {}, host?: string) => {
    const target = { ...(this.#embedded.target as object), ...(host && { host }) } as Embedded["target"];
    return new PostgresBus({ ...COMMON, ...options, target, name: "under-test" });
  };

  say = (packet: string) => this.#admin.notify(`chatify_${REALM}`, packet);

  async spy(on: (packet: string) => void = () => {}) {
    const heard: string[] = [];
    const { ready, end } = listen(this.#embedded.target, {
      name: "spy",
      channel: `chatify_${REALM}`,
      received(packet) {
        heard.push(packet);
        on(packet);
      },
      closed() {},
    });
    await ready;
    return { heard, end: () => void end() };
  }

  async cut(which: "ears" | "mouths") {
    const pids = await this.#pids(which);
    await this.#admin.unsafe(`select pg_terminate_backend(pid) from unnest('{${pids}}'::int[]) pid`);
    return pids.length;
  }

  count = async (which: "ears" | "mouths") => (await this.#pids(which)).length;

  async stall() {
    const pids = [this.#postmaster(), ...(await this.#pids("ears")), ...(await this.#pids("mouths"))];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    return () => {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    };
  }

  async hush(which: "ears" | "mouths") {
    for (const pid of await this.#pids(which)) {
      process.kill(pid, "SIGSTOP");
      this.#stopped.push(pid);
    }
  }

  async crash() {
    for (const pid of this.#stopped.splice(0)) process.kill(pid, "SIGCONT");
    process.kill(this.#postmaster(), "SIGKILL"); // whoever started it starts it again
    for (;;) {
      void this.#admin.end({ timeout: 0 }).catch(() => {}); // the driver may wait for ever on a server that comes and goes
      this.#admin = connect(this.#embedded.target, { name: "admin" });
      const answer = this.#admin`select 1`.then(
        () => true,
        () => false,
      );
      if (await Promise.race([answer, Bun.sleep(500)])) return;
      await Bun.sleep(20);
    }
  }

  away() {
    const link = join(this.#directory, `link-${crypto.randomUUID().slice(0, 4)}`);
    const { host } = this.#embedded.target as { host: string };
    return { bus: this.bus({}, link), arrive: () => symlinkSync(host, link) };
  }

  #postmaster = () =>
    Number(readFileSync(join(this.#embedded.directory, "cluster", "postmaster.pid"), "utf8").split("\n")[0]);

  async #pids(which: "ears" | "mouths"): Promise<number[]> {
    const rows = await this.#admin<{ pid: number; ear: boolean }[]>`
      select pid, query like 'listen %' as ear from pg_stat_activity where application_name = 'under-test'
    `;
    return rows.filter(({ ear }) => ear === (which === "ears")).map(({ pid }) => pid);
  }
}

class Redis implements Wired {
  #server!: RedisServer;
  #way!: Way;

  async begin() {
    this.#server = await RedisServer.start();
    this.#way = new Way(this.#server.port);
  }

  async end() {
    this.#way.stop();
    await this.#server.end();
  }

  bus = (options: Options = {}, port = this.#way.port) =>
    new RedisBus({ ...COMMON, ...options, url: `redis://127.0.0.1:${port}/7` });

  say = (packet: string) => this.#server.admin.publish(`chatify:7:${REALM}:sealed`, packet);

  async spy(on: (packet: string) => void = () => {}) {
    const heard: string[] = [];
    const spy = await this.#server.client();
    await spy.subscribe(`chatify:7:${REALM}:sealed`, (packet) => {
      heard.push(packet);
      on(packet);
    });
    return { heard, end: () => spy.close() };
  }

  cut = (which: "ears" | "mouths") => this.#server.cut(which);

  async count(which: "ears" | "mouths") {
    const list: string = await this.#server.admin.send("CLIENT", [
      "LIST",
      "TYPE",
      which === "ears" ? "pubsub" : "normal",
    ]);
    return (list.match(/^id=/gm)?.length ?? 0) - (which === "ears" ? 0 : 1); // the test's own is a normal one
  }

  async stall() {
    const { pid } = this.#server;
    process.kill(pid, "SIGSTOP");
    return () => void process.kill(pid, "SIGCONT");
  }

  hush = async (which: "ears" | "mouths") => this.#way.swallow(which === "ears");

  async crash() {
    await this.#server.kill();
    await Bun.sleep(300);
    await this.#server.start();
  }

  away() {
    const way = new Way(this.#server.port, { port: freePort(), open: false });
    return {
      bus: this.bus({}, way.port),
      arrive: () => {
        way.open();
        ways.push(way);
      },
    };
  }
}

const ways: Way[] = [];

interface Passage {
  up?: Bun.Socket;
  early: Uint8Array[];
  hears: boolean;
  swallowed: boolean;
}

/** A way to a server that can swallow what is on it. */
class Way {
  readonly port: number;
  readonly #to: number;
  readonly #passages = new Set<Passage>();
  #listener: Bun.TCPSocketListener<unknown> | undefined;

  constructor(to: number, options: { port?: number; open?: boolean } = {}) {
    this.#to = to;
    this.port = options.port ?? freePort();
    if (options.open !== false) this.open();
  }

  open(): void {
    const listener = Bun.listen<Passage>({
      hostname: "127.0.0.1",
      port: this.port,
      socket: {
        open: async (down) => {
          const way: Passage = { early: [], hears: false, swallowed: false };
          down.data = way;
          this.#passages.add(way);
          try {
            way.up = await Bun.connect({
              hostname: "127.0.0.1",
              port: this.#to,
              socket: {
                data: (_, bytes) => void (way.swallowed || down.write(bytes)),
                close: () => void (way.swallowed || down.end()),
                error: () => void down.end(),
              },
            });
            for (const bytes of way.early) way.up.write(bytes);
          } catch {
            down.end();
          }
        },
        data: ({ data: way }, bytes) => {
          if (bytes.includes("SUBSCRIBE")) way.hears = true;
          if (way.swallowed) return;
          if (way.up) way.up.write(bytes);
          else way.early.push(new Uint8Array(bytes));
        },
        close: ({ data: way }) => {
          this.#passages.delete(way);
          way.up?.end();
        },
        error() {},
      },
    });
    this.#listener = listener;
  }

  /** Swallows what goes either way on the connections open now: those of subscribers, or the others. */
  swallow(hear: boolean): void {
    for (const way of this.#passages) way.swallowed ||= way.hears === hear;
  }

  stop(): void {
    this.#listener?.stop(true);
  }
}

/** A started bus and everything it told. */
class Pod {
  readonly bus: Bus;
  /** In order, with the pod it came from. */
  readonly heard: { event: BusEvent; from: string }[] = [];
  /** In order: `joined x`, `vanished x`, `lost x`; `lost` alone when no pod was named. */
  readonly told: string[] = [];
  lostAt: number[] = [];

  constructor(bus: Bus) {
    this.bus = bus;
  }

  async start(): Promise<void> {
    await this.bus.start({
      deliver: (event, from) => void this.heard.push({ event, from }),
      lost: (from) => {
        this.told.push(from === undefined ? "lost" : `lost ${from}`);
        if (from === undefined) this.lostAt.push(performance.now());
      },
      joined: (pod) => void this.told.push(`joined ${pod}`),
      vanished: (pod) => void this.told.push(`vanished ${pod}`),
    });
  }

  get name(): string {
    return this.bus.pod;
  }

  /** What it heard from a pod. */
  from(pod: Pod): BusEvent[] {
    return this.heard.filter(({ from }) => from === pod.name).map(({ event }) => event);
  }

  /** Says a word, as the sign-up of somebody of that name. */
  say(...words: string[]): void {
    this.bus.publish(words.map(user));
  }

  heardWord(word: string): boolean {
    return this.heard.some(({ event }) => event.kind === "user" && event.username === word);
  }
}

const user = (username: string): BusEvent => ({ kind: "user", username });

const pods: Pod[] = [];
const spies: { end(): void }[] = [];
afterEach(async () => {
  await Promise.all(pods.splice(0).map((pod) => pod.bus.stop()));
  for (const spy of spies.splice(0)) spy.end();
  for (const way of ways.splice(0)) way.stop();
});

/** Pods that know each other. */
async function start(ground: Ground, count = 2, options?: Options): Promise<Pod[]> {
  const started = Array.from({ length: count }, () => new Pod(ground.bus(options)));
  pods.push(...started);
  await Promise.all(started.map((pod) => pod.start()));
  await until("all know each other", () => started.every((pod) => pod.bus.peers.length >= count - 1));
  return started;
}

/** Waits until `hearer` hears what `sayer` says now. @returns how long it took */
async function untilHeard(sayer: Pod, hearer: Pod, withinMs = 5_000): Promise<number> {
  const begunAt = performance.now();
  for (let i = 0; ; i++) {
    const word = `word-${crypto.randomUUID()}`;
    sayer.say(word);
    for (let tries = 0; tries < 20; tries++) {
      if (hearer.heardWord(word)) return performance.now() - begunAt;
      await Bun.sleep(5);
    }
    if (performance.now() - begunAt > withinMs) throw new Error(`Nothing heard for ${withinMs} ms, ${i} tries`);
  }
}

/** A pod in the test's hands: it answers challenges, and else sends what it is told to. */
class Puppet {
  readonly pod = newPodName();
  readonly #ground: Wired;
  readonly #cipher = new PacketCipher(SECRET, this.pod);
  #spy: Spy | undefined;
  #number = 0;

  /** @param number of its last packet before it is met */
  static async enter(ground: Wired, number = 0): Promise<Puppet> {
    const puppet = new Puppet(ground);
    puppet.#number = number;
    puppet.#spy = await ground.spy((packet) => void puppet.#answer(packet));
    spies.push(puppet.#spy);
    await puppet.say("beat", number);
    return puppet;
  }

  constructor(ground: Wired) {
    this.#ground = ground;
  }

  /** @returns the packet as it was sent */
  async say(kind: Packet["kind"], number: number, ...words: string[]): Promise<string> {
    this.#number = number;
    const packet = this.#cipher.seal(encodePacket(kind, number, bodyOf(words.map(user))));
    await this.#ground.say(packet);
    if (kind === "goodbye") this.end();
    return packet;
  }

  /** It sends nothing any more, not even answers. */
  end(): void {
    this.#spy?.end();
  }

  async #answer(packet: string): Promise<void> {
    if (this.#cipher.ownCounter(packet) !== undefined) return;
    const opened = this.#cipher.open(packet);
    for (const event of (opened && decodePacket(opened.text, () => {}))?.events ?? []) {
      if (event.kind !== "challenge") continue;
      const answer = bodyOf([{ kind: "answer", tokens: [event.token] }]);
      await this.#ground.say(this.#cipher.seal(encodePacket("beat", this.#number, answer)));
    }
  }
}

/** The words that a pod heard from another. */
function words(pod: Pod, from: string): string[] {
  return pod.heard.flatMap((one) => (one.from === from && one.event.kind === "user" ? [one.event.username] : []));
}

const MESSAGE = {
  kind: "message",
  from: "Bob",
  to: "Ελένη",
  message: "Γειά\tσου\n😀 \u0000 \\",
  id: 12,
  seq: 7,
  timestamp: "2026-11-22T18:30:00.500000Z",
  ref: "a-ref-of-bobs",
  hidden: false,
} as const;
const EVERY_KIND: BusEvent[] = [
  MESSAGE,
  { ...MESSAGE, ref: null, hidden: true },
  {
    kind: "frame",
    to: ["ann", "bob"],
    frame: draftFrame({ peer: "\t", text: "\n\u0000", at: "2026-11-22T18:30:00Z" }),
  },
  { kind: "frame", to: ["ann"], frame: SYNC_FRAME },
  { kind: "end", nameKey: "ann", sessionId: 12 },
  { kind: "privacy", nameKey: "ελένη", hidesLastSeen: true },
  { kind: "user", username: "Ελένη" },
  { kind: "online", nameKey: "ελένη", username: "Ελένη" },
  { kind: "offline", nameKey: "ελένη", lastSeen: "2026-11-22T18:30:00.500000Z" },
  { kind: "leaving" },
  { kind: "snapshotRequest", pod: "0123456789abcdef0123456789abcdef" },
  { kind: "snapshot", first: true, people: [["ann", "Ann"], ["ελένη", "Ελένη"]] }, // prettier-ignore
];

function calmRules(ground: Ground): void {
  test("bus delivers every kind of event to all other pods once, in order", async () => {
    const [a, b, c] = (await start(ground, 3, { timing: CALM })) as [Pod, Pod, Pod];
    a.bus.publish(EVERY_KIND);
    b.bus.publish([user("bob")]);
    a.bus.publish([user("carol")]);
    for (const pod of [b, c]) {
      await until("events of a", () => pod.from(a).length > EVERY_KIND.length);
      expect(pod.from(a)).toEqual([...EVERY_KIND, user("carol")]);
    }
    await until("events of b", () => a.heard.length > 0 && c.from(b).length > 0);
    await Bun.sleep(50);
    expect(a.heard).toEqual([{ event: user("bob"), from: b.name }]);
    expect(c.from(b)).toEqual([user("bob")]);
    expect([a, b, c].flatMap(({ told }) => told).filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus keeps the order of thousands of events from two pods at once", async () => {
    const [a, b, c] = (await start(ground, 3, { timing: CALM })) as [Pod, Pod, Pod];
    for (let i = 0; i < 300; i++) {
      for (const pod of [a, b]) pod.bus.publish(Array.from({ length: 10 }, (_, j) => user(`${i * 10 + j}`)));
      if (i % 50 === 0) await Bun.sleep(1);
    }
    await until("all of them", () => c.heard.length === 6_000);
    const numbers = Array.from({ length: 3_000 }, (_, i) => user(`${i}`));
    expect(c.from(a)).toEqual(numbers);
    expect(c.from(b)).toEqual(numbers);
  });

  test("bus reports joined and leaving pods without losing events", async () => {
    const [a, b] = (await start(ground, 2, { timing: CALM })) as [Pod, Pod];
    expect(a.told).toEqual([`joined ${b.name}`]);
    expect(b.told).toEqual([`joined ${a.name}`]);
    expect(a.bus.peers).toEqual([b.name]);
    b.say("last words");
    await b.bus.stop();
    await until("goodbye", () => a.bus.peers.length === 0, 3_000); // sooner than any silence
    expect(a.heardWord("last words")).toBeTrue();
    b.say("from beyond");
    await Bun.sleep(HURRIED.lateMs + 200);
    expect(a.told).toEqual([`joined ${b.name}`, `vanished ${b.name}`]);
    expect(a.heardWord("from beyond")).toBeFalse();
  });
}

function wiredRules(ground: Wired): void {
  test("bus gathers events into few packets, none of them too large", async () => {
    const [a, b] = (await start(ground, 2, { timing: CALM })) as [Pod, Pod];
    const spy = await ground.spy();
    spies.push(spy);
    const { length: before } = spy.heard;
    const frames = Array.from({ length: 2_000 }, (_, i): BusEvent => {
      const letter = ["e", "ε", "語", "😀"][i % 4]!;
      const draft = { peer: String(i), text: letter.repeat(i % 200), at: "2026-11-22T18:30:00Z" };
      return { kind: "frame", to: ["ann"], frame: draftFrame(draft) };
    });
    for (const frame of frames) a.bus.publish([frame]);
    await until("all of them", () => b.heard.length === frames.length);
    expect(b.from(a)).toEqual(frames);
    const packets = spy.heard.slice(before);
    expect(packets.length).toBeLessThan(140); // 620 KB
    if (ground instanceof Postgres) for (const text of packets) expect(Buffer.byteLength(text)).toBeLessThan(8_000);
    expect(b.told.filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus replaces a frame larger than a packet with sync", async () => {
    const [a, b] = (await start(ground, 2, { timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ type: "draft", text: "😀".repeat(20_000) });
    a.bus.publish([{ kind: "frame", to: ["ann", "bob"], frame }, user("carol")]);
    await until("both", () => b.heard.length === 2);
    expect(b.from(a)).toEqual([{ kind: "frame", to: ["ann", "bob"], frame: SYNC_FRAME }, user("carol")]);
  });

  test("bus reports a gap in packet numbers, also after the last packet", async () => {
    const [a] = (await start(ground, 1, { timing: CALM })) as [Pod];
    const puppet = await Puppet.enter(ground);
    await until("it is met", () => a.told.length > 0);
    /** What `a` tells of the puppet's packets so far. */
    const told = async () => {
      const end = `${crypto.randomUUID()}`;
      await puppet.say("events", ++number, end);
      await until("the last", () => a.heardWord(end));
      return a.told.splice(0);
    };
    let number = 0;
    expect(await told()).toEqual([`joined ${puppet.pod}`]);
    await puppet.say("events", ++number, "one");
    await puppet.say("beat", number);
    expect(await told()).toEqual([]);
    await puppet.say("events", (number += 2), "after a hole");
    expect(await told()).toEqual([`lost ${puppet.pod}`]);
    await puppet.say("beat", ++number);
    await puppet.say("beat", number);
    expect(await told()).toEqual([`lost ${puppet.pod}`]);
    await puppet.say("goodbye", number + 1);
    await until("goodbye", () => a.told.length >= 2);
    expect(a.told.splice(0)).toEqual([`lost ${puppet.pod}`, `vanished ${puppet.pod}`]);
    const amid = await Puppet.enter(ground, 9);
    await until("both", () => a.told.length >= 2);
    expect(a.told).toEqual([`joined ${amid.pod}`, `lost ${amid.pod}`]);
  });

  test("bus reports a silent pod at its late heartbeat, at the end of its lease, and its return", async () => {
    const [a] = (await start(ground, 1)) as [Pod];
    const puppet = await Puppet.enter(ground, 1);
    await until("joined", () => a.told.length >= 2);
    const lateMs = await until("late", () => a.told.length >= 3);
    expect(a.bus.peers).toEqual([puppet.pod]);
    const goneMs = await until("gone", () => a.told.length >= 5);
    const [joined, lost, vanished] = ["joined", "lost", "vanished"].map((what) => `${what} ${puppet.pod}`) as [string, string, string]; // prettier-ignore
    expect(a.told).toEqual([joined, lost, lost, vanished, lost]);
    expect(lateMs).toBeLessThan(HURRIED.leaseMs);
    expect(lateMs + goneMs).toBeLessThan(3_000);
    expect(a.bus.peers).toEqual([]);
    await puppet.say("beat", 1);
    await until("back", () => a.told.length >= 7);
    expect(a.told.slice(5)).toEqual([joined, lost]);
  });

  test("bus drops replayed packets of a live pod without effect", async () => {
    const spy = await ground.spy();
    spies.push(spy);
    const drops: BusDrop[] = [];
    const [a, b] = (await start(ground, 2, { timing: CALM, dropped: (why) => drops.push(why) })) as [Pod, Pod];
    b.say("once");
    await untilHeard(b, a);
    const [heard, told] = [a.heard.length, a.told.length];
    drops.length = 0;
    const recorded = spy.heard.splice(0);
    for (const packet of [...recorded, ...recorded.toReversed()]) await ground.say(packet);
    await untilHeard(b, a);
    expect(
      a.heard.slice(heard).filter(({ event }) => event.kind === "user" && !event.username.startsWith("word-")),
    ).toEqual([]);
    expect(words(a, b.name).filter((word) => word === "once")).toEqual(["once"]);
    expect(a.told.slice(told)).toEqual([]);
    expect(drops.length).toBeGreaterThanOrEqual(2 * recorded.length); // at both
    expect(new Set(drops)).toEqual(new Set(["replayed"]));
  });

  test.each(["said goodbye", "fell silent"])(
    "bus revives no pod from recorded packets: one that %s, on this pod or one that starts later",
    async (how) => {
      const spy = await ground.spy();
      spies.push(spy);
      const drops: BusDrop[] = [];
      const options = { dropped: (why: BusDrop) => void drops.push(why) };
      const [a] = (await start(ground, 1, options)) as [Pod];
      const gone = await Puppet.enter(ground, 0);
      await until("it is met", () => a.bus.peers.length === 1);
      await gone.say("events", 1, "last words");
      if (how === "said goodbye") await gone.say("goodbye", 1);
      else gone.end();
      await until("it is gone", () => a.bus.peers.length === 0);
      const recorded = [...spy.heard];
      const [c] = (await start(ground, 1, options)) as [Pod];
      await until("both know each other", () => a.bus.peers.length === 1 && c.bus.peers.length === 1);
      drops.length = a.told.length = a.heard.length = c.told.length = c.heard.length = 0;
      for (let rounds = 0; rounds < 3; rounds++) {
        for (const packet of recorded) await ground.say(packet);
        await Bun.sleep(HURRIED.beatMs); // time for challenges and whatever would be recorded of answers
      }
      await Promise.all([untilHeard(a, c), untilHeard(c, a)]);
      for (const pod of [a, c]) {
        expect(words(pod, gone.pod)).toEqual([]);
        expect(pod.told).toEqual([]);
        expect(pod.bus.peers).not.toContain(gone.pod);
      }
      expect(new Set(drops)).toEqual(new Set(["replayed", "unproven"]));
    },
  );

  test("bus drops any number of packets that no pod sealed, without effect", async () => {
    const drops: BusDrop[] = [];
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line) });
    const options = { log, timing: CALM, dropped: (why: BusDrop) => void drops.push(why) };
    const [a, b] = (await start(ground, 2, options)) as [Pod, Pod];
    drops.length = a.told.length = b.told.length = 0;
    const stranger = new PacketCipher("another secret", newPodName());
    const impostor = new PacketCipher("another secret", b.name); // it reads a name off the channel
    const forged = encodePacket("events", 7, bodyOf([user("forged")]));
    for (let i = 0; i < 300; i++) {
      await ground.say(stranger.seal(forged));
      await ground.say(impostor.seal(forged));
      await ground.say(`e\t${b.name}\t${i}\nu\tforged`);
      await ground.say(["", "1", "{}", "x".repeat(7_000), "\u{1f600}"][i % 5]!);
    }
    expect(await untilHeard(b, a)).toBeLessThan(1_000);
    await untilHeard(a, b);
    for (const pod of [a, b]) {
      expect(pod.heardWord("forged")).toBeFalse();
      expect(pod.told).toEqual([]);
      expect(pod.bus.peers).toHaveLength(1);
    }
    expect(drops.filter((why) => why === "foreign").length).toBeGreaterThan(2_000 - 300); // at both, but for those under a pod's own name
    expect(lines.filter((line) => line.includes("foreign packets on the bus")).length).toBe(2); // once each
    expect(lines).toHaveLength(2);
  });

  test("bus delivers events published as soon as a peer is known", async () => {
    const [a] = (await start(ground, 1)) as [Pod];
    for (let i = 0; i < 5; i++) {
      const b = new Pod(ground.bus());
      pods.push(b);
      await b.start();
      while (b.bus.peers.length <= i) await Bun.sleep(0);
      b.say(`first words of ${i}`);
      await until("it is heard", () => a.heardWord(`first words of ${i}`), 1_000);
    }
  });

  test("bus sends beats and nothing else, however many recordings make it ask", async () => {
    const [a] = (await start(ground, 1)) as [Pod];
    const gone = await Puppet.enter(ground, 0);
    await until("it is met", () => a.bus.peers.length === 1);
    const recorded = [await gone.say("events", 1, "last words"), await gone.say("goodbye", 1)];
    await until("it is gone", () => a.bus.peers.length === 0);
    const { packets: before } = (a.bus as PacketBus).sent;
    const begunAt = performance.now();
    while (performance.now() - begunAt < 1_000) for (const packet of recorded) await ground.say(packet);
    const beats = (a.bus as PacketBus).sent.packets - before;
    expect(beats).toBeLessThanOrEqual(4 * (1_000 / HURRIED.beatMs) + 5); // a beat for each quarter of one
    expect(a.told.filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus survives a pause of its own process without losing peers", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line) });
    const [a, b] = (await start(ground, 2, { log, timing: { ...HURRIED, echoTimeoutMs: 1_000 } })) as [Pod, Pod];
    a.say("before");
    await Bun.sleep(1); // sent, and the answer comes while nobody looks
    Bun.sleepSync(HURRIED.leaseMs + 200);
    await untilHeard(a, b);
    await Bun.sleep(300);
    for (const { told } of [a, b]) expect(told.filter((told) => !told.startsWith("joined"))).toEqual([]);
    expect(lines).toEqual([]);
  });

  test("bus resubscribes at once after its subscriber connection is cut, and reports a loss", async () => {
    const timing = { ...HURRIED, leaseMs: 10_000, echoTimeoutMs: 5_000 };
    const [a, b] = (await start(ground, 2, { timing })) as [Pod, Pod];
    await until("those of the test before are gone", async () => (await ground.count("ears")) === 2);
    expect(await ground.cut("ears")).toBe(2);
    const tookMs = await until("both ask", () => a.told.includes("lost") && b.told.includes("lost"));
    expect(tookMs).toBeLessThan(3_000); // sooner than by listening for itself
    expect(await untilHeard(a, b)).toBeLessThan(3_000);
    expect(await untilHeard(b, a)).toBeLessThan(3_000);
    expect([...a.told, ...b.told].filter((told) => told.startsWith("vanished"))).toEqual([]);
  });

  test("bus reports lost packets to its peers after its publisher connection is cut under load", async () => {
    const [a, b] = (await start(ground, 2, { timing: { ...HURRIED, leaseMs: 5_000 } })) as [Pod, Pod];
    let said = 0;
    for (let cuts = 0; cuts < 4; cuts++) {
      const cutting = ground.cut("mouths").catch(() => {});
      for (let i = 0; i < 200; i++) {
        a.say(`${said++}`);
        if (i % 20 === 0) await Bun.sleep(1);
      }
      await cutting;
      await untilHeard(a, b);
    }
    const heard = words(b, a.name)
      .filter((word) => /^\d+$/.test(word))
      .map(Number);
    expect(heard).toEqual([...new Set(heard)].toSorted((one, two) => one - two));
    if (heard.length < said) expect(b.told).toContain(`lost ${a.name}`);
    console.log(`  ${heard.length} of ${said} events arrived through four cuts`);
    expect(b.told).not.toContain(`vanished ${a.name}`);
  });

  test("bus reconnects after its server is killed, and reports a loss", async () => {
    const [a, b] = (await start(ground)) as [Pod, Pod];
    a.say("before");
    await until("the word before", () => b.heardWord("before"));
    await ground.crash();
    expect(await untilHeard(a, b)).toBeLessThan(5_000);
    expect(await untilHeard(b, a)).toBeLessThan(5_000);
    for (const pod of [a, b]) await until("both ask", () => pod.told.includes("lost"));
  });

  test("bus retries while its server hangs, and recovers within 5 s of its return", async () => {
    const [a, b] = (await start(ground)) as [Pod, Pod];
    const goOn = await ground.stall();
    const stalledAt = performance.now();
    try {
      await until("first", () => a.lostAt.length > 0 && b.lostAt.length > 0);
      await until("again and again", () => a.lostAt.length > 2 && b.lostAt.length > 2);
      expect(a.lostAt[0]! - stalledAt).toBeLessThan(3_000);
      expect(a.lostAt[2]! - a.lostAt[1]!).toBeGreaterThan(HURRIED.repeatMs - 50);
    } finally {
      goOn();
    }
    const backAt = performance.now();
    a.lostAt = [];
    b.lostAt = [];
    await Promise.all([untilHeard(a, b), untilHeard(b, a)]);
    await until("both ask", () => a.lostAt.length > 0 && b.lostAt.length > 0);
    expect(Math.max(a.lostAt[0]!, b.lostAt[0]!, performance.now()) - backAt).toBeLessThan(5_000);
    for (const { told } of [a, b]) expect(told.filter((word) => word.startsWith("vanished"))).toEqual([]); // who knows nothing says nothing
    await Bun.sleep(HURRIED.repeatMs + 300);
    const calm = [a.lostAt.length, b.lostAt.length];
    await Bun.sleep(HURRIED.repeatMs + 300);
    expect([a.lostAt.length, b.lostAt.length]).toEqual(calm); // and then no more
  });

  test("bus replaces a subscriber connection that hangs", async () => {
    const [a, b] = (await start(ground)) as [Pod, Pod];
    await ground.hush("ears");
    try {
      await until("both ask", () => a.told.includes("lost") && b.told.includes("lost"), 5_000);
      expect(await untilHeard(a, b)).toBeLessThan(3_000);
      expect(await untilHeard(b, a)).toBeLessThan(3_000);
    } finally {
      await ground.crash();
    }
  });

  test("bus replaces a publisher connection that hangs, and its peers notice the loss", async () => {
    const [a, b] = (await start(ground, 2, { timing: { ...HURRIED, leaseMs: 5_000 } })) as [Pod, Pod];
    await ground.hush("mouths");
    try {
      a.say("swallowed");
      expect(await untilHeard(a, b)).toBeLessThan(5_000);
      expect(b.heardWord("swallowed") || b.told.includes(`lost ${a.name}`)).toBeTrue();
      await untilHeard(b, a);
      expect([...a.told, ...b.told].filter((told) => told.startsWith("vanished"))).toEqual([]);
    } finally {
      await ground.crash();
    }
  });

  test("bus drops its backlog when it is too slow, and its peers notice the loss", async () => {
    const backlog = { bytes: 100_000, events: 1_000 };
    const [a, b] = (await start(ground, 2, { backlog, timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ type: "draft", text: "ε".repeat(100) });
    a.bus.publish(Array.from({ length: 3_000 }, (): BusEvent => ({ kind: "frame", to: ["ann"], frame })));
    await until("b asks", () => b.told.includes(`lost ${a.name}`));
    a.bus.publish([user("ann")]);
    await until("the next", () => b.heardWord("ann"));
    expect(b.heard.length).toBeLessThanOrEqual(1_000);
    expect(b.told).not.toContain("lost");
    expect(a.told.filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus starts without its server and connects when the server is reachable", async () => {
    const [a] = (await start(ground, 1)) as [Pod];
    const { bus, arrive } = ground.away();
    const b = new Pod(bus);
    pods.push(b);
    const begunAt = performance.now();
    await b.start();
    expect(performance.now() - begunAt).toBeLessThan(3_000);
    b.say("into the void");
    await until("it asks again and again", () => b.lostAt.length > 1);
    arrive();
    expect(await untilHeard(b, a)).toBeLessThan(5_000);
    expect(await untilHeard(a, b)).toBeLessThan(5_000);
    expect(b.told.filter((told) => told === "lost").length).toBeGreaterThan(1);
  });

  test("bus logs an interruption once, and the recovery once", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line.slice(9)) });
    const [a] = (await start(ground, 1, { log })) as [Pod];
    await ground.crash();
    await until("back", () => lines.at(-1)?.startsWith("bus restored") === true);
    await Bun.sleep(500);
    // Both once; where the machine is busy, both again: never one of them twice in a row.
    for (const [i, line] of lines.entries())
      expect(line).toStartWith(i % 2 === 0 ? "warn bus interrupted" : "bus restored");
    expect(lines.at(-1)).toStartWith("bus restored");
    expect(a.told.filter((told) => told === "lost").length).toBeGreaterThan(0);
  });

  test("bus at rest sends two packets a second, and leaves no connection behind", async () => {
    const spy = await ground.spy();
    spies.push(spy);
    await start(ground, 1, { timing: {} });
    const { length: before } = spy.heard;
    await Bun.sleep(1_750);
    expect(spy.heard.length - before).toBeWithin(2, 6);
    await pods.splice(0)[0]!.bus.stop();
    const left = async () => [await ground.count("ears"), await ground.count("mouths")];
    const none = [ground instanceof Redis ? 1 : 0, 0]; // the spy's own
    for (const since = performance.now(); !Bun.deepEquals(await left(), none) && performance.now() - since < 3_000;)
      await Bun.sleep(20);
    expect(await left()).toEqual(none);
  });
}

test("bus that stops with a backlog lets its peers notice the loss", async () => {
  const ears = new Set<(text: string) => void>();
  const publisher = () => {
    let last = Promise.resolve();
    const say = async (packets: readonly string[]) => {
      await Bun.sleep(packets[0]!.length > 200 ? 250 : 0); // one with events
      for (const text of packets) for (const packet of ears) packet(text);
    };
    return { send: (packets: readonly string[]) => (last = last.then(() => say(packets))), end() {} };
  };
  const slow: Transport = {
    maxBytes: 400,
    maxPackets: 1,
    subscribe({ packet }) {
      ears.add(packet);
      return { ready: Promise.resolve(), end: () => void ears.delete(packet) };
    },
    publisher,
    olderPublisher: publisher,
  };
  const bus = () => new PacketBus(slow, COMMON);
  const [a, b] = (await start({ begin() {}, end() {}, bus })) as [Pod, Pod];
  a.say(...Array.from({ length: 10 }, (_, i) => `${i}`.repeat(100)));
  await a.bus.stop();
  await until("goodbye", () => b.told.includes(`vanished ${a.name}`));
  expect(b.from(a).length).toBeLessThan(10);
  expect(b.told).toContain(`lost ${a.name}`);
});

describe("in memory", () => calmRules(new Memory()));

describe("over PostgreSQL", () => {
  const ground = new Postgres();
  beforeAll(() => ground.begin());
  afterAll(() => ground.end());
  calmRules(ground);
  wiredRules(ground);
});

describe.skipIf(!REDIS)("over Redis", () => {
  const ground = new Redis();

  test("bus ignores another chatify on the same Redis", async () => {
    const [a] = (await start(ground, 1, { timing: CALM })) as [Pod];
    const other: Ground = { begin() {}, end() {}, bus: () => ground.bus({ realm: "other" }) };
    const [b, c] = await start(other);
    await untilHeard(b!, c!);
    expect(a.told).toEqual([]);
    expect(b!.bus.peers).toEqual([c!.name]);
  });

  test("bus opens no packet longer than those that pods send", async () => {
    const drops: BusDrop[] = [];
    const [a] = (await start(ground, 1, { timing: CALM, dropped: (why) => void drops.push(why) })) as [Pod];
    const puppet = await Puppet.enter(ground);
    await until("it is met", () => a.told.length > 0);
    drops.length = 0;
    await puppet.say("events", 1, ...Array.from({ length: 100 }, () => "long".repeat(200)));
    await ground.say("1".repeat(1_000_000));
    await puppet.say("events", 2, "short");
    await until("the next", () => a.heardWord("short"));
    expect(a.heardWord("long".repeat(200))).toBeFalse();
    expect(drops).toEqual(["foreign", "foreign"]);
  });

  if (REDIS) {
    beforeAll(() => ground.begin());
    afterAll(() => ground.end());
  }
  calmRules(ground);
  wiredRules(ground);
});
