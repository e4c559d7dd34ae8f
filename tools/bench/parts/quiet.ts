/** The latency of one message while no other user writes, measured in turns with its baselines. */

import { type Latency, median } from "../../support/statistics.ts";
import { pairs } from "../../support/users.ts";
import type { Part } from "../part.ts";

export const quiet: Part = {
  seconds: ({ short }) => (short ? 4 : 12),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("quiet");
    const rounds = short ? 4 : 16;
    const pair = pairs(1);
    const database = await sandbox.database(2);
    const { port, pid } = await sandbox.serve({ database });
    const [generator, baseline] = [sandbox.generator(), sandbox.baseline()];
    await baseline.ask("connect", { database: database.url });
    await generator.ask("openMessageLoad", { ports: [port], pairs: pair });

    const inserts = { pairs: pair, seconds: 0.2, postgres: sandbox.postgres };
    const load = { pairs: pair, window: 1, warmUpSeconds: 0.03, seconds: 0.2, marks: false, oneWay: true };
    const problems: string[] = [];
    const samples = {
      ack: [] as Latency[],
      receive: [] as Latency[],
      statement: [] as Latency[],
      insert: [] as Latency[],
    };
    for (let round = 1; round <= rounds; round++) {
      progress.step(`round ${round} of ${rounds}`);
      samples.statement.push((await baseline.ask("oneRow", inserts)).latency);
      const lastSeqs = await database.lastSeqs(pair);
      const result = await generator.ask("runMessageLoad", { port, ...load, lastSeqs, pids: { server: [pid] } });
      problems.push(...result.problems);
      samples.ack.push(result.ack);
      samples.receive.push(result.receive);
      samples.insert.push((await baseline.ask("naive", inserts)).latency);
    }
    const audit = await generator.ask("audit", { port, database: database.url });
    add.check(`each of ${audit.acks} acks matches its row`, audit.problems);
    add.check("every frame is correct", problems);

    type Sample = keyof typeof samples;
    const figure = (measured: "ack" | "receive", share: keyof Latency, baseline: Sample, most?: number) => {
      const valueOf = (sample: Sample) => median(samples[sample].map((round) => round[share]));
      const name = baseline === "insert" ? "a bare insert" : "the statement, one row";
      add.figure(`send to ${measured}, ${share}`, {
        value: valueOf(measured),
        unit: "ms",
        baseline: { name, value: valueOf(baseline) },
        ratio: median(samples[measured].map((round, i) => round[share] / (samples[baseline][i] as Latency)[share])),
        ...(most === undefined ? {} : { bound: { most } }),
      });
    };
    figure("ack", "p50", "statement", 1.4);
    figure("ack", "p50", "insert", 3.2);
    figure("ack", "p99", "statement", 2.8);
    figure("ack", "p99", "insert", 6.4);
    figure("receive", "p50", "statement");
    figure("receive", "p99", "statement");
  },
};
