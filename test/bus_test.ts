/**
 * What every bus promises, as one list of rules run on each kind: in memory, over a PostgreSQL and over a Redis of the tests' own.
 * Faults are made for real: connections cut, servers killed or standing still, packets swallowed on the way.
 */

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Bus, type BusEvent, MemoryBus } from "../src/bus/bus.ts";
import { encodePacket, Packer, type Packet } from "../src/bus/packet.ts";
import { PacketBus, type PacketBusOptions, type Wire } from "../src/bus/packet_bus.ts";
import { PostgresBus } from "../src/bus/postgres.ts";
import { RedisBus } from "../src/bus/redis.ts";
import { type Client, connect, listen } from "../src/db/client.ts";
import { type Embedded, startEmbedded } from "../src/db/embedded.ts";
import { Log } from "../src/log.ts";
import { SYNC_FRAME } from "../src/protocol.ts";
import { freePort, REDIS, RedisServer, SILENT } from "./harness.ts";
import { until } from "./until.ts";

setDefaultTimeout(20_000);

/** A fifth of what pods wait. */
const HURRIED = { beatMs: 100, lateMs: 400, leaseMs: 1_000, deafMs: 600, repeatMs: 500 };

/** For rules that say that nothing is lost: what a busy machine holds up for a moment is not. */
const CALM = { ...HURRIED, lateMs: 10_000, leaseMs: 20_000, deafMs: 5_000 };

type Options = Partial<PacketBusOptions>;

/** A kind of bus, and what can happen to it. */
interface Ground {
  begin(): Promise<void> | void;
  end(): Promise<void> | void;
  /** A bus not started yet. */
  bus(options?: Options): Bus;
}

interface Wired extends Ground {
  /** Sends a packet as some other pod would. */
  say(packet: string): Promise<unknown>;
  /** Collects what is sent. */
  spy(): Promise<{ heard: string[]; end(): void }>;
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
    return new PostgresBus({ log: SILENT, timing: HURRIED, ...options, target, name: "under-test" });
  };

  say = (packet: string) => this.#admin.notify("chatify", packet);

  async spy() {
    const heard: string[] = [];
    const { ready, end } = listen(this.#embedded.target, {
      name: "spy",
      channel: "chatify",
      hear: (packet) => void heard.push(packet),
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

  bus = (options: Options & { realm?: string } = {}, port = this.#way.port) =>
    new RedisBus({ log: SILENT, timing: HURRIED, ...options, url: `redis://127.0.0.1:${port}/7` });

  say = (packet: string) => this.#server.admin.publish("chatify:7", packet);

  async spy() {
    const heard: string[] = [];
    const spy = await this.#server.client();
    await spy.subscribe("chatify:7", (packet) => void heard.push(packet));
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
  await until("all know each other", () => started.every((pod) => pod.bus.others.length >= count - 1));
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

/** A packet of a pod that is none. */
function packet(kind: Packet["kind"], pod: string, number: number, ...words: string[]): string {
  const packer = new Packer(7_999);
  for (const word of words) packer.add(user(word));
  return encodePacket(kind, pod, number, packer.take());
}

function words(pod: Pod, from: string): string[] {
  return pod.heard.flatMap((one) => (one.from === from && one.event.kind === "user" ? [one.event.username] : []));
}

const EVERY_KIND: BusEvent[] = [
  { kind: "frame", to: ["ann", "bob"], frame: JSON.stringify({ type: "message", message: "Γειά\tσου\n😀 \u0000 \\" }) },
  { kind: "end", nameKey: "ann", sessionId: 12 },
  { kind: "veil", nameKey: "ελένη", on: true },
  { kind: "user", username: "Ελένη" },
  { kind: "came", nameKey: "ελένη", username: "Ελένη" },
  { kind: "went", nameKey: "ελένη", lastSeen: "2026-11-22T18:30:00.500000Z" },
  { kind: "leaving" },
  { kind: "ask", pod: "q3Jx0bTz9a8K" },
  { kind: "people", first: true, people: [["ann", "Ann"], ["ελένη", "Ελένη"]] }, // prettier-ignore
];

function calmRules(ground: Ground): void {
  test("bus brings every kind of event to all others, once, in order, and not to its sender", async () => {
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

  test("bus tells who joined and who said goodbye, and loses nothing by it", async () => {
    const [a, b] = (await start(ground, 2, { timing: CALM })) as [Pod, Pod];
    expect(a.told).toEqual([`joined ${b.name}`]);
    expect(b.told).toEqual([`joined ${a.name}`]);
    expect(a.bus.others).toEqual([b.name]);
    b.say("last words");
    await b.bus.stop();
    await until("goodbye", () => a.bus.others.length === 0, 3_000); // sooner than any silence
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
      return { kind: "frame", to: ["ann"], frame: JSON.stringify({ i, message: letter.repeat(i % 200) }) };
    });
    for (const frame of frames) a.bus.publish([frame]);
    await until("all of them", () => b.heard.length === frames.length);
    expect(b.from(a)).toEqual(frames);
    const packets = spy.heard.slice(before);
    expect(packets.length).toBeLessThan(120); // 550 KB
    if (ground instanceof Postgres) for (const text of packets) expect(Buffer.byteLength(text)).toBeLessThan(8_000);
    expect(b.told.filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus brings a sync in place of a frame larger than a packet", async () => {
    const [a, b] = (await start(ground, 2, { timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ type: "message", message: "😀".repeat(20_000) });
    a.bus.publish([{ kind: "frame", to: ["ann", "bob"], frame }, user("carol")]);
    await until("both", () => b.heard.length === 2);
    expect(b.from(a)).toEqual([{ kind: "frame", to: ["ann", "bob"], frame: SYNC_FRAME }, user("carol")]);
  });

  test("bus tells of a hole in the numbers, also of a lost last packet, and drops what it has seen", async () => {
    const [a] = (await start(ground, 1, { timing: CALM })) as [Pod];
    const say = async (...packets: string[]) => {
      for (const text of packets) await ground.say(text);
      await ground.say(packet("beat", "end", 0));
      await until("the last", () => a.told.includes("joined end"));
      await ground.say(packet("goodbye", "end", 0));
      await until("the last", () => a.told.includes("vanished end"));
      return a.told.splice(0).filter((told) => !told.endsWith(" end"));
    };
    expect(await say(packet("events", "pod", 1, "1"), packet("events", "pod", 2, "2"))).toEqual(["joined pod"]);
    expect(await say(packet("beat", "pod", 2))).toEqual([]);
    expect(await say(packet("events", "pod", 4, "4"))).toEqual(["lost pod"]);
    expect(await say(packet("events", "pod", 3, "3"), packet("events", "pod", 4, "4"))).toEqual([]);
    expect(await say(packet("beat", "pod", 5), packet("beat", "pod", 5))).toEqual(["lost pod"]);
    expect(await say(packet("events", "pod", 6, "6"))).toEqual([]);
    expect(words(a, "pod")).toEqual(["1", "2", "4", "6"]);
    expect(await say(packet("goodbye", "pod", 7))).toEqual(["lost pod", "vanished pod"]);
    expect(await say(packet("events", "amidst", 9, "9"))).toEqual(["joined amidst", "lost amidst"]);
    expect(await say("neither this", `${packet("events", "bad", 1)}\nu\t`)).toEqual([]);
  });

  test("bus tells of a pod that falls silent, soon and when its lease ends, and of its return", async () => {
    const [a] = (await start(ground, 1)) as [Pod];
    await ground.say(packet("events", "pod", 1, "1"));
    await until("joined", () => a.told.length >= 1);
    const lateMs = await until("late", () => a.told.length >= 2);
    expect(a.bus.others).toEqual(["pod"]);
    const goneMs = await until("gone", () => a.told.length >= 4);
    expect(a.told).toEqual(["joined pod", "lost pod", "vanished pod", "lost pod"]);
    expect(lateMs).toBeLessThan(HURRIED.leaseMs);
    expect(lateMs + goneMs).toBeLessThan(3_000);
    expect(a.bus.others).toEqual([]);
    await ground.say(packet("beat", "pod", 1));
    await until("back", () => a.told.length >= 6);
    expect(a.told.slice(4)).toEqual(["joined pod", "lost pod"]);
  });

  test("bus outlives a moment in which its own process stood still, and nobody vanishes", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line) });
    const [a, b] = (await start(ground, 2, { log, timing: { ...HURRIED, deafMs: 1_000 } })) as [Pod, Pod];
    a.say("before");
    await Bun.sleep(1); // sent, and the answer comes while nobody looks
    Bun.sleepSync(HURRIED.leaseMs + 200);
    await untilHeard(a, b);
    await Bun.sleep(300);
    for (const { told } of [a, b]) expect(told.filter((told) => !told.startsWith("joined"))).toEqual([]);
    expect(lines).toEqual([]);
  });

  test("bus whose hearing connection is cut hears again at once, and says that it may have missed something", async () => {
    const timing = { ...HURRIED, leaseMs: 10_000, deafMs: 5_000 };
    const [a, b] = (await start(ground, 2, { timing })) as [Pod, Pod];
    await until("those of the test before are gone", async () => (await ground.count("ears")) === 2);
    expect(await ground.cut("ears")).toBe(2);
    const tookMs = await until("both ask", () => a.told.includes("lost") && b.told.includes("lost"));
    expect(tookMs).toBeLessThan(3_000); // sooner than by listening for itself
    expect(await untilHeard(a, b)).toBeLessThan(3_000);
    expect(await untilHeard(b, a)).toBeLessThan(3_000);
    expect([...a.told, ...b.told].filter((told) => told.startsWith("vanished"))).toEqual([]);
  });

  test("bus whose sending connection is cut under load tells the others of what they missed, and goes on", async () => {
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

  test("bus comes back after its server was killed, and says that it may have missed something", async () => {
    const [a, b] = (await start(ground)) as [Pod, Pod];
    a.say("before");
    await until("the word before", () => b.heardWord("before"));
    await ground.crash();
    expect(await untilHeard(a, b)).toBeLessThan(5_000);
    expect(await untilHeard(b, a)).toBeLessThan(5_000);
    for (const pod of [a, b]) await until("both ask", () => pod.told.includes("lost"));
  });

  test("bus asks again and again while its server stands still, and heals within 5 s of its return", async () => {
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

  test("bus takes a new connection when the one that hears stands still", async () => {
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

  test("bus takes a new connection when the one that sends stands still, and the others know what they missed", async () => {
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

  test("bus that is too slow drops what waits, and the others know", async () => {
    const backlog = { bytes: 100_000, events: 1_000 };
    const [a, b] = (await start(ground, 2, { backlog, timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ message: "ε".repeat(100) });
    a.bus.publish(Array.from({ length: 3_000 }, (): BusEvent => ({ kind: "frame", to: ["ann"], frame })));
    await until("b asks", () => b.told.includes(`lost ${a.name}`));
    a.bus.publish([user("ann")]);
    await until("the next", () => b.heardWord("ann"));
    expect(b.heard.length).toBeLessThanOrEqual(1_000);
    expect(b.told).not.toContain("lost");
    expect(a.told.filter((told) => told.startsWith("lost"))).toEqual([]);
  });

  test("bus starts while its server is out of reach, asks until it is there, and carries then", async () => {
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

  test("bus says once that it is interrupted, and once that it carries again", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line.slice(9)) });
    const [a] = (await start(ground, 1, { log })) as [Pod];
    await ground.crash();
    await until("back", () => lines.at(-1)?.startsWith("bus carries again") === true);
    await Bun.sleep(500);
    // Both once; where the machine is busy, both again: never one of them twice in a row.
    for (const [i, line] of lines.entries())
      expect(line).toStartWith(i % 2 === 0 ? "warn bus interrupted" : "bus carries again");
    expect(lines.at(-1)).toStartWith("bus carries again");
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

test("bus that has to leave before all is said lets the others know", async () => {
  const ears = new Set<(text: string) => void>();
  const slow: Wire = {
    maxBytes: 200,
    maxPackets: 1,
    hear({ packet }) {
      ears.add(packet);
      return { ready: Promise.resolve(), end: () => void ears.delete(packet) };
    },
    speak() {
      let last = Promise.resolve();
      const say = async (packets: readonly string[]) => {
        await Bun.sleep(packets[0]!.startsWith("e") ? 250 : 0);
        for (const text of packets) for (const packet of ears) packet(text);
      };
      return { send: (packets) => (last = last.then(() => say(packets))), end() {} };
    },
  };
  const bus = () => new PacketBus(slow, { log: SILENT, timing: HURRIED });
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

  test("bus of another chatify on the same Redis is not heard", async () => {
    const [a] = (await start(ground, 1, { timing: CALM })) as [Pod];
    const other: Ground = { begin() {}, end() {}, bus: () => ground.bus({ realm: "other" }) };
    const [b, c] = await start(other);
    await untilHeard(b!, c!);
    expect(a.told).toEqual([]);
    expect(b!.bus.others).toEqual([c!.name]);
  });

  if (REDIS) {
    beforeAll(() => ground.begin());
    afterAll(() => ground.end());
  }
  calmRules(ground);
  wiredRules(ground);
});
