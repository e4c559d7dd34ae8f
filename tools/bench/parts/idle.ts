/** The cost of thousands of idle sockets: memory, and the frames that announce who connects and disconnects. */

import { show } from "../../support/report.ts";
import { openFilesLimit, type ServerProcess } from "../../support/server_process.ts";
import { rssBytes } from "../../support/usage.ts";
import type { Part } from "../part.ts";

const USERS = 10_000;
/** Presence changes are announced within a second. */
const SETTLE_MS = 2_500;
/** Bun returns memory some seconds after it becomes idle. */
const COLLECT_MS = 6_000;
/** After a start it does so within 2 s. */
const STARTED_MS = 2_000;
/** A user without sockets counts as online for 5 s; the change is announced within a second. */
const OFFLINE_MS = 6_500;

export const idle: Part = {
  seconds: ({ short }) => (short ? 9 : 42),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("idle");
    const settleMs = short ? SETTLE_MS / 2 : SETTLE_MS;
    const collectMs = short ? SETTLE_MS / 2 : COLLECT_MS;
    const allowed = openFilesLimit() - 500;
    const wanted = short ? 1_000 : USERS;
    const size = Math.min(wanted, allowed);
    const fewer = size < wanted ? ` (of ${wanted}: this machine allows ${allowed + 500} open files, ulimit -Hn)` : "";
    const users = Array.from({ length: size }, (_, i) => i);
    const database = await sandbox.database(size);
    const generator = sandbox.generator(size + 500);

    progress.step("the smallest server with a Map");
    const baseline = sandbox.baseline(size + 500);
    const bareServer = { port: (await baseline.ask("map", undefined)).port };
    const bareBefore = rssBytes(baseline.pid);
    await generator.ask("openConnectionLoad", { ...bareServer, size, watching: false, greets: false });
    const bareSeconds = await generator.ask("connect", { ...bareServer, users });
    await Bun.sleep(settleMs);
    const bareBytes = (rssBytes(baseline.pid) - bareBefore) / size;
    await generator.ask("closeConnectionLoad", bareServer);

    for (const watching of short ? [true] : [true, false]) {
      const name = watching ? "each watches 50" : "none watches";
      progress.step(`${name}: connecting`);
      const server = await sandbox.serve({ database });
      const { port } = server;
      const before = await settledRss(server, Math.min(STARTED_MS, collectMs));
      await generator.ask("openConnectionLoad", { port, size, watching, greets: true });
      const quarter = users.slice(0, size / 4);
      let seconds = await generator.ask("connect", { port, users: quarter });
      await Bun.sleep(settleMs);
      const atQuarter = await generator.ask("count", { port });
      seconds += await generator.ask("connect", { port, users: users.slice(size / 4) });
      const after = await settledRss(server, collectMs);
      const atAll = await generator.ask("count", { port });

      progress.step(`${name}: half of them disconnect`);
      await generator.ask("disconnect", { port, users: users.filter((user) => user % 2 === 1) });
      await Bun.sleep(short ? 0 : OFFLINE_MS);
      const atEnd = await generator.ask("count", { port });
      add.check(`${name}: only watched users, no socket closed`, atEnd.problems);
      await generator.ask("closeConnectionLoad", { port });
      await server.stop();

      add.figure(`${name}: connections, ${size} sockets${fewer}`, {
        value: size / seconds,
        unit: "/s",
        baseline: { name: "a Map", value: size / bareSeconds },
      });
      add.figure(`${name}: memory per socket`, {
        value: (after - before) / size,
        unit: "bytes",
        note: `a Map ${show(bareBytes, "bytes")}`,
        // with few sockets the process's fixed cost dominates
        ...(watching && size === USERS ? { bound: { most: 4_096 } } : {}),
      });
      add.figure(`${name}: frames, connecting${short ? "" : " and disconnecting"}`, {
        value: atEnd.frames,
        unit: "",
        note: `${Math.round(atEnd.bytes / 2 ** 20)} MiB`,
      });
      add.figure(`${name}: frames per socket, with four times the users`, {
        value: atAll.frames / size,
        unit: "",
        baseline: { name: `${quarter.length} users`, value: atQuarter.frames / quarter.length },
        bound: { most: 1.5 },
      });
    }
  },
};

/** The least memory over some time, so that garbage does not count. */
async function settledRss(server: ServerProcess, forMs: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (const startedAt = performance.now(); performance.now() - startedAt < forMs; await Bun.sleep(250)) {
    least = Math.min(least, rssBytes(server.pid));
  }
  return least;
}
