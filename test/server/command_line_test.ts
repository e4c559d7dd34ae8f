/** The admin commands: effects, output and exit codes, while chatify runs and while it is stopped. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readCommand, UsageError } from "../../src/cli/arguments.ts";
import {
  cookieOf,
  freePort,
  migratedDatabase,
  PASSWORD,
  Person,
  post,
  REDIS,
  RedisServer,
  ROOT,
  startApp,
  type TestApp,
} from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

const NEW_PASSWORD = "another horse, another battery";
const SECRET = "the-secret-of-the-tests-forty-characters";
const MAIN = [process.execPath, join(ROOT, "src/main.ts")];

/** Runs a command. @param input what comes in */
async function chatify(env: Record<string, string>, words: string[], input = "") {
  const { PATH = "", HOME = "" } = Bun.env;
  const child = Bun.spawn([...MAIN, ...words], {
    cwd: ROOT,
    env: { PATH, HOME, SESSION_SECRET: SECRET, ...env },
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}

const logIn = (url: string, username: string, password = PASSWORD) => post(`${url}/login`, { username, password });

describe("arguments", () => {
  test("are parsed into commands", () => {
    expect(readCommand(["user", "list"])).toEqual({ verb: "list" });
    expect(readCommand(["user", "add", "--admin", "ann"])).toEqual({ verb: "add", name: "ann", admin: true });
    expect(readCommand(["user", "passwd", "Ζωή"])).toEqual({ verb: "passwd", name: "Ζωή" });
    expect(readCommand(["invite"])).toEqual({ verb: "invite", days: 7, uses: 1, origin: undefined });
    const words = ["invite", "--days=30", "--uses", "5", "--url", "https://Chat.example.org/"];
    expect(readCommand(words)).toEqual({ verb: "invite", days: 30, uses: 5, origin: "https://chat.example.org" });
    for (const words of ["user", "user --help", "invite -h", "user add --help"]) {
      expect(readCommand(words.split(" "))).toBeUndefined();
    }
  });

  test.each([
    ["user frob", 'Unknown command: chatify user "frob"'],
    ["user add", "chatify user add needs a name"],
    ["user add ann secret", "Do not pass a password on the command line"],
    ["user passwd ann secret", "Do not pass a password on the command line"],
    ["user add ann --password=secret", 'Unknown option for chatify user add: "--password=secret"'],
    ["user disable ann --admin", 'Unknown option for chatify user disable: "--admin"'],
    ["user disable ann bob", "chatify user disable accepts only one name"],
    ["user list ann", 'chatify user list accepts no name, got "ann"'],
    ["invite ann", 'Unknown option for chatify invite: "ann"'],
    ["invite --days", '--days needs a number from 1 to 365, got ""'],
    ["invite --days 366", '--days needs a number from 1 to 365, got "366"'],
    ["invite --uses=0", '--uses needs a number from 1 to 1000, got "0"'],
    [
      "invite --url chat.example.org",
      '--url needs an address such as https://chat.example.org, got "chat.example.org"',
    ],
    ["invite --url https://a.example/chat", '--url needs an address such as https://chat.example.org, got "https://a.'],
  ])("%p is rejected with a reason", (words, said) => {
    expect(() => readCommand(words.split(" "))).toThrow(UsageError);
    expect(() => readCommand(words.split(" "))).toThrow(said);
  });

  test("exit with 2 if invalid, and print help without a database", async () => {
    const nowhere = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" };
    const [help, wrong, argv, out] = await Promise.all([
      chatify(nowhere, ["user"]),
      chatify(nowhere, ["user", "frob"]),
      chatify(nowhere, ["user", "passwd", "ann", "a secret word"]),
      chatify(nowhere, ["user", "list"]),
    ]);
    expect(help).toMatchObject({ code: 0, err: "" });
    expect(help.out).toContain("  bun run chatify user passwd NAME ");
    expect(wrong).toMatchObject({ code: 2, out: "" });
    expect(wrong.err).toStartWith('Unknown command: chatify user "frob".\n');
    expect(argv).toMatchObject({ code: 2, out: "" });
    expect(argv.err).not.toContain("a secret word");
    expect(out).toMatchObject({ code: 4, out: "" });
  });
});

describe("commands", () => {
  let one: TestApp;
  let other: TestApp;
  let env: Record<string, string>;
  const run = (words: string, input = "") => chatify(env, words.split(" "), input);
  beforeAll(async () => {
    const database = await migratedDatabase();
    env = { DATABASE_URL: database };
    const options = { database, env: { SESSION_SECRET: SECRET } };
    [one, other] = [await startApp(options), await startApp(options)];
  });
  afterAll(() => Promise.all([one.stop(), other.stop()]));

  test("add an account with the password from standard input", async () => {
    const { code, out, err } = await run("user add Added", `${NEW_PASSWORD}\nand another line\n`);
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err).toBe("Added can sign in now.\n");
    expect((await logIn(one.url, "added", NEW_PASSWORD)).status).toBe(302);
    const rows = await one.sql`select username, name_key, is_admin, password like '$argon2id$%' as hashed from users`;
    expect(rows).toEqual([{ username: "Added", name_key: "added", is_admin: false, hashed: true }] as never);

    const refused = [
      ["user add ADDED", PASSWORD, "The name ADDED is taken.\n"],
      ["user add x", PASSWORD, "A name has 2 to 50 letters, digits, or _ - . and all its letters are of one script.\n"],
      ["user add Fresh", "short\n", "A password has 8 to 128 characters.\n"],
      ["user add Fresh", "", "No password given: it is read from the first line of standard input.\n"],
      ["user add Fresh", "\n12345678\n", "No password given: it is read from the first line of standard input.\n"],
    ] as const;
    for (const [words, input, said] of refused) {
      expect(await run(words, input)).toEqual({ code: 6, out: "", err: said });
    }
    expect(await one.sql`select from users`).toHaveLength(1);
  });

  test("trim a name, accept a reserved one, and refuse a lookalike", async () => {
    const run = (words: string[], input = "") => chatify(env, words, input);
    expect(await run(["user", "add", " Support\u00a0"], `${PASSWORD}\n`)).toEqual({
      code: 0,
      out: "",
      err: "Support can sign in now.\n",
    });
    expect(await run(["user", "add", "5upport.Iiz"], `${PASSWORD}\n`)).toMatchObject({ code: 0 });
    expect(await run(["user", "add", "5upport.liz"], `${PASSWORD}\n`)).toEqual({
      code: 6,
      out: "",
      err: "5upport.liz looks like 5upport.Iiz, which is taken.\n",
    });
    expect(await run(["user", "passwd", "\u200bsupport "], `${NEW_PASSWORD}\n`)).toMatchObject({ code: 0 });
    expect((await logIn(one.url, "support", NEW_PASSWORD)).status).toBe(302);
    await one.sql`delete from users where name_key like '%upport%'`;
  });

  test("keep spaces and the full length of a password", async () => {
    for (const password of ["  spaces  ", "κωδικός μου", "x".repeat(128)]) {
      expect((await run("user passwd Added", `${password}\r\n`)).code).toBe(0);
      expect((await logIn(one.url, "Added", password)).status).toBe(302);
    }
  });

  test("change a password and sign the user out at once on every pod", async () => {
    const ann = await one.person("Ann");
    const tabs = [await ann.open(), await ann.at(other).open()];
    const begun = performance.now();
    const { code, out, err } = await run("user passwd ann", `${NEW_PASSWORD}\n`);
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err).toBe("Ann has a new password and is signed out everywhere.\n");
    for (const tab of tabs) expect((await tab.closed).code).toBe(4401);
    expect(performance.now() - begun).toBeLessThan(8_000); // the start of the command included; the sessions are read again after 60 s
    expect((await ann.get("/me")).status).toBe(401);
    expect((await logIn(one.url, "Ann")).status).toBe(401);
    expect((await logIn(one.url, "Ann", NEW_PASSWORD)).status).toBe(302);
  });

  test("disable an account: signed out, no login, not found, still receives messages; and enable it again", async () => {
    const [bob, carol] = await one.people("Bob", "Carol");
    const [tab, far, carols] = [await bob!.open(), await bob!.at(other).open(), await carol!.open({ watch: ["Bob"] })];
    const wrong = await (await logIn(one.url, "Bob", "not the password")).text();
    expect(await run("user disable BOB")).toEqual({
      code: 0,
      out: "",
      err: "Bob is disabled and signed out everywhere.\n",
    });
    expect((await tab.closed).code).toBe(4401);
    expect((await far.closed).code).toBe(4401);
    expect((await bob!.get("/me")).status).toBe(401);
    const answer = await logIn(one.url, "Bob");
    expect(answer.status).toBe(401);
    expect(await answer.text()).toBe(wrong);
    const fromCarols = { username: "Bob", password: PASSWORD };
    expect((await post(`${one.url}/login`, fromCarols, { cookie: carol!.cookie })).status).toBe(401);
    expect((await carol!.get("/me")).status).toBe(200); // as with any login that fails, hers is left alone
    expect((await post(`${one.url}/signup`, { username: "Bob", password: PASSWORD })).status).toBe(409);
    expect(await carol!.json("/get_users")).not.toContain("Bob");
    expect(await carol!.json("/get_users?q=bo")).toEqual([]);
    await carols.send("Bob", "for later");
    expect((await run("user disable Bob")).code).toBe(0); // twice is once

    expect(await run("user enable bob")).toEqual({ code: 0, out: "", err: "Bob can sign in again.\n" });
    const back = await bob!.logIn();
    expect(await back.json("/messages/Bob/Carol")).toMatchObject([{ content: "for later" }]);
    expect(await carol!.json("/get_users?q=bo")).toEqual(["Bob"]);
  });

  test("do not disturb other users: they stay online and connected, without a resync", async () => {
    const dave = await one.person("Dave");
    const erin = await other.person("Erin");
    const [tab, watcher] = [await dave.open({ watch: [] }), await erin.open({ watch: ["Dave"] })];
    await watcher.hearsNo("sync", 1_200); // what coming brings along is over
    const before = [tab.heard.length, watcher.heard.length];
    for (let i = 0; i < 2; i++) expect((await run("user passwd Added", `${NEW_PASSWORD}\n`)).code).toBe(0);
    await Bun.sleep(1_000);
    expect([...tab.heard.slice(before[0]), ...watcher.heard.slice(before[1])]).toEqual([]);
    expect(await erin.json("/online")).toEqual(expect.arrayContaining(["Dave", "Erin"]));
    await tab.close();
    await watcher.close();
  });

  test("make a user an admin with the right to invite", async () => {
    const fay = await one.person("Fay");
    expect(await run("user admin fay")).toMatchObject({ code: 0, out: "" });
    expect(await fay.json("/me")).toMatchObject({ username: "Fay", admin: true });
    expect((await run("user add Gus --admin", `${PASSWORD}\n`)).err).toBe("Gus can sign in now, and invite others.\n");
    const gus = new Person(one.url, "Gus", cookieOf(await logIn(one.url, "Gus")));
    expect(await gus.json("/me")).toMatchObject({ username: "Gus", admin: true });
    const late = await post(`${one.url}/signup`, { username: "Late", password: PASSWORD, code: one.adminCode! });
    expect(late.status).toBe(403);
  });

  test("report unknown users and exit with 6", async () => {
    const verbs = ["passwd", "disable", "enable", "admin"];
    for (const verb of verbs) {
      expect(await run(`user ${verb} nobody`, PASSWORD)).toEqual({
        code: 6,
        out: "",
        err: "There is no user nobody.\n",
      });
    }
  });

  test("list all users, one line each", async () => {
    await run("user disable Carol");
    const { code, out, err } = await run("user list");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const lines = out.trimEnd().split("\n");
    const known = await one.sql`select username from users order by id`;
    expect(lines.map((line) => line.split(" ")[0]!)).toEqual(known.map((row) => row["username"] as string));
    const today = /since \d{4}-\d\d-\d\d {2}/;
    for (const line of lines) expect(line).toMatch(today);
    expect(lines.find((line) => line.startsWith("Carol"))).toEndWith("  disabled");
    expect(lines.find((line) => line.startsWith("Gus"))).toMatch(/never seen +admin$/);
    expect(out).not.toContain("argon2");
  });

  test("invite prints only the link to standard output, and it admits a user", async () => {
    const invite = await startApp({
      database: env["DATABASE_URL"]!,
      env: { SESSION_SECRET: SECRET, SIGNUP: "invite" },
    });
    const made = await run("invite --url https://chat.example.org --uses 2");
    expect(made.code).toBe(0);
    expect(made.out).toMatch(/^https:\/\/chat\.example\.org\/signup\?invite=\d+\.\d{10}\.[\w-]{43}\n$/);
    expect(made.err).toMatch(/^It can be used 2 times, until \d{4}-\d\d-\d\d \d\d:\d\d UTC\.\n$/);
    const token = new URL(made.out.trim()).searchParams.get("invite")!;
    for (const [name, status] of [
      ["Hal", 302],
      ["Ida", 302],
      ["Jon", 403],
    ] as const) {
      const answer = await post(`${invite.url}/signup`, { username: name, password: PASSWORD, invite: token });
      expect(answer.status).toBe(status);
    }
    expect((await run("invite")).out).toStartWith("http://localhost:8000/signup?invite=");
    await invite.stop();
  });

  test.if(REDIS !== null)("end sessions over Valkey too", async () => {
    const redis = await RedisServer.start();
    const valkey = await startApp({ env: { BUS: redis.url, SESSION_SECRET: SECRET } });
    const url = valkey.sql.options.database;
    const ann = await valkey.person("Ann");
    const tab = await ann.open();
    const address = env["DATABASE_URL"]!.replace(/\/test_[0-9a-f]+/, `/${url}`);
    expect((await chatify({ DATABASE_URL: address, BUS: redis.url }, ["user", "disable", "Ann"])).code).toBe(0);
    expect((await tab.closed).code).toBe(4401);
    await redis.kill();
    const { code, out } = await chatify({ DATABASE_URL: address, BUS: redis.url }, ["user", "disable", "Ann"]);
    expect({ code, out }).toEqual({ code: 0, out: "" }); // it is done; the pods find out by themselves
    await valkey.stop();
    await redis.start();
    await redis.end();
  });
});

describe("a terminal", () => {
  test("is prompted twice, without echo", async () => {
    const database = await migratedDatabase();
    let shown = "";
    const shows = async (words: string) => {
      await until(`the terminal shows ${words}`, () => shown.includes(words));
      await Bun.sleep(50);
    };
    const { PATH = "", HOME = "" } = Bun.env;
    const spawn = (...words: string[]) => {
      shown = "";
      return Bun.spawn([...MAIN, ...words], {
        cwd: ROOT,
        env: { PATH, HOME, DATABASE_URL: database, TERM: "xterm" },
        terminal: { cols: 100, rows: 30, data: (_, bytes) => void (shown += Buffer.from(bytes).toString()) },
      });
    };
    const child = spawn("user", "add", "Typed");
    await shows("Password for Typed: ");
    child.terminal!.write(`${NEW_PASSWORD}x\x7f\r`); // one letter too many, taken back
    await shows("Repeat the password: ");
    child.terminal!.write("something else\r");
    await shows("The passwords differ. Try again.");
    await shows("Try again.\r\nPassword for Typed: ");
    child.terminal!.write(`${NEW_PASSWORD}\r`);
    for (let i = 0; i < 1_000 && shown.split("Repeat the password: ").length < 3; i++) await Bun.sleep(10);
    child.terminal!.write(`${NEW_PASSWORD}\r`);
    expect(await child.exited).toBe(0);
    await shows("Typed can sign in now.");
    expect(shown).not.toContain(NEW_PASSWORD.slice(0, 5));
    expect(shown).not.toContain("something");
    child.terminal!.close();

    const given = spawn("user", "passwd", "Typed");
    await shows("New password for Typed: ");
    given.terminal!.write("\x03"); // Ctrl-C
    expect(await given.exited).toBe(130);
    await shows("Canceled: nothing was changed");
    given.terminal!.close();

    const app = await startApp({ database });
    expect((await logIn(app.url, "Typed", NEW_PASSWORD)).status).toBe(302);
    await app.stop();
  });
});

describe("the embedded PostgreSQL", () => {
  let dataDir: string;
  let env: Record<string, string>;
  beforeAll(() => {
    dataDir = mkdtempSync(join(tmpdir(), "chatify-commands-"));
    env = { DATA_DIR: dataDir, HOST: "127.0.0.1" };
  });
  const runs = () => existsSync(join(dataDir, "pg18", "cluster", "postmaster.pid"));
  /** Waits until it does not run any more. */
  const ended = () => until("PostgreSQL has stopped", () => !runs(), 5_000);
  afterAll(async () => {
    if (runs()) {
      process.kill(
        Number(readFileSync(join(dataDir, "pg18", "cluster", "postmaster.pid"), "utf8").split("\n")[0]),
        "SIGQUIT",
      );
      await ended();
    }
    rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 });
  });

  test("starts for a command alone, and is shared with a running server", async () => {
    const first = await chatify(env, ["user", "list"]);
    // One more line is said where PostgreSQL needs more than a second to start.
    const err = first.err.replace("Waiting for the database, which is starting …\n", "");
    expect({ ...first, err }).toEqual({
      code: 0,
      out: "",
      err: "Preparing the database (first start only) …\nThere are no accounts yet.\n",
    });
    await ended();
    expect(runs()).toBe(false);

    const port = freePort();
    const url = `http://127.0.0.1:${port}`;
    const { PATH = "", HOME = "" } = Bun.env;
    const server = Bun.spawn(MAIN, {
      cwd: ROOT,
      env: { PATH, HOME, SESSION_SECRET: SECRET, PORT: `${port}`, ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const banner = new Response(server.stdout).text();
    const log = new Response(server.stderr).text();
    for (
      let i = 0;
      i < 1_000 &&
      !(await fetch(`${url}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ));
      i++
    ) {
      await Bun.sleep(20);
    }
    const added = await chatify(env, ["user", "add", "Ann"], `${PASSWORD}\n`);
    expect(added).toEqual({ code: 0, out: "", err: "Ann can sign in now.\n" });
    const ann = new Person(url, "Ann", cookieOf(await logIn(url, "Ann")));
    const tab = await ann.open();
    expect((await chatify(env, ["user", "disable", "Ann"])).code).toBe(0);
    expect((await tab.closed).code).toBe(4401);
    expect(runs()).toBe(true);
    server.kill("SIGINT");
    expect(await server.exited).toBe(0);
    await ended();
    expect(runs()).toBe(false);

    const [, code = ""] =
      /^Sign up at \S+\/signup\?code=(\S+) to become the admin; the link works once$/m.exec(await banner) ?? [];
    expect(code).toMatch(/^\w{4}-\w{4}-\w{4}$/);
    expect(await log).not.toContain(code);

    const list = await chatify(env, ["user", "list"]);
    expect(list.out).toMatch(/^Ann {2}since \S+ {2}seen \S+ +disabled\n$/);
    await ended();
    expect(runs()).toBe(false);
  });
});
