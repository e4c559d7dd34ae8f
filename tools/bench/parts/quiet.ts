/** How long one message takes while nobody else writes. The baselines take turns with it, some tens of messages at a time. */

import { type Latency, median } from "../../support/statistics.ts";
import { pairs } from "../../support/users.ts";
import type { Part } from "../part.ts";

export const quiet: Part = {
  seconds: ({ short }) => (short ? 4 : 12),

  async run({ sandbox, report, progress, short }) {
    const rounds = short ? 4 : 16;
    const two = pairs(1);
    const database = await sandbox.database(2);
    const server = await sandbox.serve({ database });
    const [generator, baseline] = [sandbox.generator(), sandbox.baseline()];
    await baseline.ask("connect", { database: database.url });
    await generator.ask("openMessageLoad", { ports: [server.port], pairs: two });

    const inserting = { pairs: two, seconds: 0.2, postgres: sandbox.postgres };
    const talking = { pairs: two, window: 1, warmUpSeconds: 0.03, seconds: 0.2, marks: false, oneWay: true };
    const problems: string[] = [];
    const taken = {
      ack: [] as Latency[],
      receive: [] as Latency[],
      statement: [] as Latency[],
      insert: [] as Latency[],
    };
    for (let round = 1; round <= rounds; round++) {
      progress.step(`round ${round} of ${rounds}`);
      taken.statement.push((await baseline.ask("single", inserting)).took);
      const lastSeqs = await database.lastSeqs(two);
      const result = await generator.ask("talk", {
        port: server.port,
        ...talking,
        lastSeqs,
        pids: { server: [server.pid] },
      });
      problems.push(...result.problems);
      taken.ack.push(result.ack);
      taken.receive.push(result.receive);
      taken.insert.push((await baseline.ask("naive", inserting)).took);
    }
    const audit = await generator.ask("audit", { port: server.port, database: database.url });
    report.check("quiet", `${audit.acks} acks, each with its row`, audit.problems);
    report.check("quiet", "every frame as it should be", problems);

    type Way = keyof typeof taken;
    const of = (way: Way, share: keyof Latency) => median(taken[way].map((round) => round[share]));
    const figure = (name: string, way: Way, share: keyof Latency, baseline: Way, baselineName: string, most?: number) =>
      report.add({
        part: "quiet",
        name: `${name}, ${share}`,
        value: of(way, share),
        unit: "ms",
        baseline: { name: baselineName, value: of(baseline, share) },
        ratio: median(taken[way].map((round, i) => round[share] / (taken[baseline][i] as Latency)[share])),
        ...(most === undefined ? {} : { bound: { most } }),
      });
    figure("send to ack", "ack", "p50", "statement", "the statement, one row", 1.4);
    figure("send to ack", "ack", "p50", "insert", "a bare insert", 3.2);
    figure("send to ack", "ack", "p99", "statement", "the statement, one row", 2.8);
    figure("send to ack", "ack", "p99", "insert", "a bare insert", 6.4);
    figure("send to receive", "receive", "p50", "statement", "the statement, one row");
    figure("send to receive", "receive", "p99", "statement", "the statement, one row");
  },
};
