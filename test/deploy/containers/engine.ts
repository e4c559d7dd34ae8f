/** A Docker engine: the running one, or for root on Debian one from Debian's packages, for the duration of the run. */

import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import { must, run } from "./docker.ts";

/** This machine cannot run containers; the message says why. */
export class Unsupported extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Unsupported";
  }
}

const START_MS = 30_000;
const PACKAGES = ["docker.io", "docker-compose", "iptables", "debootstrap"];

/** @param say prints progress @returns a function that stops the engine if it was started here */
export async function startEngine(say: (line: string) => void): Promise<() => Promise<void>> {
  if (await isRunning()) return async () => {};
  if (!Bun.which("dockerd")) await installEngine(say);
  const directory = mkdtempSync(join(tmpdir(), "chatify-engine-"));
  const log = openSync(join(directory, "log"), "w");
  say("Starting a Docker engine …");
  const engine = Bun.spawn(["dockerd"], { stdio: ["ignore", log, log], detached: true }); // Ctrl-C reaches only this process
  const stop = async () => {
    engine.kill("SIGTERM");
    await engine.exited;
    closeSync(log);
    rmSync(directory, { recursive: true, force: true });
  };
  for (const deadline = performance.now() + START_MS; performance.now() < deadline && engine.exitCode === null;) {
    if (await isRunning()) return stop;
    await Bun.sleep(200);
  }
  const output = readFileSync(join(directory, "log"), "utf8").trim().split("\n").slice(-5).join("\n");
  await stop();
  throw new Unsupported(`dockerd does not start (containers within containers need privileges):\n${output}`);
}

/** Installs Docker and Compose. @throws Unsupported */
export async function installEngine(say: (line: string) => void): Promise<void> {
  if (userInfo().uid !== 0) throw new Unsupported("No Docker engine is running, and only root can install one");
  if (!existsSync("/etc/debian_version") || !Bun.which("apt-get")) {
    throw new Unsupported(
      "No Docker engine is running, and this installs one only on Debian: install Docker, start it, try again",
    );
  }
  say(`Installing ${PACKAGES.join(", ")} from Debian's packages …`);
  try {
    await must(["apt-get", "update", "-qq"]);
    await must(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...PACKAGES], {
      env: { DEBIAN_FRONTEND: "noninteractive" },
    });
  } catch (error) {
    throw new Unsupported(`Debian's packages cannot be installed: ${error instanceof Error ? error.message : error}`);
  }
}

async function isRunning(): Promise<boolean> {
  return Bun.which("docker") !== null && (await run(["docker", "info"])).code === 0;
}
