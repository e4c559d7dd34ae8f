/**
 * `bun run mutations [words]`: breaks each security guarantee in a copy of the tree, one at a time, and expects its
 * test to fail. Words select the mutations whose guarantee or file contains one of them. `--write` writes
 * docs/security-tests.md.
 */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { mutated, type Mutation } from "./mutate.ts";
import { MUTATIONS } from "./mutations.ts";

const ROOT = join(import.meta.dir, "..", "..");
/** A test that hangs fails, too. */
const TEST_TIMEOUT_MS = 20_000;
/** Each in its own copy of the tree; tests mostly wait. */
const CONCURRENCY = 2;
const NOT_COPIED = new Set(["node_modules", ".git", "data"]);

const EXIT = { done: 0, survived: 1, usage: 2 } as const;

const HELP = `Usage: bun run mutations [words] [--write]

Breaks each security guarantee in a copy of the tree, one at a time, and expects its test to fail.
Words select the mutations whose guarantee or file contains one of them.

  --write     write docs/security-tests.md instead
  -h, --help  this page
`;

/** The text of docs/security-tests.md. */
export function document(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const tables = Object.entries(MUTATIONS).map(([area, mutations]) => {
    const rows = mutations.map(
      ({ guarantee, file, test, name }) => `| ${cell(guarantee)} | \`${file}\` | \`${test}\`: ${cell(name)} |`,
    );
    return `## ${area}\n\n| guarantee | implemented in | tested by |\n|---|---|---|\n${rows.join("\n")}\n`;
  });
  return `# Security guarantees and their tests

\`bun run mutations\` breaks each of these guarantees in a copy of the tree, one at a time, and fails if its test still passes. These are the ones that
an attacker would try first; the tests cover many more. \`bun run mutations --write\` generates this page from \`tools/mutations/mutations.ts\`.

${tables.join("\n")}`;
}

/** @returns why a mutant survived; undefined when its test failed */
async function survives(tree: string, mutation: Mutation): Promise<string | undefined> {
  const path = join(tree, mutation.file);
  const source = readFileSync(path, "utf8");
  writeFileSync(path, mutated(source, mutation));
  try {
    const pattern = `^ ?${RegExp.escape(mutation.name)}$`;
    const args = ["test", `--timeout=${TEST_TIMEOUT_MS}`, `./${mutation.test}`, "-t", pattern];
    const child = Bun.spawn([process.execPath, ...args], {
      cwd: tree,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    const count = (what: string) => Number(new RegExp(`^ *(\\d+) ${what}$`, "m").exec(out + err)?.[1] ?? 0);
    if (count("fail") > 0) return undefined;
    return count("pass") > 0 ? "the test still passes" : `the test did not run:\n${(out + err).slice(-600)}`;
  } finally {
    writeFileSync(path, source);
  }
}

async function main(words: readonly string[]): Promise<number> {
  if (words.includes("--help") || words.includes("-h")) {
    process.stdout.write(HELP);
    return EXIT.done;
  }
  if (words.includes("--write")) {
    writeFileSync(join(ROOT, "docs", "security-tests.md"), document());
    return EXIT.done;
  }
  const chosen = Object.values(MUTATIONS)
    .flat()
    .filter(({ guarantee, file }) => words.length === 0 || words.some((word) => `${guarantee} ${file}`.includes(word)));
  if (chosen.length === 0) {
    console.error(`No guarantee or file contains ${words.join(" or ")}. \`bun run mutations\` without words runs all`);
    return EXIT.usage;
  }
  const startedAt = performance.now();
  const queue = [...chosen];
  let done = 0;
  let survivors = 0;
  const work = async () => {
    const tree = mkdtempSync(join(tmpdir(), "chatify-mutations-"));
    try {
      for (const part of readdirSync(ROOT)) {
        if (!NOT_COPIED.has(part)) cpSync(join(ROOT, part), join(tree, part), { recursive: true });
      }
      symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
      for (let mutation = queue.shift(); mutation; mutation = queue.shift()) {
        const why = await survives(tree, mutation);
        if (why) survivors++;
        const secondsLeft = ((performance.now() - startedAt) / 1_000 / ++done) * (chosen.length - done);
        const progress = `${done} of ${chosen.length}, ${Math.round(secondsLeft)} s left`;
        console.log(`${why ? "SURVIVED" : "killed  "} ${mutation.guarantee}${why ? `: ${why}` : ""} (${progress})`);
      }
    } finally {
      rmSync(tree, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  console.log(`\n${chosen.length - survivors} of ${chosen.length} mutants were killed`);
  return survivors === 0 ? EXIT.done : EXIT.survived;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
