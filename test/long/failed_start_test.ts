/** A start that fails or is interrupted stops its PostgreSQL, and the next start works. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { repairHome } from "../../src/embedded_postgres/repair.ts";
import {
  base,
  children,
  cleanUp,
  emptied,
  fresh,
  linux,
  postmaster,
  processesBelow,
} from "../support/embedded_fixture.ts";
import { ROOT } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const clone = join(base, "clone-of-parts");

beforeAll(() => {
  mkdirSync(clone);
  for (const part of ["src", "sql", "static", "package.json", "bun.lock", "bunfig.toml"]) {
    cpSync(join(ROOT, part), join(clone, part), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));
});

afterAll(cleanUp);

/** A chatify of the clone, and its output. */
function run(directory: string, ...words: string[]) {
  const child = Bun.spawn([process.execPath, join(clone, "src/main.ts"), ...words], {
    env: { PATH: Bun.env["PATH"], PORT: "0", HOST: "127.0.0.1", DATA_DIR: directory },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push(child);
  return child;
}

async function ends(child: ReturnType<typeof run>): Promise<{ code: number; said: string }> {
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, said: out + err };
}

/** Starts, waits until ready, and stops gracefully. */
async function startsAndStops(directory: string): Promise<void> {
  const child = run(directory);
  let said = "";
  const errors = new Response(child.stderr).text();
  for await (const text of child.stdout.pipeThrough(
    new TextDecoderStream() as never,
  ) as unknown as AsyncIterable<string>) {
    said += text;
    if (said.includes("Ctrl-C")) child.kill("SIGINT");
  }
  expect(said + (await errors)).toContain("Ctrl-C");
  expect(await child.exited).toBe(0);
  await emptied(directory);
}

test.if(linux).each([
  { part: "the pages", file: "static", words: [] },
  { part: "a migration", file: "sql/0001_users.sql", words: [] },
  { part: "a migration for a command", file: "sql/0001_users.sql", words: ["user", "list"] },
])("without $part, PostgreSQL does not run on", async ({ file, words }) => {
  const directory = fresh();
  const path = join(clone, file);
  renameSync(path, `${path}-away`);
  const { code } = await ends(run(directory, ...words));
  renameSync(`${path}-away`, path);
  expect(code).toBeGreaterThan(0);
  await emptied(directory);
  await startsAndStops(directory);
});

test.concurrent.if(linux)("stops PostgreSQL if the secret cannot be stored", async () => {
  const directory = fresh();
  mkdirSync(join(directory, "session_secret"), { recursive: true });
  expect((await ends(run(directory))).code).toBe(4);
  await emptied(directory);
  rmSync(join(directory, "session_secret"), { recursive: true });
  await startsAndStops(directory);
});

test.concurrent.if(linux)("generates the secret again after a full disk left it empty", async () => {
  const directory = fresh();
  mkdirSync(directory);
  writeFileSync(join(directory, "session_secret"), "");
  await startsAndStops(directory);
  expect(readFileSync(join(directory, "session_secret"), "utf8").length).toBeGreaterThan(40);
});

test.concurrent.if(linux)("leaves no PostgreSQL when interrupted at any time during startup", async () => {
  const directory = fresh();
  await startsAndStops(directory);
  for (const [state, moments] of Object.entries({ new: [300, 700, 1_200], there: [150, 400] })) {
    for (const afterMs of moments) {
      if (state === "new") rmSync(directory, { recursive: true, force: true });
      const child = run(directory);
      await Bun.sleep(afterMs);
      child.kill("SIGTERM");
      expect((await ends(child)).said).not.toContain("EmbeddedError");
      await emptied(directory);
    }
  }
  await startsAndStops(directory);
});

test.concurrent.if(linux)("a second Ctrl-C during recovery stops PostgreSQL too", async () => {
  const directory = fresh();
  await startsAndStops(directory);
  const home = join(directory, "pg18");
  writeFileSync(join(home, "local.conf"), "restore_command = 'sleep 5; false'\nhot_standby = off\n");
  writeFileSync(join(home, "cluster/recovery.signal"), "");
  const child = run(directory);
  await until("PostgreSQL starts", () => existsSync(join(home, "cluster/postmaster.pid")) && postmaster(directory) > 0);
  child.kill("SIGINT");
  await Bun.sleep(3_000); // signals within a second count as one, and a busy server handles the first late
  expect(child.exitCode).toBeNull();
  child.kill("SIGINT");
  const { code, said } = await ends(child);
  expect(said).toContain("Stopped immediately.");
  expect(code).toBe(130);
  await emptied(directory);
  rmSync(join(home, "local.conf"));
  rmSync(join(home, "cluster/recovery.signal"), { force: true });
  await startsAndStops(directory);
});

test.concurrent.if(linux)("does not block the next start when killed at any time", async () => {
  const directory = fresh();
  for (const afterMs of [200, 500, 1_000]) {
    const child = run(directory);
    await Bun.sleep(afterMs);
    child.kill("SIGKILL");
    await child.exited;
  }
  await startsAndStops(directory);
  expect(processesBelow(directory)).toEqual([]);
});

test("repairs the database's files while the initdb of a killed server removes its own", async () => {
  const home = fresh();
  mkdirSync(join(home, "cluster"), { recursive: true });
  writeFileSync(join(home, "cluster", "chatify_password"), "secret");
  const script = `cd ${home} && while :; do mkdir -p new-1/a/b && touch new-1/a/b/{1..50} && rm -rf new-1; done`;
  const initdb = Bun.spawn(["bash", "-c", script]);
  children.push(initdb);
  await until("it is at work", () => existsSync(join(home, "new-1")));
  const owner = { uid: process.getuid!(), gid: process.getgid!() };
  for (let i = 0; i < 300; i++) repairHome(home, owner);
  initdb.kill();
  await initdb.exited;
});
