/**
 * Runs the scenarios. The last line is `N passed, N failed`; a machine without the privileges for containers exits
 * with 4 and says why. Images stay for the next run, nothing else.
 */

import { EXIT } from "../../../tools/support/command.ts";
import { namesOf, parseOptions, randomSeed } from "../../../tools/support/options.ts";
import { endHarness, ROOT } from "../../support/harness.ts";
import { chat } from "./chat.ts";
import { Compose, composeCommand, docker, run as runCommand } from "./docker.ts";
import { installEngine, startEngine, Unsupported } from "./engine.ts";
import { image } from "./image.ts";
import { k8s } from "./k8s.ts";
import { load } from "./load.ts";
import { monitoring } from "./monitoring.ts";
import { passwords } from "./passwords.ts";
import { scale } from "./scale.ts";
import { Reported, Results, type Scenario, type ScenarioContext } from "./scenario.ts";
import { provide } from "./stand_ins.ts";
import { upgrade } from "./upgrade.ts";

const INTERRUPTED = 130;
const BASE = "oven/bun:1.4.5-slim";
const IMAGE = "chatify-verify";
const scenarios: Readonly<Record<string, Scenario>> = {
  image,
  chat,
  passwords,
  load,
  scale,
  upgrade,
  monitoring,
  k8s,
};
const say = (line: string) => console.log(line);

/** @throws OptionsError */
export function readOptions(args: readonly string[]): readonly Scenario[] | undefined {
  const values = parseOptions(args, { only: { type: "string" } });
  const names = Object.keys(scenarios);
  return values && namesOf("scenario", values.only ?? names.join(), names).map((name) => scenarios[name] as Scenario);
}

export function help(): string {
  const list = Object.entries(scenarios).map(([name, { about }]) => `  ${name.padEnd(10)} ${about}\n`);
  return `bun run verify:containers [--only NAME[,NAME]]\n\nScenarios\n${list.join("")}`;
}

export async function run(chosen: readonly Scenario[]): Promise<number> {
  const startedAt = performance.now();
  const results = new Results();
  const prefix = `chatify-verify-${process.pid}`;
  const disposers: (() => Promise<unknown>)[] = [];
  const dispose = async () => {
    await Compose.end();
    for (const disposer of disposers.splice(0).toReversed())
      await disposer().catch((error: unknown) => console.error(String(error)));
    await endHarness();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void dispose().finally(() => process.exit(INTERRUPTED)));
  }
  try {
    disposers.push(await startEngine(say));
    disposers.push(() => removeAll(prefix)); // before the engine stops
    if (!(await composeCommand())) await installEngine(say);
    const compose = await composeCommand();
    if (!compose) throw new Unsupported("There is neither `docker compose` nor `docker-compose`");
    const context: ScenarioContext = {
      results,
      image: IMAGE,
      compose: (name, env = {}, dotEnv) =>
        new Compose(compose, `${prefix}-${name}`, { ...env, CHATIFY_IMAGE: IMAGE }, dotEnv),
      name: (suffix) => `${prefix}-${suffix}`,
      provide: async (...images) => {
        for (const name of images) await provide(name, say);
      },
      say,
      seed: randomSeed(),
    };
    await context.provide(BASE);
    await results.check("the image is built from the Dockerfile", () =>
      docker("build", "--quiet", "--force-rm", "--tag", IMAGE, ROOT),
    );
    for (const scenario of chosen) {
      await scenario.run(context).catch((error: unknown) => {
        if (error instanceof Unsupported) throw error;
        if (!(error instanceof Reported)) results.fail(scenario.about, error);
      });
    }
  } catch (error) {
    if (error instanceof Unsupported) {
      console.error(`\nNOT RUN: this machine cannot run containers. ${error.message}`);
      return EXIT.environment;
    }
    if (!(error instanceof Reported)) results.fail("the scenarios", error);
  } finally {
    await dispose();
  }
  const { passed, failed, skipped } = results;
  for (const line of skipped) say(`\n${line}`);
  say(`\n${failed === 0 ? "All checks passed" : "Some checks failed: see above"} (${seconds(startedAt)} s)`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? EXIT.done : EXIT.wrong;
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1_000).toFixed(0);
}

/** Removes a run's containers, networks and volumes by their names. */
async function removeAll(prefix: string): Promise<void> {
  const list = async (...args: string[]) => (await docker(...args)).split("\n").filter(Boolean);
  const containers = await list("ps", "--all", "--quiet", "--filter", `name=${prefix}`);
  if (containers.length > 0) await runCommand(["docker", "rm", "--force", "--volumes", ...containers]);
  for (const kind of ["network", "volume"])
    for (const id of await list(kind, "ls", "--quiet", "--filter", `name=${prefix}`))
      await runCommand(["docker", kind, "rm", id]);
}
