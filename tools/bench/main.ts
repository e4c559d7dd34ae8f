/** `bun run bench`: measures chatify on this machine and verifies every answer. */

import { start } from "../support/command.ts";

await start(() => import("./bench.ts"));
