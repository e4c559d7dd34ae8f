/** Settings, privacy, sessions, passwords and deletion of an account, as its user and others see them. On two pods. */

import { expect, test } from "bun:test";

import { hashToken } from "../../src/util/token.ts";
import { cookieOf, migratedDatabase, PASSWORD, type Person, post, startApp } from "../support/harness.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

/** Presence and erasing are slow by design. */
const SLOW_MS = 40_000;

const { one, two } = await sharedPods();
await Bun.sleep(1_000); // the pods have met

type Row = Record<string, unknown>;

test.concurrent("settings are returned, stored and changed one by one, and invalid ones rejected", async () => {
  const ann = await one.person("a-ann");
  const shown = { username: "a-ann", hide_read: false, hide_last_seen: false };
  expect(await ann.json<Row>("/me")).toMatchObject(shown);
  const change = (body: unknown, headers = {}) => ann.at(two).post("/me/settings", body, headers);
  expect(await (await change({ hide_read: true })).json()).toMatchObject({ ...shown, hide_read: true });
  expect(await (await change({ hide_last_seen: true })).json()).toMatchObject({
    hide_read: true,
    hide_last_seen: true,
  });
  expect(await (await change({ hide_read: false })).json()).toMatchObject({ hide_read: false, hide_last_seen: true });
  expect(await ann.json<Row>("/me")).toMatchObject({ ...shown, hide_last_seen: true });
  for (const body of [{ hide_read: 1 }, { hide_last_seen: "true" }, [], "hide"]) {
    expect((await change(body)).status).toBe(400);
  }
  expect((await change({}, { cookie: "" })).status).toBe(401);
  expect((await change({}, { "sec-fetch-site": "cross-site" })).status).toBe(403);
});

for (const who of ["reader", "writer"] as const) {
  test.concurrent(
    `read marks reach only the reader's devices when the ${who} hides them, and delivered marks still reach the sender`,
    async () => {
      const [ann, bob] = (await one.people(`r-ann-${who}`, `r-bob-${who}`)) as [Person, Person];
      const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
      const bobs = await bob.open({ watch: [] });
      const hiding = who === "reader" ? bob : ann;
      await hiding.post("/me/settings", { hide_read: true });
      await a.send(bob.name, "one");
      expect(await a.next("delivered")).toMatchObject({ peer: bob.name, seq: 1 });
      b.say({ type: "read", peer: ann.name, seq: 1 });
      expect(await bobs.next("read")).toMatchObject({ reader: bob.name, seq: 1 });
      await a.hearsNo("read");
      const [row] = await ann.json<Row[]>("/conversations");
      expect(row).toMatchObject({ peer_read_seq: 0, peer_delivered_seq: 1 });
      expect((await ann.json<Row[]>(`/messages/${ann.name}/${bob.name}?peek=1`))[0]!["read"]).toBeFalse();
      expect((await bob.json<Row[]>(`/messages/${ann.name}/${bob.name}?peek=1`))[0]!["read"]).toBeTrue();
      expect((await bob.json<Row[]>("/conversations"))[0]).toMatchObject({
        unread: 0,
        my_read_seq: 1,
        peer_read_seq: 0,
      });
      const [stored] = await one.sql<Row[]>`select read from messages where sender = ${ann.name}`;
      expect(stored).toEqual({ read: true }); // for who reads the table, nothing is different
      // read before it was told to have arrived: it has arrived
      await Promise.all([b.close(), bobs.close()]);
      await a.send(bob.name, "two");
      await a.send(bob.name, "three");
      await bob.at(two).json(`/messages/${ann.name}/${bob.name}`);
      expect(await a.next("delivered")).toMatchObject({ peer: bob.name, seq: 3 });
      await a.hearsNo("delivered", 800); // which is not said again by reading
      await hiding.post("/me/settings", { hide_read: false });
      expect((await ann.json<Row[]>("/conversations"))[0]).toMatchObject({ peer_read_seq: 3 });
    },
  );
}

test.concurrent(
  "a user who hides last seen shows it to no user and sees it of none, but sees who is online",
  async () => {
    const [ann, bob, carol] = (await one.people("l-ann", "l-bob", "l-carol")) as [Person, Person, Person];
    const c0 = await carol.open({ watch: [] });
    for (const peer of ["l-ann", "l-bob"]) await c0.send(peer, "hi");
    const seen = async (who: Person, peer: string) =>
      (await who.json<Row[]>("/conversations")).find((row) => row["peer"] === peer)!["last_seen"];
    await bob.post("/me/settings", { hide_last_seen: true });
    const [a, c] = [await ann.at(two).open({ watch: ["l-bob"] }), await carol.open({ watch: ["l-bob", "l-ann"] })];
    const b = await bob.open({ watch: ["l-carol"] });
    expect((await a.next("presence"))["users"]).toEqual({ "l-bob": { online: true, last_seen: null } });
    await Promise.all([c0.close(), b.close(), a.close()]);
    expect(await seen(carol, "l-bob")).toBeNull();
    // ann hides nothing: carol is told, bob is not
    const b2 = await bob.at(two).open({ watch: ["l-ann"] });
    c.heard.length = 0;
    await until(
      "carol sees ann offline",
      () => c.heard.some(({ users }) => users?.["l-ann"]?.online === false),
      15_000,
    );
    expect(c.heard.find(({ users }) => users?.["l-ann"]?.online === false)!["users"]).toMatchObject({
      "l-ann": { online: false, last_seen: expect.stringMatching(/Z$/) },
    });
    expect((await b2.next("presence"))["users"]).toEqual({ "l-ann": { online: false, last_seen: null } });
    b2.say({ type: "watch", users: ["l-ann"] });
    expect((await b2.next("presence"))["users"]).toEqual({ "l-ann": { online: false, last_seen: null } });
    const written = async () => one.sql`select from users where username = 'l-ann' and last_seen_at is not null`;
    await until("last_seen_at is written", async () => (await written()).length > 0);
    await bob.post("/me/settings", { hide_last_seen: false }); // on another pod than the socket's
    await b2.next("sync");
    b2.say({ type: "watch", users: ["l-ann"] });
    const { users } = await b2.next("presence");
    expect(users["l-ann"]).toEqual({ online: false, last_seen: expect.stringMatching(/Z$/) });
    expect(await seen(carol, "l-ann")).toEqual(expect.stringMatching(/Z$/));
  },
  SLOW_MS,
);

const LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const logIn = (name: string, password = PASSWORD, headers = {}) =>
  post(`${two.url}/login`, { username: name, password }, headers);

test.concurrent(
  "sessions are listed with device, address and last use, and end singly or all but one, on every pod",
  async () => {
    const [ann, bob] = (await one.people("s-ann", "s-bob")) as [Person, Person];
    const answer = await logIn("s-ann", PASSWORD, { "user-agent": `${LINUX}${" x".repeat(300)}` });
    const second = await ann.logIn();
    const list = (who: Person) => who.at(two).json<Row[]>("/sessions");
    const rows = await list(ann);
    expect(rows).toHaveLength(3);
    expect(rows.filter(({ current }) => current)).toHaveLength(1);
    const instant = expect.stringMatching(/Z$/);
    const linux = rows.find(({ device }) => device === "Firefox on Linux")!;
    expect(linux).toEqual({
      id: expect.any(Number),
      device: "Firefox on Linux",
      address: "127.0.0.1",
      created_at: instant,
      last_used_at: instant,
      current: false,
    });
    const [stored] = await one.sql<{ agent: string }[]>`select agent from sessions where id = ${linux["id"] as number}`;
    expect(stored!.agent).toHaveLength(200);

    const tabs = [await second.open(), await second.at(two).open()];
    const mine = (await list(second)).find(({ current }) => current)!["id"] as number;
    expect((await bob.post(`/sessions/${mine}/end`)).status).toBe(404);
    for (const id of ["x", "0", "-1", "9".repeat(15), "9".repeat(30)]) {
      expect((await ann.post(`/sessions/${id}/end`)).status).toBe(404);
    }
    expect((await second.get("/me")).status).toBe(200);
    expect(await (await ann.post(`/sessions/${mine}/end`)).json()).toEqual({ ended: 1 });
    for (const tab of tabs) expect(await Promise.race([tab.closed, Bun.sleep(2_000)])).toMatchObject({ code: 4401 });
    expect((await second.get("/me")).status).toBe(401);

    const third = await (await ann.logIn()).at(two).open();
    const own = await ann.open();
    expect(await (await ann.post("/sessions/end_others")).json()).toEqual({ ended: 2 });
    expect(await Promise.race([third.closed, Bun.sleep(2_000)])).toMatchObject({ code: 4401 });
    expect((await fetch(`${one.url}/me`, { headers: { cookie: cookieOf(answer) } })).status).toBe(401);
    expect(await list(ann)).toMatchObject([{ current: true }]);
    await own.send("s-bob", "still here");
    expect((await fetch(`${one.url}/sessions`)).status).toBe(401);
  },
);

test.concurrent("the last use of a session is returned as stored", async () => {
  const ann = await one.person("u-ann");
  const hash = hashToken(ann.cookie.split(/[=.]/)[1] ?? "");
  const back = "2 hours";
  await one.sql`
    update sessions
    set expires_at = expires_at - ${back}::interval, last_used_at = last_used_at - ${back}::interval, created_at = created_at - ${back}::interval
    where token = ${hash}
  `;
  const used = async () => Date.parse((await ann.json<Row[]>("/sessions"))[0]!["last_used_at"] as string);
  for (let i = 0; i < 40 && Date.now() - (await used()) > 3_600_000; i++) await Bun.sleep(50);
  expect(Date.now() - (await used())).toBeLessThan(60_000);
});

test.concurrent("changing the password requires the old one and ends all other sessions", async () => {
  const ann = await one.person("p-ann");
  const other = await ann.logIn();
  const [mine, theirs] = [await ann.open(), await other.at(two).open()];
  const change = async (body: unknown, headers = {}) => ann.post("/me/password", body, headers);
  const next = "a better horse battery";
  const refused = async (body: unknown) => {
    const answer = await change(body);
    return [answer.status, ((await answer.json()) as { error: { code: string } }).error.code];
  };
  expect(await refused({ old: "not the old one", new: next })).toEqual([403, "wrong_password"]);
  expect(await refused({ old: PASSWORD, new: "short" })).toEqual([422, "bad_password"]);
  expect(await refused({ old: PASSWORD })).toEqual([400, "bad_request"]);
  expect((await change({ old: PASSWORD, new: next }, { origin: "https://evil.example" })).status).toBe(403);
  expect((await logIn("p-ann")).status).toBe(302); // nothing has changed
  const answer = await change({ old: PASSWORD, new: next });
  expect([answer.status, await answer.json()]).toEqual([200, {}]);
  expect(await Promise.race([theirs.closed, Bun.sleep(2_000)])).toMatchObject({ code: 4401 });
  expect((await other.get("/me")).status).toBe(401);
  expect((await ann.get("/me")).status).toBe(200);
  await mine.send("p-ann", "this one stays");
  expect((await logIn("p-ann")).status).toBe(401);
  expect((await logIn("p-ann", next)).status).toBe(302);
});

test.concurrent("wrong passwords of a signed-in user count as failed logins", async () => {
  await using app = await startApp({ env: { RATE_LIMIT: "on", LIMIT_LOGINS: "3/15m" } });
  const ann = await app.person("ann");
  const statuses: number[] = [];
  for (const path of ["/me/password", "/me/delete", "/me/password", "/me/delete", "/me/password"]) {
    const body = { old: "wrong password", new: "a good new one", password: "wrong password" };
    statuses.push((await ann.post(path, body)).status);
  }
  expect(statuses).toEqual([403, 403, 403, 429, 429]);
  expect((await ann.post("/me/delete", { password: PASSWORD })).status).toBe(429); // the right one, too
});

test.concurrent("deleting an account keeps its messages for the other users, and its name stays reserved", async () => {
  const [ann, bob] = (await one.people("d-ann", "d-bob")) as [Person, Person];
  const [a, b] = [await ann.at(two).open(), await bob.open({ watch: ["d-ann"] })];
  await b.next("presence").catch(() => undefined);
  await a.send("d-bob", "from ann");
  await a.send("d-ann", "a note");
  await b.send("d-ann", "from bob");
  a.say({ type: "draft", peer: "d-bob", text: "unsent" });
  await ann.post("/me/settings", { hide_read: true });
  expect((await ann.post("/me/delete", { password: "wrong password" })).status).toBe(403);
  expect((await ann.post("/me/delete", {})).status).toBe(400);
  const answer = await ann.post("/me/delete", { password: PASSWORD });
  expect([answer.status, await answer.json()]).toEqual([200, {}]);
  expect(answer.headers.get("set-cookie")).toMatch(/^chatify_session=;.*Max-Age=0/);
  expect(await Promise.race([a.closed, Bun.sleep(2_000)])).toMatchObject({ code: 4401 });
  expect((await ann.get("/me")).status).toBe(401);
  expect((await logIn("d-ann")).status).toBe(401);
  for (const name of ["d-ann", "D-Ann"]) {
    expect((await post(`${one.url}/signup`, { username: name, password: PASSWORD })).status).toBe(409);
  }
  const ref = b.newRef();
  b.say({ to: "d-ann", message: "are you there?", ref });
  expect(await b.next("error")).toMatchObject({ code: "no_such_user", ref });
  const [row] = await bob.at(two).json<Row[]>("/conversations");
  expect(row).toMatchObject({ peer: "d-ann", gone: true, online: false, last_seen: null, last_seq: 2 });
  expect(await bob.json<Row[]>("/messages/d-bob/d-ann?peek=1")).toMatchObject([
    { content: "from ann" },
    { content: "from bob" },
  ]);
  expect(await bob.json<string[]>("/get_users?q=d-")).not.toContain("d-ann");
  expect(await one.sql`select from drafts where owner = 'd-ann'`).toHaveLength(0);
  expect(
    await one.sql`select from sessions s join users u on u.id = s.user_id where u.username = 'd-ann'`,
  ).toHaveLength(0);
  const again = await b.send("d-bob", "a note of bob");
  expect(again).toMatchObject({ seq: 1 });
  for (let i = 0; i < 40 && (await bob.json<string[]>("/online")).includes("d-ann"); i++) await Bun.sleep(200);
  expect(await bob.json<string[]>("/online")).not.toContain("d-ann");
  b.say({ type: "watch", users: ["d-ann"] });
  for (;;) {
    const { users } = await b.next("presence");
    if (users["d-ann"].online) continue;
    expect(users["d-ann"]).toEqual({ online: false, last_seen: null });
    break;
  }
});

test.concurrent("a resend of a message stored before the receiver's deletion is acked", async () => {
  const [ann, bob] = (await one.people("n-ann", "n-bob")) as [Person, Person];
  const b = await bob.open();
  const ack = await b.send("n-ann", "hello");
  await ann.post("/me/delete", { password: PASSWORD });
  expect(await b.send("n-ann", "hello", ack["ref"])).toMatchObject({ seq: 1, id: ack["id"], duplicate: true });
});

test.concurrent(
  "purges conversations without remaining users, long ones too, and after an interruption",
  async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const [ann, bob, carol] = (await app.people("ann", "bob", "carol")) as [Person, Person, Person];
    const tabs = [await ann.open(), await bob.open()] as const;
    for (const to of ["ann", "bob", "carol"]) await tabs[0].send(to, `to ${to}`);
    await tabs[1].send("carol", "bob to carol");
    await app.sql`
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
    select c.id, n, 'ann', 'bob', 'long', now()
    from conversations c, generate_series(2, 3500) n
    where c.low = 'ann' and c.high = 'bob'
  `;
    await app.sql`update conversations set last_seq = 3500, high_unread = 3500 where low = 'ann' and high = 'bob'`;
    const left = async () => {
      const rows = await app.sql<{ pair: string }[]>`select low || ' ' || high as pair from conversations order by 1`;
      return rows.map(({ pair }) => pair);
    };
    await ann.post("/me/delete", { password: PASSWORD });
    expect(await left()).toEqual(["ann ann", "ann bob", "ann carol", "bob carol"]); // behind the answer, when nothing is under way any more
    for (let i = 0; i < 80 && (await left()).length > 3; i++) await Bun.sleep(200);
    expect(await left()).toEqual(["ann bob", "ann carol", "bob carol"]);
    await bob.post("/me/delete", { password: PASSWORD });
    await app.leave(); // before it could erase anything
    await app.sql`update users set deleted_at = deleted_at - interval '1 minute'`;
    await app.sql`insert into drafts (owner, peer, text, at) values ('bob', 'carol', 'was under way', now())`;
    await using next = await startApp({ database });
    for (let i = 0; i < 80 && (await left()).length > 2; i++) await Bun.sleep(100);
    expect(await left()).toEqual(["ann carol", "bob carol"]);
    const [{ count }] = await app.sql<
      [{ count: number }]
    >`select count(*) from messages where sender = 'ann' and receiver = 'bob'`;
    expect(count).toBe(0);
    expect(await carol.at(next).json<Row[]>("/conversations")).toHaveLength(2);
    const rest = async () => app.sql`select from users where deleted_at is not null and purged_at is null`;
    for (let i = 0; i < 40 && (await rest()).length > 0; i++) await Bun.sleep(50);
    expect(await rest()).toHaveLength(0);
    expect(await app.sql`select from drafts`).toHaveLength(0);
  },
  SLOW_MS,
);
