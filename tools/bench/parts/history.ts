/** What grows with the table: reading must not, and storing hardly. Three servers on three tables are asked in turn. */

import type { ServerProcess } from "../../support/server_process.ts";
import { type Latency, median } from "../../support/statistics.ts";
import { cookieOf, nameOf, type Pair, pairs } from "../../support/users.ts";
import type { BaselineJobs, Inserted } from "../baselines.ts";
import type { Question } from "../load/http.ts";
import type { Part } from "../part.ts";
import type { Worker } from "../worker.ts";

/** One person has a conversation with everybody else, of four messages, of which the last is unread. */
const CONVERSATIONS = 2_000;
const EACH = 4;

export const history: Part = {
  seconds: ({ short, big }) => (big ? 160 : short ? 10 : 38),

  async run({ sandbox, report, progress, short, big }) {
    const sizes = short ? [10_000, 100_000] : [10_000, 100_000, 1_000_000, ...(big ? [10_000_000] : [])];
    const generator = sandbox.generator();
    const writers = pairs(50, CONVERSATIONS + 100);
    const tables: { size: number; baseline: Worker<BaselineJobs>; server: ServerProcess }[] = [];
    for (const size of sizes) {
      progress.step(`filling a table with ${size.toLocaleString("en")} messages`);
      const database = await sandbox.database(CONVERSATIONS + 200);
      await database.addConversations([[0, 1]], size);
      await database.addConversations(
        Array.from({ length: CONVERSATIONS }, (_, i): Pair => [0, i + 2]),
        EACH,
        1,
      );
      await database.settle();
      const baseline = sandbox.baseline();
      await baseline.ask("connect", { database: database.url });
      tables.push({ size, baseline, server: await sandbox.serve({ database }) });
    }

    progress.step("asking");
    const me = nameOf(0);
    const conversation = `/messages/${me}/${nameOf(1)}`;
    const kinds = [
      { kind: "newest 50", path: () => `${conversation}?limit=50`, rows: 50 },
      {
        kind: "an old page",
        path: (size: number) => `${conversation}?limit=50&before=${Math.floor(size / 2)}`,
        rows: 50,
      },
      { kind: "unread counts", path: () => `/unread_counts/${me}`, rows: CONVERSATIONS },
      { kind: "conversations", path: () => "/conversations", rows: 50 },
    ];
    const questions = kinds.flatMap(({ kind, path, rows }) =>
      tables.map(({ size, server }): Question => ({
        name: `${kind} ${size}`,
        port: server.port,
        path: path(size),
        cookie: cookieOf(0),
        rows,
      })),
    );
    const { times, problems } = await generator.ask("ask", { questions, rounds: short ? 40 : 200 });
    report.check("history", "every page and list as long as it should be", problems);
    const at = (size: number) => `10^${Math.log10(size)} messages`;
    const [smallest = 0] = sizes;
    const took = (kind: string, size: number) => (times[`${kind} ${size}`] as Latency).p50;
    for (const { kind } of kinds) {
      for (const size of sizes.slice(1)) {
        report.add({
          part: "history",
          name: `${kind}, ${at(size)}, p50`,
          value: took(kind, size),
          unit: "ms",
          baseline: { name: at(smallest), value: took(kind, smallest) },
          ...(size === sizes.at(-1) ? { bound: { most: 1.5 } } : {}),
        });
      }
    }

    progress.step("storing");
    const inserts = tables.map((): Inserted[] => []);
    for (let round = 0; round < (short ? 3 : 6); round++) {
      for (const [i, { baseline }] of tables.entries()) {
        inserts[i]?.push(await baseline.ask("limit", { pairs: writers, seconds: 0.3, postgres: sandbox.postgres }));
      }
    }
    const rates = inserts.map((rounds) => rounds.map(({ rows, seconds }) => rows / seconds));
    for (const [i, size] of sizes.entries()) {
      if (i === 0) continue;
      const [there = [], first = []] = [rates[i], rates[0]];
      report.add({
        part: "history",
        name: `rows stored, ${at(size)}`,
        value: median(there),
        unit: "/s",
        baseline: { name: at(smallest), value: median(first) },
        ratio: median(there.map((rate, round) => rate / (first[round] as number))),
        ...(size === sizes.at(-1) ? { bound: { least: 0.8 } } : {}),
      });
    }
  },
};
