/**
 * `bun run verify`: types, format, lint, and the tests in real browsers and on a real PostgreSQL. Installs what it needs by itself. With `--all`,
 * also the benchmark, the fault run, the fuzz run, the mutations and `verify:containers`, which as root on Debian installs a Docker engine if there is none.
 * Ends with a line `N passed, N failed` that counts the tests and the checks around them. Tests that did not run for want of root or of a Redis are named.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ensurePackages } from "../src/cli/packages.ts";
import { audit } from "./support/audit.ts";

const root = join(import.meta.dir, "..");
const bun = process.execPath;
const ALONE = "page_size_test.ts";
let passed = 0;
let failed = 0;
/** What failed, said once more at the end: the middle of so long an output is often cut. */
const wrong: string[] = [];
const startedAt = performance.now();
const words = process.argv.slice(2);
const withAll = words.includes("--all");
if (words.some((word) => word !== "--all")) {
  console.error(`bun run verify takes no arguments, or --all; it was given ${words.join(" ")}`);
  process.exit(2);
}

try {
  await ensurePackages({ root, bun, need: "develop", say: (line) => console.log(line) });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(3);
}

await check("types", [bun, "check", "--no-script"]);
await check("format", [bun, "fmt", "--no-script", "--check"]);
await check("lint", [join(root, "node_modules", ".bin", "oxlint"), "--deny-warnings"]);
await tests();
if (withAll) {
  // Ratios within one run, with half of what is required as slack: a tenfold loss cannot land.
  await check("benchmark, short", [bun, "tools/bench/main.ts", "--short", "--check"]);
  // Twelve faults from a seed of its own each time, which a failure names.
  await check("fault run, short", [bun, "tools/chaos/main.ts", "--short"]);
  // 200,000 frames and 50,000 requests from a seed of its own each time.
  await check("fuzz run", [bun, "tools/fuzz/main.ts"]);
  await check("mutations", [bun, "tools/mutations/main.ts"]);
}
const unshown = withAll ? await containers() : "That is part of `bun run verify --all`";
const unchecked = await holes();

const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
if (!withAll)
  console.log(
    "\nNOT RUN: the benchmark, the fault run, the fuzz run and the mutations: `bun run verify --all` runs them",
  );
if (unshown) console.log(`\nNOT SHOWN: that Docker, Compose and Kubernetes take what is here. ${unshown}`);
if (unchecked) console.log(`\nNOT CHECKED: whether a package in use has a known hole. ${unchecked}`);
if (wrong.length > 0) console.log(`\nWhat is wrong:\n${wrong.join("\n")}`);
console.log(`\n${failed === 0 ? "Everything is as it should be" : "Something is wrong: see above"} (${seconds} s)`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** Runs a command and shows what it says only when it fails. */
async function check(name: string, command: string[]): Promise<void> {
  const child = Bun.spawn(command, { cwd: root, stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${name}`);
  if (code === 0) passed++;
  else {
    failed++;
    wrong.push(`  - ${name}: … ${(out + err).trim().slice(-1_000).replaceAll("\n", "\n    ")}`);
    console.log(out + err);
  }
}

/** Docker, Compose and Kubernetes. Shows what it says as it says it. @returns why nothing could be shown, which on a machine without privileges is no failure */
async function containers(): Promise<string | undefined> {
  const child = Bun.spawn([bun, "test/deploy/containers/main.ts"], {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const said: string[] = [];
  const listen = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      const text = decoder.decode(bytes, { stream: true });
      said.push(text);
      process.stdout.write(text);
    }
  };
  const [code] = await Promise.all([child.exited, listen(child.stdout), listen(child.stderr)]);
  const all = said.join("");
  if (code === 4) return /NOT SHOWN: (.*)/.exec(all)?.[1] ?? "It did not say why";
  const [, well, badly] = /^(\d+) passed, (\d+) failed$/m.exec(all) ?? [];
  passed += Number(well ?? 0);
  failed += Number(badly ?? 0);
  if (code !== 0 && Number(badly ?? 0) === 0) {
    wrong.push(`  - verify:containers ended with ${code}`);
    failed++;
  }
  for (const [line] of all.matchAll(/^FAILED.*$/gm)) wrong.push(`  - ${line}`);
  return undefined;
}

/** Asks the registry for known holes. @returns why there is no answer, which on a machine without network is no failure */
async function holes(): Promise<string | undefined> {
  const { verdict, words } = await audit(root);
  if (verdict === "unchecked") {
    console.log("NOT CHECKED packages without known holes");
    return `bun audit had no answer: ${words}`;
  }
  console.log(`${verdict === "clean" ? "ok    " : "FAILED"} packages without known holes`);
  if (verdict === "clean") passed++;
  else {
    failed++;
    wrong.push("  - packages without known holes");
    console.log(words);
  }
  return undefined;
}

/** Runs the tests: two files at a time, then alone the one that measures what a frame costs the page. Beside another file a frame costs an eighth more. */
async function tests(): Promise<void> {
  await report([`--path-ignore-patterns=**/${ALONE}`, "--path-ignore-patterns=**/node_modules/**"]);
  await report([`./test/browser/${ALONE}`]);
}

/** Runs `bun test` and counts what its report says; a run that dies counts as a failure. */
async function report(files: readonly string[]): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "chatify-verify-"));
  const xmlFile = join(directory, "report.xml");
  const words = [
    "--timeout=20000",
    "--parallel=2",
    "--max-concurrency=2",
    "--reporter=junit",
    `--reporter-outfile=${xmlFile}`,
    ...files,
  ];
  const child = Bun.spawn([bun, "test", ...words], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  const code = await child.exited;
  const xml = (await Bun.file(xmlFile).exists()) ? await Bun.file(xmlFile).text() : "";
  rmSync(directory, { recursive: true, force: true });
  const suites = /<testsuites[^>]*>/.exec(xml)?.[0] ?? "";
  const count = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suites)?.[1] ?? 0);
  const [all, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
  passed += all - failures - skipped;
  failed += failures;
  for (const { name, words } of told(xml, "failure")) wrong.push(`  - ${name}: ${words.replaceAll("\n", "\n    ")}`);
  if (skipped > 0) {
    console.log(
      `\n${skipped} tests need another machine or user (root, Linux, user namespaces, redis-server or valkey-server in PATH) and did NOT run:`,
    );
    for (const { name } of told(xml, "skipped")) console.log(`  - ${name}`);
  }
  if (all === 0 || (code !== 0 && failures === 0)) {
    wrong.push(`  - bun test ended with ${code}${all === 0 ? " and ran no test" : ""}`);
    failed++;
  }
}

/** The tests that a report says something of, and what it says. */
function* told(xml: string, what: "failure" | "skipped"): Generator<{ name: string; words: string }> {
  const pattern = `<testcase name="([^"]*)" classname="([^"]*)"[^>]*>\\s*<${what}(?:[^>]* message="([^"]*)")?[^>]*>([^<]*)`;
  for (const [, name, part, message = "", body] of xml.matchAll(new RegExp(pattern, "g"))) {
    yield { name: plain(part ? `${part}: ${name}` : name!), words: plain(body!.trim() || message) };
  }
}

function plain(xml: string): string {
  const characters: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#10": "\n" };
  return xml.replace(/&([^;]+);/g, (all, name: string) => characters[name] ?? all).trim();
}
