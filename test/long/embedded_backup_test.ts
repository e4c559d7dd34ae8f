/** Data directories as backups bring them back, and in places with odd names. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";

import { ask, base, Chatify, cleanUp, fresh, NOBODY, refusal, root, start } from "../support/embedded_fixture.ts";

setDefaultTimeout(30_000);

afterAll(cleanUp);

let backedUp: Promise<string> | undefined;

/** A backup of a database in which `kept` has one word. */
function backup(): Promise<string> {
  backedUp ??= (async () => {
    const original = fresh();
    const embedded = await start(original);
    await ask(embedded, "create table kept as select 'a word' as word");
    await embedded.stop();
    return original;
  })();
  return backedUp;
}

describe("a backup", () => {
  const losses: [what: string, command: string][] = [
    ["without its empty directories", "find . -depth -type d -empty -delete"],
    [
      "that git made",
      "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm a && git clone -q . c && find . -mindepth 1 -maxdepth 1 ! -name c -exec rm -r {} + && mv c/pg18 . && rm -rf c",
    ],
    ["that everybody may read and write", "chmod -R 777 ."],
    [
      "with the modes of an unpacked archive",
      "find . -type d -exec chmod 755 {} + && find . -type f -exec chmod 644 {} +",
    ],
    ["that is read-only", "chmod -R a-w ."],
    ["whose directories nobody may enter", "chmod 600 pg18/cluster/base pg18/cluster pg18/log pg18/run pg18 ."],
  ];

  test.concurrent.each(losses)("%s starts with its data", async (_, command) => {
    const directory = fresh();
    Bun.spawnSync(["cp", "-a", await backup(), directory]);
    expect(Bun.spawnSync(["sh", "-c", command], { cwd: directory }).stderr.toString()).toBe("");
    const embedded = await start(directory);
    expect(embedded.state).toBe("started");
    expect(await ask<{ word: string }>(embedded, "select word from kept")).toEqual({ word: "a word" });
    expect(await embedded.stop()).toBe("stopped");
  });

  test.concurrent.if(root).each(losses.filter(([what]) => !/git|archive|everybody/.test(what)))(
    "%s starts for an unprivileged user too",
    async (_, command) => {
      const directory = fresh();
      Bun.spawnSync(["cp", "-a", await backup(), directory]);
      Bun.spawnSync(["sh", "-c", command], { cwd: directory });
      Bun.spawnSync(["chown", "-R", `${NOBODY}:${NOBODY}`, directory]);
      const chatify = new Chatify(directory, { uid: NOBODY });
      expect((await chatify.says()).state).toBe("started");
      expect(await chatify.stop()).toBe("stopped");
    },
  );

  test.concurrent.if(root)("with files of root or another user is given back to PostgreSQL", async () => {
    for (const command of ["chown -R 0:0 .", "chown -R 1:1 pg18/cluster/base pg18/log"]) {
      const directory = fresh();
      Bun.spawnSync(["cp", "-a", await backup(), directory]);
      Bun.spawnSync(["sh", "-c", command], { cwd: directory });
      const embedded = await start(directory);
      await ask(embedded, "create table more as select 1");
      expect(await embedded.stop()).toBe("stopped");
    }
  });
});

test.concurrent("a copy of a running database is a separate database", async () => {
  const [directory, copied] = [fresh(), fresh()];
  const first = await start(directory);
  await ask(first, "create table kept as select 'first' as word");
  Bun.spawnSync(["cp", "-a", directory, copied]);
  const copy = await start(copied);
  expect(copy.state).toBe("started");
  await ask(copy, "update kept set word = 'copy'");
  for (const embedded of [first, await start(directory)])
    expect(await ask<{ word: string }>(embedded, "select word from kept")).toEqual({ word: "first" });
  expect(await copy.stop()).toBe("stopped");
  const second = await start(directory);
  expect(second.state).toBe("adopted");
  expect(await ask<{ word: string }>(second, "select word from kept")).toEqual({ word: "first" });
});

describe("a directory", () => {
  const names = [
    ["with backslashes", "back\\slash\\n\\\\101\\"],
    ["with quotes, blanks and per cent", ` 'one' "two" %20%s `],
    ["with what shells and addresses expand", "$HOME;`id`#a?b=c@d:e,f[g]{h}*"],
    ["in other scripts", "δεδομένα-資料-e\u0301-😀"],
    ["far down", "x".repeat(100)],
  ] as const;
  test.concurrent.each(names)("%s holds a database", async (_, name) => {
    const directory = join(base, name, "data");
    for (const state of ["created", "started"]) {
      const embedded = await start(directory);
      expect(embedded.state).toBe(state as "created");
      expect(await ask<{ one: number }>(embedded, "select 1 as one")).toEqual({ one: 1 });
      expect(await embedded.stop()).toBe("stopped");
    }
  });

  test.concurrent("is the same by a link, with a trailing slash and by a relative path", async () => {
    const directory = fresh();
    mkdirSync(directory);
    symlinkSync(directory, `${directory}-link`);
    const first = await start(directory);
    for (const path of [`${directory}-link`, `${directory}//`, `${directory}/../${relative(base, directory)}`]) {
      const other = await start(path);
      expect(other.state).toBe("adopted");
      expect(await other.stop()).toBe("in use by another chatify");
    }
    expect(await first.stop()).toBe("stopped");
  });

  test.concurrent("with a path too long for a socket gets one elsewhere, wherever TMPDIR points", async () => {
    const directory = join(fresh(), "x".repeat(100));
    const closed = fresh();
    mkdirSync(closed, { mode: 0o700 });
    for (const temporary of [
      closed,
      join(closed, "none"),
      "none",
      "/proc",
      "/dev/null",
      join(closed, "y".repeat(100)),
    ]) {
      const chatify = new Chatify(directory, { temporary });
      expect((await chatify.says()).answered).toBe(true);
      expect(await chatify.stop()).toBe("stopped");
    }
  });

  test.concurrent("that is a dangling link, as to a missing disk, is not created", async () => {
    const [link, disk] = [fresh(), fresh()];
    symlinkSync(disk, link);
    for (const directory of [link, join(link, "data")]) {
      expect(await refusal(start(directory))).toContain(`${link} is a link to ${disk}, which does not exist`);
    }
    expect(existsSync(disk)).toBe(false);
  });

  test.concurrent("with a path that is too long or has two lines is rejected in a sentence", async () => {
    const words = (directory: string) => start(directory).then(String, (error: Error) => error.message);
    expect(await words(join(base, "x".repeat(200), "y".repeat(200), "z".repeat(200)))).toContain("is too long");
    expect(await words(join(base, "two\nlines"))).toContain("DATA_DIR contains a line break");
  });
});
