/**
 * The traffic of presence while users disconnect and reconnect: per socket that watches 50 users, which must not grow
 * with the number of users, and of all sockets that watch no one, which has a budget.
 */

import { openFilesLimit } from "../../support/server_process.ts";
import type { Part } from "../part.ts";

const USERS = 5_000;
const LEAVING_SHARE_PER_SECOND = 0.1;
/** Longer than the 5 s after which a user without sockets is offline. */
const AWAY_MS = 6_000;
const BUDGET_MIB = 8;

export const presence: Part = {
  seconds: ({ short }) => (short ? 9 : 42),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("presence");
    const size = Math.min(short ? 800 : USERS, openFilesLimit() - 500);
    const database = await sandbox.database(size);
    const generator = sandbox.generator(size + 500);

    const measure = async (count: number, watching: boolean) => {
      const label = `${count} users, ${watching ? "each watches 50" : "none watches"}`;
      progress.step(label);
      const server = await sandbox.serve({ database });
      const { port } = server;
      const startedAt = performance.now();
      await generator.ask("openConnectionLoad", { port, size: count, watching, greets: true });
      await generator.ask("connect", { port, users: Array.from({ length: count }, (_, i) => i) });
      await Bun.sleep(1_500);
      const churn = await generator.ask("churn", {
        port,
        seconds: short ? 1.5 : 4,
        perSecond: count * LEAVING_SHARE_PER_SECOND,
        awayMs: short ? 0 : AWAY_MS,
      });
      const { bytes, problems } = await generator.ask("count", { port });
      const seconds = (performance.now() - startedAt) / 1_000;
      add.check(`${label}: only watched users, no socket closed`, problems);
      await generator.ask("closeConnectionLoad", { port });
      await server.stop();
      return { perSocket: churn.bytes / churn.seconds / count, perSecond: bytes / seconds };
    };

    const few = Math.floor(size / 4);
    const quarter = await measure(few, true);
    const all = await measure(size, true);
    const baseline = { name: `${few} users`, value: quarter.perSocket };
    const name = `${size} users, a socket that watches 50`;
    add.figure(name, { value: all.perSocket, unit: "B/s", baseline, bound: { most: 1.5 } });
    if (short) return; // lists of some hundred names are far below the budget
    const unwatched = await measure(size, false);
    const value = unwatched.perSecond / 2 ** 20;
    add.figure(`${size} users, all sockets, none watches`, { value, unit: "MiB/s", bound: { most: BUDGET_MIB } });
  },
};
