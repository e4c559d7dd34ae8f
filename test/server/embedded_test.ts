/**
 * The embedded PostgreSQL on real disks, with real kills. Each trap that others fell into is a test. Where several can, they
 * share a cluster, since making one takes a second.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { connect } from "../../src/db/client.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import {
  ask,
  base,
  Chatify,
  children,
  cleanUp,
  cutPower,
  disk,
  emptied,
  endBelow,
  fixture,
  fresh,
  installed,
  linux,
  logged,
  mode,
  namespaces,
  NOBODY,
  postmaster,
  processesBelow,
  refusal,
  root,
  start,
} from "../support/embedded_fixture.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

afterAll(cleanUp);

describe("on one directory", () => {
  const directory = join(base, "one");

  test("the first start makes a private, durable database that nothing reaches from the network", async () => {
    const said: string[] = [];
    const begun = performance.now();
    const embedded = await start(directory, { say: (line) => said.push(line) });
    expect(performance.now() - begun).toBeLessThan(20_000); // 1.3 s here; a loaded machine is slower
    expect(embedded.state).toBe("created");
    const slow = "Waiting for the database, which is starting …"; // said after a second
    expect(said.filter((line) => line !== slow)).toEqual(["Preparing the database (first start only) …"]);

    const settings = await ask<Record<string, string>>(
      embedded,
      `select current_setting('listen_addresses') as listens, current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as commit,
        current_setting('data_checksums') as checksums, current_setting('server_encoding') as encoding,
        current_setting('server_version_num')::int / 10000 || '' as major,
        current_database() as database, current_user as user, upper('ώ') as upper`,
    );
    expect(settings).toEqual({
      listens: "",
      fsync: "on",
      full_page_writes: "on",
      commit: "on",
      checksums: "on",
      encoding: "UTF8",
      major: "18",
      database: "chatify",
      user: "chatify",
      upper: "Ώ",
    });
    const home = embedded.directory;
    expect([mode(home), mode(join(home, "run")), mode(join(home, "cluster/chatify_password"))]).toEqual([
      "700",
      "700",
      "600",
    ]);
    await ask(embedded, "create table kept as select 'a word' as word");
    expect(await embedded.stop()).toBe("stopped");
  });

  test("the socket requires the password", async () => {
    const embedded = await start(directory);
    const target = { ...(embedded.target as object), password: "guess" } as Embedded["target"];
    expect(String(await ask({ target }, "select 1").catch(String))).toContain("password authentication failed");
    await embedded.stop();
  });

  test("a later start finds the stored data, and stop is quick", async () => {
    const embedded = await start(directory);
    expect(embedded.state).toBe("started");
    expect(await ask<{ word: string }>(embedded, "select word from kept")).toEqual({ word: "a word" });
    const begun = performance.now();
    expect(await embedded.stop()).toBe("stopped");
    expect(performance.now() - begun).toBeLessThan(1_000);
    await emptied(directory);
  });

  test("messages do not appear in the database's log", async () => {
    const embedded = await start(directory);
    await ask(embedded, "create temp table secrets (text text check (text is null))").catch(() => {});
    await ask(embedded, "select 'a sigh of love'::int").catch(() => {});
    await ask(
      embedded,
      "do $$ begin create temp table s (t text unique); insert into s values ('love'), ('love'); end $$",
    ).catch(() => {});
    await embedded.stop();
    const logs = join(embedded.directory, "log");
    const text = readdirSync(logs)
      .map((name) => readFileSync(join(logs, name), "utf8"))
      .join("");
    expect(text).toContain("duplicate key");
    expect(text).not.toContain("('love')");
    expect(text).not.toContain("=(love)");
  });

  test("a chatify killed with -9 leaves its database running, and the next one adopts it", async () => {
    const first = new Chatify(directory);
    expect((await first.says()).state).toBe("started");
    const pid = postmaster(directory);
    await first.kill();
    const second = await start(directory);
    expect(second.state).toBe("adopted");
    expect(postmaster(directory)).toBe(pid);
    expect(await ask<{ word: string }>(second, "select word from kept")).toEqual({ word: "a word" });
    expect(await second.stop()).toBe("stopped");
  });

  test.if(linux)(
    "a process that got the number of a dead PostgreSQL neither hinders the next nor is harmed",
    async () => {
      const first = new Chatify(directory);
      await first.says();
      await first.kill();
      await cutPower(directory);
      const { uid, gid } = statSync(join(directory, "pg18/cluster"));
      const stranger = Bun.spawn(["sleep", "60"], root && uid !== 0 ? { uid, gid, cwd: "/" } : { cwd: "/" });
      children.push(stranger);
      for (const name of ["cluster/postmaster.pid", "run/.s.PGSQL.5432.lock"]) {
        const path = join(directory, "pg18", name);
        writeFileSync(path, readFileSync(path, "utf8").replace(/^\d+/, String(stranger.pid)));
      }
      const embedded = await start(directory);
      expect(embedded.state).toBe("started");
      expect(postmaster(directory)).not.toBe(stranger.pid);
      expect(await embedded.stop()).toBe("stopped");
      expect(stranger.exitCode).toBeNull();
      stranger.kill();
    },
  );

  test.if(linux)("a PostgreSQL that dies is started again, with all that was committed, until stop", async () => {
    const embedded = await start(directory);
    await ask(embedded, "insert into kept values ('committed')");
    const pid = postmaster(directory);
    process.kill(pid, "SIGKILL");
    await until(
      "a new PostgreSQL answers",
      async () =>
        (await ask(embedded, "select 1").catch(() => undefined)) !== undefined && postmaster(directory) !== pid,
    );
    expect(await ask<{ count: number }>(embedded, "select count(*)::int from kept where word = 'committed'")).toEqual({
      count: 1,
    });
    expect(logged.join("")).toContain("database died, restarting");
    expect(await embedded.stop()).toBe("stopped");
    await Bun.sleep(500);
    expect(processesBelow(directory)).toEqual([]);
  });

  test.if(linux)("an adopted PostgreSQL that dies is started again too", async () => {
    const first = new Chatify(directory);
    await first.says();
    await first.kill();
    const embedded = await start(directory);
    expect(embedded.state).toBe("adopted");
    const pid = postmaster(directory);
    process.kill(pid, "SIGKILL");
    await until(
      "a new PostgreSQL answers",
      async () =>
        (await ask(embedded, "select 1").catch(() => undefined)) !== undefined && postmaster(directory) !== pid,
    );
    expect(await embedded.stop()).toBe("stopped");
  });

  test("a database that another chatify uses is not stopped", async () => {
    const other = new Chatify(directory);
    await other.says();
    const embedded = await start(directory);
    expect(embedded.state).toBe("adopted");
    expect(await embedded.stop()).toBe("in use by another chatify");
    expect(await other.stop()).toBe("stopped");
  });

  test("a database with a session of a chatify that came by its address is not stopped", async () => {
    const embedded = await start(directory);
    const sql = connect(embedded.target, { name: "chatify pod" });
    await sql`select 1`;
    expect(await embedded.stop()).toBe("in use by another chatify");
    await sql.end();
    expect(await (await start(directory)).stop()).toBe("stopped");
  });

  test.if(linux)("startup waits for recovery and prints that", async () => {
    const home = join(directory, "pg18");
    writeFileSync(join(home, "local.conf"), "restore_command = 'sleep 0.7; false'\nhot_standby = off\n");
    writeFileSync(join(home, "cluster/recovery.signal"), "");
    const { uid, gid } = statSync(join(home, "cluster"));
    if (root) for (const name of ["local.conf", "cluster/recovery.signal"]) chownSync(join(home, name), uid, gid);
    const first = new Chatify(directory);
    await until("PostgreSQL starts", () => existsSync(join(home, "cluster/postmaster.pid")));
    await first.kill();
    const said: string[] = [];
    const embedded = await start(directory, { say: (line) => said.push(line) });
    expect(embedded.state).toBe("adopted");
    expect(said).toEqual(["Waiting for the database, which is starting …"]);
    rmSync(join(home, "local.conf"));
    await embedded.stop();
  });

  test.if(linux)("a database that is shutting down is waited for and started anew", async () => {
    const first = new Chatify(directory);
    const { target } = await first.says();
    await first.kill();
    const sql = connect(target, { name: "slow" });
    await sql`select 1`;
    const pid = postmaster(directory);
    process.kill(pid, "SIGTERM"); // PostgreSQL waits for its sessions
    await until("PostgreSQL stops", () =>
      readFileSync(join(directory, "pg18/cluster/postmaster.pid"), "utf8").includes("stopping"),
    );
    const starting = start(directory);
    await Bun.sleep(200);
    await sql.end();
    const embedded = await starting;
    expect(embedded.state).toBe("started");
    expect(postmaster(directory)).not.toBe(pid);
    await embedded.stop();
  });

  test.if(linux)("Ctrl-C in the terminal ends chatify, not the database under it", async () => {
    let shown = "";
    const terminal = Bun.spawn([process.execPath, fixture, directory, installed], {
      cwd: "/",
      terminal: { cols: 400, rows: 20, data: (_, data) => void (shown += new TextDecoder().decode(data)) },
    });
    children.push(terminal);
    await until("a question was answered", () => shown.includes('"answered":true'));
    const pid = postmaster(directory);
    terminal.terminal!.write("\x03");
    await terminal.exited;
    terminal.terminal!.close();
    const embedded = await start(directory);
    expect(embedded.state).toBe("adopted");
    expect(postmaster(directory)).toBe(pid);
    await embedded.stop();
  });

  test("a chatify that ends without stopping its database is not held up by it", async () => {
    for (const state of ["started", "adopted"]) {
      const chatify = new Chatify(directory, { leave: true });
      expect((await chatify.says()).state).toBe(state);
      const begun = performance.now();
      expect(await chatify.process.exited).toBe(0);
      expect(performance.now() - begun).toBeLessThan(900);
    }
    expect(await (await start(directory)).stop()).toBe("stopped");
  });

  test("a cluster that an older chatify left without its database gets one", async () => {
    const embedded = await start(directory);
    const sql = connect({ ...(embedded.target as object), database: "postgres" } as Embedded["target"], {
      name: "test",
    });
    await sql`drop database chatify`;
    await sql.end();
    await embedded.stop();
    const again = await start(directory);
    expect(await ask<{ name: string }>(again, "select current_database() as name")).toEqual({ name: "chatify" });
    expect(await again.stop()).toBe("stopped");
  });

  test("a crash or a full disk that emptied postmaster.pid hinders no start", async () => {
    for (const text of ["", "12"]) {
      const path = join(directory, "pg18/cluster/postmaster.pid");
      writeFileSync(path, text);
      if (root) chownSync(path, statSync(dirname(path)).uid, statSync(dirname(path)).gid);
      expect(await (await start(directory)).stop()).toBe("stopped");
    }
  });

  test("a cluster of another major version is left unchanged, with a remedy", async () => {
    const version = join(directory, "pg18/cluster/PG_VERSION");
    writeFileSync(version, "19\n");
    const words = await refusal(start(directory));
    expect(words).toContain("was written by PostgreSQL 19");
    writeFileSync(version, "18\n");
    expect(await (await start(directory)).stop()).toBe("stopped");
  });
});

test.if(linux)("an initdb killed halfway is thrown away, and the next start makes the database", async () => {
  const directory = fresh();
  const home = join(directory, "pg18");
  const killed = new Chatify(directory);
  await until(
    "a cluster is being made",
    () => existsSync(home) && readdirSync(home).some((name) => existsSync(join(home, name, "cluster/global"))),
  );
  await killed.kill();
  await endBelow(directory);
  expect(existsSync(join(home, "cluster"))).toBe(false);
  const embedded = await start(directory);
  expect(embedded.state).toBe("created");
  expect(readdirSync(home).filter((name) => name.startsWith("new-"))).toEqual([]);
  expect(await embedded.stop()).toBe("stopped");
});

test("three starts at once on a new directory share one database, and the last to leave stops it", async () => {
  const directory = fresh();
  const all = [new Chatify(directory), new Chatify(directory), new Chatify(directory)];
  const answers = await Promise.all(all.map((chatify) => chatify.says()));
  expect(answers.map((answer) => answer.state).toSorted()).toEqual(["adopted", "adopted", "created"]);
  expect(answers.every((answer) => answer.answered)).toBe(true);
  const stops: string[] = [];
  for (const chatify of all) stops.push(await chatify.stop());
  expect(stops).toEqual(["in use by another chatify", "in use by another chatify", "stopped"]);
  await emptied(directory);
});

test("a path too long for a socket, with Greek, blanks, quotes and commas, works, and a squatter is detected", async () => {
  const directory = join(
    base,
    "Τα δεδομένα μου, 'όλα' \"εδώ\"",
    "ένα-μακρύ-όνομα-καταλόγου-για-τον-έλεγχο-της-διαδρομής",
  );
  const embedded = await start(directory);
  const { host } = embedded.target as { host: string };
  expect(dirname(host)).toBe(tmpdir());
  expect([mode(host), lstatSync(host).uid]).toEqual(["700", statSync(join(embedded.directory, "cluster")).uid]);
  expect(await embedded.stop()).toBe("stopped");
  expect(existsSync(host)).toBe(false);

  for (const squat of root
    ? [() => chmodSync(host, 0o777), () => chownSync(host, 54321, 54321)]
    : [() => chmodSync(host, 0o777)]) {
    mkdirSync(host, { mode: 0o700 });
    squat();
    try {
      expect(await refusal(start(directory))).toContain(`${host}, for the database's socket, belongs to another user`);
    } finally {
      rmSync(host, { recursive: true });
    }
  }
});

test.if(root && linux)("a database with a full disk can be stopped", async () => {
  const small = disk(100);
  if (!small) return;
  const directory = join(small, "data");
  const embedded = await start(directory);
  Bun.spawnSync(["sh", "-c", 'cat /dev/zero >"$1"', "sh", join(small, "full")], { stderr: "ignore" });
  expect(await embedded.stop()).toBe("stopped");
  await emptied(directory);
});

describe("rejects with a reason", () => {
  test("the directory of an older PostgreSQL", async () => {
    const directory = fresh();
    mkdirSync(join(directory, "pg17"), { recursive: true });
    expect(await refusal(start(directory))).toContain("was written by PostgreSQL 17");
    expect(readdirSync(directory)).toEqual(["pg17"]);
  });

  test("a file where the directory should be", async () => {
    const directory = fresh();
    writeFileSync(directory, "");
    expect(await refusal(start(directory))).toContain("a file is in the way");
  });

  test("PostgreSQL's programs that cannot run on this system, as on Alpine", async () => {
    const packageDirectory = join(fresh(), "package");
    mkdirSync(join(packageDirectory, "native/bin"), { recursive: true });
    mkdirSync(join(packageDirectory, "native/lib"));
    for (const name of ["initdb", "postgres", "pg_ctl"]) {
      writeFileSync(join(packageDirectory, "native/bin", name), "#!/lib/ld-nowhere.so\n", { mode: 0o755 });
    }
    expect(await refusal(start(fresh(), { packageDirectory }))).toContain("built for systems with glibc");
  });

  // Full in initdb, in the making of the database (which a single-user PostgreSQL ends with 0), and in the first start.
  test.if(root && linux).each([20, 42, 46.5])(
    "a disk that is full at %d MB, until there is room",
    async (megabytes) => {
      const small = disk(megabytes);
      if (!small) return;
      const directory = join(small, "data");
      expect(await refusal(start(directory))).toContain("is full");
      await emptied(directory);
      expect(readdirSync(join(directory, "pg18")).filter((name) => name.startsWith("new-"))).toEqual([]);
      Bun.spawnSync(["mount", "-o", "remount,size=300m", small]);
      const embedded = await start(directory);
      expect(await ask<{ name: string }>(embedded, "select current_database() as name")).toEqual({ name: "chatify" });
      expect(await embedded.stop()).toBe("stopped");
    },
  );

  test("a PostgreSQL that refuses the login, and stops it", async () => {
    const directory = fresh();
    await (await start(directory)).stop();
    const rules = join(directory, "pg18/cluster/pg_hba.conf");
    const before = readFileSync(rules, "utf8");
    writeFileSync(rules, "local all all reject\n");
    expect(await refusal(start(directory))).toContain("does not respond on its socket");
    await emptied(directory);
    writeFileSync(rules, before);
    expect(await (await start(directory)).stop()).toBe("stopped");
  });

  test("a cluster that PostgreSQL cannot read, quoting its error", async () => {
    const directory = fresh();
    await (await start(directory)).stop();
    rmSync(join(directory, "pg18/cluster/global/pg_control"));
    expect(await refusal(start(directory))).toContain("could not find the database system");
  });

  test.if(root)("a directory that this user cannot write, or that is another user's", async () => {
    const closed = fresh();
    mkdirSync(closed, { mode: 0o755 });
    expect((await new Chatify(join(closed, "data"), { uid: NOBODY }).says()).refused).toContain(
      `cannot be written by user ${NOBODY}`,
    );

    const mine = fresh();
    mkdirSync(join(mine, "pg18"), { recursive: true });
    expect((await new Chatify(mine, { uid: NOBODY }).says()).refused).toContain("belongs to user 0");
  });
});

describe.if(root && linux)("started by root", () => {
  /** The package, as it is when its install script was not allowed to run. */
  const unlinked = join(base, "unlinked");
  cpSync(installed, unlinked, {
    recursive: true,
    filter: (path) => !lstatSync(path).isSymbolicLink() && !path.endsWith(".a"),
  });
  const secret = join(base, "secret");
  mkdirSync(secret, { mode: 0o700 });
  const hidden = join(secret, "package");

  test("an unprivileged user runs it from a package without links that belongs to another", async () => {
    const directory = fresh();
    mkdirSync(directory);
    chownSync(directory, NOBODY, NOBODY);
    const first = new Chatify(directory, { uid: NOBODY, packageDirectory: unlinked });
    expect((await first.says()).state).toBe("created");
    expect(readdirSync(join(directory, "pg18/lib"))).toContain("libicuuc.so.60");
    expect(existsSync(join(unlinked, "native/lib/libicuuc.so.60"))).toBe(false);
    expect(await first.stop()).toBe("stopped");

    // Root may start it in between: the files keep their owner.
    const byRoot = await start(directory, { packageDirectory: unlinked });
    expect(byRoot.state).toBe("started");
    expect(await byRoot.stop()).toBe("stopped");
    const again = new Chatify(directory, { uid: NOBODY, packageDirectory: unlinked });
    expect((await again.says()).state).toBe("started");
    expect(await again.stop()).toBe("stopped");
  });

  test("missing links of the package are created in it", async () => {
    const embedded = await start(fresh(), { packageDirectory: unlinked });
    expect(readlinkSync(join(unlinked, "native/lib/libicuuc.so.60"))).toBe("libicuuc.so.60.2");
    expect(statSync(embedded.directory).uid).not.toBe(0);
    await embedded.stop();
  });

  test.if(namespaces)("a clone and a directory that only root can enter work, and stay root's", async () => {
    const directory = join(secret, "data");
    cpSync(unlinked, hidden, { recursive: true, verbatimSymlinks: true });
    for (const state of ["created", "started"] as const) {
      const embedded = await start(directory, { packageDirectory: hidden });
      expect(embedded.state).toBe(state);
      expect(statSync(join(embedded.directory, "cluster/base")).uid).toBe(0);
      expect(await embedded.stop()).toBe("stopped");
    }
  });

  test("where user namespaces are forbidden, a clone that only root can enter is copied beside the data", async () => {
    const path = join(base, "bin"); // no unshare in it
    mkdirSync(path);
    for (const name of ["sh", "id"]) symlinkSync(Bun.which(name)!, join(path, name));
    if (!existsSync(hidden)) cpSync(unlinked, hidden, { recursive: true, verbatimSymlinks: true });
    const directory = fresh();
    for (const state of ["created", "started"]) {
      const chatify = new Chatify(directory, { packageDirectory: hidden, path });
      expect((await chatify.says()).state).toBe(state);
      expect(await chatify.stop()).toBe("stopped");
    }
    expect(existsSync(join(directory, "pg18/package/bin/postgres"))).toBe(true);

    const words = await new Chatify(join(secret, "other"), { packageDirectory: hidden, path }).says();
    expect(words.refused).toContain("refuses to run as root");
  });

  test.if(namespaces)("a user with an id but no name, as in some containers, gets a database", async () => {
    const directory = fresh();
    mkdirSync(directory);
    chownSync(directory, 54321, 54321);
    const chatify = new Chatify(directory, { uid: 54321, packageDirectory: unlinked });
    expect((await chatify.says()).state).toBe("created");
    expect(await chatify.stop()).toBe("stopped");
  });
});

test.if(linux)("no process is left running", () => emptied(base));
