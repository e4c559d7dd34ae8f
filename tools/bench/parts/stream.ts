/** Memory of the server while a whole conversation is sent in one response. */

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
    const read = (peer: number) => {
      const path = `/messages/${nameOf(0)}/${nameOf(peer)}`;
      return generator.ask("readStream", { port: server.port, path, cookie: cookieOf(0) });
    };

    progress.step("streaming");
    await read(2); // a short one first, which warms up the server
    const before = rssBytes(server.pid);
    let max = before;
    const meter = setInterval(() => (max = Math.max(max, rssBytes(server.pid))), 20);
    const response = await read(1).finally(() => clearInterval(meter));
    const add = report.section("stream");
    const missing = response.rows === size ? [] : [`${response.rows} rows instead of ${size}`];
    add.check("every message once, in order, in a complete array", [...response.problems, ...missing]);
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
    const bound = { most: 32 * 2 ** 20 };
    add.figure("memory growth", { value: max - before, unit: "bytes", bound, note: `${mib(before)} before` });
    const rate = response.rows / response.seconds;
    add.figure("rows", { value: rate, unit: "/s", note: `${mib(response.bytes)} in total` });
  },
};
