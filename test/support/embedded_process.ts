/** A separate process for `embedded_test.ts`: starts the database in `argv[2]`, prints the outcome, and stops on request. */

import { connect } from "../../src/db/client.ts";
import { startEmbedded } from "../../src/db/start_embedded.ts";
import { EmbeddedError } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";

const [directory, packageDirectory, leave] = Bun.argv.slice(2) as [string, string, string | undefined];
const log = new Log({ level: "info", format: "text", write: (line) => void Bun.stderr.write(line) });

try {
  const embedded = await startEmbedded({ directory, packageDirectory, log });
  const sql = connect(embedded.target, { name: "chatify-test" });
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  await sql.end();
  console.log(JSON.stringify({ state: embedded.state, target: embedded.target, answered: row !== undefined }));
  if (leave !== "leave") {
    for await (const line of console) if (line === "stop") break;
    console.log(JSON.stringify({ stopped: await embedded.stop() }));
  }
} catch (error) {
  if (!(error instanceof EmbeddedError)) throw error;
  console.log(JSON.stringify({ refused: error.message }));
}
