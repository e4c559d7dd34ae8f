/** `bun run chaos`: injects faults into a cluster of servers and checks that no promise was broken. */

import { start } from "../support/command.ts";

await start(() => import("./chaos.ts"));
