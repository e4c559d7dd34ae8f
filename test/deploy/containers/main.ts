/** `bun run verify:containers`: tests Dockerfile, docker-compose.yml and k8s/ on a real Docker engine. */

import { start } from "../../../tools/support/command.ts";

await start(() => import("./run.ts"), { need: "develop" });
