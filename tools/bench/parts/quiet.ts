/** How long one message takes while nobody else writes. The rivals take turns with it, some tens of messages at a time. */

import { pairs } from "../../support/people.ts";
import { type Latency, median } from "../../support/statistics.ts";
import type { Part } from "../part.ts";

export const quiet: Part = {
  seconds: ({ short }) => (short ? 4 : 12),

  async run({ world, report, progress, short }) {
    const rounds = short ? 4 : 16;
    const two = pairs(1);
    const database = await world.database(2);
    const server = await world.serve({ database });
    const [generator, rival] = [world.generator(), world.rival()];
    await rival.ask("connect", { database: database.url });
    await generator.ask("openTalk", { ports: [server.port], pairs: two });

    const inserting = { pairs: two, seconds: 0.2, postgres: world.postgres };
    const talking = { pairs: two, window: 1, warmUpSeconds: 0.03, seconds: 0.2, marks: false, oneWay: true };
    const faults: string[] = [];
    const taken = {
      ack: [] as Latency[],
      receive: [] as Latency[],
      statement: [] as Latency[],
      insert: [] as Latency[],
    };
    for (let round = 1; round <= rounds; round++) {
      progress.step(`round ${round} of ${rounds}`);
      taken.statement.push((await rival.ask("single", inserting)).took);
      const lastSeqs = await database.lastSeqs(two);
      const talked = await generator.ask("talk", {
        port: server.port,
        ...talking,
        lastSeqs,
        pids: { server: [server.pid] },
      });
      faults.push(...talked.faults);
      taken.ack.push(talked.ack);
      taken.receive.push(talked.receive);
      taken.insert.push((await rival.ask("naive", inserting)).took);
    }
    const audit = await generator.ask("audit", { port: server.port, database: database.url });
    report.check("quiet", `${audit.acks} acks, each with its row`, audit.faults);
    report.check("quiet", "every frame as it should be", faults);

    type Way = keyof typeof taken;
    const of = (way: Way, share: keyof Latency) => median(taken[way].map((round) => round[share]));
    const figure = (name: string, way: Way, share: keyof Latency, rival: Way, rivalName: string, most?: number) =>
      report.add({
        part: "quiet",
        name: `${name}, ${share}`,
        value: of(way, share),
        unit: "ms",
        rival: { name: rivalName, value: of(rival, share) },
        ratio: median(taken[way].map((round, i) => round[share] / (taken[rival][i] as Latency)[share])),
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
