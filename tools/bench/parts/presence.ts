/**
 * What presence costs while people come and go: bytes a second of a socket that watches 50 people, which must not grow with the
 * number of people, and of all sockets that never watched, which have a budget.
 */

import { openFilesLimit } from "../../support/server_process.ts";
import type { Part } from "../part.ts";

const PEOPLE = 5_000;
const LEAVING_EACH_SECOND = 0.1;
/** Longer than the 5 s after which somebody who left is told to be gone. */
const AWAY_MS = 6_000;
const BUDGET_MIB = 8;

export const presence: Part = {
  seconds: ({ short }) => (short ? 9 : 42),

  async run({ sandbox, report, progress, short }) {
    const size = Math.min(short ? 800 : PEOPLE, openFilesLimit() - 500);
    const database = await sandbox.database(size);
    const generator = sandbox.generator(size + 500);

    const run = async (count: number, watching: boolean) => {
      const who = Array.from({ length: count }, (_, i) => i);
      progress.step(`${count} people, ${watching ? "each watches 50" : "none watches"}`);
      const server = await sandbox.serve({ database });
      const { port } = server;
      const begun = performance.now();
      await generator.ask("gather", { port, size: count, watching, greets: true });
      await generator.ask("arrive", { port, people: who });
      await Bun.sleep(1_500);
      const seconds = short ? 1.5 : 4;
      const churned = await generator.ask("churn", {
        port,
        seconds,
        perSecond: count * LEAVING_EACH_SECOND,
        awayMs: short ? 0 : AWAY_MS,
      });
      const { bytes, problems } = await generator.ask("count", { port });
      const lived = (performance.now() - begun) / 1_000;
      report.check(
        "presence",
        `${count} people, watching ${watching ? 50 : "nobody"}: right people told, nobody cut off`,
        problems,
      );
      await generator.ask("disperse", { port });
      await server.stop();
      return { perSocket: churned.bytes / churned.seconds / count, perSecond: bytes / lived };
    };

    const quarter = await run(Math.floor(size / 4), true);
    const all = await run(size, true);
    const part = "presence";
    report.add({
      part,
      name: `${size} people, a socket that watches 50`,
      value: all.perSocket,
      unit: "B/s",
      baseline: { name: `${Math.floor(size / 4)} people`, value: quarter.perSocket },
      bound: { most: 1.5 },
    });
    if (short) return; // lists of some hundred names are far below the budget
    const plain = await run(size, false);
    report.add({
      part,
      name: `${size} people, all sockets, none watches`,
      value: plain.perSecond / 2 ** 20,
      unit: "MiB/s",
      bound: { most: BUDGET_MIB },
    });
  },
};
