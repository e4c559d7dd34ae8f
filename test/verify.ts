/**
 * `bun run verify`: types, format, lint and tests, in real browsers and on a real PostgreSQL. Installs what it needs.
 * `--all` adds the long tests (`test/long/`: floods, sizes, kills, every state of the page), the benchmark, the fault
 * run, the fuzz run, the tests of these (`test/tools/`), the mutations and `verify:containers`, which as root on Debian
 * installs a Docker engine if there is none. The last line is `N passed, N failed` and counts tests and checks.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";

import { ensurePackages } from "../src/cli/packages.ts";
import { audit } from "./support/audit.ts";
import { type FileResult, readReport } from "./support/junit_report.ts";

const root = join(import.meta.dir, "..");
const bun = process.execPath;
/** Measures the cost of scrolled frames: beside another file a frame costs an eighth more. */
const MEASURED_ALONE = "page_size_test.ts";
/** Tests mostly wait: on two cores, four files at once take two thirds of the time of two. */
const PARALLEL_FILES = 4;
/** More failing files than this are not run a second time: that many are no coincidence. */
const RETRIED_FILES_MAX = 6;

let passed = 0;
let failed = 0;
/** Repeated at the end, since the middle of a long log is often cut. */
const failures: string[] = [];
const warnings: string[] = [];

const args = process.argv.slice(2);
const withAll = args.includes("--all");
if (args.some((arg) => arg !== "--all")) {
  console.error(`bun run verify takes no arguments, or --all; got: ${args.join(" ")}`);
  process.exit(2);
}

try {
  await ensurePackages({ root, bun, need: "develop", say: (line) => console.log(line) });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(3);
}

const startedAt = performance.now();
await check("types", [bun, "check", "--no-script"]);
await check("format", [bun, "fmt", "--no-script", "--check"]);
await check("lint", [join(root, "node_modules", ".bin", "oxlint"), "--deny-warnings"]);
await runTests();
if (withAll) {
  // Ratios within one run, with half of what is required as slack: a tenfold loss cannot land.
  await check("benchmark, short", [bun, "tools/bench/main.ts", "--short", "--check"]);
  // Twelve faults from a new seed each time, printed on failure.
  await check("fault run, short", [bun, "tools/chaos/main.ts", "--short"]);
  // 200,000 frames and 50,000 requests from a new seed each time.
  await check("fuzz run", [bun, "tools/fuzz/main.ts"]);
  await check("mutations", [bun, "tools/mutations/main.ts"]);
  await checkContainers();
} else {
  warnings.push(
    "NOT RUN: long tests, benchmark, fault run, fuzz run, their own tests, mutations, containers. `bun run verify --all` runs them.",
  );
}
await checkAdvisories();

const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
for (const warning of warnings) console.log(`\n${warning}`);
if (failures.length > 0) console.log(`\nFailures:\n${failures.join("\n")}`);
console.log(`\n${failed === 0 ? "All checks passed" : "Some checks failed, see above"} (${seconds} s)`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** Runs a command and prints its output only if it fails. */
async function check(name: string, command: string[]): Promise<void> {
  const begunAt = performance.now();
  const child = Bun.spawn(command, { cwd: root, stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const took = `(${((performance.now() - begunAt) / 1_000).toFixed(0)} s)`;
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${name} ${took}`);
  if (code === 0) passed++;
  else {
    fail(name, (out + err).trim().slice(-1_000));
    console.log(out + err);
  }
}

function fail(name: string, detail = ""): void {
  failed++;
  failures.push(`  - ${name}${detail && `: … ${detail.replaceAll("\n", "\n    ")}`}`);
}

/** Docker, Compose and Kubernetes. On a machine without the privileges for containers this is a warning. */
async function checkContainers(): Promise<void> {
  const child = Bun.spawn([bun, "test/deploy/containers/main.ts"], {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const chunks: string[] = [];
  const forward = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      const text = decoder.decode(bytes, { stream: true });
      chunks.push(text);
      process.stdout.write(text);
    }
  };
  const [code] = await Promise.all([child.exited, forward(child.stdout), forward(child.stderr)]);
  const output = chunks.join("");
  if (code === 4) {
    warnings.push(/NOT RUN: .*/.exec(output)?.[0] ?? "NOT RUN: the containers' checks did not run.");
    return;
  }
  const [, passes, fails] = /^(\d+) passed, (\d+) failed$/m.exec(output) ?? [];
  passed += Number(passes ?? 0);
  failed += Number(fails ?? 0);
  for (const [line] of output.matchAll(/^FAILED.*$/gm)) failures.push(`  - ${line}`);
  if (code !== 0 && Number(fails ?? 0) === 0) fail(`verify:containers exited with code ${code}`);
}

/** Asks the registry for known vulnerabilities. Without an answer, as on a machine without network, this is a warning. */
async function checkAdvisories(): Promise<void> {
  const { verdict, words } = await audit(root);
  if (verdict === "unchecked") {
    warnings.push(`NOT CHECKED: whether a package has a known vulnerability. bun audit failed: ${words}`);
    return;
  }
  console.log(`${verdict === "clean" ? "ok    " : "FAILED"} packages without known vulnerabilities`);
  if (verdict === "clean") passed++;
  else fail("packages without known vulnerabilities", words);
}

/**
 * Runs the test files beside one another, since they mostly wait; with `--all`, then alone the one that measures. A file
 * that fails beside another runs once more alone; the second result counts, and a file that passes only then is named,
 * because it depends on the load.
 */
async function runTests(): Promise<void> {
  const first = await runFiles([
    `--path-ignore-patterns=**/${MEASURED_ALONE}`,
    "--path-ignore-patterns=**/node_modules/**",
    ...(withAll ? [] : ["--path-ignore-patterns=**/test/{long,tools}/**"]),
  ]);
  const failing = first.filter(({ failures: failedTests }) => failedTests.length > 0);
  const retried = failing.length <= RETRIED_FILES_MAX ? failing : [];
  for (const result of first) if (!retried.includes(result)) count(result);
  for (const { file, failures: before } of retried) {
    console.log(`\n${relative(root, file)} failed. Running it once more, alone.`);
    const again = await runFiles([resolve(root, file)]);
    again.forEach(count);
    if (again.some(({ failures: after }) => after.length > 0)) continue;
    const names = before.map(({ name, detail }) => `  - ${name}: ${detail.split("\n")[0]}`);
    warnings.push(
      `UNSTABLE: ${relative(root, file)} failed beside another file and passed alone:\n${names.join("\n")}`,
    );
  }
  if (withAll) for (const result of await runFiles([`./test/long/${MEASURED_ALONE}`])) count(result);
}

function count({ file, tests, failures: failedTests, skipped }: FileResult): void {
  passed += tests - failedTests.length - skipped.length;
  for (const { name, detail } of failedTests) fail(`${relative(root, file)}: ${name}`, detail);
  if (skipped.length > 0) {
    const names = skipped.map(({ name }) => `  - ${name}`).join("\n");
    warnings.push(
      `NOT RUN in ${relative(root, file)}, which needs root, Linux, user namespaces, or redis-server or valkey-server in PATH:\n${names}`,
    );
  }
}

/** Runs `bun test`. A run that dies without a failed test counts as a failure. */
async function runFiles(selection: readonly string[]): Promise<FileResult[]> {
  const directory = mkdtempSync(join(tmpdir(), "chatify-verify-"));
  const reportFile = join(directory, "report.xml");
  const options = ["--timeout=20000", `--parallel=${PARALLEL_FILES}`, "--max-concurrency=4", "--reporter=junit"];
  const child = Bun.spawn([bun, "test", ...options, `--reporter-outfile=${reportFile}`, ...selection], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const code = await child.exited;
  const results = (await Bun.file(reportFile).exists()) ? readReport(await Bun.file(reportFile).text()) : [];
  rmSync(directory, { recursive: true, force: true });
  if (results.length === 0) fail(`bun test exited with code ${code} and ran no test`);
  else if (code !== 0 && results.every((result) => result.failures.length === 0))
    fail(`bun test exited with code ${code}`);
  return results;
}
