/** Sign-up policies, invitations, and the admin's code. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { sign } from "../../src/accounts/session_cookie.ts";
import { SignupPolicy } from "../../src/accounts/signup_policy.ts";
import { Database } from "../../src/db/database.ts";
import * as sessions from "../../src/db/sessions.ts";
import * as users from "../../src/db/users.ts";
import {
  cookieOf,
  migratedDatabase,
  PASSWORD,
  Person,
  post,
  SILENT,
  startApp,
  type TestApp,
} from "../support/harness.ts";

const SECRET = "the-secret-of-the-tests-forty-characters";
const OTHER_SECRET = "another-secret-of-the-tests-forty-chars";
const apps: TestApp[] = [];

async function start(signup: string, database?: string): Promise<TestApp> {
  const app = await startApp({
    env: { SIGNUP: signup, SESSION_SECRET: SECRET },
    ...(database === undefined ? {} : { database }),
  });
  apps.push(app);
  return app;
}

afterAll(() => Promise.all(apps.map((app) => app.stop())));

const signUp = (app: TestApp, username: string, more: Record<string, string> = {}) =>
  post(`${app.url}/signup`, { username, password: PASSWORD, ...more });
const names = async (app: TestApp) =>
  (await app.sql`select username from users order by id`).map((row) => row["username"]);

/** An admin, signed up with the code. */
async function admin(app: TestApp, name = "Boss"): Promise<Person> {
  const answer = await signUp(app, name, { code: app.adminCode! });
  expect(answer.status).toBe(302);
  return new Person(app.url, name, cookieOf(answer));
}

const ask = (app: TestApp, cookie: string, query = "", headers: Record<string, string> = {}) =>
  fetch(`${app.url}/invites${query}`, { method: "POST", headers: { cookie, ...headers } });

interface Invitation {
  url: string;
  expires_at: string;
  uses: number;
}

/** The token of a new invitation. */
async function invited(app: TestApp, cookie: string, query = ""): Promise<string> {
  const answer = await ask(app, cookie, query);
  expect(answer.status).toBe(200);
  return new URL(((await answer.json()) as Invitation).url).searchParams.get("invite")!;
}

async function refused(answer: Response, code: string): Promise<string> {
  expect(answer.status).toBe(403);
  expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(answer.headers.has("set-cookie")).toBe(false);
  const html = await answer.text();
  expect(html).toMatch(new RegExp(`data-(t="error_|error=")${code}"`));
  expect(html).not.toContain("{{");
  expect(html).not.toContain(PASSWORD);
  return html;
}

describe("closed sign-up", () => {
  let app: TestApp;
  let pod: TestApp;
  beforeAll(async () => {
    const database = await migratedDatabase();
    [app, pod] = [await start("closed", database), await start("closed", database)];
  });

  test("replaces the form with an explanation, and refuses everyone", async () => {
    const page = await fetch(`${app.url}/signup`);
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(page.headers.get("etag")).toMatch(/^"/);
    const html = await page.text();
    expect(html).toContain("Sign-up is closed. Ask the admin of this chat for an account");
    expect(html).not.toContain("<form");
    expect((await fetch(`${app.url}/signup?invite=1.2.3`)).status).toBe(200);
    expect(await refused(await signUp(app, "ann"), "signup_closed")).not.toContain("<form");
    await refused(await signUp(app, "a"), "signup_closed"); // names are not checked
    expect(await names(app)).toEqual([]);
    expect(await (await fetch(`${app.url}/login`)).text()).toContain('<p class="other" data-signup="closed">');
  });

  test("accepts the code of a fresh install once, on any pod, and makes its user an admin", async () => {
    expect(app.adminCode).toMatch(/^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$/);
    expect(pod.adminCode).toBe(app.adminCode);
    const code = app.adminCode!;
    const form = await (await fetch(`${app.url}/signup?code=${code}`)).text();
    expect(form).toContain(`<input type="hidden" name="code" value="${code}" />`);

    const wrong = `${code.slice(0, -1)}${code.endsWith("0") ? "1" : "0"}`;
    for (const bad of [wrong, "x", `${code}0`, "x".repeat(10_000)]) {
      const html = await refused(await signUp(app, "ann", { code: bad }), "bad_code");
      expect(html).toContain("That code is wrong or has been used already");
      expect(html).toContain(`name="code" value="${bad}"`); // otherwise the next attempt would lack it
    }
    expect((await signUp(app, "a", { code })).status).toBe(422);
    expect(await names(app)).toEqual([]);

    const typed = code.toLowerCase().replaceAll("-", " ").replaceAll("0", "o");
    const answers = await Promise.all([signUp(app, "ann", { code: typed }), signUp(pod, "bob", { code })]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([302, 403]);
    const first = answers.findIndex(({ status }) => status === 302);
    await refused(answers[1 - first]!, "bad_code");
    await refused(await signUp(app, "carol", { code }), "bad_code");
    expect(await names(app)).toEqual([["ann", "bob"][first]]);
    const me = await fetch(`${app.url}/me`, { headers: { cookie: cookieOf(answers[first]!) } });
    expect(await me.json()).toMatchObject({ username: ["ann", "bob"][first]!, admin: true });
    expect(await (await ask(app, cookieOf(answers[first]!))).json()).toMatchObject({
      error: { code: "signup_closed" },
    });
  });
});

describe("the admin's code", () => {
  const door = (secret: string, databaseId: string) =>
    new SignupPolicy({
      db: { run: async () => [{ fresh: true }] } as unknown as Database,
      signup: "open",
      secrets: [secret],
      databaseId,
    }).codeToShow();

  test("differs with the secret and with the database", async () => {
    const codes = await Promise.all([door(SECRET, "1.2"), door(OTHER_SECRET, "1.2"), door(SECRET, "1.3")]);
    expect(new Set(codes).size).toBe(3);
    expect(await door(SECRET, "1.2")).toBe(codes[0]);
  });

  test("is not shown once there are accounts, and not accepted once there was an admin", async () => {
    const database = await migratedDatabase();
    const app = await start("open", database);
    const code = app.adminCode!;
    expect((await signUp(app, "first")).status).toBe(302);
    expect(await (await app.person("second")).json("/me")).toMatchObject({ username: "second", admin: false }); // being first makes no admin
    expect((await start("open", database)).adminCode).toBeUndefined();

    const db = new Database({ target: database, name: "test", max: 1, log: SILENT });
    expect(await users.makeAdmin(db, "nobody")).toBeUndefined();
    expect((await signUp(app, "second", { code })).status).toBe(409); // leaves the code valid
    expect(await users.makeAdmin(db, "first")).toBe("first");
    await refused(await signUp(app, "third", { code }), "bad_code");
    await app.sql`delete from users`;
    await refused(await signUp(app, "third", { code }), "bad_code");
    await db.end();
  });
});

describe("invitations", () => {
  let app: TestApp;
  let pod: TestApp;
  let boss: Person;
  beforeAll(async () => {
    const database = await migratedDatabase();
    [app, pod] = [await start("invite", database), await start("invite", database)];
    boss = await admin(app);
  });

  test("are required, and forged ones are refused", async () => {
    const before = await names(app);
    const page = await fetch(`${app.url}/signup`);
    expect(page.status).toBe(200);
    const html = await page.text();
    expect(html).toContain("Sign-up is by invitation only");
    expect(html).not.toContain("<form");
    expect(await refused(await signUp(app, "ann"), "invite_needed")).not.toContain("<form");

    const good = await invited(app, boss.cookie);
    const [id, seconds, signature] = good.split(".");
    const forged = [
      "x",
      "..",
      `${id}.${seconds}.`,
      `${id}.${seconds}.${"A".repeat(43)}`,
      `${Number(id) + 1}.${seconds}.${signature}`,
      `${id}.${Number(seconds) + 1}.${signature}`,
      sign(`${id}.${seconds}`, OTHER_SECRET),
      sign("a session's token", SECRET),
      boss.cookie.split("=")[1]!,
      good.slice(0, -1),
    ];
    for (const invite of forged) {
      const page = await fetch(`${app.url}/signup?${new URLSearchParams({ invite })}`);
      expect(page.status).toBe(200);
      expect(await page.text()).toContain('data-t="error_invite_needed"');
      await refused(await signUp(app, "ann", { invite }), "invite_needed");
    }
    expect(await names(app)).toEqual(before);
  });

  test("cost no query when forged", async () => {
    const db = { run: () => Promise.reject(new Error("a query")) } as unknown as Database;
    const door = new SignupPolicy({ db, signup: "invite", secrets: [SECRET], databaseId: "1.2" });
    const future = `1.${Math.floor(Date.now() / 1_000) + 60}`;
    for (const invite of ["", `${future}.x`, sign(future, OTHER_SECRET)]) {
      await expect(door.grantFor({ invite, code: "" })).rejects.toMatchObject({ code: "invite_needed" });
    }
    await expect(door.grantFor({ invite: sign("1.1000000000", SECRET), code: "" })).rejects.toMatchObject({
      code: "invite_used",
    });
    await expect(door.grantFor({ invite: "", code: "x" })).rejects.toMatchObject({ code: "bad_code" });
    await expect(door.grantFor({ invite: sign(future, SECRET), code: "" })).rejects.toThrow("a query");
  });

  test("admit one user, and are not used up by a failed sign-up", async () => {
    const invite = await invited(app, boss.cookie);
    const page = await fetch(`${app.url}/signup?invite=${invite}`);
    expect(page.headers.get("cache-control")).toBe("no-store");
    expect(await page.text()).toContain(`<input type="hidden" name="invite" value="${invite}" />`);
    for (const [username, password, status] of [
      ["a", PASSWORD, 422],
      ["Guest", "short", 422],
      ["BOSS", PASSWORD, 409],
    ] as const) {
      const answer = await post(`${app.url}/signup`, { username, password, invite });
      expect(answer.status).toBe(status);
      expect(await answer.text()).toContain(`name="invite" value="${invite}"`);
    }
    expect((await signUp(pod, "Guest", { invite })).status).toBe(302);
    const html = await refused(await signUp(app, "Another", { invite }), "invite_used");
    expect(html).not.toContain("<form");
    const used = await fetch(`${app.url}/signup?invite=${invite}`);
    expect(used.status).toBe(200);
    expect(await used.text()).toContain("That invitation has been used");
    expect(await names(app)).toEqual(["Boss", "Guest"]);
  });

  test("for three users admit three of nine concurrent sign-ups", async () => {
    const invite = await invited(app, boss.cookie, "?uses=3");
    const answers = await Promise.all(
      Array.from({ length: 9 }, (_, i) => signUp(i % 2 ? app : pod, `crowd-${i}`, { invite })),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([302, 302, 302, ...Array(6).fill(403)]);
    expect((await names(app)).filter((name) => name.startsWith("crowd"))).toHaveLength(3);
    expect(await app.sql`select uses_left from invites where id = ${invite.split(".")[0]!}`).toEqual([
      { uses_left: 0 },
    ] as never);
  });

  test("expire, by the link and by the table", async () => {
    const [byLink, byTable] = [await invited(app, boss.cookie), await invited(app, boss.cookie)];
    const [id] = byLink.split(".");
    await refused(await signUp(app, "late", { invite: sign(`${id}.1000000000`, SECRET) }), "invite_used");
    await app.sql`update invites set expires_at = now() - interval '1 second' where id = ${byTable.split(".")[0]!}`;
    await refused(await signUp(app, "late", { invite: byTable }), "invite_used");
    expect((await names(app)).includes("late")).toBe(false);
    await invited(app, boss.cookie);
    expect(await app.sql`select from invites where expires_at < now()`).toHaveLength(0);
  });

  test("are created by admins only", async () => {
    const guest = await signUp(app, "Plain", { invite: await invited(app, boss.cookie) });
    const before = await app.sql`select id, uses_left from invites order by id`;
    expect((await ask(app, "")).status).toBe(401);
    const answer = await ask(app, cookieOf(guest));
    expect(answer.status).toBe(403);
    expect(await answer.json()).toEqual({
      error: { code: "not_admin", message: "Only an admin can do that" },
    });
    expect((await ask(app, boss.cookie, "", { origin: "https://evil.example" })).status).toBe(403);
    expect((await ask(app, boss.cookie, "", { "sec-fetch-site": "cross-site" })).status).toBe(403);
    for (const query of ["?days=0", "?days=366", "?days=x", "?uses=0", "?uses=1001", "?uses=-1"]) {
      expect((await ask(app, boss.cookie, query)).status).toBe(400);
    }
    expect((await boss.get("/invites")).status).toBe(405);
    expect(await app.sql`select id, uses_left from invites order by id`).toEqual(before);
    expect(await (await boss.get("/me")).json()).toMatchObject({ username: "Boss", admin: true });
  });

  test("link to the address at which the page was opened", async () => {
    const made = async (query: string, headers: Record<string, string> = {}) =>
      (await (await ask(app, boss.cookie, query, headers)).json()) as Invitation;
    const one = await made("?days=2&uses=5", { origin: app.url });
    expect(one.url).toStartWith(`${app.url}/signup?invite=`);
    expect(one.uses).toBe(5);
    expect(Math.abs(Date.parse(one.expires_at) - Date.now() - 2 * 86_400_000)).toBeLessThan(60_000);
    const other = await made("");
    expect(other.url).toStartWith(`${app.url}/signup?invite=`);
    expect(Math.abs(Date.parse(other.expires_at) - Date.now() - 7 * 86_400_000)).toBeLessThan(60_000);
    expect(app.log.join("")).not.toContain(new URL(one.url).searchParams.get("invite")!);
  });
});

describe("a session", () => {
  test("does not start for an account disabled, or given another password, while its password was verified", async () => {
    const database = await migratedDatabase();
    const app = await start("open", database);
    await app.people("ann", "bob");
    const db = new Database({ target: database, name: "test", max: 2, log: SILENT });
    const [ann, bob] = [(await users.find(db, "ann"))!, (await users.find(db, "bob"))!];
    expect(await sessions.start(db, ann, "a first token")).toBe(true);
    expect(await sessions.start(db, ann, "a first token")).toBe(true); // repeated after a lost reply
    await users.setPassword(db, bob.id, "$another");
    expect(await sessions.start(db, bob, "a second token")).toBe(false);
    await users.setDisabled(db, "ann", true);
    expect(await sessions.start(db, ann, "a third token")).toBe(false);
    await users.setDisabled(db, "ann", false);
    expect(await sessions.start(db, ann, "a third token")).toBe(true);

    // `endAll` waits for a session that starts concurrently, and ends it too.
    const { promise: locked, resolve: lock } = Promise.withResolvers<void>();
    const opening = app.sql.begin(async (tx) => {
      await tx`select from users where id = ${ann.id} for share`;
      lock();
      await Bun.sleep(300);
      await tx`insert into sessions (user_id, token, expires_at) values (${ann.id}, 'a fourth token', now() + interval '1 day')`;
    });
    await Promise.race([locked, opening]);
    await users.setDisabled(db, "ann", true);
    expect(await sessions.endAll(db, ann.id)).toHaveLength(4);
    await opening;
    expect(await app.sql`select from sessions where user_id = ${ann.id}`).toHaveLength(0);
    await db.end();
  });
});
