/** The time from the command to an answering server, on an empty directory and on an existing database. */

import { join } from "node:path";

import type { Part } from "../part.ts";

export const start: Part = {
  seconds: () => 6,

  async run({ sandbox, report, progress }) {
    const add = report.section("start");
    const dataDir = join(sandbox.directory, "data");
    for (const name of ["first start, creating the database", "second start"]) {
      progress.step(name);
      const server = await sandbox.serve({ dataDir });
      const { status } = await fetch(`http://127.0.0.1:${server.port}/readyz`);
      add.check(`${name}: ready`, status === 200 ? [] : [`/readyz answered ${status}`]);
      add.figure(name, { value: server.startedInMs / 1_000, unit: "s" });
      await server.stop();
    }
  },
};
