/** Memory of the server while a whole conversation leaves in one answer. */

import { rssBytes } from "../../support/usage.ts";
import { cookieOf, nameOf } from "../../support/users.ts";
import type { Part } from "../part.ts";

export const stream: Part = {
  seconds: ({ short, big }) => (big ? 200 : short ? 5 : 20),

  async run({ sandbox, report, progress, short, big }) {
    const size = big ? 10_000_000 : short ? 100_000 : 1_000_000;
    const database = await sandbox.database(4);
    progress.step(`filling a table with ${size.toLocaleString("en")} messages`);
    await database.addConversations([[0, 1]], size);
    await database.addConversations([[0, 2]], 20_000);
    await database.settle();
    const server = await sandbox.serve({ database });
    const generator = sandbox.generator();
    const whole = (peer: number) =>
      generator.ask("swallow", {
        port: server.port,
        path: `/messages/${nameOf(0)}/${nameOf(peer)}`,
        cookie: cookieOf(0),
      });

    progress.step("one answer");
    await whole(2); // a short one first: what a server that has streamed before has
    const before = rssBytes(server.pid);
    let most = before;
    const meter = setInterval(() => (most = Math.max(most, rssBytes(server.pid))), 20);
    const answer = await whole(1).finally(() => clearInterval(meter));
    const missing = answer.rows === size ? [] : [`${answer.rows} rows instead of ${size}`];
    report.check("stream", "every message once, in order, and the array whole", [...answer.problems, ...missing]);
    const part = "stream";
    const note = `${(before / 2 ** 20).toFixed(0)} MiB before`;
    report.add({
      part,
      name: "memory grows by",
      value: most - before,
      unit: "bytes",
      bound: { most: 32 * 2 ** 20 },
      note,
    });
    report.add({
      part,
      name: "rows",
      value: answer.rows / answer.seconds,
      unit: "/s",
      note: `${(answer.bytes / 2 ** 20).toFixed(0)} MiB in all`,
    });
  },
};
