/** `bun run architecture`: imports between the folders of src/, and sizes. test/unit/architecture_test.ts has the rules. */

import { dirname, join, normalize } from "node:path";

const ROOT = join(import.meta.dir, "..");

/** From the bottom up: a file imports from its own folder and lower ones. A file of src/ itself counts as a folder. */
export const LEVELS: readonly (readonly string[])[] = [
  ["errors.ts"],
  ["util"],
  ["log.ts", "protocol.ts"],
  ["setting_readers.ts"],
  ["limit_settings.ts"],
  ["config.ts"],
  ["metrics.ts"],
  ["embedded_postgres"],
  ["db"],
  ["files"],
  ["cluster"],
  ["delivery"],
  ["accounts"],
  ["presence"],
  ["chat"],
  ["http"],
  ["app.ts"],
  ["cli"],
  ["main.ts"],
];

/**
 * The path of a message from a client to the database and to other clients, in reading order.
 * Messages bypass `delivery.ts`, but `delivered` goes through it, as do changes, drafts and `sync`.
 * Beside the path: `db/database.ts` repeats statements whose outcome is unknown, and
 * `cluster/events.ts` is the table of what pods exchange.
 */
export const MESSAGE_PATH = [
  "app.ts",
  "chat/socket.ts",
  "protocol.ts",
  "chat/chat.ts",
  "chat/send_queue.ts",
  "db/insert_messages.ts",
  "delivery/hub.ts",
  "cluster/bus.ts",
  "delivery/delivery.ts",
  "chat/receipts.ts",
  "db/receipts.ts",
];

/** Goals in lines; no test enforces them. */
const BUDGETS = { src: 8_000, path: 2_000, file: 350, median: 100, page: 7_000, tests: 18_000, tools: 9_000 };

export interface Import {
  /** Relative to src/. */
  readonly from: string;
  readonly to: string;
  readonly typesOnly: boolean;
}

/** The source files of the server, relative to src/. */
export function sources(): string[] {
  return [...new Bun.Glob("**/*.ts").scanSync(join(ROOT, "src"))].toSorted();
}

/** A source without its comments. */
export async function codeOf(file: string): Promise<string> {
  const text = await Bun.file(join(ROOT, "src", file)).text();
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$|\s\/\/ .*$/gm, "");
}

/** A source's imports of other sources. */
export function importsOf(file: string, code: string): Import[] {
  const lines = code.matchAll(/(?:import|export)(?:( type)?[^;]*?\bfrom|\()?\s*"(\.[^"]+\.ts)"/g);
  return [...lines].map(([, types, path]) => ({
    from: file,
    to: normalize(join(dirname(file), path!)),
    typesOnly: types !== undefined,
  }));
}

/** A source's folder; the source itself if it is in none. */
export function folderOf(file: string): string {
  return file.split("/")[0]!;
}

async function main(): Promise<void> {
  const files = sources();
  const graph = new Map<string, Set<string>>();
  for (const file of files) {
    const others = graph.getOrInsertComputed(folderOf(file), () => new Set());
    for (const { to } of importsOf(file, await codeOf(file)))
      if (folderOf(to) !== folderOf(file)) others.add(folderOf(to));
  }
  const order = LEVELS.flat();
  console.log("Imports, from the top down\n");
  for (const folder of order.toReversed()) {
    const below = order.filter((other) => graph.get(folder)?.has(other)).toReversed();
    console.log(`  ${folder.padEnd(18)} ${below.join(" ") || "–"}`);
  }

  const server = await Promise.all(files.map((file) => linesOf(`src/${file}`)));
  const path = await Promise.all(MESSAGE_PATH.map((file) => linesOf(`src/${file}`)));
  const over = files.filter((_, i) => server[i]! > BUDGETS.file);
  const median = server.toSorted((a, b) => a - b)[server.length >> 1]!;
  console.log("\nLines                  now    goal (not enforced; see CONTRIBUTING.md)");
  row("src/", sum(server), BUDGETS.src);
  row("  path of a message", sum(path), BUDGETS.path);
  for (const [i, file] of MESSAGE_PATH.entries()) console.log(`    ${file.padEnd(21)} ${String(path[i]).padStart(4)}`);
  row("  median of a file", median, BUDGETS.median);
  row(`  files over ${BUDGETS.file}`, over.length, 0, over.join(", "));
  row("static/js/", await total("static/js/**/*.js"), BUDGETS.page);
  row("test/", await total("test/**/*.ts"), BUDGETS.tests);
  row("tools/", await total("tools/**/*.ts"), BUDGETS.tools);
}

function row(name: string, lines: number, goal: number, note = ""): void {
  console.log(
    `  ${name.padEnd(19)} ${lines.toLocaleString("en").padStart(6)}  ${goal.toLocaleString("en").padStart(6)}  ${note}`,
  );
}

async function total(pattern: string): Promise<number> {
  return sum(await Promise.all([...new Bun.Glob(pattern).scanSync(ROOT)].map(linesOf)));
}

async function linesOf(file: string): Promise<number> {
  return (await Bun.file(join(ROOT, file)).text()).split("\n").length - 1;
}

const sum = (counts: readonly number[]) => counts.reduce((one, other) => one + other, 0);

if (import.meta.main) await main();
