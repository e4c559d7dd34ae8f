/**
 * Takes each protection out of a copy of the tree, one at a time, and sees its test fail: `bun run protections [words]`, where words
 * pick those whose line holds one of them. `--write` makes `docs/security-tests.md` of the list. About four seconds each.
 */

import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PROTECTIONS as attention } from "./protections/attention.ts";
import { PROTECTIONS as browserStore } from "./protections/browser_store.ts";
import { PROTECTIONS as bus } from "./protections/bus.ts";
import { PROTECTIONS as database } from "./protections/database.ts";
import { PROTECTIONS as door } from "./protections/door.ts";
import { PROTECTIONS as embedded } from "./protections/embedded.ts";
import { PROTECTIONS as http } from "./protections/http.ts";
import { PROTECTIONS as limits } from "./protections/limits.ts";
import { PROTECTIONS as load } from "./protections/load.ts";
import { PROTECTIONS as logs } from "./protections/logs.ts";
import { PROTECTIONS as pages } from "./protections/pages.ts";
import { PROTECTIONS as people } from "./protections/people.ts";
import type { Protection } from "./protections/protection.ts";
import { PROTECTIONS as sessions } from "./protections/sessions.ts";
import { PROTECTIONS as socket } from "./protections/socket.ts";

const ROOT = join(import.meta.dir, "..");
/** A test that has not failed by then waits for what will never come: that is a failure, too, but not one to wait for. */
const TEST_TIMEOUT_MS = 20_000;

export const PROTECTIONS: Readonly<Record<string, readonly Protection[]>> = {
  HTTP: http,
  WebSocket: socket,
  Sessions: sessions,
  "Between pods": bus,
  Limits: limits,
  "Between people": people,
  "The door": door,
  Pages: pages,
  "What the browser keeps": browserStore,
  "What a person notices": attention,
  "Load as an attack": load,
  Logs: logs,
  "The embedded PostgreSQL": embedded,
  "The connection to PostgreSQL": database,
};

/** `docs/security-tests.md`. */
export function document(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const tables = Object.entries(PROTECTIONS).map(([area, protections]) => {
    const rows = protections.map(
      ({ against, file, test, name }) => `| ${cell(against)} | \`${file}\` | \`${test}\`: ${cell(name)} |`,
    );
    return `## ${area}\n\n| kept out | by | noticed by |\n|---|---|---|\n${rows.join("\n")}\n`;
  });
  return `# Protections and their tests

Each line is a protection, the file that holds it, and a test that fails when it is taken out. \`bun run protections\` takes them out of a copy of the
tree, one at a time, and sees that test fail; a piece of source named here that is no longer there exactly once fails \`verify\`.
This page is made by \`bun run protections --write\` from the lists in \`test/protections/\`.

${tables.join("\n")}`;
}

/** Why a protection cannot be taken out as its line says, undefined when it can. */
export function misfit({ file, find, replace, test }: Protection): string | undefined {
  const pieces = readFileSync(join(ROOT, file), "utf8").split(find).length - 1;
  if (pieces !== 1) return `${file} holds its piece ${pieces} times, not once: ${find}`;
  if (find === replace) return `its replacement changes nothing: ${find}`;
  return readFileSync(join(ROOT, test), "utf8") === "" ? `${test} is empty` : undefined;
}

/** @returns what was wrong, undefined when the test failed as it should */
async function tryWithout(tree: string, protection: Protection): Promise<string | undefined> {
  const why = misfit(protection);
  if (why) return why;
  const path = join(tree, protection.file);
  const whole = readFileSync(path, "utf8");
  writeFileSync(
    path,
    whole.replace(protection.find, () => protection.replace),
  );
  try {
    const pattern = `^ ?${protection.name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$`;
    const words = ["test", `--timeout=${TEST_TIMEOUT_MS}`, `./${protection.test}`, "-t", pattern];
    const child = Bun.spawn([process.execPath, ...words], {
      cwd: tree,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    const failed = Number(/^ *(\d+) fail$/m.exec(out + err)?.[1] ?? 0);
    const passed = Number(/^ *(\d+) pass$/m.exec(out + err)?.[1] ?? 0);
    if (failed > 0) return undefined;
    return passed > 0 ? "its test still passes" : `its test was not found, or did not run:\n${(out + err).slice(-600)}`;
  } finally {
    writeFileSync(path, whole);
  }
}

async function main(words: readonly string[]): Promise<number> {
  if (words.includes("--write")) {
    writeFileSync(join(ROOT, "docs", "security-tests.md"), document());
    return 0;
  }
  const all = Object.values(PROTECTIONS).flat();
  const picked = all.filter((one) => words.length === 0 || words.some((word) => JSON.stringify(one).includes(word)));
  const tree = mkdtempSync(join(tmpdir(), "chatify-protections-"));
  let survived = 0;
  try {
    for (const part of [
      "src",
      "sql",
      "static",
      "test",
      "bench",
      "docs",
      "package.json",
      "bunfig.toml",
      "tsconfig.json",
      "README.md",
      ".env.example",
    ]) {
      cpSync(join(ROOT, part), join(tree, part), { recursive: true });
    }
    symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
    const startedAt = performance.now();
    for (const [at, protection] of picked.entries()) {
      const fault = await tryWithout(tree, protection);
      if (fault) survived++;
      const seconds = (performance.now() - startedAt) / 1_000;
      const left = Math.round((seconds / (at + 1)) * (picked.length - at - 1));
      console.log(
        `${fault ? "SURVIVED" : "noticed "} ${protection.against}${fault ? `: ${fault}` : ""} (${at + 1} of ${picked.length}, ${left} s left)`,
      );
    }
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
  console.log(`\n${picked.length - survived} of ${picked.length} protections are missed when they are gone`);
  return survived === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
