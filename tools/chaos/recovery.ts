/**
 * How soon everything is well again, each figure against what is asked of it. They are faults of their own, made while the workload talks: what they
 * measure is put into a report, and the checker judges the rest.
 */

import { Backoff } from "../../static/js/sync/backoff.js";
import { SocketClient } from "../bench/load/socket.ts";
import type { Report } from "../support/report.ts";
import { latency, percentile } from "../support/statistics.ts";
import { rssBytes } from "../support/usage.ts";
import { cookieOf } from "../support/users.ts";
import { type Pod, send } from "./cluster.ts";
import { connectionsOf, type Fault, type FaultContext, Unsupported } from "./faults/fault.ts";
import { newRef, RawClient } from "./faults/raw_client.ts";
import type { Entry } from "./history.ts";
import { until } from "./workload.ts";

const STORM = 5_000;
const STALLED = 100;
const MIB = 2 ** 20;
/** A message of 4 kB: two thousand are more than what the kernel and the server hold for a reader that never reads. */
const LARGE = "x".repeat(3_990);
const LARGE_COUNT = 2_000;
/** A page cuts its waits; people who come in a storm wait as the page really does. */
const STORM_MS = 45_000;

export function recovery(report: Report): Fault[] {
  return [
    {
      id: "F-kill",
      name: "kill -9 of a pod",
      pods: 2,
      async run(context) {
        const pod = busiest(context);
        const other = context.cluster.pods.find((other) => other !== pod) as Pod;
        const gone = Array.from({ length: 5 }, () => context.spareUser());
        const watcher = await Watcher.open(context, other, gone);
        const sockets = await Promise.all(gone.map((name) => light(pod.port, name)));
        const seen = await until(() => gone.every((name) => watcher.online(name)), 5_000);
        const acks = new Acks(context);
        const begun = performance.now();
        const lost = context.history.socketsOn([pod.index]).size;
        const back = returns(context, pod);
        pod.kill();
        const offline = (await until(() => seen && gone.every((name) => watcher.offline(name)), 15_000))
          ? performance.now() - begun
          : Number.POSITIVE_INFINITY;
        await until(() => back.times.length >= lost, 15_000);
        await pod.start();
        for (const socket of [...sockets, watcher.socket]) socket.close();
        const part = "a pod is killed";
        const add = (name: string, value: number, most: number) =>
          report.add({ part, name, value: value / 1_000, unit: "s", bound: { most } });
        add("its people back, p50", percentile(back.end(), 0.5), 2);
        add("its people back, p99", percentile(back.times, 0.99), 10);
        add("user does not come back is offline for others", offline, 10);
        add(
          "longest silence of the other pods",
          acks.end().longestSilence((on) => on !== pod.index),
          2,
        );
        return `${pod.name}, ${back.times.length} of ${lost} back`;
      },
    },
    {
      id: "F-restart",
      name: "PostgreSQL restarted",
      async run(context) {
        const { postgres, pods } = context.cluster;
        await postgres.down("SIGINT");
        await Bun.sleep(1_000);
        await postgres.up();
        const begun = performance.now();
        let acked = false;
        const unsubscribe = context.history.subscribe((entry) => (acked ||= entry.e === "ack"));
        await until(() => acked, 20_000);
        unsubscribe();
        const part = "PostgreSQL is restarted";
        const first = (performance.now() - begun) / 1_000;
        report.add({ part, name: "first ack after it takes connections", value: first, unit: "s", bound: { most: 3 } });
        const died = pods.reduce((sum, pod) => sum + pod.died, 0);
        report.add({ part, name: "processes that died", value: died, unit: "", bound: { most: 0 } });
        return `first ack after ${first.toFixed(2)} s`;
      },
    },
    {
      id: "F-bus",
      name: "bus lost",
      pods: 2,
      async run(context) {
        const { cluster } = context;
        const part = cluster.valkey ? "Valkey is lost" : "LISTEN is lost";
        if (cluster.valkey) {
          await cluster.valkey.kill();
          await Bun.sleep(3_000);
          await cluster.valkey.up();
        } else {
          const pids = await cluster.postgres.backends({ listening: true });
          if (pids.length === 0) throw new Unsupported("nobody listens");
          await cluster.postgres.terminate(pids);
          while ((await cluster.postgres.backends({ listening: true })).length < pids.length) await Bun.sleep(10);
        }
        const begun = performance.now();
        const whole = wholeAsOfNow(context);
        await until(whole, 20_000);
        const value = (performance.now() - begun) / 1_000;
        report.add({ part, name: "everybody has everything after it is back", value, unit: "s", bound: { most: 2 } });
        return `${value.toFixed(2)} s`;
      },
    },
    {
      id: "F-backend",
      name: "backend stopped",
      pods: 2,
      async run(context) {
        const pod = busiest(context);
        const pid = await stopIdle(context, pod);
        const acks = new Acks(context);
        await Bun.sleep(12_000);
        const { first, longestSilence } = acks.end();
        send(pid, "SIGCONT");
        const begun = performance.now();
        const settled = () => context.workload.pages.every((page) => page.waiting < 3);
        await until(settled, 15_000);
        const part = "a backend is stopped";
        const add = (name: string, ms: number, most?: number) =>
          report.add({ part, name, value: ms / 1_000, unit: "s", ...(most === undefined ? {} : { bound: { most } }) });
        add(
          "longest silence of the other pods",
          longestSilence((on) => on !== pod.index),
          1,
        );
        add(
          "first ack of its pod",
          first((on) => on === pod.index),
          7,
        );
        add("conversations it held, after it goes on", performance.now() - begun);
        return pod.name;
      },
    },
    {
      id: "F-vanish",
      name: "client gone without a word",
      async run(context) {
        const { pods } = context.cluster;
        const [pod, other] = [pods[0] as Pod, pods.at(-1) as Pod];
        const name = context.spareUser();
        const watcher = await Watcher.open(context, other, [name]);
        const socket = await light(pod.proxy.port, name);
        const seen = await until(() => watcher.online(name), 5_000);
        for (const connection of connectionsOf(context, name)) connection.set({ upstream: "drop", downstream: "drop" });
        const begun = performance.now();
        const told = seen && (await until(() => watcher.offline(name), 90_000));
        const value = told ? (performance.now() - begun) / 1_000 : Number.POSITIVE_INFINITY;
        for (const one of [socket, watcher.socket]) one.close();
        report.add({ part: "a client is gone", name: "offline for others", value, unit: "s", bound: { most: 70 } });
        return `offline after ${value.toFixed(1)} s`;
      },
    },
    {
      id: "F-leave",
      name: "SIGTERM",
      async run(context) {
        const pod = busiest(context);
        const goodbyes = new Goodbyes(context, pod);
        const { code, ms } = await pod.leave();
        await Bun.sleep(200);
        const { closed, others, unanswered } = goodbyes.end();
        await pod.start();
        const part = "a pod leaves";
        const add = (name: string, value: number) => report.add({ part, name, value, unit: "", bound: { most: 0 } });
        add("sockets not told 1012", others);
        add("accepted messages not answered", unanswered);
        add("exit code", code ?? 137);
        report.add({ part, name: "time to leave", value: ms / 1_000, unit: "s", bound: { most: 25 } });
        return `${pod.name}, ${closed} sockets told, ${(ms / 1_000).toFixed(1)} s`;
      },
    },
    {
      id: "F-storm",
      name: `${STORM.toLocaleString("en")} sockets cut at once`,
      async run(context) {
        const { pods, postgres } = context.cluster;
        const pod = pods[0] as Pod;
        const ports = pods.length > 1 ? pods.slice(1).map(({ port }) => port) : [pod.port];
        const crowd = Array.from({ length: STORM }, () => new Returning(context.spareUser()));
        for (let i = 0; i < STORM; i += 100)
          await Promise.all(crowd.slice(i, i + 100).map((one) => one.open(pod.port)));
        const statements = await Statements.count(context);
        const begun = performance.now();
        for (const one of crowd) void one.lose(() => context.random.pick(ports));
        await until(() => crowd.every(({ backAt }) => backAt > 0), STORM_MS + 15_000);
        const times = crowd.map(({ backAt }) => (backAt > 0 ? backAt - begun : Number.POSITIVE_INFINITY));
        const perSecond = statements.end();
        for (const one of crowd) one.close();
        await postgres.sql.run((sql) => sql`select 1`);
        const part = `${STORM.toLocaleString("en")} sockets cut`;
        const add = (name: string, ms: number, most: number) =>
          report.add({ part, name, value: ms / 1_000, unit: "s", bound: { most } });
        add("95 % back", percentile(times, 0.95), 15);
        add("all back", Math.max(...times), 45);
        report.add({
          part,
          name: "statements PostgreSQL runs more than before, at most",
          value: perSecond,
          unit: "/s",
          bound: { most: 700 },
        });
        return `95 % back after ${(percentile(times, 0.95) / 1_000).toFixed(1)} s`;
      },
    },
    {
      id: "F-stalled",
      name: `${STALLED} stalled readers`,
      async run(context) {
        const { workload, cluster } = context;
        const pod = cluster.pods[0] as Pod;
        const [reader, writer] = [context.spareUser(), context.spareUser()];
        const calm = new Latencies(context);
        await Bun.sleep(5_000);
        const before = calm.end();
        const client = await RawClient.open(context, writer, pod.index);
        const others = await light(pod.port, reader);
        let most = 0;
        const flood = async (count: number) => {
          const before = client.answered;
          for (let sent = 0; sent < count; sent += 10) {
            for (let i = 0; i < 10; i++) client.send(reader, `${sent + i} ${LARGE}`, newRef());
            await Bun.sleep(50);
            most = Math.max(most, rssBytes(pod.pid));
          }
          await until(() => client.answered - before >= count, 10_000);
        };
        await flood(LARGE_COUNT / 2); // a server takes memory when it first works, whoever reads
        const start = most;
        others.close();
        const stalled = await Promise.all(Array.from({ length: STALLED }, () => stall(pod.port, reader)));
        const under = new Latencies(context);
        await flood(LARGE_COUNT);
        const after = under.end();
        for (const one of stalled) one.terminate();
        client.close();
        const part = `${STALLED} stalled readers`;
        report.add({
          part,
          name: "memory of the pod more than before",
          value: most - start,
          unit: "bytes",
          bound: { most: STALLED * 1.2 * MIB },
        });
        const ratio = after.p99 / before.p99;
        report.add({
          part,
          name: "ack p99 of the others",
          value: after.p99,
          unit: "ms",
          ratio,
          bound: { most: 2 },
          note: `before ${before.p99.toFixed(0)} ms`,
        });
        return `${workload.names.length} others, p99 ${after.p99.toFixed(0)} ms after ${before.p99.toFixed(0)} ms`;
      },
    },
  ];
}

/** How many people beyond the workload these take. */
export const RECOVERY_USERS = STORM + 20;

/** The pod most people are on. */
function busiest({ cluster, history }: FaultContext): Pod {
  const people = (pod: Pod) => history.socketsOn([pod.index]).size;
  return cluster.pods.reduce((most, pod) => (people(pod) > people(most) ? pod : most));
}

/** A socket that says nothing. */
function light(port: number, name: string, heard: (text: string) => void = () => {}): Promise<SocketClient> {
  const cookie = cookieOf(Number(name.slice(1)));
  return SocketClient.open({ port, name, cookie, listener: { text: heard } });
}

/** A socket that watches others and knows who of them is online. */
class Watcher {
  readonly #online = new Map<string, boolean>();
  socket!: SocketClient;

  static async open(context: FaultContext, pod: Pod, names: readonly string[]): Promise<Watcher> {
    const watcher = new Watcher();
    watcher.socket = await light(pod.port, context.spareUser(), (text) => {
      if (!text.startsWith('{"type":"presence"')) return;
      const { users } = JSON.parse(text) as { users: Record<string, { online: boolean }> };
      for (const [name, { online }] of Object.entries(users)) watcher.#online.set(name, online);
    });
    watcher.socket.send(JSON.stringify({ type: "watch", users: names }));
    await until(() => watcher.#online.size === names.length, 3_000);
    return watcher;
  }

  online(name: string): boolean {
    return this.#online.get(name) === true;
  }

  offline(name: string): boolean {
    return this.#online.get(name) === false;
  }
}

/** How long pages are without a socket after they lost the one on a pod. */
function returns({ history }: FaultContext, pod: Pod) {
  const times: number[] = [];
  const pages = history.pagesOn([pod.index]);
  const away = new Map<string, number>();
  const unsubscribe = history.subscribe((entry) => {
    if (entry.e === "close" && pages.has(entry.socket)) away.set(pages.get(entry.socket) as string, entry.t);
    else if (entry.e === "open") {
      const since = away.get(entry.page);
      if (since !== undefined) times.push(entry.t - since);
      away.delete(entry.page);
    }
  });
  return {
    times,
    end() {
      unsubscribe();
      return times;
    },
  };
}

/** Acks by the pod they came from. */
class Acks {
  readonly #begun: number;
  readonly #context: FaultContext;
  readonly #at: { t: number; pod: number }[] = [];
  readonly #pods = new Map<number, number>();
  readonly #unsubscribe: () => void;

  constructor(context: FaultContext) {
    this.#context = context;
    this.#begun = context.history.now;
    for (const pod of context.cluster.pods) {
      for (const socket of context.history.socketsOn([pod.index])) this.#pods.set(socket, pod.index);
    }
    this.#unsubscribe = context.history.subscribe((entry) => {
      if (entry.e === "open") this.#pods.set(entry.socket, entry.pod);
      else if (entry.e === "ack") this.#at.push({ t: entry.t, pod: this.#pods.get(entry.socket) ?? -1 });
    });
  }

  /** @returns questions about the time since the beginning, in milliseconds */
  end() {
    this.#unsubscribe();
    const end = this.#context.history.now;
    const timesOf = (where: (pod: number) => boolean) => this.#at.filter(({ pod }) => where(pod)).map(({ t }) => t);
    return {
      /** Until the first ack that shows a pod at work again: one after a second without any. */
      first: (where: (pod: number) => boolean) => {
        const times = [this.#begun, ...timesOf(where), end];
        const gap = times.findIndex((t, i) => i > 0 && t - (times[i - 1] as number) > 1_000);
        return gap < 0 ? 0 : (times[gap] as number) - this.#begun;
      },
      longestSilence: (where: (pod: number) => boolean) => {
        const times = [this.#begun, ...timesOf(where), end];
        return Math.max(...times.slice(1).map((t, i) => t - (times[i] as number)));
      },
    };
  }
}

/**
 * Stops the writer of a pod between two statements. In the middle of a commit it would hold what every backend of PostgreSQL needs, and
 * nobody could go on, whatever pods do.
 */
async function stopIdle({ cluster: { postgres } }: FaultContext, pod: Pod): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const writers = new Set(await postgres.writers());
    const pid = pod.database.connections.map(({ backend }) => backend ?? 0).find((backend) => writers.has(backend));
    if (pid === undefined) throw new Unsupported(`${pod.name} has no writer`);
    send(pid, "SIGSTOP");
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      send(pid, "SIGCONT"); // it holds what this very question needs
    }, 300);
    const [row] = await postgres.sql.run(
      (sql) => sql<[{ state: string; waits: string }]>`
        select state, wait_event as waits
        from pg_stat_activity
        where pid = ${pid}::int
      `,
    );
    clearTimeout(timer);
    if (!late && row.state === "idle" && row.waits === "ClientRead") return pid;
    send(pid, "SIGCONT");
    await Bun.sleep(7);
  }
  throw new Unsupported(`the writer of ${pod.name} is never idle`);
}

/** Whether every page has what the pages had, all together, when this was called. */
function wholeAsOfNow({ workload }: FaultContext): () => boolean {
  const asked = workload.pages.flatMap((page) =>
    workload.peersOf(page.user).map((peer) => {
      const seqs = [...workload.pagesOf(peer), page].map(
        (other) => other.conversation(other.user === peer ? page.user : peer).lastSeq,
      );
      return { page, peer, seq: Math.max(...seqs) };
    }),
  );
  return () => asked.every(({ page, peer, seq }) => !page.connected || page.conversation(peer).contiguousSeq >= seq);
}

/** How the sockets of a pod are closed, and whether what they sent was answered. */
class Goodbyes {
  readonly #waiting = new Map<number, Map<string, number>>();
  readonly #unsubscribe: () => void;
  closed = 0;
  others = 0;
  unanswered = 0;

  constructor({ history }: FaultContext, pod: Pod) {
    for (const socket of history.socketsOn([pod.index])) this.#waiting.set(socket, new Map());
    this.#unsubscribe = history.subscribe((entry) => this.#take(entry));
  }

  end(): this {
    this.#unsubscribe();
    return this;
  }

  #take(entry: Entry): void {
    if (entry.e === "send") this.#waiting.get(entry.socket)?.set(entry.ref, entry.t);
    else if (entry.e === "ack" || entry.e === "rejected") this.#waiting.get(entry.socket)?.delete(entry.ref);
    else if (entry.e === "close" && entry.code !== 1000 && this.#waiting.has(entry.socket)) {
      this.closed++;
      if (entry.code !== 1012) this.others++;
      // What was on its way when the socket closed was not accepted.
      for (const at of this.#waiting.get(entry.socket)?.values() ?? []) if (entry.t - at > 250) this.unanswered++;
    }
  }
}

/** Somebody of a storm: comes back as the page does, and asks what the page asks. */
class Returning {
  readonly #name: string;
  readonly #backoff = new Backoff();
  #socket: SocketClient | undefined;
  #closed = false;
  backAt = 0;

  constructor(name: string) {
    this.#name = name;
  }

  async open(port: number): Promise<void> {
    let greeted = (): void => {};
    const hello = new Promise<void>((resolve) => (greeted = resolve));
    this.#socket = await light(port, this.#name, (text) => {
      if (text.startsWith('{"type":"hello"')) greeted();
    });
    const late = Bun.sleep(15_000).then(() => Promise.reject(new Error("not greeted")));
    await Promise.race([hello, late]);
    this.#socket.send('{"type":"watch","users":["p00000","p00001"]}');
  }

  async lose(port: () => number): Promise<void> {
    this.#socket?.close();
    while (!this.#closed) {
      await Bun.sleep(this.#backoff.next(1006) ?? 0);
      try {
        const to = port();
        await this.open(to);
        const cookie = cookieOf(Number(this.#name.slice(1)));
        const answer = await fetch(`http://127.0.0.1:${to}/conversations?limit=50`, { headers: { cookie } });
        await answer.arrayBuffer();
        if (!answer.ok) throw new Error(String(answer.status));
        this.backAt = performance.now();
        return;
      } catch {
        this.#socket?.close();
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#socket?.close();
  }
}

/** Statements that PostgreSQL runs in a second, beyond what it ran before. */
class Statements {
  readonly #context: FaultContext;
  readonly #counts: number[] = [];
  readonly #before: number;
  readonly #timer: Timer;

  private constructor(context: FaultContext, before: number) {
    this.#context = context;
    this.#before = before;
    this.#timer = setInterval(() => void this.#look(), 1_000);
  }

  static async count(context: FaultContext): Promise<Statements> {
    const first = await transactions(context);
    await Bun.sleep(2_000);
    const counting = new Statements(context, ((await transactions(context)) - first) / 2);
    await counting.#look();
    return counting;
  }

  /** The most in any second. */
  end(): number {
    clearInterval(this.#timer);
    const each = this.#counts.slice(1).map((count, i) => count - (this.#counts[i] as number));
    return Math.max(0, ...each) - this.#before;
  }

  async #look(): Promise<void> {
    this.#counts.push(await transactions(this.#context));
  }
}

/** Each of chatify's statements is a transaction. */
async function transactions({ cluster }: FaultContext): Promise<number> {
  const [row] = await cluster.postgres.sql.run(
    (sql) => sql<[{ count: number }]>`
      select xact_commit as count
      from pg_stat_database
      where datname = current_database()
    `,
  );
  return row.count;
}

/** How long acks take from now on. */
class Latencies {
  readonly #times: number[] = [];
  readonly #sent = new Map<string, number>();
  readonly #unsubscribe: () => void;

  constructor({ history }: FaultContext) {
    this.#unsubscribe = history.subscribe((entry) => {
      if (entry.e === "write") this.#sent.set(entry.ref, entry.t);
      else if (entry.e === "ack") {
        const at = this.#sent.get(entry.ref);
        if (at !== undefined) this.#times.push(entry.t - at);
        this.#sent.delete(entry.ref);
      }
    });
  }

  end() {
    this.#unsubscribe();
    return latency(this.#times);
  }
}

/** A socket that is opened, and then never read. */
async function stall(port: number, name: string): Promise<Bun.Socket> {
  const { promise: opened, resolve } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(socket) {
        socket.pause();
        resolve();
      },
      error() {},
    },
  });
  const lines = [`GET /ws/${name} HTTP/1.1`, `Host: 127.0.0.1:${port}`, "Connection: Upgrade", "Upgrade: websocket"];
  lines.push("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==");
  socket.write(`${lines.join("\r\n")}\r\nCookie: ${cookieOf(Number(name.slice(1)))}\r\n\r\n`);
  await opened;
  return socket;
}
