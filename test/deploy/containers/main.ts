/**
 * `bun run verify:containers`: Dockerfile and docker-compose.yml, unchanged, on a real Docker engine, and what k8s/ makes. Ends with `N passed, N failed`; a machine on
 * which nothing can be shown ends with 4 and says why. Leaves images behind, for the next time, and nothing else.
 */

import { join } from "node:path";

import { ensurePackages } from "../../../src/cli/packages.ts";
import type { Proof, Stage } from "./proof.ts";

const EXIT = { well: 0, wrong: 1, words: 2, packages: 3, machine: 4, interrupted: 130 } as const;
const BASE = "oven/bun:1.4.5-slim";
const IMAGE = "chatify-verify";
const root = join(import.meta.dir, "..", "..", "..");
const say = (line: string) => console.log(line);

process.exit(await main(process.argv.slice(2)));

async function main(words: readonly string[]): Promise<number> {
  try {
    const again = await ensurePackages({ root, bun: process.execPath, need: "develop", say });
    if (again)
      return await Bun.spawn([process.execPath, ...process.argv.slice(1)], { stdio: ["inherit", "inherit", "inherit"] })
        .exited;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return EXIT.packages;
  }
  const [{ chat }, { image }, { k8s }, { load }, { monitoring }, { passwords }, { scale }, { upgrade }] =
    await Promise.all([
      import("./chat.ts"),
      import("./image.ts"),
      import("./k8s.ts"),
      import("./load.ts"),
      import("./monitoring.ts"),
      import("./passwords.ts"),
      import("./scale.ts"),
      import("./upgrade.ts"),
    ]);
  const proofs: Record<string, Proof> = {
    image,
    chat,
    passwords,
    load,
    scale,
    upgrade,
    monitoring,
    k8s,
  };
  const chosen = words[0] === "--only" ? (words[1] ?? "").split(",") : Object.keys(proofs);
  if ((words.length > 0 && words[0] !== "--only") || words.length > 2 || chosen.some((name) => !(name in proofs))) {
    console.error(`bun run verify:containers takes nothing, or --only and some of:`);
    for (const [name, { about }] of Object.entries(proofs)) console.error(`  ${name.padEnd(14)} ${about}`);
    return EXIT.words;
  }
  return prove(chosen.map((name) => proofs[name]!));
}

async function prove(proofs: readonly Proof[]): Promise<number> {
  const [
    { endHarness },
    { Compose, composeWords, docker, run },
    { CannotRun, install, startEngine },
    { Counted, Tally },
    { provide },
  ] = await Promise.all([
    import("../../support/harness.ts"),
    import("./docker.ts"),
    import("./engine.ts"),
    import("./proof.ts"),
    import("./stand_ins.ts"),
  ]);
  const begun = performance.now();
  const tally = new Tally();
  const prefix = `chatify-verify-${process.pid}`;
  const undo: (() => Promise<unknown>)[] = [];
  /** Containers and networks of proofs go before the engine does. */
  const leave = async () => {
    await Compose.end();
    for (const step of undo.splice(0).toReversed())
      await step().catch((error: unknown) => console.error(String(error)));
    await endHarness();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void leave().finally(() => process.exit(EXIT.interrupted)));
  }
  try {
    undo.push(await startEngine(say));
    undo.push(() => removeAll(prefix));
    if (!(await composeWords())) await install(say);
    const compose = await composeWords();
    if (!compose) throw new CannotRun("There is neither `docker compose` nor `docker-compose`");
    const stage: Stage = {
      tally,
      image: IMAGE,
      compose: (name, env = {}, dotEnv) =>
        new Compose(compose, `${prefix}-${name}`, { ...env, CHATIFY_IMAGE: IMAGE }, dotEnv),
      name: (what) => `${prefix}-${what}`,
      provide: async (...images) => {
        for (const image of images) await provide(image, say);
      },
      say,
      seed: crypto.getRandomValues(new Uint32Array(1))[0] as number,
    };
    await stage.provide(BASE);
    await tally.check("the image is built from the Dockerfile", () =>
      docker("build", "--quiet", "--force-rm", "--tag", IMAGE, root),
    );
    for (const proof of proofs) {
      await proof.run(stage).catch((error: unknown) => {
        if (error instanceof CannotRun) throw error;
        if (!(error instanceof Counted)) tally.fail(proof.about, error);
      });
    }
  } catch (error) {
    if (error instanceof CannotRun) {
      console.error(`\nNOT SHOWN: nothing about containers can be shown on this machine. ${error.message}`);
      return EXIT.machine;
    }
    if (!(error instanceof Counted)) tally.fail("the proofs", error);
  } finally {
    await leave();
  }
  const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
  for (const words of tally.leftOut) say(`\n${words}`);
  say(`\n${tally.failed === 0 ? "Containers are as they should be" : "Something is wrong: see above"} (${seconds} s)`);
  say(`${tally.passed} passed, ${tally.failed} failed`);
  return tally.failed === 0 ? EXIT.well : EXIT.wrong;

  /** Whatever of a run is still there, by its names. */
  async function removeAll(prefix: string): Promise<void> {
    const list = async (...words: string[]) => (await docker(...words)).split("\n").filter(Boolean);
    const containers = await list("ps", "--all", "--quiet", "--filter", `name=${prefix}`);
    if (containers.length > 0) await run(["docker", "rm", "--force", "--volumes", ...containers]);
    for (const network of await list("network", "ls", "--quiet", "--filter", `name=${prefix}`))
      await run(["docker", "network", "rm", network]);
    for (const volume of await list("volume", "ls", "--quiet", "--filter", `name=${prefix}`))
      await run(["docker", "volume", "rm", volume]);
  }
}
