/** What people arrange about themselves, as they and others see it. On two pods. */

import { afterAll, beforeAll, expect, test } from "bun:test";

import { migratedDatabase, type Person, startApp, type TestApp } from "./harness.ts";

let one: TestApp;
let two: TestApp;

beforeAll(async () => {
  const database = await migratedDatabase();
  [one, two] = [await startApp({ database }), await startApp({ database })];
  await Bun.sleep(1_000); // they know each other
});
afterAll(async () => {
  await two.stop();
  await one.stop();
});

type Row = Record<string, unknown>;

test.concurrent("settings are told, kept and changed one by one, and refuse what makes no sense", async () => {
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
    `reading stays between the reader's own devices when the ${who} hides it, and arriving is still told`,
    async () => {
      const [ann, bob] = (await one.people(`r-ann-${who}`, `r-bob-${who}`)) as [Person, Person];
      const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
      const bobs = await bob.open({ watch: [] });
      const hiding = who === "reader" ? bob : ann;
      await hiding.post("/me/settings", { hide_read: true });
      await a.send(bob.name, "one");
      expect(await a.next("delivered", 2_000)).toMatchObject({ peer: bob.name, seq: 1 });
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
      expect(await a.next("delivered", 2_000)).toMatchObject({ peer: bob.name, seq: 3 });
      await a.hearsNo("delivered", 800); // which is not said again by reading
      await hiding.post("/me/settings", { hide_read: false });
      expect((await ann.json<Row[]>("/conversations"))[0]).toMatchObject({ peer_read_seq: 3 });
    },
  );
}

test.concurrent(
  "who hides when they were last seen shows it to nobody, and sees it of nobody, but who is online",
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
    const a2 = await ann.at(two).open({ watch: ["l-bob"] });
    expect((await a2.next("presence", 8_000))["users"]).toEqual({ "l-bob": { online: false, last_seen: null } });
    await a2.close();
    expect(await seen(carol, "l-bob")).toBeNull();
    // ann hides nothing: carol is told, bob is not
    const b2 = await bob.at(two).open({ watch: ["l-ann"] });
    c.heard.length = 0;
    for (let i = 0; i < 160 && !c.heard.some(({ users }) => users?.["l-ann"]?.online === false); i++)
      await Bun.sleep(50);
    expect(c.heard.find(({ users }) => users?.["l-ann"]?.online === false)!["users"]).toMatchObject({
      "l-ann": { online: false, last_seen: expect.stringMatching(/Z$/) },
    });
    expect((await b2.next("presence"))["users"]).toEqual({ "l-ann": { online: false, last_seen: null } });
    b2.say({ type: "watch", users: ["l-ann"] });
    expect((await b2.next("presence"))["users"]).toEqual({ "l-ann": { online: false, last_seen: null } });
    await Bun.sleep(2_500); // the table is written every 2 s
    await bob.post("/me/settings", { hide_last_seen: false }); // on another pod than the socket's
    await b2.next("sync");
    b2.say({ type: "watch", users: ["l-ann"] });
    const { users } = await b2.next("presence");
    expect(users["l-ann"]).toEqual({ online: false, last_seen: expect.stringMatching(/Z$/) });
    expect(await seen(carol, "l-ann")).toEqual(expect.stringMatching(/Z$/));
  },
);
