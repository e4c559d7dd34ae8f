/** Known devices: failed logins of others do not lock them out, and their cookie grants nothing else. */

import { describe, expect, test } from "bun:test";

import { KnownDevices } from "../../src/accounts/known_devices.ts";
import { cookieOf, migratedDatabase, PASSWORD, Person, post, startApp, type TestApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const [OLD, NEW] = ["old-signing-key-Zu5hai7Aephohm3ie", "new-signing-key-ohVo0aicheC7ieyu8"];
const ENV = {
  RATE_LIMIT: "on",
  TRUST_PROXY: "on", // so that a test can come from many addresses
  LIMIT_SIGNUPS: "1000/s",
  LIMIT_LOGINS: "4/h",
  LIMIT_LOGINS_NAME: "6/h",
};

const app = await sharedApp({ env: { ...ENV, SESSION_SECRET: OLD } });

let addresses = 0;
const elsewhere = () => `198.18.${Math.floor(++addresses / 250)}.${(addresses % 250) + 1}`;

interface Try {
  readonly password?: string;
  readonly address?: string;
  readonly cookie?: string;
  readonly at?: TestApp;
}

/** Signs in with the right password from a new address, unless a try says otherwise. */
const logIn = (username: string, { password = PASSWORD, address = elsewhere(), cookie = "", at = app }: Try = {}) =>
  post(`${at.url}/login`, { username, password }, { "x-forwarded-for": address, cookie });

const statusOf = async (username: string, options?: Try) => (await logIn(username, options)).status;

/** The device cookie that an answer sets, as a request sends it back. */
function deviceOf(answer: Response): string {
  const line = answer.headers.getSetCookie().find((cookie) => /^(__Host-)?chatify_device=/.test(cookie));
  return line?.split(";")[0] ?? "";
}

/** Signs a user up, and in on a device. @returns the device's cookie */
async function device(name: string, at = app): Promise<string> {
  await Person.signUp(at.url, name);
  return deviceOf(await logIn(name, { at }));
}

/** Strangers use up what may fail at a name. */
async function exhaust(name: string, at = app): Promise<void> {
  for (let i = 0; i < 6; i++) expect(await statusOf(name, { password: "wrong", at })).toBe(401);
  expect(await statusOf(name, { at })).toBe(429);
}

describe("a known device", () => {
  test("signs in although strangers used up the failures of the name, from any address", async () => {
    const cookie = await device("ann");
    await exhaust("ann");
    for (let i = 0; i < 4; i++) {
      expect(await statusOf("ann", { password: "wrong", address: "192.0.2.1" })).toBe(429);
      expect(await statusOf(`ann${i}`, { password: "wrong", address: "192.0.2.1" })).toBe(401);
    }
    expect(await statusOf("ann", { cookie })).toBe(302);
    expect(await statusOf("ANN", { cookie, address: "192.0.2.1" })).toBe(302);
    const fresh = await logIn("ann");
    expect([fresh.status, Number(fresh.headers.get("retry-after")) > 60]).toEqual([429, true]);
    expect(await fresh.text()).toContain("Too many attempts. Please wait 10 minutes");
  });

  test("gets a separate cookie at sign-up, at each login and with a new password", async () => {
    const form = { username: "bea", password: PASSWORD };
    const answers = [await post(`${app.url}/signup`, form), await logIn("bea"), await logIn("bea")];
    for (const answer of answers) {
      const [session, device] = answer.headers.getSetCookie();
      expect(session).toStartWith("chatify_session=");
      expect(device).toMatch(
        /^chatify_device=[\w-]+\.[\w-]+\.[\w-]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=34560000$/,
      );
    }
    expect(new Set(answers.map(deviceOf)).size).toBe(3);
    const https = { "x-forwarded-proto": "https", "x-forwarded-for": elsewhere() };
    const secure = await post(`${app.url}/login`, form, https);
    expect(secure.headers.getSetCookie()[1]).toMatch(
      /^__Host-chatify_device=.*; Path=\/; HttpOnly; SameSite=Lax; Max-Age=34560000; Secure$/,
    );
    const wrong = await logIn("bea", { password: "wrong" });
    expect(wrong.headers.getSetCookie()).toEqual([]);
  });

  test("is limited by itself: its cookie allows no more guesses from many addresses", async () => {
    const cookie = await device("carl");
    for (let i = 0; i < 4; i++) expect(await statusOf("carl", { password: "wrong", cookie })).toBe(401);
    for (let i = 0; i < 4; i++) expect(await statusOf("carl", { password: "wrong", cookie })).toBe(429);
    expect(await statusOf("carl")).toBe(302); // and locks out no other user
  });

  test("is not recognized by another account's cookie", async () => {
    const [, cookie] = [await Person.signUp(app.url, "dora"), await device("dave")];
    await exhaust("dora");
    expect(await statusOf("dora", { cookie })).toBe(429);
  });

  test("is not recognized by a cookie that is forged, truncated, or signed for another purpose", async () => {
    const value = (await device("eve")).slice("chatify_device=".length);
    const session = cookieOf(await logIn("eve")).slice("chatify_session=".length);
    const [id = "", tag = "", signature = ""] = value.split(".");
    await exhaust("eve");
    const stranger = new KnownDevices([NEW]).add(null, { nameKey: "eve", password: "$argon2id$" });
    for (const forged of [
      "",
      ".",
      "..",
      id,
      `${id}.${tag}`,
      `${id}.${tag}.`,
      `${id}.${tag}.${signature.slice(0, -2)}`,
      `${tag}.${id}.${signature}`,
      `${id}x.${tag}.${signature}`,
      stranger,
      session,
      `${id}.${session}`,
      "~".repeat(3_000),
      `${"a.b.c~".repeat(500)}${value}`, // behind more entries than are read
    ]) {
      expect([forged.slice(0, 90), await statusOf("eve", { cookie: `chatify_device=${forged}` })]).toEqual([
        forged.slice(0, 90),
        429,
      ]);
    }
    expect(await statusOf("eve", { cookie: `__Host-chatify_device=${value}` })).toBe(429); // not over http
    expect(await statusOf("eve", { cookie: `chatify_device=${value}` })).toBe(302);
  });

  test("is not signed in by its cookie, under any name", async () => {
    const value = (await device("finn")).slice("chatify_device=".length);
    for (const name of ["chatify_device", "chatify_session"]) {
      const me = await fetch(`${app.url}/me`, { headers: { cookie: `${name}=${value}` } });
      expect(me.status).toBe(401);
    }
    expect(await statusOf("finn", { password: "wrong", cookie: `chatify_device=${value}` })).toBe(401);
  });

  test("is forgotten after a password change on another device", async () => {
    const cookie = await device("gina");
    const answer = await logIn("gina");
    const changing = new Person(app.url, "gina", `${cookieOf(answer)}; ${deviceOf(answer)}`);
    const changed = await changing.post("/me/password", { old: PASSWORD, new: "another long password" });
    expect(changed.status).toBe(200);
    await exhaustWith("another long password");
    const password = "another long password";
    expect(await statusOf("gina", { password, cookie })).toBe(429);
    expect(await statusOf("gina", { password, cookie: deviceOf(answer) })).toBe(429);
    expect(await statusOf("gina", { password, cookie: deviceOf(changed) })).toBe(302);

    async function exhaustWith(right: string): Promise<void> {
      for (let i = 0; i < 6; i++) expect(await statusOf("gina", { password: "wrong" })).toBe(401);
      expect(await statusOf("gina", { password: right })).toBe(429);
    }
  });

  test("is forgotten with a deleted account", async () => {
    const cookie = await device("hugo");
    const person = new Person(app.url, "hugo", cookieOf(await logIn("hugo")));
    await person.post("/me/delete", { password: PASSWORD });
    for (let i = 0; i < 6; i++) expect(await statusOf("hugo", { password: "wrong" })).toBe(401);
    expect(await statusOf("hugo", { cookie })).toBe(429);
  });

  test("is known to the last four accounts that signed in there", async () => {
    const names = ["ida", "jan", "kim", "lea", "max"];
    let cookie = "";
    for (const name of names) {
      await Person.signUp(app.url, name);
      cookie = deviceOf(await logIn(name, { cookie }));
    }
    for (let i = 0; i < 3; i++) cookie = deviceOf(await logIn("max", { cookie })); // takes no place of another
    for (const name of names) await exhaust(name);
    const statuses = await Promise.all(names.map((name) => statusOf(name, { cookie })));
    expect(statuses).toEqual([429, 302, 302, 302, 302]);
  });

  test("stays known while the signing key is rotated, and not longer", async () => {
    const database = await migratedDatabase();
    const pod = (keys: string) => startApp({ database, env: { ...ENV, SESSION_SECRET: keys } });
    await using first = await pod(OLD);
    const cookie = await device("nora", first);
    await using second = await pod(`${NEW},${OLD}`);
    await exhaust("nora", second);
    expect(await statusOf("nora", { cookie, at: second })).toBe(302);
    await using last = await pod(NEW);
    await exhaust("nora", last);
    expect(await statusOf("nora", { cookie, at: last })).toBe(429);
  });

  test("or not: signed-in users change their password while strangers fail at the name", async () => {
    const olga = await Person.signUp(app.url, "olga");
    await exhaust("olga");
    for (let i = 0; i < 4; i++) expect((await olga.post("/me/delete", { password: "wrong" })).status).toBe(403);
    expect((await olga.post("/me/delete", { password: PASSWORD })).status).toBe(429); // as many as LIMIT_LOGINS
    const other = await Person.signUp(app.url, "omar");
    await exhaust("omar");
    expect((await other.post("/me/password", { old: PASSWORD, new: "another long password" })).status).toBe(200);
  });
});
