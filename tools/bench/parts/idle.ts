/** What thousands of sockets that say nothing cost: memory, and the frames that tell who came and went. */

import { show } from "../../support/report.ts";
import { openFilesLimit, type ServerProcess } from "../../support/server_process.ts";
import { rssBytes } from "../../support/usage.ts";
import type { Counts } from "../load/connection_load.ts";
import type { Part } from "../part.ts";

const PEOPLE = 10_000;
/** After the last arrival: what is gathered is told within a second. */
const SETTLE_MS = 2_500;
/** Bun gives back what arriving left behind some seconds after it has nothing to do. */
const COLLECT_MS = 6_000;
/** What starting leaves behind it gives back sooner: its memory is the same from the second second on. */
const STARTED_MS = 2_000;
/** Whoever left counts for 5 s more, then it is told within a second. */
const GONE_MS = 6_500;

export const idle: Part = {
  seconds: ({ short }) => (short ? 9 : 42),

  async run({ sandbox, report, progress, short }) {
    const settleMs = short ? SETTLE_MS / 2 : SETTLE_MS;
    const collectMs = short ? SETTLE_MS / 2 : COLLECT_MS;
    const allowed = openFilesLimit() - 500;
    const wanted = short ? 1_000 : PEOPLE;
    const size = Math.min(wanted, allowed);
    const fewer = size < wanted ? ` (of ${wanted}: this machine allows ${allowed + 500} open files, ulimit -Hn)` : "";
    const people = Array.from({ length: size }, (_, i) => i);
    const database = await sandbox.database(size);
    const generator = sandbox.generator(size + 500);
    const title = (name: string) => `${name}, ${size} sockets${fewer}`;

    progress.step("the smallest server with a Map");
    const baseline = sandbox.baseline(size + 500);
    const { port } = await baseline.ask("map", undefined);
    const bareBefore = rssBytes(baseline.pid);
    await generator.ask("gather", { port, size, watching: false, greets: false });
    const bareSeconds = await generator.ask("arrive", { port, people });
    await Bun.sleep(settleMs);
    const bare = (rssBytes(baseline.pid) - bareBefore) / size;
    await generator.ask("disperse", { port });

    for (const watching of short ? [true] : [true, false]) {
      const name = watching ? "each watches 50" : "none watches";
      progress.step(`${name}: arriving`);
      const server = await sandbox.serve({ database });
      const { port } = server;
      const before = await settledRss(server, Math.min(STARTED_MS, collectMs));
      await generator.ask("gather", { port, size, watching, greets: true });
      const quarter = people.slice(0, size / 4);
      let seconds = await generator.ask("arrive", { port, people: quarter });
      await Bun.sleep(settleMs);
      const atQuarter = await generator.ask("count", { port });
      seconds += await generator.ask("arrive", { port, people: people.slice(size / 4) });
      const after = await settledRss(server, collectMs);
      const atAll = await generator.ask("count", { port });

      progress.step(`${name}: half of them leave`);
      await generator.ask("leave", { port, people: people.filter((person) => person % 2 === 1) });
      await Bun.sleep(short ? 0 : GONE_MS);
      const atEnd = await generator.ask("count", { port });
      report.check("idle", `${name}: right people told, nobody cut off`, atEnd.problems);
      await generator.ask("disperse", { port });
      await server.stop();

      const part = "idle";
      const perSocket = (counts: Counts, sockets: number) => counts.frames / sockets;
      const connects = { name: "a Map", value: size / bareSeconds };
      report.add({ part, name: title(`${name}: connects`), value: size / seconds, unit: "/s", baseline: connects });
      report.add({
        part,
        name: `${name}: memory of a socket`,
        value: (after - before) / size,
        unit: "bytes",
        note: `a Map ${show(bare, "bytes")}`,
        // of few sockets each has a large part of what the first ones cost the process
        ...(watching && size === PEOPLE ? { bound: { most: 4_096 } } : {}),
      });
      report.add({
        part,
        name: `${name}: frames, arriving${short ? "" : " and leaving"}`,
        value: atEnd.frames,
        unit: "",
        note: `${Math.round(atEnd.bytes / 2 ** 20)} MiB`,
      });
      report.add({
        part,
        name: `${name}: frames of a socket, four times the people`,
        value: perSocket(atAll, size),
        unit: "",
        baseline: { name: `${quarter.length} people`, value: perSocket(atQuarter, quarter.length) },
        bound: { most: 1.5 },
      });
    }
  },
};

/** Memory once it no longer changes with garbage: the least over some seconds. */
async function settledRss(server: ServerProcess, waitMs: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (const since = performance.now(); performance.now() - since < waitMs; await Bun.sleep(250)) {
    least = Math.min(least, rssBytes(server.pid));
  }
  return least;
}
