/**
 * What more than one process on one database costs: the load of `send`, with each pair split over two pods, so that every message
 * crosses the bus. Pods share the cores that one has to itself, so what is lost is what they do twice and what the bus costs.
 *
 * Each contender has a database, and so a bus, of its own. They take turns, and a ratio is the median of the rounds' ratios.
 */

import type { ServerProcess } from "../../support/server_process.ts";
import { type Latency, median, medianLatency } from "../../support/statistics.ts";
import { pairs } from "../../support/users.ts";
import type { Valkey } from "../../support/valkey.ts";
import type { LoadResult } from "../load/message_load.ts";
import type { Bench, Part } from "../part.ts";

const PAIRS = pairs(50);
const WINDOW = 8;
/** Of one pod's messages a second. */
const LEAST: Readonly<Record<number, number>> = { 2: 0.7, 4: 0.5 };
const WARM_UP_SECONDS = 0.3;
/** By then all pods of a contender have heard each other. */
const MEET_MS = 1_200;

type BusName = "PostgreSQL" | "Valkey";

/** So many pods on a database of their own. */
interface Contender {
  readonly name: string;
  readonly pods: number;
  readonly bus: BusName;
  readonly servers: readonly ServerProcess[];
  readonly samples: Sample[];
  open(): Promise<void>;
  talk(): Promise<Sample>;
  audit(): Promise<void>;
}

/** One round of one contender. */
interface Sample {
  readonly perSecond: number;
  readonly ack: Latency;
  readonly receive: Latency;
  /** CPU microseconds of a message. */
  readonly server: number;
  readonly postgres: number;
  readonly valkey: number;
  readonly generator: number;
  readonly packetsPerSecond: number;
  readonly packetBytes: number;
  readonly syncs: number;
}

export const pods: Part = {
  seconds: ({ short, big }) => (short ? 7 : big ? 60 : 31),

  async run(bench) {
    const { sandbox, report, short, big } = bench;
    const widths = short ? [[2]] : big ? [[2, 4], [8]] : [[2, 4]];
    for (const [i, wide] of widths.entries()) {
      if (i > 0) report.check("pods", "no server complained", await sandbox.clear()); // PostgreSQL has room for so many sessions
      await compare(bench, wide);
    }
  },
};

/** One pod against several, over each bus. */
async function compare(bench: Bench, wide: readonly number[]): Promise<void> {
  const { sandbox, report, progress, short } = bench;
  const [rounds, seconds] = short ? [2, 0.4] : [3, 0.8];
  progress.step("starting pods");
  const valkey = await sandbox.valkey();
  const buses: BusName[] = valkey && !short ? ["PostgreSQL", "Valkey"] : ["PostgreSQL"];
  const kinds = wide.flatMap((pods) => buses.map((bus) => ({ pods, bus })));
  const all = await Promise.all(
    [{ pods: 1, bus: "PostgreSQL" as const }, ...kinds].map((kind) =>
      contender(bench, { ...kind, seconds, ...(valkey && { valkey }) }),
    ),
  );
  const one = all[0] as Contender;
  await Bun.sleep(MEET_MS);
  progress.step("opening sockets");
  for (const each of all) await each.open();
  for (let round = 1; round <= rounds; round++) {
    for (const each of all) {
      progress.step(`round ${round} of ${rounds}, ${each.name}`);
      each.samples.push(await each.talk());
    }
  }
  progress.step("holding every ack against the table");
  for (const each of all) await each.audit();
  for (const each of all) tell(bench, each, one);
  if (!valkey)
    report.add({
      part: "pods",
      name: "over Valkey",
      value: Number.NaN,
      unit: "",
      note: "no valkey-server or redis-server in PATH",
    });
}

async function contender(
  { sandbox, report }: Bench,
  options: { pods: number; bus: BusName; seconds: number; valkey?: Valkey },
): Promise<Contender> {
  const { pods, bus, seconds, valkey } = options;
  const name = pods === 1 ? "1 pod" : `${pods} pods, ${bus}`;
  const database = await sandbox.database(2 * PAIRS.length);
  const over = bus === "Valkey" && valkey ? { bus: `redis://127.0.0.1:${valkey.port}/${pods}` } : {};
  const servers = await Promise.all(Array.from({ length: pods }, () => sandbox.serve({ database, ...over })));
  const ports = servers.map(({ port }) => port);
  const port = ports[0] as number;
  const generator = sandbox.generator();
  const problems: string[] = [];
  let total = 0;
  return {
    name,
    pods,
    bus,
    servers,
    samples: [],
    open: () => generator.ask("openMessageLoad", { ports, pairs: PAIRS }),
    async talk() {
      const pids = {
        server: servers.map(({ pid }) => pid),
        postgres: sandbox.postgres,
        ...(bus === "Valkey" && valkey && { bus: valkey.pid }),
      };
      const before = [await sentOf(servers), performance.now()] as const;
      const job = { pairs: PAIRS, window: WINDOW, warmUpSeconds: WARM_UP_SECONDS, seconds, marks: false, pids };
      const result = await generator.ask("talk", { port, ...job });
      const sent = await sentOf(servers);
      const took = (performance.now() - before[1]) / 1_000;
      problems.push(...result.problems);
      total += result.total;
      const packets = sent.packets - before[0].packets;
      return sampleOf(result, {
        perSecond: packets / took,
        bytes: (sent.bytes - before[0].bytes) / Math.max(1, packets),
      });
    },
    async audit() {
      const audit = await generator.ask("audit", { port, database: database.url });
      report.check("pods", `${name}: ${audit.acks} acks, each with its row`, audit.problems);
      const extra = (await database.countMessages()) - total;
      if (extra !== 0) problems.push(`${extra} rows more than were sent`);
      report.check(
        "pods",
        `${name}: every frame reached the right person, with the right text, once and in order`,
        problems,
      );
    },
  };
}

/** What the pods sent over the bus so far. */
async function sentOf(servers: readonly ServerProcess[]): Promise<{ packets: number; bytes: number }> {
  const sum = { packets: 0, bytes: 0 };
  for (const { port } of servers) {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const read = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
    sum.packets += read("chatify_bus_packets_sent_total");
    sum.bytes += read("chatify_bus_bytes_sent_total");
  }
  return sum;
}

function sampleOf(result: LoadResult, bus: { perSecond: number; bytes: number }): Sample {
  const { acked, delivered, seconds, cpu, ack, receive, syncs } = result;
  const messages = Math.min(acked, delivered);
  const micros = (cpuSeconds: number) => (cpuSeconds * 1e6) / messages;
  return {
    perSecond: messages / seconds,
    ack,
    receive,
    server: micros(cpu.server),
    postgres: micros(cpu.postgres),
    valkey: micros(cpu.bus),
    generator: micros(cpu.generator),
    packetsPerSecond: bus.perSecond,
    packetBytes: bus.bytes,
    syncs,
  };
}

function tell({ report }: Bench, { name, pods, bus, samples }: Contender, one: Contender): void {
  const of = (field: keyof { [Key in keyof Sample as Sample[Key] extends number ? Key : never]: true }) =>
    median(samples.map((sample) => sample[field]));
  const least = LEAST[pods];
  const rates = samples.map(({ perSecond }) => Math.round(perSecond));
  report.add({
    part: "pods",
    name: `${name}: messages`,
    value: of("perSecond"),
    unit: "/s",
    ...(pods === 1
      ? { note: `${Math.min(...rates)} to ${Math.max(...rates)}` }
      : {
          baseline: { name: "1 pod", value: median(one.samples.map(({ perSecond }) => perSecond)) },
          ratio: median(samples.map(({ perSecond }, i) => perSecond / (one.samples[i] as Sample).perSecond)),
          ...(least === undefined ? {} : { bound: { least } }),
        }),
  });
  const [ack, receive] = (["ack", "receive"] as const).map((way) =>
    medianLatency(samples.map((sample) => sample[way])),
  );
  const valkey = bus === "Valkey" ? `, Valkey ${of("valkey").toFixed(1)}` : "";
  report.add({
    part: "pods",
    name: `${name}: CPU of a message`,
    value: of("server") + of("postgres") + of("valkey"),
    unit: "µs",
    note: `servers ${of("server").toFixed(1)}, PostgreSQL ${of("postgres").toFixed(1)}${valkey}; generator ${of("generator").toFixed(1)}`,
  });
  report.add({
    part: "pods",
    name: `${name}: send to receive, p50`,
    value: receive?.p50 ?? Number.NaN,
    unit: "ms",
    note: `p99 ${receive?.p99.toFixed(1)} ms; to ack ${ack?.p50.toFixed(1)}, p99 ${ack?.p99.toFixed(1)} ms`,
  });
  if (pods === 1) return;
  const syncs = samples.reduce((sum, sample) => sum + sample.syncs, 0);
  report.add({
    part: "pods",
    name: `${name}: bus packets`,
    value: of("packetsPerSecond"),
    unit: "/s",
    note: `${of("packetBytes").toFixed(0)} bytes, ${(of("perSecond") / of("packetsPerSecond")).toFixed(1)} messages each${syncs > 0 ? `; told to ask ${syncs} times` : ""}`,
  });
}
