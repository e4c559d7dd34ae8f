/**
 * The cost of several pods on one database: the load of `send`, with each pair split over two pods, so that every
 * message crosses the bus. Pods share the cores that a single one has to itself, so the loss is what they do twice and
 * what the bus costs.
 *
 * Each contender has a database, and so a bus, of its own. They take turns, and a ratio is the median of the rounds'
 * ratios.
 */

import type { ServerProcess } from "../../support/server_process.ts";
import { median, medianLatency } from "../../support/statistics.ts";
import { pairs } from "../../support/users.ts";
import type { Valkey } from "../../support/valkey.ts";
import type { LoadResult } from "../load/message_load.ts";
import type { Bench, Part } from "../part.ts";

const PAIRS = pairs(50);
const WINDOW = 8;
/** Required share of one pod's messages per second. */
const LEAST: Readonly<Record<number, number>> = { 2: 0.7, 4: 0.5 };
const WARM_UP_SECONDS = 0.3;
/** By then all pods of a contender know each other. */
const MEET_MS = 1_200;

type BusName = "PostgreSQL" | "Valkey";

/** Pods on a database of their own. */
interface Contender {
  readonly name: string;
  readonly pods: number;
  readonly bus: BusName;
  readonly samples: Sample[];
  open(): Promise<void>;
  /** Adds a sample. */
  measure(): Promise<void>;
  audit(): Promise<void>;
}

/** One round of a contender. */
interface Sample extends LoadResult {
  readonly packetsPerSecond: number;
  readonly packetBytes: number;
}

export const pods: Part = {
  seconds: ({ short, big }) => (short ? 7 : big ? 60 : 31),

  async run(bench) {
    const { sandbox, report, short, big } = bench;
    const groups = short ? [[2]] : big ? [[2, 4], [8]] : [[2, 4]];
    for (const [i, counts] of groups.entries()) {
      if (i > 0) report.check("pods", "no server logged an error", await sandbox.clear()); // frees PostgreSQL's connections
      await compare(bench, counts);
    }
  },
};

/** Compares one pod with several, over each bus. */
async function compare(bench: Bench, counts: readonly number[]): Promise<void> {
  const { sandbox, report, progress, short } = bench;
  const [rounds, seconds] = short ? [2, 0.4] : [3, 0.8];
  progress.step("starting pods");
  const valkey = await sandbox.valkey();
  const buses: BusName[] = valkey && !short ? ["PostgreSQL", "Valkey"] : ["PostgreSQL"];
  const kinds = counts.flatMap((pods) => buses.map((bus) => ({ pods, bus })));
  const contenders = await Promise.all(
    [{ pods: 1, bus: "PostgreSQL" as const }, ...kinds].map((kind) =>
      createContender(bench, { ...kind, seconds, ...(valkey && { valkey }) }),
    ),
  );
  await Bun.sleep(MEET_MS);
  progress.step("opening sockets");
  for (const contender of contenders) await contender.open();
  for (let round = 1; round <= rounds; round++) {
    for (const contender of contenders) {
      progress.step(`round ${round} of ${rounds}, ${contender.name}`);
      await contender.measure();
    }
  }
  progress.step("comparing every ack with the table");
  for (const contender of contenders) await contender.audit();
  for (const contender of contenders) addFigures(bench, contender, contenders[0] as Contender);
  const note = "no valkey-server or redis-server in PATH";
  if (!valkey) report.section("pods").figure("over Valkey", { value: Number.NaN, unit: "", note });
}

async function createContender(
  { sandbox, report }: Bench,
  options: { pods: number; bus: BusName; seconds: number; valkey?: Valkey },
): Promise<Contender> {
  const { pods, bus, seconds, valkey } = options;
  const name = pods === 1 ? "1 pod" : `${pods} pods, ${bus}`;
  const database = await sandbox.database(2 * PAIRS.length);
  const busSetting = bus === "Valkey" && valkey ? { bus: `redis://127.0.0.1:${valkey.port}/${pods}` } : {};
  const start = () => sandbox.serve({ database, ...busSetting });
  const servers = await Promise.all(Array.from({ length: pods }, start));
  const ports = servers.map(({ port }) => port);
  const port = ports[0] as number;
  const generator = sandbox.generator();
  const samples: Sample[] = [];
  const pids = {
    server: servers.map(({ pid }) => pid),
    postgres: sandbox.postgres,
    ...(bus === "Valkey" && valkey && { bus: valkey.pid }),
  };
  return {
    name,
    pods,
    bus,
    samples,
    open: () => generator.ask("openMessageLoad", { ports, pairs: PAIRS }),
    async measure() {
      const [before, startedAt] = [await busTraffic(servers), performance.now()];
      const load = { pairs: PAIRS, window: WINDOW, warmUpSeconds: WARM_UP_SECONDS, seconds, marks: false, pids };
      const result = await generator.ask("runMessageLoad", { port, ...load });
      const after = await busTraffic(servers);
      const packets = after.packets - before.packets;
      samples.push({
        ...result,
        packetsPerSecond: packets / ((performance.now() - startedAt) / 1_000),
        packetBytes: (after.bytes - before.bytes) / Math.max(1, packets),
      });
    },
    async audit() {
      const add = report.section("pods");
      const audit = await generator.ask("audit", { port, database: database.url });
      add.check(`${name}: each of ${audit.acks} acks matches its row`, audit.problems);
      const problems = samples.flatMap((sample) => sample.problems);
      const extra = (await database.countMessages()) - samples.reduce((sum, { total }) => sum + total, 0);
      if (extra !== 0) problems.push(`${extra} rows more than were sent`);
      add.check(`${name}: every frame reached the right user with the right text, once and in order`, problems);
    },
  };
}

/** What the pods have sent over the bus. */
async function busTraffic(servers: readonly ServerProcess[]): Promise<{ packets: number; bytes: number }> {
  const sum = { packets: 0, bytes: 0 };
  for (const { port } of servers) {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const read = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
    sum.packets += read("chatify_bus_packets_sent_total");
    sum.bytes += read("chatify_bus_bytes_sent_total");
  }
  return sum;
}

function addFigures({ report }: Bench, { name, pods, bus, samples }: Contender, onePod: Contender): void {
  const add = report.section("pods");
  const medianOf = (valueOf: (sample: Sample) => number) => median(samples.map(valueOf));
  const rates = samples.map(({ perSecond }) => Math.round(perSecond));
  const perSecond = medianOf((sample) => sample.perSecond);
  if (pods === 1) {
    const note = `${Math.min(...rates)} to ${Math.max(...rates)}`;
    add.figure(`${name}: messages`, { value: perSecond, unit: "/s", note });
  } else {
    const least = LEAST[pods];
    add.figure(`${name}: messages`, {
      value: perSecond,
      unit: "/s",
      baseline: { name: "1 pod", value: median(onePod.samples.map((sample) => sample.perSecond)) },
      ratio: median(samples.map((sample, i) => sample.perSecond / (onePod.samples[i] as Sample).perSecond)),
      ...(least === undefined ? {} : { bound: { least } }),
    });
  }
  const cpu = (process: keyof LoadResult["cpu"]) => medianOf((sample) => sample.cpu[process]);
  const valkey = bus === "Valkey" ? `, Valkey ${cpu("bus").toFixed(1)}` : "";
  add.figure(`${name}: CPU per message`, {
    value: cpu("server") + cpu("postgres") + cpu("bus"),
    unit: "µs",
    note: `servers ${cpu("server").toFixed(1)}, PostgreSQL ${cpu("postgres").toFixed(1)}${valkey}; generator ${cpu("generator").toFixed(1)}`,
  });
  const ack = medianLatency(samples.map((sample) => sample.ack));
  const receive = medianLatency(samples.map((sample) => sample.receive));
  add.figure(`${name}: send to receive, p50`, {
    value: receive.p50,
    unit: "ms",
    note: `p99 ${receive.p99.toFixed(1)} ms; to ack ${ack.p50.toFixed(1)}, p99 ${ack.p99.toFixed(1)} ms`,
  });
  if (pods === 1) return;
  const syncs = samples.reduce((sum, sample) => sum + sample.syncs, 0);
  const packets = medianOf((sample) => sample.packetsPerSecond);
  const bytes = medianOf((sample) => sample.packetBytes);
  add.figure(`${name}: bus packets`, {
    value: packets,
    unit: "/s",
    note: `${bytes.toFixed(0)} bytes, ${(perSecond / packets).toFixed(1)} messages each${syncs > 0 ? `; ${syncs} sync frames` : ""}`,
  });
}
