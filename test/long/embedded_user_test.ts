/** The system user of the embedded PostgreSQL, and the access of other users of the machine. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chownSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import {
  ask,
  base,
  Chatify,
  cleanUp,
  fresh,
  linux,
  mode,
  NOBODY,
  postmaster,
  root,
  start,
} from "../support/embedded_fixture.ts";

setDefaultTimeout(30_000);

afterAll(cleanUp);

const users = readFileSync("/etc/passwd", "utf8")
  .split("\n")
  .map((line) => Number(line.split(":")[2]));
/** A path for programs without `unshare`, as if user namespaces were forbidden. */
const bare = join(base, "bin");
mkdirSync(bare);
for (const name of ["sh", "id"]) symlinkSync(Bun.which(name)!, join(bare, name));

function userOf(pid: number): number {
  return statSync(`/proc/${pid}`).uid;
}

/** The processes of this machine, as everybody sees them. */
function processes(): { uid: number; command: string }[] {
  return readdirSync("/proc").flatMap((pid) => {
    try {
      const command = /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
      return command === "" ? [] : [{ uid: userOf(Number(pid)), command }];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

/** What a command prints in the name of a user; undefined when it fails. */
function as(uid: number, ...command: string[]): string | undefined {
  const { success, stdout } = Bun.spawnSync(command, { uid, gid: uid, cwd: "/", stderr: "ignore" });
  return success ? stdout.toString() : undefined;
}

describe.if(root && linux)("started by root", () => {
  test("PostgreSQL runs as a user of no other process", async () => {
    const directory = fresh();
    const embedded = await start(directory);
    const uid = userOf(postmaster(directory));
    expect(users).not.toContain(uid);
    for (const { command } of processes().filter((process) => process.uid === uid))
      expect(command).toContain("postgres");
    await embedded.stop();
    const again = await start(directory);
    expect(userOf(postmaster(directory))).toBe(uid);
    await again.stop();
  });

  test("no other user can read the data or reach the socket, and PostgreSQL's user cannot read the password", async () => {
    const embedded = await start(fresh());
    const { directory: home } = embedded;
    const { host, password } = embedded.target as { host: string; password: string };
    for (const uid of [NOBODY, 1]) {
      for (const path of [home, join(home, "cluster"), join(home, "cluster/chatify_password"), host]) {
        expect(as(uid, "cat", path)).toBeUndefined();
        expect(as(uid, "ls", path)).toBeUndefined();
      }
    }
    const own = statSync(join(home, "cluster")).uid;
    expect(as(own, "ls", home)).toContain("cluster"); // so what follows could find it
    expect(as(own, "sh", "-c", 'grep -rlsF -- "$1" "$2"; true', "sh", password, home)).toBe("");
    await embedded.stop();
  });

  test("data of an older chatify, which ran PostgreSQL as a system account, is migrated", async () => {
    const directory = fresh();
    const first = await start(directory);
    await ask(first, "create table kept as select 'a word' as word");
    await first.stop();
    Bun.spawnSync(["chown", "-R", `${NOBODY}:${NOBODY}`, join(directory, "pg18")]);
    const later = await start(directory);
    expect(users).not.toContain(userOf(postmaster(directory)));
    expect(await ask<{ word: string }>(later, "select word from kept")).toEqual({ word: "a word" });
    expect(
      as(statSync(join(directory, "pg18/cluster")).uid, "cat", join(directory, "pg18/cluster/chatify_password")),
    ).toBe(undefined);
    await later.stop();
  });

  test("no command line shows the password", async () => {
    const directory = fresh();
    const shown = new Set<string>();
    const watch = setInterval(() => processes().forEach(({ command }) => shown.add(command)), 5);
    const embedded = await start(directory);
    clearInterval(watch);
    const { password } = embedded.target as { password: string };
    expect([...shown].filter((line) => line.includes("initdb")).length).toBeGreaterThan(0);
    expect([...shown].filter((line) => line.includes(password))).toEqual([]);
    await embedded.stop();
  });
});

test.if(root && linux)("a user without a name gets a database where user namespaces are forbidden", async () => {
  const parent = join(base, "a blank: and colons");
  mkdirSync(parent);
  chownSync(parent, 4711, 4711);
  for (const state of ["created", "started"]) {
    const chatify = new Chatify(join(parent, "data"), { uid: 4711, path: bare });
    expect((await chatify.says()).state).toBe(state);
    expect(userOf(postmaster(join(parent, "data")))).toBe(4711);
    expect(await chatify.stop()).toBe("stopped");
  }
});

test.if(root && linux).each([
  ["root", "000"],
  ["root", "027"],
  ["root", "077"],
  ["nobody", "000"],
  ["nobody", "077"],
])("started by %s with umask %s, the database works and no other user can read it", async (user, umask) => {
  const directory = fresh();
  mkdirSync(directory);
  if (user === "nobody") chownSync(directory, NOBODY, NOBODY);
  for (const state of ["created", "started"]) {
    const chatify = new Chatify(directory, { umask, ...(user === "nobody" && { uid: NOBODY }) });
    expect(await chatify.says()).toMatchObject({ state, answered: true });
    expect(mode(join(directory, "pg18"))).toBe("700");
    expect(await chatify.stop()).toBe("stopped");
  }
});

test.if(root)("an unprivileged user gets the remedies for a directory of root", async () => {
  const directory = fresh();
  await (await start(directory)).stop();
  const { refused } = await new Chatify(directory, { uid: NOBODY }).says();
  expect(refused).toContain(`Start chatify as root, or stop it and give ${directory} to user ${NOBODY} (chown -R)`);
  Bun.spawnSync(["chown", "-R", `${NOBODY}:${NOBODY}`, directory]);
  const chatify = new Chatify(directory, { uid: NOBODY });
  expect((await chatify.says()).state).toBe("started");
  expect(await chatify.stop()).toBe("stopped");
});
