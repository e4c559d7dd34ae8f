/**
 * Messages stored, acknowledged and delivered per second. Servers and baselines take turns in short rounds, so that
 * other load on the machine affects all alike; a figure is the median of its rounds, a ratio the median of the rounds'
 * ratios.
 *
 * Delivered marks are part of what a server does for every message, so every round includes them. "Read marks" means
 * that recipients also mark what they received as read, after each chunk of frames.
 */

import type { Bound, Unit } from "../../support/report.ts";
import { type Latency, median, medianLatency } from "../../support/statistics.ts";
import { type Pair, pairs } from "../../support/users.ts";
import type { Inserted } from "../baselines.ts";
import type { LoadOptions, LoadResult } from "../load/message_load.ts";
import type { Part } from "../part.ts";

/** Messages in the filled table before the first round. */
const FILLED = 1_000_000;

/** One round of a contender: a server or a baseline. */
interface Sample {
  readonly perSecond: number;
  readonly ack: Latency;
  readonly receive: Latency;
  /** CPU microseconds per message; `client` is the generator or the baseline. */
  readonly server: number;
  readonly postgres: number;
  readonly client: number;
  /** Bytes of write-ahead log per message. */
  readonly wal: number;
}

type Field = "perSecond" | "server" | "postgres" | "client" | "wal";

export const send: Part = {
  seconds: ({ short }) => (short ? 20 : 72),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("send");
    const [few, many] = [pairs(50), pairs(400)];
    const [rounds, seconds, warmUpSeconds] = short ? [2, 0.4, 0.2] : [3, 1.2, 0.3];
    progress.step("filling a table");
    const [empty, filled] = [await sandbox.database(100), await sandbox.database(800)];
    await filled.addConversations(many, (short ? FILLED / 10 : FILLED) / many.length);
    await filled.settle();
    const rowsBefore = [await empty.countMessages(), await filled.countMessages()] as const;

    progress.step("opening sockets");
    const servers = {
      empty: await sandbox.serve({ database: empty }),
      filled: await sandbox.serve({ database: filled }),
    };
    const [generator, baseline, relay] = [sandbox.generator(), sandbox.baseline(), sandbox.baseline()];
    await baseline.ask("connect", { database: filled.url });
    const relayPort = (await relay.ask("relay", undefined)).port;
    await generator.ask("openMessageLoad", { ports: [servers.empty.port], pairs: few });
    await generator.ask("openMessageLoad", { ports: [servers.filled.port], pairs: many });
    await generator.ask("openMessageLoad", { ports: [relayPort], pairs: few });

    const problems: string[] = [];
    const inserted = { empty: 0, filled: 0 };
    const postgres = sandbox.postgres;
    const measureWal = async <Result>(act: () => Promise<Result>): Promise<[Result, number]> => {
      const before = await filled.walBytes();
      return [await act(), (await filled.walBytes()) - before];
    };
    const load =
      (table: "empty" | "filled", users: readonly Pair[], window: number, marks = false) =>
      async () => {
        const { port, pid } = servers[table];
        const database = table === "empty" ? empty : filled;
        if (marks) await database.markAllRead(users); // earlier rounds left messages unread
        const lastSeqs = await database.lastSeqs(users);
        const pids = { server: [pid], postgres };
        const options: LoadOptions = { pairs: users, lastSeqs, window, warmUpSeconds, seconds, marks, pids };
        const [result, wal] = await measureWal(() => generator.ask("runMessageLoad", { port, ...options }));
        problems.push(...result.problems);
        inserted[table] += result.total;
        return sampleOfLoad(result, wal);
      };
    const relayed = async () => {
      const options = { pairs: few, window: 8, warmUpSeconds, seconds, marks: false, pids: { server: [relay.pid] } };
      return sampleOfLoad(await generator.ask("runMessageLoad", { port: relayPort, ...options }), 0);
    };
    const insert = (how: "statement" | "naive") => async () => {
      const [result, wal] = await measureWal(() => baseline.ask(how, { pairs: few, seconds, postgres }));
      inserted.filled += result.total;
      return sampleOfInserts(result, wal);
    };

    const contenders = {
      window8: load("filled", few, 8),
      statement: insert("statement"),
      window1: load("filled", few, 1),
      pairs400: load("filled", many, 8),
      empty: load("empty", few, 8),
      marks: load("filled", few, 8, true),
      naive: insert("naive"),
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

    progress.step("comparing every ack with the table");
    for (const [i, [table, database]] of Object.entries({ empty, filled }).entries()) {
      const { port } = servers[table as "empty" | "filled"];
      const audit = await generator.ask("audit", { port, database: database.url });
      add.check(`${table} table: each of ${audit.acks} acks matches its row`, audit.problems);
      const extra =
        (await database.countMessages()) - (rowsBefore[i] as number) - inserted[table as "empty" | "filled"];
      add.check(`${table} table: no row was not sent`, extra === 0 ? [] : [`${extra} rows more than were sent`]);
    }
    add.check("every frame reached the right user with the right text, once and in order", problems);

    const medianOf = (name: Name, field: Field) => median(samples[name].map((sample) => sample[field]));
    const rate = (name: string, contender: Name, baseline: Name, bound?: Bound) =>
      add.figure(name, {
        value: medianOf(contender, "perSecond"),
        unit: "/s",
        baseline: { name: baseline, value: medianOf(baseline, "perSecond") },
        ratio: median(
          samples[contender].map(({ perSecond }, i) => perSecond / (samples[baseline][i] as Sample).perSecond),
        ),
        ...(bound ? { bound } : {}),
      });
    rate("window 8", "window8", "statement", { least: 0.75 });
    rate("window 1", "window1", "statement", { least: 0.45 });
    rate("window 8", "window8", "naive", { least: 8 });
    rate("window 8", "window8", "relay");
    rate("window 8 with read marks", "marks", "window8", { least: 0.6 });
    rate("400 pairs, window 8", "pairs400", "window8", { least: 0.8 });
    rate("empty table, window 8", "empty", "window8", { least: 0.8 });
    for (const [window, contender] of Object.entries({ 1: "window1", 8: "window8" } as const)) {
      for (const event of ["ack", "receive"] as const) {
        const { p50, p95, p99 } = medianLatency(samples[contender].map((sample) => sample[event]));
        const note = `p95 ${p95.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`;
        add.figure(`window ${window}, send to ${event}, p50`, { value: p50, unit: "ms", note });
      }
    }
    const cost = (name: string, field: Field, unit: Unit, baseline: Name) =>
      add.figure(`window 8, ${name} per message`, {
        value: medianOf("window8", field),
        unit,
        baseline: { name: baseline, value: medianOf(baseline, field) },
      });
    cost("server CPU", "server", "µs", "relay");
    cost("PostgreSQL CPU", "postgres", "µs", "statement");
    cost("generator CPU", "client", "µs", "statement");
    cost("write-ahead log", "wal", "bytes", "statement");
  },
};

function sampleOfLoad({ perSecond, ack, receive, cpu, total }: LoadResult, wal: number): Sample {
  const { server, postgres, generator: client } = cpu;
  return { perSecond, ack, receive, server, postgres, client, wal: wal / total };
}

function sampleOfInserts({ rows, seconds, latency, cpu, total }: Inserted, wal: number): Sample {
  const micros = (cpuSeconds: number) => (cpuSeconds * 1e6) / rows;
  const [postgres, client] = [micros(cpu.postgres), micros(cpu.client)];
  return { perSecond: rows / seconds, ack: latency, receive: latency, server: 0, postgres, client, wal: wal / total };
}
