/** Logs of failures contain no secret or message of a user, and `log_search.ts` would find one. */

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { sign } from "../../src/accounts/session_cookie.ts";
import { Chat } from "../../src/chat/chat.ts";
import { hashToken, newToken } from "../../src/util/token.ts";
import {
  cookieOf,
  migratedDatabase,
  PASSWORD,
  type Person,
  post,
  ROOT,
  startApp,
  type TestApp,
} from "../support/harness.ts";
import { LogSearch } from "../support/log_search.ts";

describe("the search of the logs", () => {
  /** What a search of one line says that knows what `note` told it; "" when it finds nothing. */
  function says(line: string, note: (search: LogSearch) => void): string {
    const search = new LogSearch();
    note(search);
    search.hear(line);
    try {
      search.check();
      return "";
    } catch (error) {
      return String(error);
    }
  }

  const password = 'a "good" password & more';
  const token = newToken();
  const cookie = `chatify_session=${sign(token, "key")}`;
  const text = "Where shall we meet tonight? At the usual place";

  test.each([
    ["a password", `login of ann failed with ${password}`],
    ["a password in JSON", JSON.stringify({ event: "x", error: `Error: ${password}` })],
    ["a password as a form sends it", `body=${new URLSearchParams({ password })}`],
    ["a password in an address", `/login?password=${encodeURIComponent(password)}`],
    ["a password that was cut", `${password.slice(0, 24)}…`],
    ["a cookie", `cookie: ${cookie}`],
    ["a token", token],
    ["a signature", cookie.split(".")[1]!],
    ["what the table keeps of a token", `Key (token)=(${hashToken(token)}) already exists.`],
    ["a text", `Failing row contains (7, ann, bob, ${text}, f).`],
    ["a text that was cut", `Unexpected identifier "${text.slice(0, 30)}"`],
    ["a text over two lines of JSON", JSON.stringify({ error: text.replace("we ", "we\n    ") })],
    ["a signing key", "first-key-of-32-characters-or-more"],
    ["another signing key", "SESSION_SECRET=x,second-key-of-32-characters-or-more"],
    ["the password of a database", "postgres://ann:hunter22%2F@db/chat"],
    ["the password of a database, read", "password hunter22/ refused"],
  ])("finds %s, and shows the line without it", (_, line) => {
    const found = says(line, (search) => {
      search.note("password", password);
      search.noteCookie(cookie);
      search.note("message", text);
      search.noteSetting("SESSION_SECRET", "first-key-of-32-characters-or-more,\nsecond-key-of-32-characters-or-more");
      search.noteSetting("DATABASE_URL", "postgres://ann:hunter22%2F@db/chat");
    });
    expect(found).toMatch(/1 log lines contain secrets:\n {2}.*‹(password|cookie|message|secret)›/);
    for (const secret of [password, token, text, "hunter22", "first-key", "second-key"])
      expect(found).not.toContain(secret);
  });

  test("does not mistake the log's own words for secrets", () => {
    const note = (search: LogSearch) => {
      for (const message of ["hello", "database", "hello 1", "is 5 ok?", "ase started"])
        search.note("message", message);
      search.noteCookie("");
      search.noteSetting("PORT", "8000");
    };
    expect(says('{"event":"database started","directory":"/tmp/hello","ms":17}', note)).toBe("");
  });

  test("is done in a run like this one: lines with a password or a cookie fail it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "chatify-leak-"));
    const file = join(directory, "leak_test.ts");
    writeFileSync(
      file,
      `import { test } from "bun:test";
       import { Log } from ${JSON.stringify(join(ROOT, "src/log.ts"))};
       import { cookieOf, PASSWORD, post } from ${JSON.stringify(join(ROOT, "test/support/harness.ts"))};
       test("leaks", async () => {
         const headers = { "set-cookie": "chatify_session=${newToken()}.${newToken()}; Path=/" };
         await using server = Bun.serve({ port: 0, fetch: () => new Response("", { headers }) });
         const answer = await post(server.url.href, { username: "ann", password: PASSWORD });
         const log = new Log({ level: "error", format: "text", write() {} });
         log.debug("somebody signed up", { with: PASSWORD });
         log.info("somebody has", { cookie: cookieOf(answer) });
       });`,
    );
    try {
      const child = Bun.spawn([process.execPath, "test", "--timeout=20000", file], {
        cwd: ROOT,
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
      expect(await child.exited).not.toBe(0);
      expect(err).toContain("2 log lines contain secrets");
      expect(err).toContain('"event":"somebody signed up","with":"‹password›');
      expect(err).toContain('"event":"somebody has","cookie":"chatify_session=‹cookie›');
      expect(err).toMatch(/^ 1 fail$/m);
      expect(out + err).not.toContain(PASSWORD);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }, 40_000);
});

/** A server's log, once a line contains these words. */
async function logged(app: TestApp, words: string): Promise<string> {
  for (let i = 0; i < 150; i++) {
    if (app.log.some((line) => line.includes(words))) return app.log.join("");
    await Bun.sleep(20);
  }
  throw new Error(`The log never said "${words}": ${app.log.join("")}`);
}

/** Lets PostgreSQL fail at each new row of a table. @param body what the trigger does */
async function failing(app: TestApp, table: string, body: string): Promise<() => Promise<unknown>> {
  await app.sql.unsafe(`create function fails() returns trigger language plpgsql as $$ begin ${body} end $$`);
  await app.sql.unsafe(`create trigger fails before insert on ${table} for each row execute function fails()`);
  return () => app.sql.unsafe(`drop function fails() cascade`);
}

describe("the log holds no text of a message", () => {
  const text = "harbour, at half past nine, by the old crane"; // a parser quotes the first word

  test("that PostgreSQL refuses with the whole row, or the key of one", async () => {
    await using app = await startApp();
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open();
    await app.sql`alter table messages add constraint no_harbour check (content not like '%harbour%')`;
    tab.say({ to: "bob", message: text, ref: "harbour-ref-1" });
    expect(await tab.next("error")).toMatchObject({ code: "invalid_text", ref: "harbour-ref-1" });
    expect(await logged(app, "message rejected by the database")).toContain("23514");
    await app.sql`create unique index once on messages (content)`;
    await app.sql`alter table messages drop constraint no_harbour`;
    await tab.send("bob", text);
    tab.say({ to: "bob", message: text, ref: "harbour-ref-2" });
    expect(await tab.next("error", 8_000)).toMatchObject({ code: "invalid_text" });
    expect(await logged(app, "23505")).not.toContain("harbour");
  });

  test("that PostgreSQL quotes, in its message or beside it", async () => {
    await using app = await startApp();
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open();
    const mend = await failing(
      app,
      "messages",
      "raise exception 'a defect' using errcode = 'XX000', detail = new.content, hint = new.content;",
    );
    tab.say({ to: "bob", message: text, ref: "harbour-ref-1" });
    expect(await logged(app, "storing messages failed")).toContain("a defect");
    await mend();
    await tab.next("ack", 8_000);
    await failing(app, "messages", "perform new.content::bigint; return new;");
    // Not by `say`: PostgreSQL's own log repeats what it cannot read as a number, and nothing of ours has it read one.
    tab.socket.send(JSON.stringify({ to: "bob", message: "the harbour, at ten" }));
    expect(await tab.next("error")).toMatchObject({ code: "invalid_text" });
    expect(await logged(app, "22P02")).not.toContain("harbour");
  });

  test("in an invalid, oversized or failing frame", async () => {
    await using app = await startApp();
    const [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open();
    const other = new WebSocket(`${app.url.replace("http", "ws")}/ws/bob`, {
      headers: { cookie: bob.cookie }, // Bun's client takes headers, which the DOM's types do not know
    } as unknown as string[]);
    await new Promise((open) => other.addEventListener("open", open));
    for (const frame of [
      `{"to":"bob","message":"${text}"`,
      `${text} {"to":"bob"}`,
      JSON.stringify({ to: "bob", message: `${text} `.repeat(100) }),
      JSON.stringify({ to: text, message: text }),
      JSON.stringify({ type: text, message: text }),
    ]) {
      tab.say(frame);
      await tab.next("error");
    }
    const { send } = Chat.prototype;
    Chat.prototype.send = (_, { message }) => JSON.parse(message) as never;
    try {
      tab.say({ to: "bob", message: text });
      expect(await tab.closed).toMatchObject({ code: 1011 });
    } finally {
      Chat.prototype.send = send;
    }
    expect(await logged(app, "socket handler failed")).toContain("SyntaxError");
    const [realm] = await app.sql<{ value: string }[]>`select value from settings where name = 'bus_realm'`;
    await app.sql.notify(`chatify_${realm!.value}`, `["events",1,["frame",["bob"],{"type":"message",${text}`);
    expect(await logged(app, "foreign packets on the bus dropped")).not.toContain("harbour");
    expect(app.log.join("")).not.toContain("half past nine");
    other.close();
  });
});

describe("the log holds no password, cookie or token", () => {
  test("of a form that fails, however it fails", async () => {
    await using app = await startApp();
    const password = "swordfish and eleven";
    const form = (path: string, username: string) => post(app.url + path, { username, password });
    expect((await form("/signup", "ann")).status).toBe(302);
    expect((await form("/login", "nobody")).status).toBe(401);
    expect((await form("/signup", "ann")).status).toBe(409);
    const mend = await failing(app, "users", "perform new.password::bigint; return new;");
    expect((await form("/signup", "bob")).status).toBe(500);
    await mend();
    await failing(app, "sessions", "perform new.token::bigint; return new;");
    expect((await form("/login", "ann")).status).toBe(500);
    await app.sql`alter table users rename column password to word`;
    expect((await form("/login", "ann")).status).toBe(500);
    const log = await logged(app, "42703");
    expect(log.match(/22P02/g)).toHaveLength(2);
    for (const secret of ["swordfish", "argon2", /[\da-f]{64}/]) expect(log).not.toMatch(secret);
  });

  test("of a request that fails", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const ann = await app.person("ann");
    await app.sql`alter table users rename to people`;
    for (const path of ["/", "/me", "/messages/ann/bob", "/conversations", "/online", "/logout"]) {
      expect([200, 500]).toContain((await ann.get(path)).status); // `/online` asks nothing
    }
    const log = await logged(app, "42P01");
    const [token = "", signature = ""] = ann.cookie.slice(ann.cookie.indexOf("=") + 1).split(".");
    for (const secret of [token, signature, hashToken(token)]) expect(log).not.toContain(secret);
    expect(cookieOf(await ann.get("/me"))).toBe("");
  });
});

describe("a request that fails has a number", () => {
  /** The number in the answer, which exactly one line of the log has. */
  async function numberOf(app: TestApp, person: Person, headers: Record<string, string>): Promise<string> {
    const answer = await person.get("/get_users", headers);
    expect(answer.status).toBe(500);
    const { error } = (await answer.json()) as { error: { message: string } };
    const number = error.message.split(" ").at(-1)!;
    expect(app.log.filter((line) => line.includes(`"id":"${number}"`))).toHaveLength(1);
    return number;
  }

  const given = "5f2c1e9ab47d4c0f9a1b2c3d4e5f6071";

  test("of our own, whatever a client claims", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.sql`alter table users rename column search_key to gone`;
    expect(await numberOf(app, ann, { "x-request-id": given })).not.toBe(given);
    await using listed = await startApp({ env: { TRUST_PROXY: "192.0.2.0/24" } });
    const bob = await listed.person("bob");
    await listed.sql`alter table users rename column search_key to gone`;
    expect(await numberOf(listed, bob, { "x-request-id": given })).not.toBe(given);
  });

  test("that our proxy gave it, unless it is none", async () => {
    await using app = await startApp({ env: { TRUST_PROXY: "on" } });
    const ann = await app.person("ann");
    await app.sql`alter table users rename column search_key to gone`;
    expect(await numberOf(app, ann, { "x-request-id": given })).toBe(given);
    for (const none of ["short", "a".repeat(129), 'with"quotes"in', "two words here", "level=info,event=fake"]) {
      expect(await numberOf(app, ann, { "x-request-id": none })).toMatch(/^[\da-f-]{36}$/);
    }
  });

  test("when its long answer is cut off midway, too", async () => {
    await using app = await startApp({ env: { TRUST_PROXY: "on" } });
    const [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open();
    await Promise.all(Array.from({ length: 300 }, (_, i) => tab.send("bob", `number ${i}`))); // more than a page
    const fails = `create function fails() returns trigger language plpgsql as $$ begin raise exception 'a defect'; end $$`;
    await app.sql.unsafe(fails);
    await app.sql.unsafe(
      "create trigger fails before update on messages for each row when (new.seq > 250) execute function fails()",
    );
    const answer = await bob.get("/messages/ann/bob", { "x-request-id": given }).catch(() => undefined);
    await answer?.text().catch(() => "");
    expect(await logged(app, given)).toMatch(new RegExp(`"event":"messages response failed midway"[^\n]*${given}`));
  });
});
