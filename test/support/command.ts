/** Runs a command of `tools/` in a temporary directory, and lists what it leaves behind. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { TEXTS } from "../../tools/chaos/workload.ts";
import { SESSION_SECRET } from "../../tools/support/users.ts";
import { ROOT } from "./harness.ts";
import { logs } from "./log_search.ts";
import { until } from "./until.ts";

logs.noteSetting("SESSION_SECRET", SESSION_SECRET);
logs.note("cookie", "token-p0000");
for (const text of TEXTS) logs.note("message", text);

/** @param script below `tools/` @param options.interruptAfterMs counted from its first trace on the disk: a busy machine starts it late @returns how it ended, what it said, and directories and processes that it should not have left */
export async function runCommand(script: string, words: string[], options: { interruptAfterMs?: number } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "chatify-command-test-"));
  const child = Bun.spawn([process.execPath, join(ROOT, "tools", script), ...words], {
    env: { ...Bun.env, TMPDIR: directory },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { interruptAfterMs } = options;
  if (interruptAfterMs !== undefined) {
    while (readdirSync(directory).length === 0 && child.exitCode === null) await Bun.sleep(5); // before, there is nothing to leave behind
    setTimeout(() => child.kill("SIGINT"), interruptAfterMs);
  }
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  logs.hear(out + err);
  const left = () => readdirSync(directory).filter((name) => name.startsWith("chatify-"));
  const running = () => processesNaming(directory);
  // Children may exit a moment after the command.
  await until("nothing is left", () => left().length + running().length === 0, 5_000).catch(() => {});
  const found = { left: left(), running: running() };
  rmSync(directory, { recursive: true, force: true });
  return { code, out, err, ...found };
}

/** Command lines of processes that name a directory. */
function processesNaming(directory: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return ""; // it ended meanwhile
      }
    })
    .filter((command) => command.includes(directory));
}
