/** The process: settings, signals, exit codes, command line. The only file that sees `process`. */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";

import type { AdminContext, App } from "./app.ts";
import { COMMANDS_HELP, readCommand } from "./cli/arguments.ts";
import { healthOf } from "./cli/healthcheck.ts";
import { ensurePackages, PackagesError } from "./cli/packages.ts";
import { type Config, ConfigError, loadConfig, SETTINGS } from "./config.ts";
import { errorTrace, Log } from "./log.ts";
import type { Usage } from "./metrics.ts";
import { isGuessable } from "./setting_readers.ts";
import { parseConnectionString } from "./util/connection_string.ts";

const EXIT = { ok: 0, bug: 1, settings: 2, packages: 3, database: 4, port: 5, refused: 6, interrupted: 130 } as const;
/** Signals closer than this are one: under npx, Ctrl-C arrives twice. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 25_000;
/** Of the original demo's manifests; databases made with it keep it. */
const PUBLISHED_PASSWORD = "admin123";
/** A closing terminal too, unless there is none: nohup has the signal ignored, and a handler would undo that. */
const SIGNALS = ["SIGINT", "SIGTERM", ...(process.stdin.isTTY ? (["SIGHUP"] as const) : [])] as const;

const root = join(import.meta.dir, "..");
const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };

await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<void> {
  const [word] = words;
  if (words.length === 0) return start();
  if (word === "invite" || word === "user") return command(words);
  if (word === "healthcheck") return healthcheck(words.slice(1));
  if (word === "--version" || word === "-v") return print(`chatify ${version}\n`);
  if (word === "--help" || word === "-h") return print(help());
  complain(`chatify does not know "${word}". Settings come from the environment: --help lists them.`);
  process.exit(EXIT.settings);
}

async function start(): Promise<void> {
  const config = settings();
  const log = logOf(config);
  try {
    const need = config.databaseUrl === undefined ? "serve" : "serve-without-database";
    if (await ensurePackages({ root, bun: process.execPath, need, say })) return startAgain();
    const [{ startApp }, { abandonEmbedded }] = await imported(); // not before the packages are there
    const machine = { openFiles: openFiles(), filesInUse, memoryBytes: memoryBytes(), usage };
    const starting = startApp(config, { root, version, log, say, ...machine });
    const leaving = leaveInOrder(starting, {
      log,
      embedded: config.databaseUrl === undefined,
      abandon: abandonEmbedded,
    });
    const app = await starting;
    if (leaving()) return;
    print(banner(app, config));
    log.debug("ready", { port: app.port });
  } catch (error) {
    fail(error, config.port);
  }
}

/** One of those in commands.ts. */
async function command(words: readonly string[]): Promise<void> {
  let opening: Promise<AdminContext> | undefined;
  try {
    const asked = readCommand(words);
    if (!asked) return print(`Usage\n${COMMANDS_HELP}`);
    const config = settings();
    const need = config.databaseUrl === undefined ? "serve" : "serve-without-database";
    if (await ensurePackages({ root, bun: process.execPath, need, say: complain })) return startAgain();
    const [{ openAdminContext }, { run }] = await Promise.all([import("./app.ts"), import("./cli/commands.ts")]);
    const log = logOf({ ...config, logLevel: config.logLevel === "info" ? "warn" : config.logLevel });
    opening = openAdminContext(config, { root, log, say: complain });
    const leave = async () => (await opening)?.end();
    for (const signal of SIGNALS)
      process.once(signal, () => void leave().finally(() => process.exit(EXIT.interrupted)));
    process.stdout.on("error", () => void leave().finally(() => process.exit(EXIT.ok))); // whoever read has enough
    const office = await opening;
    try {
      await run(asked, office, {
        print: (text) => new Promise((left) => process.stdout.write(text, () => left())),
        say: complain,
        password,
        origin: config.allowedOrigins?.[0] ?? `http://localhost:${config.port}`,
      });
    } finally {
      await office.end();
    }
    process.exit(EXIT.ok);
  } catch (error) {
    fail(error, 0);
  }
}

/** Ends with 0 or 1 and nothing else: Docker gives other codes meanings of its own. */
async function healthcheck(words: readonly string[]): Promise<void> {
  const alive = words[0] === "--alive";
  if (words.length > (alive ? 1 : 0)) {
    complain("chatify healthcheck takes --alive or nothing");
    process.exit(1);
  }
  const { host, port } = settings(1);
  const { well, words: found } = await healthOf({ host, port }, alive);
  if (well) say(found);
  else complain(found);
  process.exit(well ? 0 : 1);
}

/** A password nobody sees: not on the screen, not in the list of processes, not in the shell's history. */
async function password(question: string): Promise<string | undefined> {
  const { askSecret, firstLine } = await import("./cli/prompt.ts"); // not for every healthcheck
  if (!process.stdin.isTTY) return firstLine(process.stdin);
  for (;;) {
    const first = await askSecret(question, process.stdin, process.stderr);
    if (first === (await askSecret("The same again: ", process.stdin, process.stderr))) return first;
    complain("The two differ. Once more, please.");
  }
}

function imported() {
  return Promise.all([import("./app.ts"), import("./embedded_postgres/embedded_postgres.ts")]);
}

function logOf(config: Config): Log {
  const terminal = process.stderr.isTTY === true;
  const format = config.logFormat === "auto" ? (terminal ? "text" : "json") : config.logFormat;
  return new Log({ level: config.logLevel, format, write: (line) => process.stderr.write(line) });
}

/** Goes on in a process that can see packages which were not there when this one began. */
async function startAgain(): Promise<void> {
  const child = Bun.spawn([process.execPath, ...process.argv.slice(1)], { stdio: ["inherit", "inherit", "inherit"] });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  process.exit(await child.exited);
}

/** How many files, sockets included, this process may have open. */
function openFiles(): number {
  const limits = existsSync("/proc/self/limits") ? readFileSync("/proc/self/limits", "utf8") : "";
  const [, limit] = /^Max open files +(\d+)/m.exec(limits) ?? [];
  if (limit !== undefined) return Number(limit);
  const { stdout } = Bun.spawnSync(["sh", "-c", "ulimit -n"]); // macOS; a child inherits the limit
  return Number(stdout.toString()) || Number.POSITIVE_INFINITY; // "unlimited"
}

/** How many files this process has open; 0 where the system does not tell. */
function filesInUse(): number {
  try {
    return statSync("/proc/self/fd").size || readdirSync("/dev/fd").length; // before Linux 6.2, and on macOS, counted
  } catch {
    return 0;
  }
}

/** How much memory this process may use: its container's limit, else what the machine has. */
function memoryBytes(): number {
  return process.constrainedMemory() || totalmem();
}

/** What this process has taken of its machine. */
function usage(): Usage {
  const { user, system } = process.cpuUsage(); // microseconds
  return { residentBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / 1e6 };
}

function settings(exitCode: number = EXIT.settings) {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    complain(`The settings cannot be used:\n${error.faults.map((fault) => `  - ${fault}`).join("\n")}`);
    return process.exit(exitCode);
  }
}

/**
 * Stops at the first signal, and at once at the second.
 *
 * @param starting what is to be stopped; with an embedded database a start is let through first, lest that goes on alone
 * @param options.abandon tells that database to stop, when there is no time to wait for it
 * @returns whether it is time to leave
 */
function leaveInOrder(
  starting: Promise<App>,
  options: { log: Log; embedded: boolean; abandon: () => void },
): () => boolean {
  const { log, embedded } = options;
  const leaveAtOnce = () => {
    try {
      options.abandon();
    } finally {
      process.exit(EXIT.bug);
    }
  };
  let started = false;
  let firstAt: number | undefined;
  const leave = (signal: string) => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    if (firstAt !== undefined) {
      complain("Stopped without waiting any longer.");
      return leaveAtOnce();
    }
    firstAt = now;
    if (process.stdout.isTTY) print("\nStopping …\n");
    if (!started && !embedded) process.exit(EXIT.ok); // an unfinished migration is undone by PostgreSQL
    setTimeout(() => {
      log.error("did not stop in time", undefined, { seconds: STOP_DEADLINE_MS / 1_000 });
      leaveAtOnce();
    }, STOP_DEADLINE_MS).unref();
    void starting
      .then((app) => app.stop({ hurried: signal === "SIGINT" }))
      .then(
        () => process.exit(EXIT.ok),
        (error: unknown) => {
          if (!started) return; // `start` says why
          log.error("stopping failed", error);
          leaveAtOnce();
        },
      );
  };
  starting.then(
    () => (started = true),
    () => {},
  );
  for (const signal of SIGNALS) process.on(signal, () => leave(signal));
  const stray = (error: unknown) => {
    log.error("uncaught", error);
    // The driver may throw from a socket that died under it (porsager/postgres#1209): `Database` replaces such pools by itself.
    if (error instanceof Error && error.stack?.includes("/node_modules/postgres/")) return;
    leaveAtOnce();
  };
  process.on("uncaughtException", stray);
  process.on("unhandledRejection", stray);
  return () => firstAt !== undefined;
}

/** Ends with words a host can act on; anything unexpected keeps its stack. */
function fail(error: unknown, port: number): never {
  const name = error instanceof Error ? error.name : "";
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof PackagesError) complain(message);
  else if (name === "PortError") complain(`${message}\n${portWayOut(error, port)}`);
  else if (name === "UsageError") complain(`${message}.\n\nCommands\n${COMMANDS_HELP}`);
  else if (name === "ChatError")
    complain("PostgreSQL does not answer any more. What was asked for may be done, or not");
  else if (["DatabaseError", "EmbeddedError", "RefusedError", "InterruptedError"].includes(name)) complain(message);
  else complain(`chatify could not start, and did not expect this:\n${errorTrace(error)}`);
  const codes: Record<string, number> = {
    PackagesError: EXIT.packages,
    PortError: EXIT.port,
    DatabaseError: EXIT.database,
    EmbeddedError: EXIT.database,
    ChatError: EXIT.database,
    UsageError: EXIT.settings,
    RefusedError: EXIT.refused,
    InterruptedError: EXIT.interrupted,
  };
  process.exit(codes[name] ?? EXIT.bug);
}

function portWayOut(error: unknown, port: number): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : "";
  if (code === "EADDRINUSE") {
    return `Another program, or another chatify, has it. End that one, or choose a port: PORT=${port === 65_535 ? 8080 : port + 1}`;
  }
  if (code === "EACCES") return "Ports below 1024 are for root only. Choose another: PORT=8000";
  return "HOST must be an address of this machine: 0.0.0.0 for all of them (:: with IPv6), 127.0.0.1 for programs on this machine only";
}

function banner(app: App, config: Config): string {
  const { url, adminCode } = app;
  const lines = [
    `chatify ${version}`,
    "",
    `  Open      ${url}`,
    `  Database  ${app.database}`,
    ...(adminCode ? [`  Admin     sign up at ${url}/signup?code=${adminCode} to run this chat; works once`] : []),
    "  Next      sign up, then open a second browser and sign up as somebody else",
    "  Stop      Ctrl-C",
  ];
  if (!config.rateLimit)
    lines.push("  Warning   RATE_LIMIT=off: anybody may send, and try passwords, as fast as they like");
  if (config.sessionSecrets?.some(isGuessable)) {
    lines.push("  Warning   SESSION_SECRET looks like a placeholder: whoever guesses it can sign in as anybody");
  }
  if (config.databaseUrl !== undefined && parseConnectionString(config.databaseUrl).password === PUBLISHED_PASSWORD) {
    lines.push(
      "  Warning   the password of the database is the published one of the demo: change it if others reach the database",
    );
  }
  return `${lines.join("\n")}\n\n`;
}

function help(): string {
  const width = Math.max(...Object.keys(SETTINGS).map((name) => name.length));
  const settings = Object.entries(SETTINGS).map(
    ([name, { default: fallback, about }]) =>
      `  ${name.padEnd(width)}  ${about.replaceAll("`", "")} (${fallback.replaceAll("`", "")})`,
  );
  const secrets = Object.entries(SETTINGS).flatMap(([name, setting]) => ("secret" in setting ? [name] : []));
  return `chatify ${version}: a chat between two people that anyone can host

Usage
  bun run start                             serve on http://localhost:8000, with a PostgreSQL of its own
  PORT=9000 bun run start                   on another port
  DATABASE_URL=postgres://… bun run start   with your PostgreSQL
  npx -y bun@1.4.5 run start                where there is no Bun
  bun run chatify healthcheck               0 if the chatify of these settings can serve, else 1 (--alive: if it answers)
  bun run start --help, --version           this page, the version

Beside it, or while it does not run; with the settings it is started with
${COMMANDS_HELP}
Settings, from the environment or a file .env (default in parentheses)
${settings.join("\n")}
  ${secrets.join(", ")} can also come from a file: SESSION_SECRET_FILE=/run/secrets/…

Exit codes
  0 stopped in order, done   1 a defect   2 bad settings or words   3 packages missing   4 database   5 port
  6 refused: nobody has that name, or somebody has it already, or the password is none   130 interrupted
`;
}

function print(text: string): void {
  process.stdout.write(text);
}

function say(line: string): void {
  print(`${line}\n`);
}

function complain(text: string): void {
  process.stderr.write(`${text}\n`);
}
