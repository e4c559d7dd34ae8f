/** Costs that must not grow with the table. Servers on tables of different sizes are asked in turn. */

import type { ServerProcess } from "../../support/server_process.ts";
import { type Latency, median } from "../../support/statistics.ts";
import { cookieOf, nameOf, type Pair, pairs } from "../../support/users.ts";
import type { BaselineJobs } from "../baselines.ts";
import type { TimedRequest } from "../load/http.ts";
import type { Part } from "../part.ts";
import type { Worker } from "../worker.ts";

/** One user has a conversation with every other, of four messages, the last of them unread. */
const CONVERSATIONS = 2_000;
const MESSAGES_EACH = 4;

export const history: Part = {
  seconds: ({ short, big }) => (big ? 160 : short ? 10 : 38),

  async run({ sandbox, report, progress, short, big }) {
    const add = report.section("history");
    const sizes = short ? [10_000, 100_000] : [10_000, 100_000, 1_000_000, ...(big ? [10_000_000] : [])];
    const generator = sandbox.generator();
    const writers = pairs(50, CONVERSATIONS + 100);
    const tables: { size: number; baseline: Worker<BaselineJobs>; server: ServerProcess; rates: number[] }[] = [];
    for (const size of sizes) {
      progress.step(`filling a table with ${size.toLocaleString("en")} messages`);
      const database = await sandbox.database(CONVERSATIONS + 200);
      await database.addConversations([[0, 1]], size);
      const others = Array.from({ length: CONVERSATIONS }, (_, i): Pair => [0, i + 2]);
      await database.addConversations(others, MESSAGES_EACH, 1);
      await database.settle();
      const baseline = sandbox.baseline();
      await baseline.ask("connect", { database: database.url });
      tables.push({ size, baseline, server: await sandbox.serve({ database }), rates: [] });
    }
    const [smallest, ...larger] = tables as [(typeof tables)[number], ...typeof tables];
    const nameOfSize = (size: number) => `10^${Math.log10(size)} messages`;

    progress.step("reading");
    const me = nameOf(0);
    const conversation = `/messages/${me}/${nameOf(1)}?limit=50`;
    const kinds = [
      { kind: "newest 50", path: () => conversation, rows: 50 },
      { kind: "an old page", path: (size: number) => `${conversation}&before=${Math.floor(size / 2)}`, rows: 50 },
      { kind: "unread counts", path: () => `/unread_counts/${me}`, rows: CONVERSATIONS },
      { kind: "conversations", path: () => "/conversations", rows: 50 },
    ];
    const requests = kinds.flatMap(({ kind, path, rows }) =>
      tables.map(({ size, server: { port } }): TimedRequest => {
        return { name: `${kind} ${size}`, port, path: path(size), cookie: cookieOf(0), rows };
      }),
    );
    const { times, problems } = await generator.ask("timeRequests", { requests, rounds: short ? 40 : 200 });
    add.check("every page and list has the expected length", problems);
    const p50 = (kind: string, size: number) => (times[`${kind} ${size}`] as Latency).p50;
    for (const { kind } of kinds) {
      for (const { size } of larger) {
        add.figure(`${kind}, ${nameOfSize(size)}, p50`, {
          value: p50(kind, size),
          unit: "ms",
          baseline: { name: nameOfSize(smallest.size), value: p50(kind, smallest.size) },
          ...(size === sizes.at(-1) ? { bound: { most: 1.5 } } : {}),
        });
      }
    }

    progress.step("storing");
    for (let round = 0; round < (short ? 3 : 6); round++) {
      for (const { baseline, rates } of tables) {
        const options = { pairs: writers, seconds: 0.3, postgres: sandbox.postgres };
        const { rows, seconds } = await baseline.ask("statement", options);
        rates.push(rows / seconds);
      }
    }
    for (const { size, rates } of larger) {
      add.figure(`rows stored, ${nameOfSize(size)}`, {
        value: median(rates),
        unit: "/s",
        baseline: { name: nameOfSize(smallest.size), value: median(smallest.rates) },
        ratio: median(rates.map((rate, round) => rate / (smallest.rates[round] as number))),
        ...(size === sizes.at(-1) ? { bound: { least: 0.8 } } : {}),
      });
    }
  },
};
