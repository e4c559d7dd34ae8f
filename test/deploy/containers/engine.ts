/** A Docker engine for the proofs: the one that runs here; else, for root on Debian, one from Debian's packages, for as long as they take. */

import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import { must, run } from "./docker.ts";

/** Something about this machine keeps the proofs from being run. */
export class CannotRun extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CannotRun";
  }
}

const START_MS = 30_000;
const PACKAGES = ["docker.io", "docker-compose", "iptables", "debootstrap"];

/** @param say progress for a person @returns what stops the engine, if it was started here */
export async function startEngine(say: (line: string) => void): Promise<() => Promise<void>> {
  if (await answers()) return async () => {};
  if (!Bun.which("dockerd")) await install(say);
  const directory = mkdtempSync(join(tmpdir(), "chatify-engine-"));
  const log = openSync(join(directory, "log"), "w");
  say("Starting a Docker engine …");
  const engine = Bun.spawn(["dockerd"], { stdio: ["ignore", log, log], detached: true }); // Ctrl-C is for us to pass on
  const stop = async () => {
    engine.kill("SIGTERM");
    await engine.exited;
    closeSync(log);
    rmSync(directory, { recursive: true, force: true });
  };
  for (const deadline = performance.now() + START_MS; performance.now() < deadline && engine.exitCode === null;) {
    if (await answers()) return stop;
    await Bun.sleep(200);
  }
  const said = readFileSync(join(directory, "log"), "utf8").trim().split("\n").slice(-5).join("\n");
  await stop();
  throw new CannotRun(`dockerd does not start here (containers within containers need privileges):\n${said}`);
}

/** What `docker` and `docker-compose` are without, when they are. */
export async function install(say: (line: string) => void): Promise<void> {
  if (userInfo().uid !== 0) throw new CannotRun("No Docker engine answers, and only root can install one here");
  if (!existsSync("/etc/debian_version") || !Bun.which("apt-get")) {
    throw new CannotRun(
      "No Docker engine answers, and only on Debian this installs one: install Docker, start it, try again",
    );
  }
  say(`Installing ${PACKAGES.join(", ")} from Debian's packages …`);
  try {
    await must(["apt-get", "update", "-qq"]);
    await must(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...PACKAGES], {
      env: { DEBIAN_FRONTEND: "noninteractive" },
    });
  } catch (error) {
    throw new CannotRun(`Debian's packages cannot be had: ${error instanceof Error ? error.message : error}`);
  }
}

async function answers(): Promise<boolean> {
  return Bun.which("docker") !== null && (await run(["docker", "info"])).code === 0;
}
