/** `bun run fuzz`: sends hundreds of thousands of hostile frames and requests, and checks every answer and every row. */

import { start } from "../support/command.ts";

await start(() => import("./fuzz.ts"));
