/**
 * The process: reads settings and arguments, runs the command, handles signals, exits. Only this
 * file and `embedded_postgres/system_user.ts` use `process`.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";

import type { App } from "./app.ts";
import { COMMANDS_HELP, readCommand } from "./cli/arguments.ts";
import { banner } from "./cli/banner.ts";
import { describeFailure, EXIT } from "./cli/failure.ts";
import { checkHealth } from "./cli/healthcheck.ts";
import { help } from "./cli/help.ts";
import { ensurePackages } from "./cli/packages.ts";
import { type Config, ConfigError, loadConfig } from "./config.ts";
import { Log } from "./log.ts";
import type { Usage } from "./metrics.ts";

/** Signals closer together count as one: under npx, Ctrl-C arrives twice. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 25_000;
/**
 * SIGHUP only with a terminal: nohup makes the process ignore it, and a handler would undo that.
 */
const SIGNALS = ["SIGINT", "SIGTERM", ...(process.stdin.isTTY ? (["SIGHUP"] as const) : [])] as const;

const root = join(import.meta.dir, "..");
const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };

await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<void> {
  const [verb] = args;
  if (args.length === 0) return start();
  if (verb === "invite" || verb === "user" || verb === "files") return runCommand(args);
  if (verb === "healthcheck") return healthcheck(args.slice(1));
  if (verb === "--version" || verb === "-v") return print(`chatify ${version}\n`);
  if (verb === "--help" || verb === "-h") return print(help(version));
  printError(`Unknown command "${verb}". --help lists the commands and the settings, which are environment variables.`);
  process.exit(EXIT.usage);
}

async function start(): Promise<void> {
  const config = readSettings();
  const log = newLog(config);
  try {
    const need = config.databaseUrl === undefined ? "serve" : "serve-without-database";
    if (await ensurePackages({ root, bun: process.execPath, need, say })) return restart();
    const [{ startApp }, { abandonEmbedded }] = await importApp(); // needs the packages
    const machine = { openFiles: openFilesLimit(), filesInUse, memoryBytes: memoryLimit(), usage };
    const starting = startApp(config, { root, version, log, say, ...machine });
    // The embedded PostgreSQL stops too, without being waited for.
    const exitNow = (code: number) => {
      try {
        abandonEmbedded();
      } finally {
        process.exit(code);
      }
    };
    exitOnUncaught(log, exitNow);
    const isStopping = stopOnSignals(starting, { log, embedded: config.databaseUrl === undefined, exitNow });
    const app = await starting;
    if (isStopping()) return;
    print(banner(app, config, version));
    log.debug("ready", { port: app.port });
  } catch (error) {
    fail(error, config.port);
  }
}

/** Runs one of the admin commands in commands.ts. */
async function runCommand(args: readonly string[]): Promise<void> {
  try {
    const command = readCommand(args);
    if (!command) return print(`Usage\n${COMMANDS_HELP}`);
    const config = readSettings();
    const need = config.databaseUrl === undefined ? "serve" : "serve-without-database";
    if (await ensurePackages({ root, bun: process.execPath, need, say: printError })) return restart();
    const [{ openAdminContext }, { run }] = await Promise.all([
      import("./cli/admin_context.ts"),
      import("./cli/commands.ts"),
    ]);
    const log = newLog({ ...config, logLevel: config.logLevel === "info" ? "warn" : config.logLevel });
    const opening = openAdminContext(config, { root, log, say: printError });
    const close = async () => (await opening)[Symbol.asyncDispose]();
    for (const signal of SIGNALS)
      process.once(signal, () => void close().finally(() => process.exit(EXIT.interrupted)));
    // The reader closed the pipe.
    process.stdout.on("error", () => void close().finally(() => process.exit(EXIT.ok)));
    {
      await using context = await opening;
      await run(command, context, {
        print: (text) => new Promise((resolve) => process.stdout.write(text, () => resolve())),
        say: printError,
        readPassword,
        origin: config.allowedOrigins?.[0] ?? `http://localhost:${config.port}`,
      });
    }
    process.exit(EXIT.ok);
  } catch (error) {
    fail(error, 0);
  }
}

/** Exits only with 0 or 1: Docker reserves other codes. */
async function healthcheck(args: readonly string[]): Promise<void> {
  const alive = args[0] === "--alive";
  if (args.length > (alive ? 1 : 0)) {
    printError("chatify healthcheck accepts only the option --alive");
    process.exit(1);
  }
  const { host, port } = readSettings(EXIT.bug);
  const { isHealthy, message } = await checkHealth({ host, port }, alive);
  if (isHealthy) say(message);
  else printError(message);
  process.exit(isHealthy ? 0 : 1);
}

/**
 * Reads a password without exposing it on the screen, in the process list or in the shell history.
 */
async function readPassword(question: string): Promise<string | undefined> {
  // Imported lazily, to keep healthchecks fast.
  const { askSecret, firstLine } = await import("./cli/prompt.ts");
  if (!process.stdin.isTTY) return firstLine(process.stdin);
  for (;;) {
    const first = await askSecret(question, process.stdin, process.stderr);
    if (first === (await askSecret("Repeat the password: ", process.stdin, process.stderr))) return first;
    printError("The passwords differ. Try again.");
  }
}

function importApp() {
  return Promise.all([import("./app.ts"), import("./embedded_postgres/embedded_postgres.ts")]);
}

function newLog(config: Config): Log {
  const terminal = process.stderr.isTTY === true;
  const format = config.logFormat === "auto" ? (terminal ? "text" : "json") : config.logFormat;
  return new Log({ level: config.logLevel, format, write: (line) => process.stderr.write(line) });
}

/** Continues in a new process: this one cannot import packages installed after it started. */
async function restart(): Promise<void> {
  const child = Bun.spawn([process.execPath, ...process.argv.slice(1)], { stdio: ["inherit", "inherit", "inherit"] });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  process.exit(await child.exited);
}

/** The limit of open files, sockets included, of this process. */
function openFilesLimit(): number {
  const limits = existsSync("/proc/self/limits") ? readFileSync("/proc/self/limits", "utf8") : "";
  const [, limit] = /^Max open files +(\d+)/m.exec(limits) ?? [];
  if (limit !== undefined) return Number(limit);
  const { stdout } = Bun.spawnSync(["sh", "-c", "ulimit -n"]); // macOS; a child inherits the limit
  return Number(stdout.toString()) || Number.POSITIVE_INFINITY; // "unlimited"
}

/** The number of files this process has open, or 0 where the system does not report it. */
function filesInUse(): number {
  try {
    // Since Linux 6.2 the size is the count; elsewhere the entries are counted.
    return statSync("/proc/self/fd").size || readdirSync("/dev/fd").length;
  } catch {
    return 0;
  }
}

/** Bytes that this process may use: the container's limit, or else all memory of the machine. */
function memoryLimit(): number {
  return process.constrainedMemory() || totalmem();
}

function usage(): Usage {
  const { user, system } = process.cpuUsage(); // microseconds
  return { residentBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / 1e6 };
}

function readSettings(exitCode: number = EXIT.usage) {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printError(`Invalid settings:\n${error.faults.map((fault) => `  - ${fault}`).join("\n")}`);
    return process.exit(exitCode);
  }
}

/**
 * Stops gracefully at the first signal, and immediately at the second.
 *
 * @param starting the app; an embedded database finishes starting first, so PostgreSQL is not
 * orphaned
 * @param options.exitNow exits without stopping the app
 * @returns whether a signal has arrived
 */
function stopOnSignals(
  starting: Promise<App>,
  { log, embedded, exitNow }: { log: Log; embedded: boolean; exitNow: (code: number) => void },
): () => boolean {
  let started = false;
  let firstSignalAt: number | undefined;
  const stop = (signal: string) => {
    const now = performance.now();
    if (firstSignalAt !== undefined && now - firstSignalAt < SAME_SIGNAL_MS) return;
    if (firstSignalAt !== undefined) {
      printError("Stopped immediately.");
      return exitNow(EXIT.interrupted);
    }
    firstSignalAt = now;
    if (process.stdout.isTTY) print("\nStopping …\n");
    // PostgreSQL rolls back an unfinished migration.
    if (!started && !embedded) process.exit(EXIT.ok);
    setTimeout(() => {
      log.error("did not stop in time", undefined, { seconds: STOP_DEADLINE_MS / 1_000 });
      exitNow(EXIT.bug);
    }, STOP_DEADLINE_MS).unref();
    void starting
      .then((app) => app.stop({ hurried: signal === "SIGINT" }))
      .then(
        () => process.exit(EXIT.ok),
        (error: unknown) => {
          if (!started) return; // `start` reports it
          log.error("stopping failed", error);
          exitNow(EXIT.bug);
        },
      );
  };
  starting.then(
    () => (started = true),
    () => {},
  );
  for (const signal of SIGNALS) process.on(signal, () => stop(signal));
  return () => firstSignalAt !== undefined;
}

/** Logs uncaught errors, then exits. */
function exitOnUncaught(log: Log, exitNow: (code: number) => void): void {
  const onUncaught = (error: unknown) => {
    log.error("uncaught", error);
    // The driver can throw from a dead socket (porsager/postgres#1209); `Database` replaces such
    // pools.
    if (error instanceof Error && error.stack?.includes("/node_modules/postgres/")) return;
    exitNow(EXIT.bug);
  };
  process.on("uncaughtException", onUncaught);
  process.on("unhandledRejection", onUncaught);
}

function fail(error: unknown, port: number): never {
  const { text, code } = describeFailure(error, port);
  printError(text);
  process.exit(code);
}

function print(text: string): void {
  process.stdout.write(text);
}

function say(line: string): void {
  print(`${line}\n`);
}

function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}
