/** The lifetime of sessions, protection from stolen cookies, and rotation of the signing key. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { sign } from "../../src/accounts/session_cookie.ts";
import { hashToken, newToken } from "../../src/util/token.ts";
import {
  cookieOf,
  migratedDatabase,
  PASSWORD,
  type Person,
  post,
  REDIS,
  RedisServer,
  startApp,
  type TestApp,
} from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(20_000);

const [OLD, NEW] = ["old-signing-key-Zu5hai7Aephohm3ie", "new-signing-key-ohVo0aicheC7ieyu8"];
const DAY_S = 86_400;
const app = await sharedApp({ env: { SESSION_SECRET: OLD } });

const valueOf = (cookie: string) => cookie.slice("chatify_session=".length);
const tokenOf = (cookie: string) => valueOf(cookie).split(".")[0] ?? "";
const hashOf = ({ cookie }: Person) => hashToken(tokenOf(cookie));

/** What every door says to a cookie: the page, a route of one's own, and the upgrade. */
async function doors(pod: TestApp, name: string, cookie: string): Promise<[number, number, number]> {
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  const ask = (path: string, headers = {}) =>
    fetch(pod.url + path, { headers: { cookie, ...headers }, redirect: "manual" });
  const answers = await Promise.all([ask("/"), ask("/me"), ask(`/ws/${name}`, upgrade)]);
  return answers.map(({ status }) => status) as [number, number, number];
}

const OPEN = [200, 200, 101];
const SHUT = [302, 401, 401];

/** The row of a session: seconds until it ends, rounded, and which version of the row it is. */
async function row(pod: TestApp, person: Person): Promise<{ leftS: number; version: string } | undefined> {
  const [found] = await pod.sql<{ leftS: number; version: string }[]>`
    select round(extract(epoch from expires_at - now()))::int as "leftS", xmin::text as version
    from sessions
    where token = ${hashOf(person)}
  `;
  return found;
}

/** Moves a session into the past. */
async function age(pod: TestApp, person: Person, by: string): Promise<void> {
  await pod.sql`
    update sessions
    set created_at = created_at - ${by}::interval, expires_at = expires_at - ${by}::interval
    where token = ${hashOf(person)}
  `;
}

/** Long enough for a write behind an answer to have come. */
const settled = () => Bun.sleep(150);

describe("a session lasts", () => {
  test.concurrent("7 days from its login, and 7 more from each day it is used", async () => {
    const ann = await app.person("lasts");
    expect((await row(app, ann))?.leftS).toBeWithin(7 * DAY_S - 5, 7 * DAY_S + 1);
    for (const _ of [6, 12, 18]) {
      await age(app, ann, "6 days");
      expect((await row(app, ann))?.leftS).toBeWithin(DAY_S - 10, DAY_S + 1);
      expect((await ann.get("/me")).status).toBe(200);
      await until("renewed", async () => ((await row(app, ann))?.leftS ?? 0) > 6 * DAY_S, 3_000);
      expect((await row(app, ann))?.leftS).toBeWithin(7 * DAY_S - 5, 7 * DAY_S + 1);
    }
  });

  test.concurrent("not longer when idle: then its cookie is rejected for good", async () => {
    const ann = await app.person("idle");
    await age(app, ann, "6 days 23 hours 59 minutes 50 seconds");
    expect(await doors(app, "idle", ann.cookie)).toEqual(OPEN as never);
    await until("renewed", async () => ((await row(app, ann))?.leftS ?? 0) > 6 * DAY_S, 3_000);
    await age(app, ann, "7 days 1 second");
    for (let i = 0; i < 3; i++) expect(await doors(app, "idle", ann.cookie)).toEqual(SHUT as never);
    await settled();
    expect((await row(app, ann))?.leftS).toBeLessThan(0);
  });

  test.concurrent("30 days however much it is used", async () => {
    const ann = await app.person("absolute");
    await app.sql`
      update sessions
      set created_at = now() - interval '30 days' + interval '6 seconds', expires_at = now() + interval '4 seconds'
      where token = ${hashOf(ann)}
    `;
    const version = (await row(app, ann))?.version;
    expect((await ann.get("/me")).status).toBe(200);
    await until("renewed to the end", async () => (await row(app, ann))?.version !== version, 3_000);
    expect((await row(app, ann))?.leftS).toBeWithin(0, 7);
    await until("the end", async () => (await ann.get("/me")).status === 401, 12_000);
    expect(await doors(app, "absolute", ann.cookie)).toEqual(SHUT as never);
  });

  test.concurrent("unchanged when it began with 30 days", async () => {
    const ann = await app.person("grown");
    await app.sql`update sessions set expires_at = created_at + interval '30 days' where token = ${hashOf(ann)}`;
    expect(await doors(app, "grown", ann.cookie)).toEqual(OPEN as never);
    await settled();
    expect((await row(app, ann))?.leftS).toBeGreaterThan(29 * DAY_S);
  });
});

describe("the use of a session is written", () => {
  test.concurrent("at most once an hour, whatever it is used for", async () => {
    const ann = await app.person("hourly");
    const use = () => Promise.all(Array.from({ length: 10 }, () => doors(app, "hourly", ann.cookie)));
    const first = await row(app, ann);
    await use();
    await settled();
    expect((await row(app, ann))?.version).toBe(first!.version);
    await age(app, ann, "58 minutes");
    const later = await row(app, ann);
    await use();
    await settled();
    expect((await row(app, ann))?.version).toBe(later!.version);
    await age(app, ann, "3 minutes");
    const due = await row(app, ann);
    await use();
    await until("written", async () => (await row(app, ann))?.version !== due!.version, 3_000);
    const written = await row(app, ann);
    await use();
    await settled();
    expect((await row(app, ann))?.version).toBe(written!.version);
  });

  test.concurrent("for many users at once in a few statements", async () => {
    await using own = await startApp();
    const people = await own.people(...Array.from({ length: 12 }, (_, i) => `many${i}`));
    await own.sql`update sessions set expires_at = now() + interval '1 day'`;
    await Promise.all(people.flatMap((person) => [person.get("/me"), person.get("/me"), person.get("/me")]));
    const left = () => own.sql`select from sessions where expires_at < now() + interval '6 days'`;
    await until("all written", async () => (await left()).length === 0, 3_000);
    const versions = await own.sql`select distinct xmin::text from sessions`;
    expect(versions.length).toBeLessThanOrEqual(6);
  });

  test.concurrent("after the response: a locked row or a failed write delays no request", async () => {
    await using own = await startApp();
    const ann = await own.person("ann");
    await age(own, ann, "1 day");
    const held = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const holding = own.sql.begin(async (tx) => {
      await tx`select from sessions where token = ${hashOf(ann)} for update`;
      locked.resolve();
      await held.promise;
    });
    await locked.promise;
    const begunAt = performance.now();
    for (let i = 0; i < 20; i++) expect((await ann.get("/me")).status).toBe(200);
    expect(performance.now() - begunAt).toBeLessThan(3_000); // a statement waits for its lock for 4 s
    held.resolve();
    await holding;
    await until("written then", async () => ((await row(own, ann))?.leftS ?? 0) > 6.5 * DAY_S, 3_000);

    await age(own, ann, "1 day");
    await own.sql`
      create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'
    `;
    await own.sql`create trigger refuse before update on sessions for each row execute function refuse()`;
    expect((await ann.get("/me")).status).toBe(200);
    await until("it is logged", () => own.log.some((line) => line.includes("sessions not renewed")), 3_000);
    await own.sql`drop trigger refuse on sessions`;
    expect((await ann.get("/me")).status).toBe(200);
    await until("written at the next use", async () => ((await row(own, ann))?.leftS ?? 0) > 6.5 * DAY_S, 3_000);
  });
});

/** A server whose minutes are half seconds. */
async function hurried(env: Record<string, string> = {}): Promise<{ pod: TestApp; minutes: number }> {
  const real = globalThis.setInterval;
  let minutes = 0;
  globalThis.setInterval = ((act: () => void, ms: number, ...rest: unknown[]) => {
    if (ms === 60_000) minutes++;
    return real(act, ms === 60_000 ? 500 : ms, ...(rest as []));
  }) as typeof setInterval;
  try {
    return { pod: await startApp({ env }), minutes };
  } finally {
    globalThis.setInterval = real;
  }
}

describe("an open socket", () => {
  test("counts as use, and closes with 4401 within a minute of its session's end", async () => {
    const { pod, minutes } = await hurried();
    await using _ = pod;
    expect(minutes, "what is done each minute").toBeGreaterThan(0); // else this test waits for nothing
    const [ann, bob] = (await pod.people("ann", "bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
    await age(pod, ann, "6 days");
    await until("used", async () => ((await row(pod, ann))?.leftS ?? 0) > 6.9 * DAY_S, 3_000);
    const { version } = (await row(pod, ann))!;
    await Bun.sleep(1_200);
    expect((await row(pod, ann))?.version).toBe(version); // once

    await pod.sql`
      update sessions
      set created_at = now() - interval '30 days' + interval '1 second', expires_at = now() + interval '100 ms'
      where token = ${hashOf(ann)}
    `;
    expect(await Promise.race([a.closed, Bun.sleep(3_000)])).toMatchObject({ code: 4401 });
    b.say({ type: "ping" });
    await b.next("pong");
    expect(await doors(pod, "ann", ann.cookie)).toEqual(SHUT as never);
  });
});

describe("an account has fifty sessions at most:", () => {
  test.concurrent(
    "the fifty-first login ends the least recently used, and its sockets on every pod",
    async () => {
      const database = await migratedDatabase();
      await using one = await startApp({ database });
      await using two = await startApp({ database });
      const first = await one.person("ann");
      const second = await first.logIn();
      const [kept, ended] = [await first.at(two).open(), await second.at(two).open()];
      await one.sql`update sessions set last_used_at = now() - interval '3 hours' where token = ${hashOf(first)}`;
      await one.sql`update sessions set last_used_at = now() - interval '2 hours' where token = ${hashOf(second)}`;
      await age(one, first, "3 hours");
      expect((await first.get("/me")).status).toBe(200); // and so written as used
      await until("written", async () => ((await row(one, first))?.leftS ?? 0) > 6.99 * DAY_S, 3_000);
      await Promise.all(Array.from({ length: 48 }, (_, i) => first.at(i % 2 ? one : two).logIn()));
      expect(await one.sql`select from sessions`).toHaveLength(50);
      await first.logIn();
      expect(await one.sql`select from sessions`).toHaveLength(50);
      expect(await ended.closed).toMatchObject({ code: 4401 });
      for (const pod of [one, two]) expect(await doors(pod, "ann", second.cookie)).toEqual(SHUT as never);
      for (const pod of [one, two]) expect(await doors(pod, "ann", first.cookie)).toEqual(OPEN as never);
      kept.say({ type: "ping" });
      await kept.next("pong");
      await kept.close();
    },
    30_000,
  );

  test("a hundred concurrent logins on two pods leave fifty sessions, and other users' untouched", async () => {
    const database = await migratedDatabase();
    await using one = await startApp({ database, env: { TRUST_PROXY: "on" } });
    await using two = await startApp({ database, env: { TRUST_PROXY: "on" } });
    const [ann, bob] = (await one.people("ann", "bob")) as [Person, Person];
    await age(one, bob, "3 days");
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        post(
          `${(i % 2 ? one : two).url}/login`,
          { username: "ann", password: PASSWORD },
          { "x-forwarded-for": `198.18.0.${i}` },
        ),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([302]));
    const left = await one.sql<{ username: string }[]>`
      select u.username from sessions s join users u on u.id = s.user_id order by u.username
    `;
    expect(left.map(({ username }) => username)).toEqual([...Array.from({ length: 50 }, () => "ann"), "bob"]);
    expect(await doors(two, "ann", ann.cookie)).toEqual(SHUT as never);
    expect(await doors(two, "bob", bob.cookie)).toEqual(OPEN as never);
  }, 60_000);
});

describe("a cookie that was stolen", () => {
  test.concurrent.each(["GET", "POST"])(
    "is rejected after logout by %s, on any pod, for pages, routes and sockets",
    async (method) => {
      const database = await migratedDatabase();
      await using one = await startApp({ database });
      await using two = await startApp({ database });
      const ann = await one.person("ann");
      for (const pod of [one, two]) expect(await doors(pod, "ann", ann.cookie)).toEqual(OPEN as never);
      const theirs = await ann.at(two).open();
      const out = await fetch(`${one.url}/logout`, { method, headers: { cookie: ann.cookie }, redirect: "manual" });
      expect(out.status).toBe(302);
      const leftAt = performance.now();
      for (const pod of [two, one]) expect(await doors(pod, "ann", ann.cookie)).toEqual(SHUT as never);
      expect(await theirs.closed).toMatchObject({ code: 4401 });
      expect(performance.now() - leftAt).toBeLessThan(2_000);
      await ann.at(two).logIn(); // a login of the owner brings the old one not back
      for (const pod of [two, one]) expect(await doors(pod, "ann", ann.cookie)).toEqual(SHUT as never);
    },
  );

  test.concurrent("from the table is rejected: the hash, as a token, signed by another key", async () => {
    const ann = await app.person("copied");
    const hash = hashOf(ann);
    const [, signature] = valueOf(ann.cookie).split(".");
    for (const value of [
      hash,
      `${hash}.${signature}`,
      sign(hash, OLD),
      sign(tokenOf(ann.cookie), NEW),
      tokenOf(ann.cookie),
    ]) {
      expect(await doors(app, "copied", `chatify_session=${value}`)).toEqual(SHUT as never);
    }
    expect(await doors(app, "copied", ann.cookie)).toEqual(OPEN as never);
  });

  test("and has any bit flipped is rejected", async () => {
    const ann = await app.person("flipped");
    const before = await app.sql`select count(*) from sessions`;
    const value = Buffer.from(valueOf(ann.cookie));
    const flipped = Array.from({ length: value.length }, (_, at) => {
      const other = Buffer.from(value);
      // of the eight bits the first that gives a character a cookie may hold
      for (let bit = 0; bit < 8; bit++) {
        other[at] = value[at]! ^ (1 << bit);
        if (/^[\w.~!#$&'*+^`|-]$/.test(String.fromCharCode(other[at]!))) break;
      }
      return other.toString("latin1");
    });
    const answers = await Promise.all(
      flipped.map((value) => fetch(`${app.url}/me`, { headers: { cookie: `chatify_session=${value}` } })),
    );
    expect(answers.map(({ status }) => status)).toEqual(flipped.map(() => 401));
    expect(await app.sql`select count(*) from sessions`).toEqual(before as never);
  });
});

describe("a cookie that was planted", () => {
  test.concurrent("is never adopted: sign-up and login create their own token", async () => {
    await app.person("known");
    const attacker = await app.person("attacker");
    for (const [i, planted] of [
      "chosen-by-somebody-else",
      `${newToken()}.${newToken()}`,
      sign(newToken(), OLD), // even well signed
      sign("a", OLD),
    ].entries()) {
      const cookie = `chatify_session=${planted}`;
      for (const [path, username] of [
        ["/signup", `planted${i}`],
        ["/login", "known"],
      ] as const) {
        const answer = await post(app.url + path, { username, password: PASSWORD }, { cookie });
        expect(answer.status).toBe(302);
        expect(tokenOf(cookieOf(answer))).not.toBe(planted.split(".")[0]!);
        expect(await doors(app, username, cookie)).toEqual(SHUT as never);
        expect(await doors(app, username, cookieOf(answer))).toEqual(OPEN as never);
      }
    }
    // an active session that an attacker planted ends with the login, so that they do not share it
    const answer = await post(
      `${app.url}/login`,
      { username: "known", password: PASSWORD },
      { cookie: attacker.cookie },
    );
    expect(await doors(app, "attacker", attacker.cookie)).toEqual(SHUT as never);
    const me = await fetch(`${app.url}/me`, { headers: { cookie: cookieOf(answer) } });
    expect(await me.json()).toMatchObject({ username: "known" });
  });

  test.concurrent("beside a good one: the first counts, alone, and two sessions are never mixed", async () => {
    const [ann, eve] = (await app.people("beside-ann", "beside-eve")) as [Person, Person];
    const forged = `chatify_session=${valueOf(ann.cookie).slice(0, -1)}-`;
    expect(await doors(app, ann.name, `${ann.cookie}; ${forged}`)).toEqual(OPEN as never);
    expect(await doors(app, ann.name, `${forged}; ${ann.cookie}`)).toEqual(SHUT as never);
    expect(await doors(app, ann.name, `${ann.cookie}; ${eve.cookie}`)).toEqual(OPEN as never);
    expect(await doors(app, ann.name, `${eve.cookie}; ${ann.cookie}`)).toEqual([200, 200, 403]); // eve's socket of ann is refused
  });
});

describe("a signing key", () => {
  /** A pod on a database, with these keys. */
  const pod = (database: string, ...keys: string[]) => startApp({ database, env: { SESSION_SECRET: keys.join(",") } });

  test.concurrent("is rotated in three steps while several pods run, without signing users out", async () => {
    const database = await migratedDatabase();
    await using before = await pod(database, OLD);
    const ann = await before.person("ann");
    await using first = await pod(database, OLD, NEW); // step 1, beside one that has not heard of it
    await using second = await pod(database, NEW, OLD); // step 2, beside one that is at step 1
    for (const each of [before, first, second]) expect(await doors(each, "ann", ann.cookie)).toEqual(OPEN as never);
    const bob = await second.person("bob");
    expect(await doors(first, "bob", bob.cookie)).toEqual(OPEN as never);
    expect((await ann.at(first).get("/")).headers.has("set-cookie")).toBeFalse();

    const page = await ann.at(second).get("/");
    expect(page.status).toBe(200);
    expect(page.headers.get("set-cookie")).toBe(
      `chatify_session=${sign(tokenOf(ann.cookie), NEW)}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000`,
    );
    expect(page.headers.get("cache-control")).toBe("no-store"); // no cache may hand it to others
    expect(await page.text()).toContain("<title>");
    const anew = cookieOf(page);
    for (const path of ["/me", "/online"]) {
      expect((await ann.at(second).get(path)).headers.has("set-cookie")).toBeFalse();
    }
    const again = await fetch(second.url, { headers: { cookie: anew }, redirect: "manual" });
    expect([again.status, again.headers.has("set-cookie")]).toEqual([200, false]);

    await using third = await pod(database, NEW); // step 3
    expect(await doors(third, "ann", anew)).toEqual(OPEN as never);
    expect(await doors(third, "ann", ann.cookie)).toEqual(SHUT as never);
    expect(await doors(third, "bob", bob.cookie)).toEqual(OPEN as never);
  });

  test.concurrent("is rotated in a browser's cookie also when the page is not modified", async () => {
    const database = await migratedDatabase();
    await using before = await pod(database, OLD);
    const ann = await before.person("ann");
    await using after = await pod(database, NEW, OLD);
    const etag = (await ann.get("/")).headers.get("etag") ?? "";
    const page = await ann.at(after).get("/", { "if-none-match": etag });
    expect(page.status).toBe(304);
    expect(cookieOf(page)).toBe(`chatify_session=${sign(tokenOf(ann.cookie), NEW)}`);
  });

  test.concurrent("that is removed is rejected, and a cookie of an ended session is not signed again", async () => {
    const database = await migratedDatabase();
    await using before = await pod(database, OLD);
    const [ann, bob] = (await before.people("ann", "bob")) as [Person, Person];
    await using after = await pod(database, NEW, OLD);
    await using last = await pod(database, NEW);
    expect(await doors(last, "ann", ann.cookie)).toEqual(SHUT as never);
    await bob.get("/logout");
    const page = await bob.at(after).get("/");
    expect([page.status, page.headers.has("set-cookie")]).toEqual([302, false]);
  });

  test.concurrent.each([
    ["of the settings", { SESSION_SECRET: OLD }],
    ["that chatify made", {}],
  ])("%s is shared by all pods", async (_, env) => {
    const database = await migratedDatabase();
    const pods = await Promise.all([0, 1].map(() => startApp({ database, env: env as Record<string, string> })));
    const [one, two] = pods as [TestApp, TestApp];
    try {
      const ann = await one.person("ann");
      expect(await doors(two, "ann", ann.cookie)).toEqual(OPEN as never);
      const other = await ann.at(two).logIn();
      expect(await doors(one, "ann", other.cookie)).toEqual(OPEN as never);
    } finally {
      await Promise.all(pods.map((pod) => pod.stop()));
    }
  });

  test.concurrent("that chatify generated can be replaced by a given one", async () => {
    const database = await migratedDatabase();
    await using before = await startApp({ database });
    const ann = await before.person("ann");
    const [kept] = await before.sql<{ value: string }[]>`select value from settings where name = 'session_secret'`;
    await using after = await pod(database, NEW, kept?.value ?? "");
    expect(await doors(after, "ann", ann.cookie)).toEqual(OPEN as never);
    expect(cookieOf(await ann.at(after).get("/"))).toBe(`chatify_session=${sign(tokenOf(ann.cookie), NEW)}`);
  });

  test.concurrent.skipIf(!REDIS)(
    "may differ between pods during the rotation, and they still communicate over Redis",
    async () => {
      const redis = await RedisServer.start();
      try {
        const database = await migratedDatabase();
        const at = (keys: string) => startApp({ database, env: { SESSION_SECRET: keys, BUS: redis.url } });
        await using one = await at(`${OLD},${NEW}`);
        await using two = await at(`${NEW},${OLD}`);
        const [ann, bob] = (await one.people("ann", "bob")) as [Person, Person];
        const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
        await Bun.sleep(500); // they know each other
        await a.send("bob", "heard on the other pod");
        expect((await b.next("message"))["message"]).toBe("heard on the other pod");
        await using stranger = await startApp({ env: { SESSION_SECRET: `${OLD},${NEW}`, BUS: redis.url } }); // another database
        const channels = await redis.admin.send("PUBSUB", ["CHANNELS"]);
        expect((channels as string[]).length).toBe(2);
        expect(await stranger.sql`select value from settings where name = 'bus_realm'`).not.toEqual(
          (await one.sql`select value from settings where name = 'bus_realm'`) as never,
        );
      } finally {
        await redis.end();
      }
    },
  );
});
