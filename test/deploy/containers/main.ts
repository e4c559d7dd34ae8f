/** `bun run verify:containers`: runs Dockerfile and docker-compose.yml on a real Docker engine, and builds the manifests of k8s/. */

import { start } from "../../../tools/support/command.ts";

await start(() => import("./run.ts"), { need: "develop" });
