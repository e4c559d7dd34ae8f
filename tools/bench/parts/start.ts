/** From the command to a server that answers: with nothing there, and with the database of the first time. */

import { join } from "node:path";

import type { Part } from "../part.ts";

export const start: Part = {
  seconds: () => 6,

  async run({ sandbox, report, progress }) {
    const dataDir = join(sandbox.directory, "data");
    for (const name of ["first start, database made", "second start"]) {
      progress.step(name);
      const server = await sandbox.serve({ dataDir });
      const answer = await fetch(`http://127.0.0.1:${server.port}/readyz`);
      report.check("start", `${name}: ready`, answer.status === 200 ? [] : [`/readyz answered ${answer.status}`]);
      report.add({ part: "start", name, value: server.startedInMs / 1_000, unit: "s" });
      await server.stop();
    }
  },
};
