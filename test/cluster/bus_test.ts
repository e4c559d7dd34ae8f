/**
 * The guarantees of every bus, run on each kind: in memory, and over a PostgreSQL and a Redis of this file. The faults are real:
 * connections cut, servers killed or hanging, packets dropped by a proxy.
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
import { startEmbedded } from "../../src/db/start_embedded.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import type { BusDrop } from "../../src/metrics.ts";
import { draftFrame, SYNC_FRAME } from "../../src/protocol.ts";
import { freePort, REDIS, RedisServer, SILENT } from "../support/harness.ts";
import { MemoryBus } from "../support/memory_bus.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(20_000);

/** A fifth of the pods' timing. */
const HURRIED = { heartbeatMs: 100, lateMs: 400, leaseMs: 1_000, echoTimeoutMs: 600, repeatMs: 500 };

/** For guarantees without loss, so that a busy machine's delays count as none. */
const CALM = { ...HURRIED, lateMs: 10_000, leaseMs: 20_000, echoTimeoutMs: 5_000 };

type Options = Partial<PacketBusOptions> & { readonly realm?: string };

/** Shared by the pods of these tests. */
const SECRET = "the secret of the tests' pods";
const REALM = "the-realm-of-the-tests";
const COMMON = { log: SILENT, secret: SECRET, realm: REALM, timing: HURRIED };

/** A kind of bus and its server. */
interface BusSetup {
  begin(): Promise<void> | void;
  end(): Promise<void> | void;
  /** A bus not started yet. */
  bus(options?: Options): Bus;
}

interface Spy {
  readonly received: string[];
  end(): void;
}

interface NetworkSetup extends BusSetup {
  /** Sends a packet as another pod would. */
  send(packet: string): Promise<unknown>;
  /** Records the packets on the channel. */
  spy(on?: (packet: string) => void): Promise<Spy>;
  /** Closes the connections of subscribers or of publishers. @returns how many there were */
  cut(which: "subscribers" | "publishers"): Promise<number>;
  /** The number of connections of subscribers or of publishers. */
  count(which: "subscribers" | "publishers"): Promise<number>;
  /** Makes every connection hang. @returns a function that resumes them */
  stall(): Promise<() => void>;
  /** Makes the connections of subscribers or of publishers hang for good. */
  freeze(which: "subscribers" | "publishers"): Promise<void>;
  /** Kills the server and starts it again. */
  crash(): Promise<void>;
  /** A bus whose server is unreachable until `arrive`. */
  away(): { bus: Bus; arrive(): void };
}

class Memory implements BusSetup {
  readonly #pods = new Set<MemoryBus>();
  begin() {}
  end() {}
  bus = () => new MemoryBus(this.#pods);
}

class Postgres implements NetworkSetup {
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

  send = (packet: string) => this.#admin.notify(`chatify_${REALM}`, packet);

  async spy(on: (packet: string) => void = () => {}) {
    const received: string[] = [];
    const { ready, end } = listen(this.#embedded.target, {
      name: "spy",
      channel: `chatify_${REALM}`,
      received(packet) {
        received.push(packet);
        on(packet);
      },
      closed() {},
    });
    await ready;
    return { received, end: () => void end() };
  }

  async cut(which: "subscribers" | "publishers") {
    const pids = await this.#pids(which);
    await this.#admin.unsafe(`select pg_terminate_backend(pid) from unnest('{${pids}}'::int[]) pid`);
    return pids.length;
  }

  count = async (which: "subscribers" | "publishers") => (await this.#pids(which)).length;

  async stall() {
    const pids = [this.#postmaster(), ...(await this.#pids("subscribers")), ...(await this.#pids("publishers"))];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    return () => {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    };
  }

  async freeze(which: "subscribers" | "publishers") {
    for (const pid of await this.#pids(which)) {
      process.kill(pid, "SIGSTOP");
      this.#stopped.push(pid);
    }
  }

  async crash() {
    for (const pid of this.#stopped.splice(0)) process.kill(pid, "SIGCONT");
    process.kill(this.#postmaster(), "SIGKILL"); // it is restarted by the process that started it
    for (;;) {
      void this.#admin.end({ timeout: 0 }).catch(() => {}); // the driver may hang on a server that restarts
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

  async #pids(which: "subscribers" | "publishers"): Promise<number[]> {
    const rows = await this.#admin<{ pid: number; subscriber: boolean }[]>`
      select pid, query like 'listen %' as subscriber from pg_stat_activity where application_name = 'under-test'
    `;
    return rows.filter(({ subscriber }) => subscriber === (which === "subscribers")).map(({ pid }) => pid);
  }
}

class Redis implements NetworkSetup {
  #server!: RedisServer;
  #proxy!: TcpProxy;

  async begin() {
    this.#server = await RedisServer.start();
    this.#proxy = new TcpProxy(this.#server.port);
  }

  async end() {
    this.#proxy.stop();
    await this.#server.end();
  }

  bus = (options: Options = {}, port = this.#proxy.port) =>
    new RedisBus({ ...COMMON, ...options, url: `redis://127.0.0.1:${port}/7` });

  send = (packet: string) => this.#server.admin.publish(`chatify:7:${REALM}:sealed`, packet);

  async spy(on: (packet: string) => void = () => {}) {
    const received: string[] = [];
    const spy = await this.#server.client();
    await spy.subscribe(`chatify:7:${REALM}:sealed`, (packet) => {
      received.push(packet);
      on(packet);
    });
    return { received, end: () => spy.close() };
  }

  cut = (which: "subscribers" | "publishers") => this.#server.cut(which);

  async count(which: "subscribers" | "publishers") {
    const list: string = await this.#server.admin.send("CLIENT", [
      "LIST",
      "TYPE",
      which === "subscribers" ? "pubsub" : "normal",
    ]);
    return (list.match(/^id=/gm)?.length ?? 0) - (which === "subscribers" ? 0 : 1); // the test's own is a normal one
  }

  async stall() {
    const { pid } = this.#server;
    process.kill(pid, "SIGSTOP");
    return () => void process.kill(pid, "SIGCONT");
  }

  freeze = async (which: "subscribers" | "publishers") => this.#proxy.swallow(which === "subscribers");

  async crash() {
    await this.#server.kill();
    await Bun.sleep(300);
    await this.#server.start();
  }

  away() {
    const proxy = new TcpProxy(this.#server.port, { port: freePort(), open: false });
    return {
      bus: this.bus({}, proxy.port),
      arrive: () => {
        proxy.open();
        proxies.push(proxy);
      },
    };
  }
}

const proxies: TcpProxy[] = [];

interface Passage {
  up?: Bun.Socket;
  early: Uint8Array[];
  subscribes: boolean;
  swallowed: boolean;
}

/** A proxy that can drop its traffic. */
class TcpProxy {
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
          const proxy: Passage = { early: [], subscribes: false, swallowed: false };
          down.data = proxy;
          this.#passages.add(proxy);
          try {
            proxy.up = await Bun.connect({
              hostname: "127.0.0.1",
              port: this.#to,
              socket: {
                data: (_, bytes) => void (proxy.swallowed || down.write(bytes)),
                close: () => void (proxy.swallowed || down.end()),
                error: () => void down.end(),
              },
            });
            for (const bytes of proxy.early) proxy.up.write(bytes);
          } catch {
            down.end();
          }
        },
        data: ({ data: proxy }, bytes) => {
          if (bytes.includes("SUBSCRIBE")) proxy.subscribes = true;
          if (proxy.swallowed) return;
          if (proxy.up) proxy.up.write(bytes);
          else proxy.early.push(new Uint8Array(bytes));
        },
        close: ({ data: proxy }) => {
          this.#passages.delete(proxy);
          proxy.up?.end();
        },
        error() {},
      },
    });
    this.#listener = listener;
  }

  /** Drops all further traffic of the open connections of subscribers, or of the others. */
  swallow(subscribes: boolean): void {
    for (const proxy of this.#passages) proxy.swallowed ||= proxy.subscribes === subscribes;
  }

  stop(): void {
    this.#listener?.stop(true);
  }
}

/** A bus with everything that it delivers and reports. */
class Pod {
  readonly bus: Bus;
  /** In order, with the pod it came from. */
  readonly received: { event: BusEvent; from: string }[] = [];
  /** In order: `joined x`, `left x`, `lost x`; `lost` alone when no pod was named. */
  readonly reports: string[] = [];
  lostAt: number[] = [];

  constructor(bus: Bus) {
    this.bus = bus;
  }

  async start(): Promise<void> {
    await this.bus.start({
      deliver: (event, from) => void this.received.push({ event, from }),
      lost: (from) => {
        this.reports.push(from === undefined ? "lost" : `lost ${from}`);
        if (from === undefined) this.lostAt.push(performance.now());
      },
      joined: (pod) => void this.reports.push(`joined ${pod}`),
      left: (pod) => void this.reports.push(`left ${pod}`),
    });
  }

  get name(): string {
    return this.bus.pod;
  }

  /** The events received from a pod. */
  from(pod: Pod): BusEvent[] {
    return this.received.filter(({ from }) => from === pod.name).map(({ event }) => event);
  }

  /** Publishes words, each as a new user of that name. */
  send(...words: string[]): void {
    this.bus.publish(words.map(user));
  }

  hasReceived(word: string): boolean {
    return this.received.some(({ event }) => event.kind === "user" && event.username === word);
  }
}

const user = (username: string): BusEvent => ({ kind: "user", username });

const pods: Pod[] = [];
const spies: { end(): void }[] = [];
afterEach(async () => {
  await Promise.all(pods.splice(0).map((pod) => pod.bus.stop()));
  for (const spy of spies.splice(0)) spy.end();
  for (const proxy of proxies.splice(0)) proxy.stop();
});

/** Starts pods, and waits until each knows its peers. */
async function start(setup: BusSetup, count = 2, options?: Options): Promise<Pod[]> {
  const started = Array.from({ length: count }, () => new Pod(setup.bus(options)));
  pods.push(...started);
  await Promise.all(started.map((pod) => pod.start()));
  await until("all know each other", () => started.every((pod) => pod.bus.peers.length >= count - 1));
  return started;
}

/** Waits until `receiver` receives an event that `sender` publishes from now on. @returns how long it took */
async function untilDelivered(sender: Pod, receiver: Pod, withinMs = 5_000): Promise<number> {
  const begunAt = performance.now();
  for (let i = 0; ; i++) {
    const word = `word-${crypto.randomUUID()}`;
    sender.send(word);
    for (let tries = 0; tries < 20; tries++) {
      if (receiver.hasReceived(word)) return performance.now() - begunAt;
      await Bun.sleep(5);
    }
    if (performance.now() - begunAt > withinMs) throw new Error(`Nothing received for ${withinMs} ms, ${i} tries`);
  }
}

/** A pod that the test controls: it answers challenges, and otherwise sends only the test's packets. */
class Puppet {
  readonly pod = newPodName();
  readonly #setup: NetworkSetup;
  readonly #cipher = new PacketCipher(SECRET, this.pod);
  #spy: Spy | undefined;
  #number = 0;

  /** @param number its last packet's number before it joins */
  static async enter(setup: NetworkSetup, number = 0): Promise<Puppet> {
    const puppet = new Puppet(setup);
    puppet.#number = number;
    puppet.#spy = await setup.spy((packet) => void puppet.#answer(packet));
    spies.push(puppet.#spy);
    await puppet.send("beat", number);
    return puppet;
  }

  constructor(setup: NetworkSetup) {
    this.#setup = setup;
  }

  /** @returns the packet as it was sent */
  async send(kind: Packet["kind"], number: number, ...words: string[]): Promise<string> {
    this.#number = number;
    const packet = this.#cipher.seal(encodePacket(kind, number, bodyOf(words.map(user))));
    await this.#setup.send(packet);
    if (kind === "goodbye") this.end();
    return packet;
  }

  /** Stops its answers. */
  end(): void {
    this.#spy?.end();
  }

  async #answer(packet: string): Promise<void> {
    if (this.#cipher.ownCounter(packet) !== undefined) return;
    const opened = this.#cipher.open(packet);
    for (const event of (opened && decodePacket(opened.text, () => {}))?.events ?? []) {
      if (event.kind !== "challenge") continue;
      const answer = bodyOf([{ kind: "answer", tokens: [event.token] }]);
      await this.#setup.send(this.#cipher.seal(encodePacket("beat", this.#number, answer)));
    }
  }
}

/** The words that a pod received from another. */
function words(pod: Pod, from: string): string[] {
  return pod.received.flatMap((one) => (one.from === from && one.event.kind === "user" ? [one.event.username] : []));
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
  blockedByReceiver: false,
  replyTo: 3,
  file: { id: "abcdefghijklmnopqrstuv", name: "δ 😀.png", type: "image/png", size: 7, width: 1, height: 2 },
} as const;
const EVERY_KIND: BusEvent[] = [
  MESSAGE,
  { ...MESSAGE, ref: null, blockedByReceiver: true },
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

function calmRules(setup: BusSetup): void {
  test("bus delivers every kind of event to all other pods once, in order", async () => {
    const [a, b, c] = (await start(setup, 3, { timing: CALM })) as [Pod, Pod, Pod];
    a.bus.publish(EVERY_KIND);
    b.bus.publish([user("bob")]);
    a.bus.publish([user("carol")]);
    for (const pod of [b, c]) {
      await until("events of a", () => pod.from(a).length > EVERY_KIND.length);
      expect(pod.from(a)).toEqual([...EVERY_KIND, user("carol")]);
    }
    await until("events of b", () => a.received.length > 0 && c.from(b).length > 0);
    await Bun.sleep(50);
    expect(a.received).toEqual([{ event: user("bob"), from: b.name }]);
    expect(c.from(b)).toEqual([user("bob")]);
    expect([a, b, c].flatMap(({ reports }) => reports).filter((reports) => reports.startsWith("lost"))).toEqual([]);
  });

  test("bus keeps the order of thousands of events from two pods at once", async () => {
    const [a, b, c] = (await start(setup, 3, { timing: CALM })) as [Pod, Pod, Pod];
    for (let i = 0; i < 300; i++) {
      for (const pod of [a, b]) pod.bus.publish(Array.from({ length: 10 }, (_, j) => user(`${i * 10 + j}`)));
      if (i % 50 === 0) await Bun.sleep(1);
    }
    await until("all of them", () => c.received.length === 6_000);
    const numbers = Array.from({ length: 3_000 }, (_, i) => user(`${i}`));
    expect(c.from(a)).toEqual(numbers);
    expect(c.from(b)).toEqual(numbers);
  });

  test("bus reports joined and leaving pods without losing events", async () => {
    const [a, b] = (await start(setup, 2, { timing: CALM })) as [Pod, Pod];
    expect(a.reports).toEqual([`joined ${b.name}`]);
    expect(b.reports).toEqual([`joined ${a.name}`]);
    expect(a.bus.peers).toEqual([b.name]);
    b.send("last words");
    await b.bus.stop();
    await until("goodbye", () => a.bus.peers.length === 0, 3_000); // sooner than any lease ends
    expect(a.hasReceived("last words")).toBeTrue();
    b.send("from beyond");
    await Bun.sleep(HURRIED.lateMs + 200);
    expect(a.reports).toEqual([`joined ${b.name}`, `left ${b.name}`]);
    expect(a.hasReceived("from beyond")).toBeFalse();
  });
}

function wiredRules(setup: NetworkSetup): void {
  test("bus gathers events into few packets, none of them too large", async () => {
    const [a, b] = (await start(setup, 2, { timing: CALM })) as [Pod, Pod];
    const spy = await setup.spy();
    spies.push(spy);
    const { length: before } = spy.received;
    const frames = Array.from({ length: 2_000 }, (_, i): BusEvent => {
      const letter = ["e", "ε", "語", "😀"][i % 4]!;
      const draft = { peer: String(i), text: letter.repeat(i % 200), at: "2026-11-22T18:30:00Z" };
      return { kind: "frame", to: ["ann"], frame: draftFrame(draft) };
    });
    for (const frame of frames) a.bus.publish([frame]);
    await until("all of them", () => b.received.length === frames.length);
    expect(b.from(a)).toEqual(frames);
    const packets = spy.received.slice(before);
    expect(packets.length).toBeLessThan(140); // 620 KB
    if (setup instanceof Postgres) for (const text of packets) expect(Buffer.byteLength(text)).toBeLessThan(8_000);
    expect(b.reports.filter((reports) => reports.startsWith("lost"))).toEqual([]);
  });

  test("bus replaces a frame larger than a packet with sync", async () => {
    const [a, b] = (await start(setup, 2, { timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ type: "draft", text: "😀".repeat(20_000) });
    a.bus.publish([{ kind: "frame", to: ["ann", "bob"], frame }, user("carol")]);
    await until("both", () => b.received.length === 2);
    expect(b.from(a)).toEqual([{ kind: "frame", to: ["ann", "bob"], frame: SYNC_FRAME }, user("carol")]);
  });

  test("bus reports a gap in packet numbers, also after the last packet", async () => {
    const [a] = (await start(setup, 1, { timing: CALM })) as [Pod];
    const puppet = await Puppet.enter(setup);
    await until("it is met", () => a.reports.length > 0);
    /** The reports of `a` after all packets of the puppet so far. */
    const takeReports = async () => {
      const end = `${crypto.randomUUID()}`;
      await puppet.send("events", ++number, end);
      await until("the last", () => a.hasReceived(end));
      return a.reports.splice(0);
    };
    let number = 0;
    expect(await takeReports()).toEqual([`joined ${puppet.pod}`]);
    await puppet.send("events", ++number, "one");
    await puppet.send("beat", number);
    expect(await takeReports()).toEqual([]);
    await puppet.send("events", (number += 2), "after a hole");
    expect(await takeReports()).toEqual([`lost ${puppet.pod}`]);
    await puppet.send("beat", ++number);
    await puppet.send("beat", number);
    expect(await takeReports()).toEqual([`lost ${puppet.pod}`]);
    await puppet.send("goodbye", number + 1);
    await until("goodbye", () => a.reports.length >= 2);
    expect(a.reports.splice(0)).toEqual([`lost ${puppet.pod}`, `left ${puppet.pod}`]);
    const amid = await Puppet.enter(setup, 9);
    await until("both", () => a.reports.length >= 2);
    expect(a.reports).toEqual([`joined ${amid.pod}`, `lost ${amid.pod}`]);
  });

  test("bus reports a silent pod at its late heartbeat, at the end of its lease, and its return", async () => {
    const [a] = (await start(setup, 1)) as [Pod];
    const puppet = await Puppet.enter(setup, 1);
    await until("joined", () => a.reports.length >= 2);
    const lateMs = await until("late", () => a.reports.length >= 3);
    expect(a.bus.peers).toEqual([puppet.pod]);
    const goneMs = await until("gone", () => a.reports.length >= 5);
    const [joined, lost, left] = ["joined", "lost", "left"].map((what) => `${what} ${puppet.pod}`) as [string, string, string]; // prettier-ignore
    expect(a.reports).toEqual([joined, lost, lost, left, lost]);
    expect(lateMs).toBeLessThan(HURRIED.leaseMs);
    expect(lateMs + goneMs).toBeLessThan(3_000);
    expect(a.bus.peers).toEqual([]);
    await puppet.send("beat", 1);
    await until("back", () => a.reports.length >= 7);
    expect(a.reports.slice(5)).toEqual([joined, lost]);
  });

  test("bus drops replayed packets of a live pod without effect", async () => {
    const spy = await setup.spy();
    spies.push(spy);
    const drops: BusDrop[] = [];
    const [a, b] = (await start(setup, 2, { timing: CALM, dropped: (why) => drops.push(why) })) as [Pod, Pod];
    b.send("once");
    await untilDelivered(b, a);
    const [received, reports] = [a.received.length, a.reports.length];
    drops.length = 0;
    const recorded = spy.received.splice(0);
    for (const packet of [...recorded, ...recorded.toReversed()]) await setup.send(packet);
    await untilDelivered(b, a);
    expect(
      a.received.slice(received).filter(({ event }) => event.kind === "user" && !event.username.startsWith("word-")),
    ).toEqual([]);
    expect(words(a, b.name).filter((word) => word === "once")).toEqual(["once"]);
    expect(a.reports.slice(reports)).toEqual([]);
    expect(drops.length).toBeGreaterThanOrEqual(2 * recorded.length); // at both
    expect(new Set(drops)).toEqual(new Set(["replayed"]));
  });

  test.each(["said goodbye", "fell silent"])(
    "bus revives no pod from recorded packets: one that %s, on this pod or one that starts later",
    async (how) => {
      const spy = await setup.spy();
      spies.push(spy);
      const drops: BusDrop[] = [];
      const options = { dropped: (why: BusDrop) => void drops.push(why) };
      const [a] = (await start(setup, 1, options)) as [Pod];
      const gone = await Puppet.enter(setup, 0);
      await until("it is met", () => a.bus.peers.length === 1);
      await gone.send("events", 1, "last words");
      if (how === "said goodbye") await gone.send("goodbye", 1);
      else gone.end();
      await until("it is gone", () => a.bus.peers.length === 0);
      const recorded = [...spy.received];
      const [c] = (await start(setup, 1, options)) as [Pod];
      await until("both know each other", () => a.bus.peers.length === 1 && c.bus.peers.length === 1);
      drops.length = a.reports.length = a.received.length = c.reports.length = c.received.length = 0;
      for (let rounds = 0; rounds < 3; rounds++) {
        for (const packet of recorded) await setup.send(packet);
        await Bun.sleep(HURRIED.heartbeatMs); // time for challenges and answers
      }
      await Promise.all([untilDelivered(a, c), untilDelivered(c, a)]);
      for (const pod of [a, c]) {
        expect(words(pod, gone.pod)).toEqual([]);
        expect(pod.reports).toEqual([]);
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
    const [a, b] = (await start(setup, 2, options)) as [Pod, Pod];
    drops.length = a.reports.length = b.reports.length = 0;
    const stranger = new PacketCipher("another secret", newPodName());
    const impostor = new PacketCipher("another secret", b.name); // it read a name from the channel
    const forged = encodePacket("events", 7, bodyOf([user("forged")]));
    for (let i = 0; i < 300; i++) {
      await setup.send(stranger.seal(forged));
      await setup.send(impostor.seal(forged));
      await setup.send(`e\t${b.name}\t${i}\nu\tforged`);
      await setup.send(["", "1", "{}", "x".repeat(7_000), "\u{1f600}"][i % 5]!);
    }
    expect(await untilDelivered(b, a)).toBeLessThan(1_000);
    await untilDelivered(a, b);
    for (const pod of [a, b]) {
      expect(pod.hasReceived("forged")).toBeFalse();
      expect(pod.reports).toEqual([]);
      expect(pod.bus.peers).toHaveLength(1);
    }
    expect(drops.filter((why) => why === "foreign").length).toBeGreaterThan(2_000 - 300); // at both, except those under a pod's own name
    expect(lines.filter((line) => line.includes("foreign packets on the bus")).length).toBe(2); // once each
    expect(lines).toHaveLength(2);
  });

  test("bus delivers events published as soon as a peer is known", async () => {
    const [a] = (await start(setup, 1)) as [Pod];
    for (let i = 0; i < 5; i++) {
      const b = new Pod(setup.bus());
      pods.push(b);
      await b.start();
      while (b.bus.peers.length <= i) await Bun.sleep(0);
      b.send(`first words of ${i}`);
      await until("it is heard", () => a.hasReceived(`first words of ${i}`), 1_000);
    }
  });

  test("bus sends beats and nothing else, however many recordings make it ask", async () => {
    const [a] = (await start(setup, 1)) as [Pod];
    const gone = await Puppet.enter(setup, 0);
    await until("it is met", () => a.bus.peers.length === 1);
    const recorded = [await gone.send("events", 1, "last words"), await gone.send("goodbye", 1)];
    await until("it is gone", () => a.bus.peers.length === 0);
    const { packets: before } = (a.bus as PacketBus).sent;
    const begunAt = performance.now();
    while (performance.now() - begunAt < 1_000) for (const packet of recorded) await setup.send(packet);
    const beats = (a.bus as PacketBus).sent.packets - before;
    expect(beats).toBeLessThanOrEqual(4 * (1_000 / HURRIED.heartbeatMs) + 5); // a beat for each quarter of one
    expect(a.reports.filter((reports) => reports.startsWith("lost"))).toEqual([]);
  });

  test("bus survives a pause of its own process without losing peers", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line) });
    const [a, b] = (await start(setup, 2, { log, timing: { ...HURRIED, echoTimeoutMs: 1_000 } })) as [Pod, Pod];
    a.send("before");
    await Bun.sleep(1); // sent; the answer arrives during the pause
    Bun.sleepSync(HURRIED.leaseMs + 200);
    await untilDelivered(a, b);
    await Bun.sleep(300);
    for (const { reports } of [a, b]) expect(reports.filter((reports) => !reports.startsWith("joined"))).toEqual([]);
    expect(lines).toEqual([]);
  });

  test("bus resubscribes at once after its subscriber connection is cut, and reports a loss", async () => {
    const timing = { ...HURRIED, leaseMs: 10_000, echoTimeoutMs: 5_000 };
    const [a, b] = (await start(setup, 2, { timing })) as [Pod, Pod];
    await until("those of the test before are gone", async () => (await setup.count("subscribers")) === 2);
    expect(await setup.cut("subscribers")).toBe(2);
    const tookMs = await until("both ask", () => a.reports.includes("lost") && b.reports.includes("lost"));
    expect(tookMs).toBeLessThan(3_000); // sooner than by its own heartbeat
    expect(await untilDelivered(a, b)).toBeLessThan(3_000);
    expect(await untilDelivered(b, a)).toBeLessThan(3_000);
    expect([...a.reports, ...b.reports].filter((reports) => reports.startsWith("left"))).toEqual([]);
  });

  test("bus reports lost packets to its peers after its publisher connection is cut under load", async () => {
    const [a, b] = (await start(setup, 2, { timing: { ...HURRIED, leaseMs: 5_000 } })) as [Pod, Pod];
    let said = 0;
    for (let cuts = 0; cuts < 4; cuts++) {
      const cutting = setup.cut("publishers").catch(() => {});
      for (let i = 0; i < 200; i++) {
        a.send(`${said++}`);
        if (i % 20 === 0) await Bun.sleep(1);
      }
      await cutting;
      await untilDelivered(a, b);
    }
    const received = words(b, a.name)
      .filter((word) => /^\d+$/.test(word))
      .map(Number);
    expect(received).toEqual([...new Set(received)].toSorted((one, two) => one - two));
    if (received.length < said) expect(b.reports).toContain(`lost ${a.name}`);
    console.log(`  ${received.length} of ${said} events arrived through four cuts`);
    expect(b.reports).not.toContain(`left ${a.name}`);
  });

  test("bus reconnects after its server is killed, and reports a loss", async () => {
    const [a, b] = (await start(setup)) as [Pod, Pod];
    a.send("before");
    await until("the word before", () => b.hasReceived("before"));
    await setup.crash();
    expect(await untilDelivered(a, b)).toBeLessThan(5_000);
    expect(await untilDelivered(b, a)).toBeLessThan(5_000);
    for (const pod of [a, b]) await until("both ask", () => pod.reports.includes("lost"));
  });

  test("bus retries while its server hangs, and recovers within 5 s of its return", async () => {
    const [a, b] = (await start(setup)) as [Pod, Pod];
    const goOn = await setup.stall();
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
    await Promise.all([untilDelivered(a, b), untilDelivered(b, a)]);
    await until("both ask", () => a.lostAt.length > 0 && b.lostAt.length > 0);
    expect(Math.max(a.lostAt[0]!, b.lostAt[0]!, performance.now()) - backAt).toBeLessThan(5_000);
    for (const { reports } of [a, b]) expect(reports.filter((word) => word.startsWith("left"))).toEqual([]); // a pod that missed its peers' packets reports no peer
    await Bun.sleep(HURRIED.repeatMs + 300);
    const calm = [a.lostAt.length, b.lostAt.length];
    await Bun.sleep(HURRIED.repeatMs + 300);
    expect([a.lostAt.length, b.lostAt.length]).toEqual(calm); // and then no more
  });

  test("bus replaces a subscriber connection that hangs", async () => {
    const [a, b] = (await start(setup)) as [Pod, Pod];
    await setup.freeze("subscribers");
    try {
      await until("both ask", () => a.reports.includes("lost") && b.reports.includes("lost"), 5_000);
      expect(await untilDelivered(a, b)).toBeLessThan(3_000);
      expect(await untilDelivered(b, a)).toBeLessThan(3_000);
    } finally {
      await setup.crash();
    }
  });

  test("bus replaces a publisher connection that hangs, and its peers notice the loss", async () => {
    const [a, b] = (await start(setup, 2, { timing: { ...HURRIED, leaseMs: 5_000 } })) as [Pod, Pod];
    await setup.freeze("publishers");
    try {
      a.send("swallowed");
      expect(await untilDelivered(a, b)).toBeLessThan(5_000);
      expect(b.hasReceived("swallowed") || b.reports.includes(`lost ${a.name}`)).toBeTrue();
      await untilDelivered(b, a);
      expect([...a.reports, ...b.reports].filter((reports) => reports.startsWith("left"))).toEqual([]);
    } finally {
      await setup.crash();
    }
  });

  test("bus drops its backlog when it is too slow, and its peers notice the loss", async () => {
    const backlog = { bytes: 100_000, events: 1_000 };
    const [a, b] = (await start(setup, 2, { backlog, timing: CALM })) as [Pod, Pod];
    const frame = JSON.stringify({ type: "draft", text: "ε".repeat(100) });
    a.bus.publish(Array.from({ length: 3_000 }, (): BusEvent => ({ kind: "frame", to: ["ann"], frame })));
    await until("b asks", () => b.reports.includes(`lost ${a.name}`));
    a.bus.publish([user("ann")]);
    await until("the next", () => b.hasReceived("ann"));
    expect(b.received.length).toBeLessThanOrEqual(1_000);
    expect(b.reports).not.toContain("lost");
    expect(a.reports.filter((reports) => reports.startsWith("lost"))).toEqual([]);
  });

  test("bus starts without its server and connects when the server is reachable", async () => {
    const [a] = (await start(setup, 1)) as [Pod];
    const { bus, arrive } = setup.away();
    const b = new Pod(bus);
    pods.push(b);
    const begunAt = performance.now();
    await b.start();
    expect(performance.now() - begunAt).toBeLessThan(3_000);
    b.send("into the void");
    await until("it asks again and again", () => b.lostAt.length > 1);
    arrive();
    expect(await untilDelivered(b, a)).toBeLessThan(5_000);
    expect(await untilDelivered(a, b)).toBeLessThan(5_000);
    expect(b.reports.filter((reports) => reports === "lost").length).toBeGreaterThan(1);
  });

  test("bus logs an interruption once, and the recovery once", async () => {
    const lines: string[] = [];
    const log = new Log({ level: "info", format: "text", write: (line) => lines.push(line.slice(9)) });
    const [a] = (await start(setup, 1, { log })) as [Pod];
    await setup.crash();
    await until("back", () => lines.at(-1)?.startsWith("bus restored") === true);
    await Bun.sleep(500);
    // Each once, or on a busy machine alternately: never one twice in a row.
    for (const [i, line] of lines.entries())
      expect(line).toStartWith(i % 2 === 0 ? "warn bus interrupted" : "bus restored");
    expect(lines.at(-1)).toStartWith("bus restored");
    expect(a.reports.filter((reports) => reports === "lost").length).toBeGreaterThan(0);
  });

  test("bus at rest sends two packets a second, and leaves no connection behind", async () => {
    const spy = await setup.spy();
    spies.push(spy);
    await start(setup, 1, { timing: {} });
    const { length: before } = spy.received;
    await Bun.sleep(1_750);
    expect(spy.received.length - before).toBeWithin(2, 6);
    await pods.splice(0)[0]!.bus.stop();
    const left = async () => [await setup.count("subscribers"), await setup.count("publishers")];
    const none = [setup instanceof Redis ? 1 : 0, 0]; // the spy's own
    await until("all its connections are closed", async () => Bun.deepEquals(await left(), none));
  });
}

test("bus that stops with a backlog lets its peers notice the loss", async () => {
  const subscribers = new Set<(text: string) => void>();
  const publisher = () => {
    let last = Promise.resolve();
    const send = async (packets: readonly string[]) => {
      await Bun.sleep(packets[0]!.length > 200 ? 250 : 0); // one with events
      for (const text of packets) for (const packet of subscribers) packet(text);
    };
    return { send: (packets: readonly string[]) => (last = last.then(() => send(packets))), end() {} };
  };
  const slow: Transport = {
    maxBytes: 400,
    maxPackets: 1,
    subscribe({ packet }) {
      subscribers.add(packet);
      return { ready: Promise.resolve(), end: () => void subscribers.delete(packet) };
    },
    publisher,
    olderPublisher: publisher,
  };
  const bus = () => new PacketBus(slow, COMMON);
  const [a, b] = (await start({ begin() {}, end() {}, bus })) as [Pod, Pod];
  a.send(...Array.from({ length: 10 }, (_, i) => `${i}`.repeat(100)));
  await a.bus.stop();
  await until("goodbye", () => b.reports.includes(`left ${a.name}`));
  expect(b.from(a).length).toBeLessThan(10);
  expect(b.reports).toContain(`lost ${a.name}`);
});

describe("in memory", () => calmRules(new Memory()));

describe("over PostgreSQL", () => {
  const setup = new Postgres();
  beforeAll(() => setup.begin());
  afterAll(() => setup.end());
  calmRules(setup);
  wiredRules(setup);
});

describe.skipIf(!REDIS)("over Redis", () => {
  const setup = new Redis();

  test("bus ignores another chatify on the same Redis", async () => {
    const [a] = (await start(setup, 1, { timing: CALM })) as [Pod];
    const other: BusSetup = { begin() {}, end() {}, bus: () => setup.bus({ realm: "other" }) };
    const [b, c] = await start(other);
    await untilDelivered(b!, c!);
    expect(a.reports).toEqual([]);
    expect(b!.bus.peers).toEqual([c!.name]);
  });

  test("bus opens no packet longer than those that pods send", async () => {
    const drops: BusDrop[] = [];
    const [a] = (await start(setup, 1, { timing: CALM, dropped: (why) => void drops.push(why) })) as [Pod];
    const puppet = await Puppet.enter(setup);
    await until("it is met", () => a.reports.length > 0);
    drops.length = 0;
    await puppet.send("events", 1, ...Array.from({ length: 100 }, () => "long".repeat(200)));
    await setup.send("1".repeat(1_000_000));
    await puppet.send("events", 2, "short");
    await until("the next", () => a.hasReceived("short"));
    expect(a.hasReceived("long".repeat(200))).toBeFalse();
    expect(drops).toEqual(["foreign", "foreign"]);
  });

  if (REDIS) {
    beforeAll(() => setup.begin());
    afterAll(() => setup.end());
  }
  calmRules(setup);
  wiredRules(setup);
});
