/**
 * How many messages a second are stored, acknowledged and delivered. Servers and baselines take turns in short rounds, so that
 * what else the machine does hits all of them alike; a figure is the median of its rounds, a ratio the median of the ratios.
 *
 * Delivered marks are part of what the server does for any message (gathered, stored each half second, told to the sender), so
 * they are on in every round. "Read marks" means that each receiver besides marks what it got as read, after each chunk of frames.
 */

import type { Bound, Unit } from "../../support/report.ts";
import { type Latency, median, medianLatency } from "../../support/statistics.ts";
import { type Pair, pairs } from "../../support/users.ts";
import type { Inserted } from "../baselines.ts";
import type { LoadOptions, LoadResult } from "../load/message_load.ts";
import type { Part } from "../part.ts";

/** Messages in the filled table before the first round. */
const FILLED = 1_000_000;

/** One round of one contender. */
interface Sample {
  readonly perSecond: number;
  readonly ack: Latency;
  readonly receive: Latency;
  /** CPU microseconds of a message; `client` is who drives it, the generator or the baseline. */
  readonly server: number;
  readonly postgres: number;
  readonly client: number;
  /** Bytes of write-ahead log of a message. */
  readonly wal: number;
}

export const send: Part = {
  seconds: ({ short }) => (short ? 20 : 72),

  async run({ sandbox, report, progress, short }) {
    const [few, many] = [pairs(50), pairs(400)];
    const [rounds, seconds, warmUpSeconds] = short ? [2, 0.4, 0.2] : [3, 1.2, 0.3];
    progress.step("filling a table");
    const empty = await sandbox.database(100);
    const filled = await sandbox.database(800);
    await filled.addConversations(many, (short ? FILLED / 10 : FILLED) / many.length);
    await filled.settle();
    const rowsBefore = [await empty.countMessages(), await filled.countMessages()] as const;

    progress.step("opening sockets");
    const [toEmpty, toFilled] = [await sandbox.serve({ database: empty }), await sandbox.serve({ database: filled })];
    const [generator, baseline, relays] = [sandbox.generator(), sandbox.baseline(), sandbox.baseline()];
    await baseline.ask("connect", { database: filled.url });
    const relay = await relays.ask("relay", undefined);
    await generator.ask("openMessageLoad", { ports: [toEmpty.port], pairs: few });
    await generator.ask("openMessageLoad", { ports: [toFilled.port], pairs: many });
    await generator.ask("openMessageLoad", { ports: [relay.port], pairs: few });

    const problems: string[] = [];
    const inserted = { empty: 0, filled: 0 };
    const postgres = sandbox.postgres;
    const walOf = async <Done>(act: () => Promise<Done>): Promise<[Done, number]> => {
      const before = await filled.walBytes();
      return [await act(), (await filled.walBytes()) - before];
    };
    const talk =
      (to: "empty" | "filled", who: readonly Pair[], window: number, marks = false) =>
      async () => {
        const server = to === "empty" ? toEmpty : toFilled;
        const database = to === "empty" ? empty : filled;
        if (marks) await database.markAllRead(who); // what the rounds before left unread is not this round's work
        const lastSeqs = await database.lastSeqs(who);
        const pids = { server: [server.pid], postgres };
        const job: LoadOptions = { pairs: who, lastSeqs, window, warmUpSeconds, seconds, marks, pids };
        const [result, wal] = await walOf(() => generator.ask("talk", { port: server.port, ...job }));
        problems.push(...result.problems);
        inserted[to] += result.total;
        return sampleOfLoad(result, wal);
      };
    const relayed = async () => {
      const job: LoadOptions = {
        pairs: few,
        window: 8,
        warmUpSeconds,
        seconds,
        marks: false,
        pids: { server: [relays.pid] },
      };
      return sampleOfLoad(await generator.ask("talk", { port: relay.port, ...job }), 0);
    };
    const driven = (how: "limit" | "naive") => async () => {
      const [done, wal] = await walOf(() => baseline.ask(how, { pairs: few, seconds, postgres }));
      inserted.filled += done.total;
      return sampleOfInserts(done, wal);
    };

    const contenders = {
      window8: talk("filled", few, 8),
      limit: driven("limit"),
      window1: talk("filled", few, 1),
      pairs400: talk("filled", many, 8),
      empty: talk("empty", few, 8),
      marks: talk("filled", few, 8, true),
      naive: driven("naive"),
      relay: relayed,
    };
    type Name = keyof typeof contenders;
    const samples = Object.fromEntries(Object.keys(contenders).map((name) => [name, []])) as unknown as Record<
      Name,
      Sample[]
    >;
    for (let round = 1; round <= rounds; round++) {
      for (const [name, run] of Object.entries(contenders)) {
        progress.step(`round ${round} of ${rounds}, ${name}`);
        samples[name as Name].push(await run());
      }
    }

    progress.step("holding every ack against the table");
    for (const [server, database] of [
      [toEmpty, empty],
      [toFilled, filled],
    ] as const) {
      const audit = await generator.ask("audit", { port: server.port, database: database.url });
      report.check("send", `${audit.acks} acks, each with its row`, audit.problems);
    }
    report.check("send", "every frame reached the right person, with the right text, once and in order", problems);
    const rows = [await empty.countMessages(), await filled.countMessages()] as const;
    const extra = [rows[0] - rowsBefore[0] - inserted.empty, rows[1] - rowsBefore[1] - inserted.filled];
    report.check(
      "send",
      "no row that nobody sent",
      extra.filter(Boolean).map((count) => `${count} rows more than were sent`),
    );

    const of = (name: Name, field: keyof { [Key in keyof Sample as Sample[Key] extends number ? Key : never]: true }) =>
      median(samples[name].map((sample) => sample[field]));
    const rate = (name: string, contender: Name, baseline: Name, bound?: Bound) =>
      report.add({
        part: "send",
        name,
        value: of(contender, "perSecond"),
        unit: "/s",
        baseline: { name: baseline, value: of(baseline, "perSecond") },
        ratio: median(
          samples[contender].map((sample, i) => sample.perSecond / (samples[baseline][i] as Sample).perSecond),
        ),
        ...(bound ? { bound } : {}),
      });
    rate("window 8", "window8", "limit", { least: 0.75 });
    rate("window 1", "window1", "limit", { least: 0.45 });
    rate("window 8", "window8", "naive", { least: 8 });
    rate("window 8", "window8", "relay");
    rate("window 8 with read marks", "marks", "window8", { least: 0.6 });
    rate("400 pairs, window 8", "pairs400", "window8", { least: 0.8 });
    rate("empty table, window 8", "empty", "window8", { least: 0.8 });
    for (const [window, contender] of [
      [1, "window1"],
      [8, "window8"],
    ] as const) {
      const [ack, receive] = (["ack", "receive"] as const).map((way) =>
        medianLatency(samples[contender].map((sample) => sample[way])),
      );
      for (const [way, took] of [
        ["ack", ack],
        ["receive", receive],
      ] as const) {
        if (!took) continue;
        const note = `p95 ${took.p95.toFixed(1)} ms, p99 ${took.p99.toFixed(1)} ms`;
        report.add({ part: "send", name: `window ${window}, send to ${way}, p50`, value: took.p50, unit: "ms", note });
      }
    }
    const cost = (name: string, field: Parameters<typeof of>[1], unit: Unit, baseline?: Name) =>
      report.add({
        part: "send",
        name: `window 8, ${name} of a message`,
        value: of("window8", field),
        unit,
        ...(baseline ? { baseline: { name: baseline, value: of(baseline, field) } } : {}),
      });
    cost("CPU of the server", "server", "µs", "relay");
    cost("CPU of PostgreSQL", "postgres", "µs", "limit");
    cost("CPU of the generator", "client", "µs", "limit");
    cost("write-ahead log", "wal", "bytes", "limit");
  },
};

function sampleOfLoad({ acked, delivered, seconds, cpu, ack, receive, total }: LoadResult, wal: number): Sample {
  const messages = Math.min(acked, delivered);
  const micros = (cpuSeconds: number) => (cpuSeconds * 1e6) / messages;
  const { server, postgres, generator } = cpu;
  return {
    perSecond: messages / seconds,
    ack,
    receive,
    server: micros(server),
    postgres: micros(postgres),
    client: micros(generator),
    wal: wal / total,
  };
}

function sampleOfInserts({ rows, seconds, took, cpu, total }: Inserted, wal: number): Sample {
  const micros = (cpuSeconds: number) => (cpuSeconds * 1e6) / rows;
  return {
    perSecond: rows / seconds,
    ack: took,
    receive: took,
    server: 0,
    postgres: micros(cpu.postgres),
    client: micros(cpu.client),
    wal: wal / total,
  };
}
