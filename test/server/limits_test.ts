/** Rate limits: their size, the response beyond them, and whom they do not affect. */

import { describe, expect, test } from "bun:test";

import { Limits, type MeteredSocket } from "../../src/accounts/limits.ts";
import { loadConfig } from "../../src/config.ts";
import type { Pending } from "../../static/js/store/pending.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { cookieOf, type Frame, PASSWORD, Person, post, startApp, Tab, type TestApp } from "../support/harness.ts";
import { closeCode, RawSocket } from "../support/raw.ts";
import { sharedApp } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

const app = await sharedApp({
  env: {
    RATE_LIMIT: "on",
    TRUST_PROXY: "on", // so that a test can come from many addresses
    LIMIT_SIGNUPS: "1000/s",
    LIMIT_LOGINS_NAME: "20/15m", // a hash each
    LIMIT_LOGINS_ADDRESS: "30/15m",
  },
});

const from = (address: string) => ({ "x-forwarded-for": address });
const logIn = (username: string, password: string, address: string) =>
  post(`${app.url}/login`, { username, password }, from(address));

async function code(answer: Response): Promise<string> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

/** Statuses, as `{ 200: 3, 429: 1 }`. */
async function statuses(answers: Promise<Response>[]): Promise<Record<number, number>> {
  const counts: Record<number, number> = {};
  for (const { status } of await Promise.all(answers)) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** A socket of a person that may be refused; `open` waits for its `hello`. */
const knock = ({ name, cookie }: Person) => new Tab(`${app.url.replace("http", "ws")}/ws/${name}`, { cookie }, name);

const errors = (tab: Tab) => tab.heard.filter(({ type }) => type === "error");

describe("sends", () => {
  test("beyond a burst of twenty are rejected with the time to wait and not stored, and five a second are refilled", async () => {
    const [ann] = await app.people("ann", "bob");
    const tab = await ann!.open();
    for (let i = 0; i < 22; i++) tab.say({ to: "bob", message: `m${i}`, ref: `ref-number-${i}` });
    expect(await tab.next("error")).toMatchObject({ code: "rate_limited", ref: "ref-number-20", retry_after: 1 });
    for (let i = 0; i < 20; i++) await tab.next("ack");
    expect(await app.sql`select from messages where sender = 'ann'`).toHaveLength(20);
    await Bun.sleep(1_050);
    for (let i = 0; i < 5; i++) expect(await tab.send("bob", "again")).toMatchObject({ duplicate: false });
    await tab.close();
  });

  test("are counted per user, over all sockets", async () => {
    const [carl, dora] = await app.people("carl", "dora");
    const [one, two, other] = [await carl!.open(), await carl!.open(), await dora!.open()];
    for (let i = 0; i < 20; i++) one.say({ to: "dora", message: `m${i}` });
    await one.next("ack");
    for (let i = 0; i < 20; i++) two.say({ to: "dora", message: `more ${i}`, ref: `one-too-many-${i}` });
    expect(await two.next("error")).toMatchObject({ code: "rate_limited" });
    expect(errors(one)).toEqual([]);
    await other.send("carl", "I have not sent anything");
    await Promise.all([one, two, other].map((tab) => tab.close()));
  });

  test("close the socket with 1008 at the tenth rejection", async () => {
    const [eve] = await app.people("eve", "frank");
    const tab = await eve!.open();
    for (let i = 0; i < 60; i++) tab.say({ to: "frank", message: `m${i}`, ref: `ref-number-${i}` });
    expect(await tab.closed).toMatchObject({ code: 1008 });
    expect(errors(tab).map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => "rate_limited"));
    expect((await app.sql`select from messages where sender = 'eve'`).length).toBeLessThanOrEqual(21);
    const again = await eve!.open(); // sent away, not locked out
    await again.close();
  });
});

describe("the page", () => {
  test("sends a hundred unsent texts to a limited server in order, without a rejection", async () => {
    // The default limit and the page's own pace, both ten times as fast.
    await using limited = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SENDS: "50/s burst 20" } });
    const [ann] = await limited.people("ann", "bob");
    const tab = await ann!.open();
    const nothing = { load: () => [], put: () => {}, remove: () => {}, wipe: () => {} };
    const outbox = new Outbox(nothing, { pace: { atOnce: 15, everyMs: 25 } });
    tab.socket.addEventListener("message", ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame;
      if (frame.type === "ack") outbox.remove(frame["ref"]);
      else if (frame.type === "error") outbox.reject(frame["ref"], frame["code"], frame["retry_after"]);
    });
    const texts = Array.from({ length: 100 }, (_, i) => `text ${i}`);
    for (const text of texts) outbox.add("bob", text);
    outbox.connected(({ ref, peer, text }: Pending) => {
      tab.say({ type: "message", to: peer, message: text, ref });
      return true;
    });
    for (let i = 0; i < 100; i++) await tab.next("ack", 10_000);
    const stored = await ann!.json<{ content: string }[]>("/messages/ann/bob?limit=200");
    expect(stored.map(({ content }) => content)).toEqual(texts);
    expect(errors(tab)).toEqual([]);
    await tab.close();
  });
});

describe("a socket", () => {
  test("closes with 1008 at the third invalid frame within a minute", async () => {
    const tab = await (await app.person("gina")).open();
    tab.say("{");
    tab.say({ type: "shout" });
    await tab.next("error");
    expect(await tab.next("error")).toMatchObject({ code: "bad_request" });
    tab.say({ type: "ping" });
    await tab.next("pong");
    tab.say("[]");
    expect(await tab.closed).toMatchObject({ code: 1008 });
    expect(errors(tab)).toHaveLength(3);
  });

  test("accepts a burst of two hundred frames, rejects sends beyond with their ref, and closes with 1008 if they continue", async () => {
    const [hugo] = await app.people("hugo", "ida");
    const tab = await hugo!.open();
    for (let i = 0; i < 200; i++) tab.say({ type: "ping" });
    for (let i = 0; i < 9; i++) tab.say({ to: "ida", message: "beyond", ref: `ref-beyond-${i}` });
    const { code, ref, retry_after } = await tab.next("error");
    expect({ code, ref, retry_after }).toEqual({
      code: "rate_limited",
      ref: expect.stringMatching(/^ref-beyond-\d$/),
      retry_after: 1,
    });
    expect(tab.heard.filter(({ type }) => type === "pong")).toHaveLength(200);
    for (let i = 0; i < 200; i++) tab.say({ type: "ping" });
    expect(await tab.closed).toMatchObject({ code: 1008 });
    expect(await app.sql`select from messages where sender = 'hugo' and ref = ${ref}`).toHaveLength(0);
  });

  test("is rejected beyond a burst of twenty watch frames", async () => {
    const tab = await (await app.person("jack")).open();
    for (let i = 0; i < 21; i++) tab.say({ type: "watch", users: [`u${i}`] });
    expect(await tab.next("error")).toMatchObject({ code: "rate_limited", retry_after: 1 });
    for (let i = 0; i < 20; i++) await tab.next("presence");
    await tab.hearsNo("presence", 50);
    await tab.close();
  });

  test("relays typing to ten peers at once, and drops more silently", async () => {
    const names = Array.from({ length: 12 }, (_, i) => `peer${i}`);
    const [kim, ...peers] = await Promise.all(["kim", ...names].map((name) => app.person(name)));
    const tabs = await Promise.all(peers.map((peer) => peer.open({ watch: [] })));
    const tab = await kim!.open({ watch: [] });
    for (const name of names) tab.say({ type: "typing", peer: name });
    const notified = () => tabs.filter(({ heard }) => heard.some(({ type }) => type === "typing")).length;
    await until("ten peers are notified", () => notified() >= 10);
    await Bun.sleep(200);
    expect(notified()).toBe(10);
    expect(errors(tab)).toEqual([]);
    await Promise.all([tab, ...tabs].map((tab) => tab.close()));
  });

  test("closes with 4429 as the eleventh of a user, until one of the ten closes", async () => {
    const [lea, mia] = [await app.person("lea"), await app.person("mia")];
    const tabs = await Promise.all(Array.from({ length: 10 }, () => lea.open()));
    const eleventh = knock(lea);
    expect(await eleventh.closed).toEqual({ code: 4429, reason: "Too many tabs are open. Close one and try again" });
    expect(eleventh.heard).toEqual([]); // no hello: it was never open
    const others = await mia.open();
    await tabs.pop()!.close();
    tabs.push(await lea.open());
    expect(await knock(lea).closed).toMatchObject({ code: 4429 });
    await Promise.all([...tabs, others].map((tab) => tab.close()));
  });

  test("is one of ten at most when twelve open at the same time", async () => {
    const nora = await app.person("nora");
    const all = Array.from({ length: 12 }, () => knock(nora));
    await Promise.all(all.map((tab) => Promise.race([tab.next("hello").catch(() => {}), tab.closed])));
    const tabs = all.filter(({ heard }) => heard.length > 0);
    expect(tabs).toHaveLength(10);
    const others = all.filter((tab) => !tabs.includes(tab));
    for (const { closed } of others) expect(await closed).toMatchObject({ code: 4429 });
    await Promise.all(tabs.map((tab) => tab.close()));
  });

  test("beyond the ten is terminated although its client never answers the close", async () => {
    const omar = await app.person("omar");
    const tabs = await Promise.all(Array.from({ length: 10 }, () => omar.open()));
    const stubborn = await Promise.all(Array.from({ length: 5 }, () => RawSocket.upgraded(app.port, omar)));
    for (const socket of stubborn) {
      expect(closeCode(await socket.until((heard) => closeCode(heard) !== undefined))).toBe(4429);
      await socket.closed;
    }
    await Promise.all(tabs.map((tab) => tab.close()));
  });
});

describe("strikes", () => {
  const fresh = (): MeteredSocket => ({ credits: Number.POSITIVE_INFINITY, creditsAt: 0, strikes: undefined });

  test("expire after a minute", () => {
    const limits = new Limits(loadConfig({}).limits);
    const socket = fresh();
    for (let now = 0; now < 600_000; now += 30_001) expect(limits.addStrike(socket, "bad_request", now)).toBe(false);
    const other = fresh();
    expect([0, 29_999, 59_998].map((now) => limits.addStrike(other, "bad_request", now))).toEqual([false, false, true]);
  });

  test("are counted by kind, and only for exceeded limits", () => {
    const limits = new Limits(loadConfig({}).limits);
    const socket = fresh();
    const codes = ["bad_request", "bad_request", ...Array.from({ length: 9 }, () => "rate_limited" as const)] as const;
    for (const code of codes) expect(limits.addStrike(socket, code, 0)).toBe(false);
    for (let i = 0; i < 50; i++) expect(limits.addStrike(socket, "no_such_user", 0)).toBe(false);
    expect(limits.addStrike(socket, "rate_limited", 0)).toBe(true);
  });
});

describe("logins", () => {
  test("fail ten times; then the right password is rejected from that address for the announced time, and accepted from others", async () => {
    await app.person("olga");
    for (let i = 0; i < 10; i++) expect((await logIn("olga", `wrong ${i}`, "192.0.2.1")).status).toBe(401);
    const refused = await logIn("OLGA", PASSWORD, "192.0.2.1");
    expect(refused.status).toBe(429);
    const seconds = Number(refused.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(60); // one try comes back in 90 s
    expect(seconds).toBeLessThanOrEqual(90);
    expect(refused.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(refused.headers.has("set-cookie")).toBe(false);
    const html = await refused.text();
    expect(html).toContain(
      `data-wait="${seconds}" data-error="rate_limited">Too many attempts. Please wait 2 minutes</p>`,
    );
    expect(html).toContain('value="OLGA"');
    expect((await logIn("olga", PASSWORD, "192.0.2.2")).status).toBe(302);
    expect((await logIn("olga", PASSWORD, "192.0.2.1")).status).toBe(429);
  });

  test("to an unknown name are rejected alike", async () => {
    const answers: Response[] = [];
    for (let i = 0; i < 11; i++) answers.push(await logIn("nobody-at-all", `wrong ${i}`, "192.0.2.3"));
    expect(answers.map(({ status }) => status)).toEqual([...Array.from({ length: 10 }, () => 401), 429]);
    expect(await answers.at(-1)!.text()).toContain("Too many attempts. Please wait 2 minutes");
  });

  test("in parallel are limited as in sequence", async () => {
    await app.person("pablo");
    const tries = Array.from({ length: 30 }, (_, i) => logIn("pablo", `wrong ${i}`, "192.0.2.4"));
    expect(await statuses(tries)).toEqual({ 401: 10, 429: 20 });
  });

  test("that succeed are not counted as failures", async () => {
    await app.person("quinn");
    for (let i = 0; i < 15; i++) expect((await logIn("quinn", PASSWORD, "192.0.2.5")).status).toBe(302);
  });

  test.each([
    ["another IPv4 address", (i: number) => `198.51.${Math.floor(i / 200)}.${(i % 200) + 1}`],
    ["another /64 of one /56", (i: number) => `2001:db8:a:${i.toString(16)}::1`],
    ["another /56 of one /48", (i: number) => `2001:db8:b:${(i * 256).toString(16)}::1`],
    ["another /48", (i: number) => `2001:db8:${(i + 4096).toString(16)}::1`],
  ])("fail at one name, each from %s, until new devices are rejected", async (_, from) => {
    const name = `rosa${crypto.randomUUID().slice(0, 8)}`;
    await app.person(name);
    const tries = Array.from({ length: 60 }, (_, i) => logIn(name, `wrong ${i}`, from(i)));
    const { 401: wrong = 0, 429: refused = 0, ...others } = await statuses(tries);
    expect(others).toEqual({});
    expect(wrong).toBeLessThanOrEqual(20); // LIMIT_LOGINS_NAME; LIMIT_LOGINS holds one /56 and /48 before
    expect(refused).toBe(60 - wrong);
    if (wrong < 20) return;
    const owner = await logIn(name, PASSWORD, "203.0.113.200"); // an address without failures
    expect(owner.status).toBe(429);
    expect(Number(owner.headers.get("retry-after"))).toBeWithin(1, 46); // 20 in 15 minutes: one is refunded every 45 s
    expect(await owner.text()).toContain("Too many attempts. Please wait ");
  });

  test("fail from one address, at any names, until it is rejected, and its neighbors are not", async () => {
    await app.person("sven");
    const tries = async (i: number) => (await logIn(`made-up-${i}`, "wrong", `2001:db8:1:1::${i}`)).status;
    for (let i = 0; i < 30; i++) expect(await tries(i)).toBe(401);
    expect(await tries(30)).toBe(429); // one house has many addresses: its /64 counts
    expect((await logIn("sven", PASSWORD, "2001:db8:1:1:ffff::1")).status).toBe(429);
    expect((await logIn("sven", PASSWORD, "2001:db8:1:2::1")).status).toBe(302);
  });

  test("fail from one /56 or /48, at any names, until all of it is rejected", async () => {
    await using limited = await startApp({
      env: { RATE_LIMIT: "on", TRUST_PROXY: "on", LIMIT_LOGINS_ADDRESS: "8/24h" },
    });
    await limited.person("svea");
    const tries = (count: number, address: (i: number) => string) =>
      statuses(
        Array.from({ length: count }, (_, i) =>
          post(`${limited.url}/login`, { username: crypto.randomUUID(), password: "wrong" }, from(address(i))),
        ),
      );
    const ownerFrom = async (address: string) =>
      (await post(`${limited.url}/login`, { username: "svea", password: PASSWORD }, from(address))).status;
    const inOne56 = (i: number) => `2001:db8:2:${i.toString(16)}::1`;
    expect(await tries(24, inOne56)).toEqual({ 401: 16, 429: 8 }); // twice as many as a /64
    expect(await ownerFrom("2001:db8:2:ff::1")).toBe(429);
    expect(await ownerFrom("2001:db8:2:100::1")).toBe(302);
    const inOne48 = (i: number) => `2001:db8:2:${(i * 256 + 256).toString(16)}::1`;
    expect(await tries(24, inOne48)).toEqual({ 401: 16, 429: 8 }); // four times, with those of the /56
    expect(await ownerFrom("2001:db8:2:f000::1")).toBe(429);
    expect(await ownerFrom("2001:db8:3::1")).toBe(302);
  });

  test("succeed a limited number of times per account and per address, rejected before hashing", async () => {
    await using limited = await startApp({
      env: { RATE_LIMIT: "on", TRUST_PROXY: "on", LIMIT_SIGNINS: "5/h", LIMIT_SIGNINS_ADDRESS: "8/h" },
    });
    await limited.people("una", "ulf", "uta");
    const enter = async (username: string, address: string, password = PASSWORD) =>
      (await post(`${limited.url}/login`, { username, password }, from(address))).status;
    for (let i = 0; i < 5; i++) expect(await enter("una", `192.0.2.${i}`)).toBe(302);
    expect(await enter("UNA", "192.0.2.77")).toBe(429);
    expect(await enter("una", "192.0.2.77", "wrong")).toBe(429); // the right password looks no different
    for (let i = 0; i < 4; i++) expect(await enter("ulf", "198.51.100.1")).toBe(302);
    for (let i = 0; i < 4; i++) expect(await enter("uta", "198.51.100.1")).toBe(302);
    expect(await enter("ulf", "198.51.100.1")).toBe(429);
    expect(await enter("ulf", "198.51.100.2")).toBe(302);
    const metrics = await (await fetch(`${limited.url}/metrics`)).text();
    expect(metrics).toContain('chatify_rate_limited_total{limit="successful_logins"} 3');
    const atOnce = Array.from({ length: 10 }, () =>
      post(`${limited.url}/login`, { username: "uta", password: PASSWORD }, from("203.0.113.9")),
    );
    expect(await statuses(atOnce)).toEqual({ 302: 1, 429: 9 });
  });
});

test("invitations are limited to a burst of thirty, then 429", async () => {
  await using limited = await startApp({ env: { RATE_LIMIT: "on", LIMIT_ACCOUNT: "1/h burst 30" } });
  const answer = await post(`${limited.url}/signup`, { username: "ann", password: PASSWORD, code: limited.adminCode! });
  const ann = new Person(limited.url, "ann", cookieOf(answer));
  const answers = Array.from({ length: 32 }, () => ann.post("/invites"));
  expect(await statuses(answers)).toEqual({ 200: 30, 429: 2 });
});

describe("sign-ups", () => {
  test("are thirty an hour from one address; rejected names do not count", async () => {
    await using limited = await startApp({ env: { RATE_LIMIT: "on" } });
    const signUp = (username: string, headers: Record<string, string> = {}) =>
      post(`${limited.url}/signup`, { username, password: PASSWORD }, headers);
    for (let i = 0; i < 15; i++) expect((await signUp(`person${i}`)).status).toBe(302);
    for (let i = 0; i < 20; i++) expect((await signUp("Person1")).status).toBe(409);
    for (let i = 0; i < 20; i++) expect((await signUp("?")).status).toBe(422);
    for (let i = 15; i < 30; i++) expect((await signUp(`person${i}`)).status).toBe(302);
    // Nobody is trusted here: another address is not what the client says.
    for (const headers of [{}, from("192.0.2.9"), from("192.0.2.10")] as Record<string, string>[]) {
      const refused = await signUp("person30", headers);
      expect(refused.status).toBe(429);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(60);
      expect(await refused.text()).toContain(">Too many attempts. Please wait 2 minutes</p>");
    }
    expect(await limited.sql`select from users`).toHaveLength(30);
    expect((await post(`${limited.url}/login`, { username: "person1", password: PASSWORD })).status).toBe(302);
  }, 30_000);

  test("cannot enumerate names: taken ones are failures", async () => {
    const address = "192.0.2.20";
    const ask = () => post(`${app.url}/signup`, { username: "vera", password: PASSWORD }, from(address));
    await app.person("vera");
    for (let i = 0; i < 30; i++) expect((await ask()).status).toBe(409);
    expect((await ask()).status).toBe(429);
  });

  test("are not charged for a name check that failed", async () => {
    await using limited = await startApp({ env: { RATE_LIMIT: "on", LIMIT_LOGINS_ADDRESS: "1/h" } });
    const signUp = () => post(`${limited.url}/signup`, { username: "wim", password: PASSWORD });
    await limited.sql`alter table users rename column name_key to aside`;
    expect((await signUp()).status).toBe(500);
    await limited.sql`alter table users rename column aside to name_key`;
    expect((await signUp()).status).toBe(302);
  });
});

describe("requests", () => {
  test("for users are limited to bursts of thirty, for history of two hundred, then 429 as JSON", async () => {
    const [tina, uwe] = [await app.person("tina"), await app.person("uwe")];
    const ask = (who: Person, path: string, count: number) =>
      statuses(Array.from({ length: count }, () => who.get(path)));
    expect(await ask(tina, "/get_users?q=u", 15)).toEqual({ 200: 15 });
    // Five credits return each second: more at once than what returns while a busy machine answers.
    const more = await ask(tina, "/online", 80);
    expect(more[200]).toBeGreaterThanOrEqual(15);
    expect(more[429]).toBeGreaterThan(0);
    const few = await Promise.all(Array.from({ length: 10 }, () => tina.get("/get_users")));
    const refused = few.find(({ status }) => status === 429)!;
    expect(refused, "a request of the other kind, which has the same credits").toBeDefined();
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await code(refused)).toBe("rate_limited");

    const paths = ["/messages/tina/uwe?limit=1", "/conversations", "/unread_counts/tina"];
    const history = await statuses(Array.from({ length: 500 }, (_, i) => tina.get(paths[i % 3]!)));
    expect(history[200]).toBeGreaterThanOrEqual(200);
    expect(history[429]).toBeGreaterThan(0);
    expect((await tina.get("/me")).status).toBe(200);
    expect((await uwe.get("/conversations")).status).toBe(200);
  });
});

describe("RATE_LIMIT=off", () => {
  test("disables all limits", async () => {
    await using open = await startApp();
    const [ann] = await open.people("ann", "bob");
    const tabs = await Promise.all(Array.from({ length: 12 }, () => ann!.open()));
    const tab = tabs[0]!;
    for (let i = 0; i < 300; i++) tab.say({ to: "bob", message: `m${i}` });
    for (let i = 0; i < 20; i++) tab.say("{");
    for (let i = 0; i < 300; i++) await tab.next("ack");
    for (let i = 0; i < 20; i++) expect(await tab.next("error")).toMatchObject({ code: "bad_request" });
    for (let i = 0; i < 12; i++) {
      expect((await post(`${open.url}/login`, { username: "ann", password: "wrong" })).status).toBe(401);
    }
    expect(await statuses(Array.from({ length: 50 }, () => ann!.get("/get_users")))).toEqual({ 200: 50 });
    await Promise.all(tabs.map((tab) => tab.close()));
  });
});

describe("behind proxies", () => {
  test("a list of them is trusted for client, host and https, and no other address is", async () => {
    await using proxied = await startApp({
      env: { RATE_LIMIT: "on", LIMIT_LOGINS: "1/h", TRUST_PROXY: "10.0.0.0/8, 127.0.0.1" },
    });
    await proxied.person("ann");
    const tryFrom = async (forwarded: string) =>
      (await post(`${proxied.url}/login`, { username: "ann", password: "wrong" }, from(forwarded))).status;
    expect(await tryFrom("192.0.2.1")).toBe(401);
    expect(await tryFrom("192.0.2.1")).toBe(429);
    expect(await tryFrom("192.0.2.66, 192.0.2.1:4711, 10.1.2.3")).toBe(429); // what is left of it the client wrote
    expect(await tryFrom("192.0.2.2, 10.1.2.3")).toBe(401);
    const https = {
      "x-forwarded-proto": "https",
      "x-forwarded-host": "chat.example.org",
      origin: "https://chat.example.org",
    };
    const answer = await post(`${proxied.url}/login`, { username: "ann", password: PASSWORD }, https);
    expect(answer.headers.get("set-cookie")).toStartWith("__Host-");

    await using direct = await startApp({ env: { RATE_LIMIT: "on", LIMIT_LOGINS: "1/h", TRUST_PROXY: "10.0.0.0/8" } });
    await direct.person("ann");
    const wrong = { username: "ann", password: "wrong" };
    expect((await post(`${direct.url}/login`, wrong, from("192.0.2.1"))).status).toBe(401);
    expect((await post(`${direct.url}/login`, wrong, from("192.0.2.2"))).status).toBe(429);
    expect((await post(`${direct.url}/login`, wrong, https)).status).toBe(403);

    const warned = ({ log }: TestApp) => log.filter((line) => line.includes("TRUST_PROXY lists a whole private range"));
    expect(warned(direct)).toHaveLength(1);
    expect(warned(app)).toEqual([]);
  });
});
