/** The process: settings, signals, exit codes, command line. The only file that sees `process`. */

import { join } from "node:path";

import { ConfigError, loadConfig, SETTINGS } from "./config.ts";
import { Log } from "./log.ts";
import { ensurePackages, PackagesError } from "./packages.ts";

const EXIT = { ok: 0, bug: 1, settings: 2, packages: 3, database: 4, port: 5 } as const;
/** Signals closer than this are one: under npx, Ctrl-C arrives twice. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 25_000;

const root = join(import.meta.dir, "..");
const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };

await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<void> {
  const [word] = words;
  if (words.length === 0) return start();
  if (word === "--version" || word === "-v") return print(`chatify ${version}\n`);
  if (word === "--help" || word === "-h") return print(help());
  complain(`chatify does not know "${word}". It takes no words but --help and --version; settings come from the environment.`);
  process.exit(EXIT.settings);
}

async function start(): Promise<void> {
  const config = settings();
  const terminal = process.stderr.isTTY === true;
  const format = config.logFormat === "auto" ? (terminal ? "text" : "json") : config.logFormat;
  const log = new Log({ level: config.logLevel, format, write: (line) => process.stderr.write(line) });
  const say = (line: string) => print(`${line}\n`);
  try {
    const need = config.databaseUrl === undefined ? "serve" : "serve-without-database";
    await ensurePackages({ root, bun: process.execPath, need, say });
    const { startApp } = await import("./app.ts"); // needs the packages that may just have come
    const app = await startApp(config, { root, version, log, say });
    leaveInOrder(app, log);
    print(banner(app, config));
    log.debug("ready", { port: app.port });
  } catch (error) {
    fail(error, config.port);
  }
}

function settings() {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    complain(`The settings cannot be used:\n${error.faults.map((fault) => `  - ${fault}`).join("\n")}`);
    return process.exit(EXIT.settings);
  }
}

function leaveInOrder(app: { stop(options: { hurried: boolean }): Promise<void> }, log: Log): void {
  let firstAt: number | undefined;
  const leave = (signal: string) => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    if (firstAt !== undefined) {
      complain("Stopped without waiting any longer.");
      process.exit(EXIT.bug);
    }
    firstAt = now;
    setTimeout(() => {
      log.error("did not stop in time", undefined, { seconds: STOP_DEADLINE_MS / 1_000 });
      process.exit(EXIT.bug);
    }, STOP_DEADLINE_MS).unref();
    if (process.stdout.isTTY) print("\nStopping …\n");
    void app.stop({ hurried: signal === "SIGINT" }).then(
      () => process.exit(EXIT.ok),
      (error: unknown) => {
        log.error("stopping failed", error);
        process.exit(EXIT.bug);
      },
    );
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => leave(signal));
  const stray = (error: unknown) => {
    log.error("uncaught", error);
    // The driver may throw from a socket that died under it (porsager/postgres#1209); `Database` replaces such pools by itself.
    if (error instanceof Error && error.stack?.includes("/postgres/")) return;
    process.exit(EXIT.bug);
  };
  process.on("uncaughtException", stray);
  process.on("unhandledRejection", stray);
}

/** Ends with words a host can act on; anything unexpected keeps its stack. */
function fail(error: unknown, port: number): never {
  const name = error instanceof Error ? error.name : "";
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof PackagesError) complain(message);
  else if (name === "PortError") {
    complain(`${message}\nAnother program, or another chatify, has it. End that one, or choose a port: PORT=${port === 65_535 ? 8080 : port + 1}`);
  } else if (name === "DatabaseError" || name === "EmbeddedError") complain(message);
  else complain(`chatify could not start, and did not expect this:\n${error instanceof Error ? error.stack : message}`);
  const codes: Record<string, number> = {
    PackagesError: EXIT.packages,
    PortError: EXIT.port,
    DatabaseError: EXIT.database,
    EmbeddedError: EXIT.database,
  };
  process.exit(codes[name] ?? EXIT.bug);
}

function banner(app: { url: string; database: string }, config: { rateLimit: boolean; dataDir: string }): string {
  const lines = [
    `chatify ${version}`,
    "",
    `  Open      ${app.url}`,
    `  Database  ${app.database}`,
    "  Next      sign up, then open a second browser and sign up as somebody else",
    "  Stop      Ctrl-C",
  ];
  if (!config.rateLimit) lines.push("  Warning   RATE_LIMIT=off: anybody may send as fast as they like");
  return `${lines.join("\n")}\n\n`;
}

function help(): string {
  const width = Math.max(...Object.keys(SETTINGS).map((name) => name.length));
  const settings = Object.entries(SETTINGS).map(
    ([name, { default: fallback, about }]) => `  ${name.padEnd(width)}  ${about.replaceAll("`", "")} (${fallback.replaceAll("`", "")})`,
  );
  return `chatify ${version}: a chat between two people that anyone can host

Usage
  bun run start                         serve on http://localhost:8000 with a PostgreSQL of its own
  PORT=9000 bun run start               on another port
  DATABASE_URL=postgres://… bun run start   with your PostgreSQL
  npx -y bun@1.4.5 run start            where there is no Bun

  --help     this page
  --version  the version

Settings, from the environment or a file .env (default in parentheses)
${settings.join("\n")}
  SESSION_SECRET, DATABASE_URL, BUS and METRICS_TOKEN can also come from a file: SESSION_SECRET_FILE=/run/secrets/…

Exit codes
  0 stopped in order   1 a defect   2 bad settings   3 packages missing   4 database   5 port
`;
}

function print(text: string): void {
  process.stdout.write(text);
}

function complain(text: string): void {
  process.stderr.write(`${text}\n`);
}
