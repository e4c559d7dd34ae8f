import { describe, expect, test } from "bun:test";

import { sign } from "../../src/accounts/session_cookie.ts";
import { Database } from "../../src/db/database.ts";
import { create } from "../../src/db/users.ts";
import { hashToken, newToken } from "../../src/util/token.ts";
import { cookieOf, migratedDatabase, PASSWORD, Person, post, SILENT, startApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const SECRET = "the-signing-key-of-the-tests:-forty-chars";
const app = await sharedApp({ env: { SESSION_SECRET: SECRET } });

/** Everything that signing up and in could have changed. */
async function stored(): Promise<unknown> {
  const users = await app.sql`select id, username, name_key, search_key, password from users order by id`;
  const sessions = await app.sql`select id, user_id, token, expires_at from sessions order by id`;
  return { users: [...users], sessions: [...sessions] };
}

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

const signUp = (username: string, password = PASSWORD, headers: Record<string, string> = {}) =>
  post(`${app.url}/signup`, { username, password }, headers);
const logIn = (username: string, password = PASSWORD, headers: Record<string, string> = {}) =>
  post(`${app.url}/login`, { username, password }, headers);
const isSignedIn = async (cookie: string) => (await fetch(`${app.url}/me`, { headers: { cookie } })).status === 200;

describe("sign-up", () => {
  test("creates an account and a session, and redirects to the chat", async () => {
    const answer = await signUp("Ζωή");
    expect(answer.status).toBe(302);
    expect(answer.headers.get("location")).toBe("/");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const [cookie] = answer.headers.getSetCookie();
    expect(cookie).toMatch(/^chatify_session=[\w-]{43}\.[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=2592000$/);
    const me = await fetch(`${app.url}/me`, { headers: { cookie: cookieOf(answer) } });
    expect(await me.json()).toMatchObject({ username: "Ζωή" });
    expect(await app.sql`select username, name_key, search_key, is_online from users where username = 'Ζωή'`).toEqual([
      { username: "Ζωή", name_key: "ζωή", search_key: "ζωη", is_online: false },
    ] as never);
  });

  test("stores an argon2id hash of the password and the SHA-256 of the token, and logs neither", async () => {
    const answer = await signUp("secretive", "a password to look for");
    const token = cookieOf(answer).slice("chatify_session=".length).split(".")[0] ?? "";
    const [user] = await app.sql`select * from users where username = 'secretive'`;
    expect(user?.["password"]).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22,}\$[\w+/]{43}$/);
    expect(await Bun.password.verify("a password to look for", user?.["password"])).toBe(true);
    const sessions = await app.sql`
      select token, expires_at > now() + interval '6 days' as lasts from sessions where user_id = ${user?.["id"]}
    `;
    expect(sessions).toEqual([{ token: hashToken(token), lasts: true }] as never);
    const log = app.log.join("");
    for (const secret of ["a password to look for", token, hashToken(token)]) expect(log).not.toContain(secret);
  });

  test.each([
    ["one character", "a"],
    ["51 characters", "x".repeat(51)],
    ["two scripts", "аdmin"],
    ["a zero-width space", "an\u200bn"],
    ["a mark nobody sees", "ann\ufe0f"],
    ["a control of direction", "an\u202en"],
    ["two dots", ".."],
    ["a space", "Ann Lee"],
    ["a NUL", "an\0n"],
    ["markup", '"><script>alert(1)</script>'],
    ["nothing", ""],
  ])("rejects a name of %s with 422 and an error beside its field", async (_, username) => {
    const before = await stored();
    const answer = await signUp(username, "a password nobody repeats");
    expect(answer.status).toBe(422);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.has("set-cookie")).toBe(false);
    const html = await answer.text();
    expect(html).toMatch(/id="username_error" data-error="bad_name">A name has 2 to 50 letters/);
    expect(html).toMatch(/name="username"[^>]*aria-invalid="true"/);
    expect(html).toContain(`value="${Bun.escapeHTML(username)}"`); // to be mended, not typed again
    expect(html).not.toContain("<script>alert");
    expect(html).not.toContain("a password nobody repeats");
    expect(html).not.toContain("{{");
    expect(await stored()).toEqual(before);
  });

  test.each([
    ["7 characters", "1234567"],
    ["7 characters of two units", "😀".repeat(7)],
    ["129 characters", "x".repeat(129)],
    ["nothing", ""],
  ])("rejects a password of %s with 422 beside its field", async (_, password) => {
    const before = await stored();
    const answer = await signUp("somebody", password);
    expect(answer.status).toBe(422);
    const html = await answer.text();
    expect(html).toMatch(/id="password_error" data-error="bad_password">A password has 8 to 128/);
    expect(html).toMatch(/name="password"[^>]*aria-invalid="true"/);
    expect(html).toMatch(/name="username"[^>]*aria-invalid="false"[^>]*value="somebody"/);
    expect(await stored()).toEqual(before);
  });

  test.each([
    ["8 spaces", " ".repeat(8)],
    ["128 characters of two units", "😀".repeat(128)],
    ["spaces around it", "  padded  "],
    ["a NUL within", "before\0after"],
    ["a percent sign and plus", "100%+more&x=y"],
  ])("accepts a password of %s in full", async (_, password) => {
    const name = `pw${crypto.randomUUID().slice(0, 8)}`;
    expect((await signUp(name, password)).status).toBe(302);
    expect((await logIn(name, password)).status).toBe(302);
    const shorter = [password.trim(), password.slice(0, -1), password.split("\0")[0] ?? ""];
    for (const other of shorter.filter((other) => other !== password)) {
      expect((await logIn(name, other)).status).toBe(401);
    }
  });

  test("rejects a name whose key is taken, with 409 beside its field", async () => {
    expect((await signUp("ΟΔΟΣ")).status).toBe(302);
    const before = await stored();
    for (const name of ["ΟΔΟΣ", "οδος", "Οδοσ", "οδοΣ"]) {
      const answer = await signUp(name);
      expect(answer.status).toBe(409);
      expect(answer.headers.has("set-cookie")).toBe(false);
      const html = await answer.text();
      expect(html).toMatch(/id="username_error" data-error="name_taken">That name is taken/);
      expect(html).toContain(`value="${name}"`);
    }
    expect(await stored()).toEqual(before);
    expect((await signUp("οδός")).status).toBe(302); // an accent makes another name
    expect((await logIn("οδος")).status).toBe(302);
  });

  test("gives a name to one of many concurrent requests", async () => {
    const answers = await Promise.all(["Racer", "racer", "RACER", "rAcEr", "raceR"].map((name) => signUp(name)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([302, 409, 409, 409, 409]);
    expect(await app.sql`select from users where name_key = 'racer'`).toHaveLength(1);
  });

  test("succeeds when it finds its own hash stored after a lost reply", async () => {
    const database = await migratedDatabase();
    const db = new Database({ target: database, name: "test", max: 1, log: SILENT });
    const user = { username: "Ann", nameKey: "ann", searchKey: "ann", password: "$argon2id$the-same" };
    const first = await create(db, user);
    expect(await create(db, user)).toEqual(first);
    await expect(create(db, { ...user, password: "$argon2id$another" })).rejects.toMatchObject({ code: "name_taken" });
    await db.end();
  });
});

test("a refused sign-up is JSON for a script, and a page for a browser", async () => {
  await signUp("Scripted");
  for (const [accept, type] of [
    ["application/json", "application/json"],
    ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"],
    ["text/html, application/json", "text/html; charset=utf-8"],
    ["*/*", "text/html; charset=utf-8"],
  ] as const) {
    const form = { username: "scripted", password: PASSWORD };
    const answer = await post(`${app.url}/signup`, form, { accept });
    expect([accept, answer.status, answer.headers.get("content-type")]).toEqual([accept, 409, type]);
    expect(await answer.text()).toContain("name_taken");
  }
});

describe("login", () => {
  test("shows that a session has ended, and focuses the password after a wrong one", async () => {
    const person = await Person.signUp(app.url, "Ended");
    const shown = async (cookie: string) => {
      const answer = await fetch(`${app.url}/login`, { headers: { cookie } });
      return [/data-ended="(\w*)"/.exec(await answer.text())?.[1], answer.headers.get("cache-control")];
    };
    expect(await shown(person.cookie)).toEqual(["", "no-cache"]);
    await person.get("/logout");
    expect(await shown(person.cookie)).toEqual(["true", "no-store"]);
    for (const other of ["", `${person.cookie}x`, "chatify_session=x.y"]) {
      expect(await shown(other)).toEqual(["", "no-cache"]);
    }
    const wrong = await (await logIn("Ended", "not the password", { cookie: person.cookie })).text();
    expect(wrong).toContain('data-ended="true"');
    const focused = (html: string) =>
      html.match(/<input[^>]*\sautofocus\s[^>]*>/g)?.map((tag) => /id="(\w+)"/.exec(tag)?.[1]);
    expect(focused(wrong)).toEqual(["password"]);
    for (const path of ["/login", "/signup"]) {
      expect(focused(await (await fetch(app.url + path)).text())).toEqual(["username"]);
    }
    expect(focused(await (await signUp("!")).text())).toEqual(["username"]);
  });

  test("creates a new token each time, and keeps other devices' sessions", async () => {
    const person = await Person.signUp(app.url, "Traveller");
    const [phone, tablet] = [await person.logIn(), await person.logIn()];
    expect(new Set([person.cookie, phone.cookie, tablet.cookie]).size).toBe(3);
    for (const { cookie } of [person, phone, tablet]) expect(await isSignedIn(cookie)).toBe(true);
  });

  test("ignores the case of the name, and shows it as signed up", async () => {
    await signUp("ÉloÏse");
    const answer = await logIn("éLOïSE");
    expect(answer.status).toBe(302);
    expect(answer.headers.get("location")).toBe("/");
    const me = await fetch(`${app.url}/me`, { headers: { cookie: cookieOf(answer) } });
    expect(await me.json()).toMatchObject({ username: "ÉloÏse" });
  });

  test("with a cookie ends the session of that cookie, its sockets too, and no other", async () => {
    const person = await Person.signUp(app.url, "Returner");
    const other = await person.logIn();
    const [old, kept] = [await person.open(), await other.open()];
    const answer = await logIn("returner", PASSWORD, { cookie: person.cookie });
    expect(answer.status).toBe(302);
    expect(cookieOf(answer)).not.toBe(person.cookie);
    expect(await old.closed).toMatchObject({ code: 4401 });
    expect(await isSignedIn(person.cookie)).toBe(false);
    expect(await isSignedIn(other.cookie)).toBe(true);
    expect(await isSignedIn(cookieOf(answer))).toBe(true);
    kept.say({ type: "ping" });
    await kept.next("pong");
    await kept.close();
  });

  test("keeps the current session when it fails", async () => {
    const person = await Person.signUp(app.url, "Mistyper");
    expect((await logIn("mistyper", "wrong", { cookie: person.cookie })).status).toBe(401);
    expect(await isSignedIn(person.cookie)).toBe(true);
  });

  test("shows the same error for a wrong password, an unknown name and an invalid one", async () => {
    await signUp("known");
    const before = await stored();
    const shown = new Set<string>();
    for (const [username, password] of [
      ["known", "wrong password"],
      ["known", ""],
      ["known", `${PASSWORD} `],
      ["unknown", PASSWORD],
      ["unknown", ""],
      ["no\0body", PASSWORD],
      ["x".repeat(5_000), PASSWORD],
      ["", ""],
    ] as const) {
      const answer = await logIn(username, password);
      expect(answer.status).toBe(401);
      expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.headers.has("set-cookie")).toBe(false);
      const html = await answer.text();
      expect(html).toContain('data-error="wrong_login">Wrong name or password</p>');
      shown.add(html.replace(`value="${username}"`, ""));
    }
    expect(shown.size).toBe(1);
    expect(await stored()).toEqual(before);
  });

  test("takes the same time for known and unknown names", async () => {
    await Promise.all(["timed", "shut", "left", "empty"].map((name) => signUp(name)));
    const leaver = await Person.signUp(app.url, "leaver");
    expect((await leaver.post("/me/delete", { password: PASSWORD })).status).toBe(200);
    await app.sql`update users set disabled_at = now() where username = 'shut'`;
    // As the takeover of the original demo's table and a hand on the table leave them.
    await app.sql`update users set password = '!' where username = 'left'`;
    await app.sql`update users set password = '' where username = 'empty'`;
    const others = ["untimed", "un\0timed", "leaver", "shut", "left", "empty"];
    const tookMs = new Map(["timed", ...others].map((name) => [name, [] as number[]]));
    // No load makes the quickest try quicker, and each further one may be undisturbed.
    const ratioOf = (name: string) => Math.min(...tookMs.get(name)!) / Math.min(...tookMs.get("timed")!);
    const isEven = (name: string) => ratioOf(name) > 0.4 && ratioOf(name) < 2.5; // without a hash to verify it would be a tenth
    for (let i = 0; i < 8 || (i < 40 && !others.every(isEven)); i++) {
      for (const [name, took] of tookMs) {
        const startedAt = performance.now();
        expect((await logIn(name, "a wrong password")).status).toBe(401);
        took.push(performance.now() - startedAt);
      }
    }
    for (const name of others) expect([name, isEven(name), ratioOf(name)]).toEqual([name, true, expect.any(Number)]);
  }, 60_000);
});

describe("a password typed in another form", () => {
  const TYPED = "\u1f79 e\u0301\u00a0password"; // ό of the polytonic keyboard, é decomposed, a no-break space
  const PREPARED = "\u03cc \u00e9 password";

  test("signs in, is confirmed and changed in any form", async () => {
    expect((await signUp("formal", TYPED)).status).toBe(302);
    for (const form of [PREPARED, TYPED]) expect((await logIn("formal", form)).status).toBe(302);
    const answer = await logIn("formal", PREPARED);
    const headers = { cookie: cookieOf(answer), "content-type": "application/json" };
    const change = (old: string, next: string) =>
      fetch(`${app.url}/me/password`, { method: "POST", headers, body: JSON.stringify({ old, new: next }) });
    expect((await change(TYPED, `new ${TYPED}`)).status).toBe(200);
    for (const form of [PREPARED, TYPED]) {
      expect((await logIn("formal", form)).status).toBe(401);
      expect((await logIn("formal", `new ${form}`)).status).toBe(302);
    }
  });

  test("replaces the hash of an older account, also at two concurrent logins", async () => {
    await signUp("veteran");
    const old = await Bun.password.hash(TYPED, { algorithm: "argon2id", memoryCost: 1_024, timeCost: 1 });
    const hash = async () => (await app.sql`select password from users where username = 'veteran'`)[0]?.["password"];
    await app.sql`update users set password = ${old} where username = 'veteran'`;
    expect((await logIn("veteran", `${TYPED}!`)).status).toBe(401);
    expect(await hash()).toBe(old);
    const answers = await Promise.all([TYPED, TYPED, TYPED].map((form) => logIn("veteran", form)));
    for (const answer of answers) {
      expect(answer.status).toBe(302);
      expect(await isSignedIn(cookieOf(answer))).toBe(true);
    }
    expect(await hash()).toStartWith("$argon2id$v=19$m=19456,t=2,p=1$");
    const renewed = await hash();
    for (const form of [PREPARED, TYPED]) expect((await logIn("veteran", form)).status).toBe(302);
    expect(await hash()).toBe(renewed);
  });
});

describe("hashing", () => {
  test("is bounded: of sixty concurrent sign-ups some get Retry-After and the others succeed", async () => {
    const names = Array.from({ length: 60 }, (_, i) => `crowd${i}`);
    const answers = await Promise.all(names.map((name) => signUp(name)));
    const busy = answers.filter(({ status }) => status === 503);
    const done = answers.filter(({ status }) => status === 302);
    expect(busy.length + done.length).toBe(60);
    expect(busy.length).toBeGreaterThan(0);
    expect(done.length).toBeGreaterThanOrEqual(30);
    for (const answer of busy) {
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await answer.text()).toContain('data-error="busy">The server is busy. Please try again in a moment</p>');
    }
    const rows = await app.sql<{ username: string }[]>`select username from users where username like 'crowd%'`;
    const welcome = names.filter((_, i) => answers[i]?.status === 302);
    expect(rows.map(({ username }) => username).toSorted()).toEqual(welcome.toSorted());
    for (const answer of done) expect(await isSignedIn(cookieOf(answer))).toBe(true);
    expect((await signUp("latecomer")).status).toBe(302); // the line has moved on
    expect((await logIn(welcome[0] ?? "")).status).toBe(302);
  }, 30_000);
});

describe("logout", () => {
  test.each(["GET", "POST"])("by %s ends this session and its sockets, and no other of the user", async (method) => {
    const person = await Person.signUp(app.url, `Leaver${method}`);
    const other = await person.logIn();
    const [here, there] = [await person.open(), await other.open()];
    const answer = await fetch(`${app.url}/logout`, {
      method,
      headers: { cookie: person.cookie },
      redirect: "manual",
    });
    expect(answer.status).toBe(302);
    expect(answer.headers.get("location")).toBe("/login");
    expect(answer.headers.get("set-cookie")).toBe("chatify_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    expect(answer.headers.get("clear-site-data")).toBe('"cache", "storage"');
    expect(await here.closed).toMatchObject({ code: 4401 });
    expect(await isSignedIn(person.cookie)).toBe(false);
    expect((await person.get("/")).headers.get("location")).toBe("/login");
    expect(await isSignedIn(other.cookie)).toBe(true);
    there.say({ type: "ping" });
    await there.next("pong");
    await there.close();
    const hash = hashToken(person.cookie.split(/[=.]/)[1] ?? "");
    expect(await app.sql`select from sessions where token = ${hash}`).toHaveLength(0);
  });

  test("from another site's page is refused, and one is still signed in", async () => {
    const person = await Person.signUp(app.url, "Stayer");
    const before = await stored();
    for (const method of ["GET", "POST"]) {
      for (const foreign of [
        { "sec-fetch-site": "cross-site" },
        { origin: "https://evil.example" },
        { origin: "null" },
      ]) {
        const headers = { cookie: person.cookie, ...(foreign as Record<string, string>) };
        const answer = await fetch(`${app.url}/logout`, { method, headers, redirect: "manual" });
        expect(answer.status).toBe(403);
        expect(answer.headers.has("set-cookie")).toBe(false);
        expect(await codeOf(answer)).toBe("foreign_origin");
      }
    }
    expect(await isSignedIn(person.cookie)).toBe(true);
    expect(await stored()).toEqual(before);
    expect((await person.get("/logout", { "sec-fetch-site": "same-origin" })).status).toBe(302);
    expect(await isSignedIn(person.cookie)).toBe(false);
  });

  test("with HEAD, or without a session, ends nothing", async () => {
    const person = await Person.signUp(app.url, "Asker");
    const headers = { cookie: person.cookie };
    const head = await fetch(`${app.url}/logout`, { method: "HEAD", headers, redirect: "manual" });
    expect([head.status, head.headers.has("clear-site-data")]).toEqual([302, false]);
    expect(await isSignedIn(person.cookie)).toBe(true);
    const nobody = await fetch(`${app.url}/logout`, { redirect: "manual" });
    expect(nobody.headers.get("location")).toBe("/login");
    expect(nobody.headers.has("clear-site-data")).toBe(true); // an earlier one may have left something
  });

  test("makes the login page erase unsent texts", async () => {
    const browser = await fetch(`${app.url}/logout`, {
      headers: { accept: "text/html,application/xhtml+xml" },
      redirect: "manual",
    });
    expect(browser.headers.getSetCookie()).toEqual([
      "chatify_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0",
      "chatify_signed_out=1; Path=/; SameSite=Lax; Max-Age=86400",
    ]);
  });
});

describe("a session", () => {
  test("rejects a forged, truncated or foreign cookie", async () => {
    const { cookie } = await Person.signUp(app.url, "Victim");
    const value = cookie.slice("chatify_session=".length);
    const [token = "", signature = ""] = value.split(".");
    const forged = [
      "",
      ".",
      token,
      `${token}.`,
      `.${signature}`,
      `${token}.${signature.slice(0, -1)}`,
      `${token.slice(1)}.${signature}`,
      `${token}.${signature}x`,
      `${token}.${signature.toLowerCase()}`,
      sign(token, "another secret of forty characters at all"),
      sign(newToken(), SECRET), // well signed, never given
      `${hashToken(token)}.${signature}`,
      sign(hashToken(token), SECRET), // what the table holds opens nothing
    ];
    for (const value of forged) expect(await isSignedIn(`chatify_session=${value}`)).toBe(false);
    expect(await isSignedIn(`__Host-chatify_session=${value}`)).toBe(false); // not over http
    expect(await isSignedIn(`theme=dark; ${cookie}; lang=el`)).toBe(true);
  });

  test("costs a query only with a valid signature", async () => {
    await using broken = await startApp({ env: { SESSION_SECRET: SECRET } });
    const ann = await broken.person("ann");
    await broken.sql`alter table sessions rename to gone`;
    expect((await ann.get("/me")).status).toBe(500);
    const forged = { cookie: `chatify_session=${sign(newToken(), `${SECRET}.`)}` };
    expect((await fetch(`${broken.url}/me`, { headers: forged })).status).toBe(401);
  });

  test("that has expired is not accepted", async () => {
    const ann = await app.person("Expired");
    const other = await ann.logIn();
    const hash = hashToken(ann.cookie.split(/[=.]/)[1] ?? "");
    await app.sql`update sessions set expires_at = now() - interval '1 second' where token = ${hash}`;
    expect((await ann.get("/me")).status).toBe(401);
    expect((await ann.get("/")).headers.get("location")).toBe("/login");
    expect(await isSignedIn(other.cookie)).toBe(true);
  });

  test("ends with the account", async () => {
    const ann = await app.person("Deleted");
    await app.sql`delete from users where username = 'Deleted'`;
    expect((await ann.get("/me")).status).toBe(401);
    expect((await logIn("Deleted")).status).toBe(401);
  });
});

test("deletes expired sessions at startup, and no others", async () => {
  const database = await migratedDatabase();
  const first = await startApp({ database, env: { SESSION_SECRET: SECRET } });
  const ann = await first.person("ann");
  await ann.logIn();
  const hash = hashToken(ann.cookie.split(/[=.]/)[1] ?? "");
  await first.sql`update sessions set expires_at = now() - interval '1 second' where token = ${hash}`;
  await first.stop();
  await using second = await startApp({ database, env: { SESSION_SECRET: SECRET } });
  const tokens = () => second.sql<{ token: string }[]>`select token from sessions`;
  for (let i = 0; i < 50 && (await tokens()).length > 1; i++) await Bun.sleep(20);
  expect(await tokens()).toHaveLength(1);
  expect((await tokens())[0]?.token).not.toBe(hash);
});

describe("behind a proxy over https", () => {
  const https = { "x-forwarded-proto": "https", "x-forwarded-host": "chat.example.org" };

  test("the cookie is Secure and host-bound, and the plain one is rejected", async () => {
    await using proxied = await startApp({ env: { TRUST_PROXY: "on" } });
    const origin = "https://chat.example.org";
    const form = { username: "ann", password: PASSWORD };
    const answer = await post(`${proxied.url}/signup`, form, { ...https, origin });
    expect(answer.status).toBe(302);
    expect(answer.headers.getSetCookie()[0]).toMatch(
      /^__Host-chatify_session=[\w.-]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/,
    );
    const me = (cookie: string, headers: Record<string, string> = https) =>
      fetch(`${proxied.url}/me`, { headers: { ...headers, cookie } });
    const cookie = cookieOf(answer);
    expect((await me(cookie)).status).toBe(200);
    expect((await me(cookie.replace("__Host-", ""))).status).toBe(401);
    expect((await me(cookie, {})).status).toBe(401);
    for (const [proto, status] of [
      ["https, http", 401], // the last word is our proxy's
      ["http, https", 200],
      ["HTTPS", 200],
      ["wss", 200], // Traefik's word for an upgrade
      ["WSS", 200],
      ["ws", 401],
      ["wss, ws", 401],
      ["httpss", 401],
    ] as const) {
      expect([proto, (await me(cookie, { "x-forwarded-proto": proto })).status]).toEqual([proto, status]);
    }
    // Proxies that do not know these pass a client's on.
    for (const other of [{ forwarded: "proto=https" }, { "x-forwarded-ssl": "on" }, { "front-end-https": "on" }]) {
      expect((await me(cookie, other as Record<string, string>)).status).toBe(401);
    }
    const foreign = await post(`${proxied.url}/login`, form, { ...https, origin: "https://evil.example" });
    expect(foreign.status).toBe(403);
    expect(await foreign.text()).toContain("chat.example.org"); // the Host it saw
    const out = await fetch(`${proxied.url}/logout`, { headers: { ...https, cookie }, redirect: "manual" });
    expect(out.headers.get("set-cookie")).toBe(
      "__Host-chatify_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure",
    );
    expect((await me(cookie)).status).toBe(401);
  });

  test("forwarded headers are ignored while TRUST_PROXY is off", async () => {
    const answer = await post(`${app.url}/signup`, { username: "Forwarder", password: PASSWORD }, https);
    expect(answer.headers.get("set-cookie")).toStartWith("chatify_session=");
    expect(answer.headers.get("set-cookie")).not.toMatch(/Secure|__Host-/);
    const origin = "https://chat.example.org";
    expect((await logIn("Forwarder", PASSWORD, { ...https, origin })).status).toBe(403);
  });
});

describe("a form from", () => {
  test("our own page is accepted in any spelling of the host, as are programs without Origin", async () => {
    await signUp("Target");
    for (const headers of [
      { origin: app.url },
      { origin: app.url, "sec-fetch-site": "same-origin" },
      { origin: "http://Chat.Example.org", host: "chat.example.ORG" },
      { origin: "http://chat.example.org", host: "chat.example.org:80" },
      {},
    ]) {
      expect((await logIn("Target", PASSWORD, headers as Record<string, string>)).status).toBe(302);
    }
  });

  test("pages in ALLOWED_ORIGINS is accepted besides our own", async () => {
    const origins = "https://chat.example.org, http://other.example:8080";
    await using open = await startApp({ env: { ALLOWED_ORIGINS: origins } });
    await open.person("ann");
    const from = async (headers: Record<string, string>) =>
      (await post(`${open.url}/login`, { username: "ann", password: PASSWORD }, headers)).status;
    expect(await from({ origin: "https://chat.example.org", "sec-fetch-site": "cross-site" })).toBe(302);
    expect(await from({ origin: "http://other.example:8080" })).toBe(302);
    expect(await from({ origin: open.url })).toBe(302);
    expect(await from({ origin: "http://chat.example.org" })).toBe(403);
    expect(await from({ origin: "https://evil.example" })).toBe(403);
    expect(await from({ origin: "https://chat.example.org.evil.example" })).toBe(403);
  });
});
