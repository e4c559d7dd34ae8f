/** The process as an admin sees it: output, startup, shutdown, failures and crashes. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import packageJson from "../../package.json" with { type: "json" };
import { connect } from "../../src/db/client.ts";
import { cookieOf, freePort, migratedDatabase, PASSWORD, Person, post, ROOT } from "../support/harness.ts";
import { logs } from "../support/log_search.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const NOBODY = 65_534;
const base = mkdtempSync(join(tmpdir(), "chatify-start-"));
chmodSync(base, 0o755);
const processes: Bun.Subprocess[] = [];
let directories = 0;

afterAll(async () => {
  for (const child of processes) child.kill("SIGKILL");
  for (let i = 1; i <= directories; i++) {
    const directory = join(base, `data-${i}`);
    const pid = postmaster(directory);
    if (pid !== undefined) process.kill(pid, "SIGQUIT");
    await noPostmaster(directory);
  }
  rmSync(base, { recursive: true, force: true, maxRetries: 5 });
});

function freshDirectory(): string {
  return join(base, `data-${++directories}`);
}

/** The PostgreSQL running in a `DATA_DIR`, or undefined. */
function postmaster(dataDir: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(dataDir, "pg18", "cluster", "postmaster.pid"), "utf8").split("\n")[0]);
    if (!(pid > 0)) return undefined; // not written yet
    process.kill(pid, 0);
    return pid;
  } catch {
    return undefined; // no such file, or no such process
  }
}

/** Waits until no PostgreSQL runs in a `DATA_DIR`. */
async function noPostmaster(dataDir: string): Promise<void> {
  await until("PostgreSQL has stopped", () => postmaster(dataDir) === undefined, 5_000);
}

/** A chatify in its own process. */
class Chatify {
  readonly process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly url: string;
  readonly out: Promise<string>;
  readonly err: Promise<string>;
  /** What it has said until now. */
  readonly said = { out: "", err: "" };
  readonly #begun = performance.now();
  readonly #dataDir: string | undefined;

  constructor(
    env: Record<string, string>,
    options: { words?: string[]; command?: string[]; uid?: number; detached?: boolean } = {},
  ) {
    const { words = [], command = [process.execPath, join(ROOT, "src/main.ts")], uid, detached = false } = options;
    this.#dataDir = env["DATA_DIR"];
    const { PATH = "", HOME = base } = Bun.env;
    this.process = Bun.spawn([...command, ...words], {
      cwd: ROOT,
      env: { PATH, HOME, HOST: "127.0.0.1", RATE_LIMIT: "off", npm_config_update_notifier: "false", ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      detached,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    processes.push(this.process);
    this.url = `http://127.0.0.1:${env["PORT"]}`;
    this.out = this.#hear("out", this.process.stdout);
    this.err = this.#hear("err", this.process.stderr);
    for (const [name, value] of Object.entries(env)) logs.noteSetting(name, value);
    for (const said of [this.out, this.err]) void said.then((text) => logs.hear(text));
  }

  /** Milliseconds from the command to the first page. */
  async answers(): Promise<number> {
    while (this.process.exitCode === null && performance.now() - this.#begun < 20_000) {
      const answer = await fetch(`${this.url}/`, { redirect: "manual" }).catch(() => undefined);
      if (answer?.status === 302) return Math.round(performance.now() - this.#begun);
      await Bun.sleep(5);
    }
    throw new Error(`chatify does not answer: ${await this.ends().then(({ out, err }) => out + err)}`);
  }

  /** Waits until it has said something. */
  async says(words: string, where: "out" | "err" = "out"): Promise<void> {
    for (const since = performance.now(); !this.said[where].includes(words); await Bun.sleep(5)) {
      if (this.process.exitCode !== null || performance.now() - since > 20_000)
        throw new Error(`chatify does not say ${JSON.stringify(words)}, but ${this.said.out}${this.said.err}`);
    }
  }

  async #hear(where: "out" | "err", stream: ReadableStream<Uint8Array>): Promise<string> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this.said[where] += decoder.decode(bytes, { stream: true });
    return this.said[where];
  }

  async ends(): Promise<{ code: number; out: string; err: string }> {
    const code = await this.process.exited;
    const ended = { code, out: await this.out, err: await this.err };
    const kept = join(this.#dataDir ?? "", "session_secret");
    if (this.#dataDir && existsSync(kept)) logs.note("secret", readFileSync(kept, "utf8"));
    logs.check();
    return ended;
  }

  /** Sends a signal, or several a millisecond apart. @returns how it ended, and after how long */
  async signalled(
    ...signals: ("SIGINT" | "SIGTERM")[]
  ): Promise<{ code: number; tookMs: number; out: string; err: string }> {
    const begun = performance.now();
    for (const [i, signal] of signals.entries()) {
      if (i > 0) await Bun.sleep(1); // closer, the kernel makes them one
      this.process.kill(signal);
    }
    await this.process.exited;
    const tookMs = Math.round(performance.now() - begun);
    return { ...(await this.ends()), tookMs };
  }
}

async function logIn(url: string, name: string): Promise<Person> {
  const answer = await post(`${url}/login`, { username: name, password: PASSWORD });
  expect(answer.status).toBe(302);
  return new Person(url, name, cookieOf(answer));
}

/** The whole conversation, as `who` reads it. */
async function texts(who: Person, peer: string): Promise<{ content: string; seq: number; ref: string }[]> {
  return who.json(`/messages/${who.name}/${peer}?peek=1`);
}

describe("start", () => {
  const dataDir = freshDirectory();

  test("creates a database, prints its place and the next steps, and stops gracefully on Ctrl-C", async () => {
    const port = freePort();
    const chatify = new Chatify({ PORT: `${port}`, DATA_DIR: dataDir, LOG_LEVEL: "debug" });
    const firstMs = await chatify.answers();
    console.log(`  first start to first answer: ${firstMs} ms`);
    expect(firstMs).toBeLessThan(12_000); // 2 s on an idle machine; other tests run beside this one

    const ann = await Person.signUp(chatify.url, "ann-private");
    const bob = await Person.signUp(chatify.url, "bob-private");
    const [annTab, bobTab] = [await ann.open(), await bob.open()];
    await annTab.send("bob-private", "a private word");
    await bobTab.next("message");
    await post(`${chatify.url}/login`, { username: "ann-private", password: "not the password" });

    const { code, tookMs, out, err } = await chatify.signalled("SIGINT", "SIGINT"); // as npx passes it on
    console.log(`  Ctrl-C to the end: ${tookMs} ms`);
    expect(code).toBe(0);
    expect(tookMs).toBeLessThan(2_000);
    await noPostmaster(dataDir);
    expect((await annTab.closed).code).toBe(1012);
    expect((await bobTab.closed).code).toBe(1012);

    const adminCode = /code=(\S+)/.exec(out)?.[1] ?? "";
    expect(adminCode).toMatch(/^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$/);
    expect(err).not.toContain(adminCode);
    // One more line is said where PostgreSQL needs more than a second to start.
    expect(out.replace("Waiting for the database, which is starting …\n", "")).toBe(
      [
        "Preparing the database (first start only) …",
        `Sign up at http://127.0.0.1:${port}/signup?code=${adminCode} to become the admin; the link works once`,
        "",
        `chatify ${packageJson.version}`,
        "",
        `  Open      http://127.0.0.1:${port}`,
        `  Database  embedded PostgreSQL, created, in ${dataDir}`,
        "  Next      sign up, then open a second browser and sign up as another user",
        "  Stop      Ctrl-C",
        "  Warning   RATE_LIMIT=off: clients may send messages and try passwords without limit",
        "",
        "",
      ].join("\n"),
    );
    const events = err
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { at: string; level: string; event: string });
    expect(events.map(({ event }) => event)).toContain("database migrated");
    expect(events.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
    for (const secret of ["private", PASSWORD, "not the password", ann.cookie.split("=")[1]!.slice(0, 20)]) {
      expect(out + err).not.toContain(secret);
    }
  });

  test("restarts quickly, fails on a port in use, and shares the database on another port", async () => {
    const [port, other] = [freePort(), freePort()];
    const first = new Chatify({ PORT: `${port}`, DATA_DIR: dataDir });
    const laterMs = await first.answers();
    console.log(`  later start to first answer: ${laterMs} ms`);
    expect(laterMs).toBeLessThan(2_500);
    const ann = await logIn(first.url, "ann-private");
    expect((await texts(ann, "bob-private")).map(({ content }) => content)).toEqual(["a private word"]);
    const pid = postmaster(dataDir);

    const same = await new Chatify({ PORT: `${port}`, DATA_DIR: dataDir }).ends();
    expect(same.code).toBe(5);
    expect(same.err).toBe(
      `Port ${port} on 127.0.0.1 cannot be used: Failed to start server. Is port ${port} in use?\n` +
        `Another program, or another chatify, is using it. Stop that one, or choose another port: PORT=${port + 1}\n`,
    );
    expect(postmaster(dataDir)).toBe(pid!);
    expect((await ann.get("/readyz")).status).toBe(200);

    const second = new Chatify({ PORT: `${other}`, DATA_DIR: dataDir });
    await second.answers();
    const bob = await logIn(second.url, "bob-private");
    await (await bob.open()).send("ann-private", "from the second");
    expect(await first.signalled("SIGTERM")).toMatchObject({ code: 0 });
    expect(postmaster(dataDir)).toBe(pid!);
    expect((await texts(bob, "ann-private")).map(({ content }) => content)).toEqual([
      "a private word",
      "from the second",
    ]);

    const { code, tookMs, err } = await second.signalled("SIGTERM");
    expect(code).toBe(0);
    expect(tookMs).toBeLessThan(2_000);
    expect(err).not.toContain('"level":"error"');
    await noPostmaster(dataDir);
  });

  test("stops PostgreSQL too, even if one of its connections closes slowly", async () => {
    const chatify = new Chatify({ PORT: `${freePort()}`, DATA_DIR: dataDir });
    await chatify.answers();
    const backend = childrenOf(postmaster(dataDir)!).find(({ command }) => command.includes("[local] idle"));
    process.kill(backend!.pid, "SIGSTOP");
    const ending = chatify.signalled("SIGINT");
    await Bun.sleep(600);
    process.kill(backend!.pid, "SIGCONT");
    expect((await ending).code).toBe(0);
    await noPostmaster(dataDir);
  });

  test("recovers from kill -9 under load with all acknowledged messages", async () => {
    const port = freePort();
    const killed = new Chatify({ PORT: `${port}`, DATA_DIR: dataDir });
    await killed.answers();
    const tab = await (await logIn(killed.url, "ann-private")).open();
    let sent = 0;
    const load = setInterval(() => {
      if (tab.socket.readyState !== WebSocket.OPEN) return;
      for (let i = 0; i < 50; i++) tab.say({ to: "bob-private", message: `load ${sent}`, ref: `load-ref-${sent++}` });
    }, 5);
    const acked = () => tab.heard.filter(({ type }) => type === "ack");
    await Bun.sleep(700);
    await until("more than a hundred acks", () => acked().length > 100);
    killed.process.kill("SIGKILL");
    await tab.closed;
    clearInterval(load);
    const acks = acked();
    console.log(`  kill -9 after ${sent} sends and ${acks.length} acks`);
    expect(acks.length).toBeGreaterThan(100);

    const next = new Chatify({ PORT: `${port}`, DATA_DIR: dataDir });
    console.log(`  start after kill -9 to first answer: ${await next.answers()} ms`);
    const stored = await texts(await logIn(next.url, "ann-private"), "bob-private");
    expect(stored.map(({ seq }) => seq)).toEqual(stored.map((_, i) => i + 1));
    const bySeq = new Map(stored.map((row) => [row.seq, row.ref]));
    expect(acks.filter(({ seq, ref }) => bySeq.get(seq) !== ref)).toEqual([]);
    expect((await next.signalled("SIGTERM")).code).toBe(0);
    await noPostmaster(dataDir);
  });

  test("leaves no PostgreSQL and nothing that blocks the next start when interrupted halfway", async () => {
    const [port, fresh] = [freePort(), freshDirectory()];
    const chatify = new Chatify({ PORT: `${port}`, DATA_DIR: fresh });
    await until(
      "initdb runs",
      () => existsSync(join(fresh, "pg18")) && /new-/.test(readdirSync(join(fresh, "pg18")).join()),
    );
    const { code, out } = await chatify.signalled("SIGINT");
    expect(code).toBe(0);
    expect(out).not.toContain("Open");
    await noPostmaster(fresh);

    // also through the documented command, where the whole process group receives the signal
    const npx = Bun.spawnSync(["npx", "--offline", "-y", "bun@1.4.5", "--version"]).success;
    if (!npx) console.log("  npx has no bun@1.4.5 at hand here: `bun run start` is tried instead");
    const command = npx ? ["npx", "--offline", "-y", "bun@1.4.5", "run", "start"] : [process.execPath, "run", "start"];
    const again = new Chatify({ PORT: `${port}`, DATA_DIR: fresh }, { command, detached: true });
    await again.answers();
    const begun = performance.now();
    process.kill(-again.process.pid, "SIGINT");
    const { err } = await again.ends();
    console.log(
      `  Ctrl-C under ${command[0] === "npx" ? "npx" : "bun run"} to the end: ${Math.round(performance.now() - begun)} ms`,
    );
    expect(performance.now() - begun).toBeLessThan(2_500);
    await noPostmaster(fresh);
    expect(err).not.toContain('"level":"error"');
  });
});

describe("start", () => {
  test.concurrent("rejects unknown commands and prints help", async () => {
    const [help, version, unknown] = await Promise.all([
      new Chatify({}, { words: ["--help"] }).ends(),
      new Chatify({}, { words: ["--version"] }).ends(),
      new Chatify({}, { words: ["serve"] }).ends(),
    ]);
    expect(help).toMatchObject({ code: 0, err: "" });
    expect(help.out).toContain("  PORT=9000 bun run start                   on another port\n");
    expect(help.out).toMatch(/^ {2}DRAIN_SECONDS +seconds to keep serving after SIGTERM/m);
    expect(help.out).toContain("  bun run chatify user passwd NAME ");
    expect(version).toEqual({ code: 0, out: `chatify ${packageJson.version}\n`, err: "" });
    expect(unknown).toEqual({
      code: 2,
      out: "",
      err: 'Unknown command "serve". --help lists the commands and the settings, which are environment variables.\n',
    });
  });

  test.concurrent("reports all invalid settings at once", async () => {
    expect(await new Chatify({ PORT: "high", RATE_LIMIT: "maybe", DATABASE_URL: "hunter22" }).ends()).toEqual({
      code: 2,
      out: "",
      err:
        "Invalid settings:\n" +
        '  - PORT must be a whole number from 0 to 65535, got "high"\n' +
        "  - DATABASE_URL must look like postgres://user:password@host:5432/database\n" +
        '  - RATE_LIMIT must be on or off, got "maybe"\n',
    });
  });

  test.concurrent("rejects a placeholder secret in production without printing it", async () => {
    const secret = "hunter22-please-change-me-hunter22";
    expect(await new Chatify({ PORT: "0", SESSION_SECRET: secret, NODE_ENV: "production" }).ends()).toEqual({
      code: 2,
      out: "",
      err:
        "Invalid settings:\n" +
        "  - SESSION_SECRET looks like a placeholder: anyone who guesses it can sign in as any user; " +
        "openssl rand -hex 32 generates a good one, or leave it unset and chatify generates and keeps one\n",
    });
  });

  test.concurrent("warns about the password published with the original demo without printing it", async () => {
    const url = new URL(await migratedDatabase());
    const admin = connect(url.href, { name: "test" });
    await admin.unsafe("create role chatuser superuser login password 'admin123'");
    await admin.end({ timeout: 1 });
    Object.assign(url, { username: "chatuser", password: "admin123" });
    const chatify = new Chatify({ PORT: `${freePort()}`, DATABASE_URL: url.href });
    await chatify.answers();
    await Person.signUp(chatify.url, "ann"); // by then it has printed everything
    const { code, out, err } = await chatify.signalled("SIGTERM");
    expect(code).toBe(0);
    expect(out).toContain("  Warning   the database has the password published with the original demo: change it");
    expect(out + err).not.toContain("admin123");
  });

  test.concurrent("rejects an address that is not this machine's", async () => {
    const { code, err } = await new Chatify({ PORT: "0", HOST: "192.0.2.1", DATA_DIR: freshDirectory() }).ends();
    expect(code).toBe(5);
    expect(err).toContain("\nHOST must be an address of this machine: 0.0.0.0 for all of them");
  });

  test.concurrent("reports an unreachable database without its password", async () => {
    const port = freePort();
    const env = { PORT: "0", DATABASE_URL: `postgres://ann:hunter22@127.0.0.1:${port}/chat` };
    expect(await new Chatify(env).ends()).toEqual({
      code: 4,
      out: "",
      err: `Nothing is listening at 127.0.0.1:${port}. Is PostgreSQL running there? Check DATABASE_URL\n`,
    });
  });

  test.concurrent(
    "rejects a database URL in one sentence: exit code 2 if unsupported, 4 for errors of PostgreSQL",
    async () => {
      const address = await migratedDatabase();
      const [settings, database] = await Promise.all([
        new Chatify({ PORT: "0", DATABASE_URL: "postgres://ann:12#hunter22@127.0.0.1:1/chat" }).ends(),
        new Chatify({ PORT: "0", DATABASE_URL: `${address}&options=-c%20nonsense%3D1` }).ends(),
      ]);
      expect(settings).toEqual({
        code: 2,
        out: "",
        err: "Invalid settings:\n  - DATABASE_URL cannot be read: encode # / ? @ in the password as %23 %2F %3F %40\n",
      });
      expect(database).toMatchObject({ code: 4, out: "" });
      expect(database.err).toMatch(
        /^PostgreSQL in .* reported: unrecognized configuration parameter "nonsense" \(SQLSTATE 42704\)\. .*\n$/,
      );
    },
  );

  test.concurrent("starts whatever PG… variables are set", async () => {
    const nonsense = {
      PGTARGETSESSIONATTRS: "any", // libpq's default, which the driver rejects
      PGSERVICE: "nowhere",
      PGOPTIONS: "-c nonsense=1",
      PGSSLNEGOTIATION: "direct",
      PGMAX_PIPELINE: "0",
      PGPREPARE: "",
      PGIDLE_TIMEOUT: "1",
      PGDATA: "/nowhere",
      PGHOST: "no-such-host.invalid",
      PGPORT: "1",
      PGUSER: "nobody-at-all",
      PGPASSWORD: "hunter22",
      PGDATABASE: "nowhere",
      PGAPPNAME: "another",
      PGTZ: "Asia/Kathmandu",
    };
    const [ours, given] = [freePort(), freePort()];
    const both = [
      new Chatify({ ...nonsense, PGSSLMODE: "verify-full", PORT: `${ours}`, DATA_DIR: freshDirectory() }),
      new Chatify({ ...nonsense, PORT: `${given}`, DATABASE_URL: await migratedDatabase() }),
    ];
    for (const chatify of both) {
      await chatify.answers();
      expect(await chatify.signalled("SIGTERM")).toMatchObject({ code: 0 });
    }
  });

  test.concurrent("rejects a data directory that is not writable", async () => {
    const impossible = await new Chatify({ PORT: "0", DATA_DIR: "/dev/null/data" }).ends();
    expect(impossible.code).toBe(4);
    expect(impossible.err).toContain("Or set DATABASE_URL to a PostgreSQL of your own.");

    const closed = join(base, "closed");
    mkdirSync(closed, { mode: 0o555 });
    const root = userInfo().uid === 0;
    const main = join(ROOT, "src/main.ts");
    if (root && !Bun.spawnSync([process.execPath, main, "--version"], { uid: NOBODY, gid: NOBODY, cwd: "/" }).success) {
      console.log(`  not tried as an ordinary user: none but root can read ${ROOT}`);
      return;
    }
    const refused = await new Chatify(
      { PORT: "0", DATA_DIR: join(closed, "data"), HOME: base },
      root ? { uid: NOBODY } : {},
    ).ends();
    expect(refused.code).toBe(4);
    expect(refused.err).toContain(join(closed, "data"));
    expect(refused.err).toContain("Or set DATABASE_URL to a PostgreSQL of your own.");
    expect(refused.err).not.toContain(" at "); // no stack
  });
});

/** The child processes of a process, with their command lines. */
function childrenOf(parent: number): { pid: number; command: string }[] {
  const read = (pid: number, file: string) => {
    const path = `/proc/${pid}/${file}`;
    return existsSync(path) ? readFileSync(path, "latin1") : "";
  };
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && read(pid, "stat").split(") ")[1]?.split(" ")[1] === String(parent))
    .map((pid) => ({ pid, command: read(pid, "cmdline").split("\0").join(" ").trim() }));
}
