/** How a user arranges their list: timed mutes, pins, the archive and unread marks. On two pods. */

import { expect, test } from "bun:test";

import { usersWithRecentChanges } from "../../src/db/conversations.ts";
import { Database } from "../../src/db/database.ts";
import { PASSWORD, type Person, SILENT } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

const { one, two, database: address } = await sharedPods();
await Bun.sleep(1_000); // the pods have met

type Row = Record<string, unknown> & { peer: string; cursor: string };
const INSTANT = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/);
const HOUR_S = 3_600;

const arrange = (me: Person, name: string, changes: object) => me.post("/conversations", { name, ...changes });

/** The names in the user's list, or another list. */
async function peers(me: Person, query = "archived=0"): Promise<string[]> {
  return (await me.json<Row[]>(`/conversations?${query}`)).map(({ peer }) => peer);
}

/** `ann`, and the peers, after each has sent her one message in this order. */
async function receiver(name: string, writers: readonly string[]): Promise<Person[]> {
  const people = await one.people(name, ...writers);
  for (const writer of people.slice(1)) await (await writer.open({ watch: [] })).send(name, `from ${writer.name}`);
  return people;
}

test.concurrent("a change reaches the user's sockets on every pod, the list, and no one else", async () => {
  const [ann, bob] = (await receiver("a-ann", ["A-Bob"])) as [Person, Person];
  const [near, far] = [await ann.open({ watch: [] }), await ann.at(two).open({ watch: [] })];
  const b = await bob.at(two).open({ watch: [] });
  const before = { muted: false, muted_until: null, pinned_at: null, archived_seq: null, marked_unread_seq: null };
  let revision = 0;
  let now: object = before;
  for (const [changes, expected] of [
    [{ pinned: true }, { pinned_at: INSTANT }],
    [{ marked_unread: true }, { marked_unread_seq: 0 }],
    [{ archived: true }, { archived_seq: 1 }],
    [
      { muted: true, mute_seconds: HOUR_S },
      { muted: true, muted_until: INSTANT },
    ],
    [{ muted: true }, { muted_until: null }],
    [
      { archived: false, marked_unread: false },
      { archived_seq: null, marked_unread_seq: null },
    ],
    [
      { pinned: false, muted: false },
      { pinned_at: null, muted: false },
    ],
  ] as const) {
    now = Object.assign({}, now, expected, { peer: "A-Bob", settings_revision: ++revision });
    const answer = await arrange(ann, "a-bob", changes);
    expect([answer.status, await answer.json()]).toEqual([200, now]);
    for (const tab of [near, far]) expect(await tab.next("membership")).toEqual({ type: "membership", ...now });
    const [row] = await ann.at(two).json<Row[]>("/conversations?peer=a-bob");
    expect(row).toMatchObject(Object.fromEntries(Object.entries(now).filter(([, value]) => value !== null)));
    for (const [field, value] of Object.entries(now)) if (value === null) expect(row).not.toHaveProperty(field);
  }
  await b.hearsNo("membership");
  expect(await bob.json<Row[]>("/conversations")).toMatchObject([{ muted: false, settings_revision: 0 }]);
});

const badInput = receiver("b-ann", ["b-bob"]);

test.concurrent.each([
  ["no body", ""],
  ["no name", { pinned: true }],
  ["a name that is no text", { name: 7, pinned: true }],
  ["nothing to change", { name: "b-bob" }],
  ["an unknown change only", { name: "b-bob", starred: true }],
  ["a pin that is a number", { name: "b-bob", pinned: 1 }],
  ["a pin that is null", { name: "b-bob", pinned: null }],
  ["a mute that is a text", { name: "b-bob", muted: "always" }],
  ["an archive that is a list", { name: "b-bob", archived: [true] }],
  ["a mark that is an object", { name: "b-bob", marked_unread: {} }],
  ["a time without a mute", { name: "b-bob", mute_seconds: 60 }],
  ["a time to unmute", { name: "b-bob", muted: false, mute_seconds: 60 }],
  ["a mute of no time", { name: "b-bob", muted: true, mute_seconds: 0 }],
  ["a negative time", { name: "b-bob", muted: true, mute_seconds: -1 }],
  ["a time that is no whole number", { name: "b-bob", muted: true, mute_seconds: 1.5 }],
  ["a time beyond a year", { name: "b-bob", muted: true, mute_seconds: 367 * 24 * HOUR_S }],
  ["a time that overflows", { name: "b-bob", muted: true, mute_seconds: 1e300 }],
  ["a time that is a text", { name: "b-bob", muted: true, mute_seconds: "60" }],
  ["a time of null", { name: "b-bob", muted: true, mute_seconds: null }],
])("%s is refused with 400, and changes nothing", async (_, body) => {
  const [ann] = (await badInput) as [Person];
  const answer = await ann.post("/conversations", body);
  expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([
    400,
    "bad_request",
  ]);
  expect(await ann.json<Row[]>("/conversations")).toMatchObject([
    { peer: "b-bob", settings_revision: 0, muted: false },
  ]);
});

test.concurrent.each([
  ["archived=2"],
  ["archived="],
  ["archived=true"],
  ["archived=0&peer=b-bob"],
  ["archived=1&part=bob"],
  [`archived=1&before=${btoa("2026-01-01T00:00:00Z|1|1")}`],
  [`archived=0&before=${btoa("2026-01-01T00:00:00Z|1|2")}`],
  [`archived=0&before=${btoa("2026-01-01T00:00:00Z|1|1|1")}`],
  [`archived=0&before=${btoa("x|1|1")}`],
])("a list with ?%s is refused with 400", async (query) => {
  const [ann] = (await badInput) as [Person];
  expect((await ann.get(`/conversations?${query}`)).status).toBe(400);
});

test.concurrent("without messages that the user can see, only the mute can change", async () => {
  const [ann, bob] = (await one.people("c-ann", "c-bob", "c-carol")) as [Person, Person, Person];
  const refused = async (name: string) => {
    for (const change of ["pinned", "archived", "marked_unread"]) {
      for (const value of [true, false]) {
        const answer = await arrange(ann, name, { [change]: value });
        expect([change, answer.status]).toEqual([change, 404]);
      }
    }
  };
  await refused("c-nobody");
  await refused("c-bob");
  await ann.post("/blocks", { name: "c-bob", blocked: true });
  await (await bob.open()).send("c-ann", "she must not notice this");
  await refused("c-bob");
  expect((await arrange(ann, "c-carol", { muted: true, mute_seconds: HOUR_S })).status).toBe(200);
  expect((await arrange(ann, "c-bob", { muted: false })).status).toBe(200);
  expect((await arrange(ann, "c-nobody", { muted: true })).status).toBe(404);
  expect((await fetch(`${one.url}/conversations`, { method: "POST", body: "{}" })).status).toBe(401);
});

test.concurrent("a timed mute ends by itself, and the older flag still mutes without an end", async () => {
  const [ann] = (await receiver("d-ann", ["d-bob", "d-carol"])) as [Person];
  const muted = async () =>
    Object.fromEntries((await ann.at(two).json<Row[]>("/conversations")).map((row) => [row.peer, row["muted"]]));
  const unread = () => ann.at(two).json<unknown>("/unread_counts/d-ann?muted=0");
  const exported = async () => ((await (await ann.get("/export")).json()) as { mutes: string[] }).mutes;
  const end = (name: string) =>
    one.sql`update memberships set muted_until = now() - interval '1 second' where owner = 'd-ann' and peer = ${name}`;

  await arrange(ann, "d-bob", { muted: true, mute_seconds: 8 * HOUR_S });
  expect(await muted()).toEqual({ "d-bob": true, "d-carol": false });
  expect(await unread()).toEqual({ "d-carol": 1 });
  expect(await exported()).toEqual(["d-bob"]);
  const [row] = await ann.json<Row[]>("/conversations?peer=d-bob");
  const left = Date.parse(row!["muted_until"] as string) - Date.now();
  expect(Math.abs(left - 8 * HOUR_S * 1_000)).toBeLessThan(60_000);
  await end("d-bob");
  expect(await muted()).toEqual({ "d-bob": false, "d-carol": false });
  expect((await ann.json<Row[]>("/conversations?peer=d-bob"))[0]).not.toHaveProperty("muted_until");
  expect(await unread()).toEqual({ "d-bob": 1, "d-carol": 1 });
  expect(await exported()).toEqual([]);

  const a = await ann.at(two).open({ watch: [] });
  const answer = await ann.post("/mutes", { name: "d-bob", muted: true });
  expect(await answer.json()).toEqual({ name: "d-bob", muted: true });
  expect(await a.next("membership")).toMatchObject({ peer: "d-bob", muted: true, muted_until: null });
  await a.next("sync"); // for clients that know no `membership`
  // A pod of an older version mutes, and later unmutes.
  await one.sql`update memberships set muted = true where owner = 'd-ann' and peer = 'd-carol'`;
  expect(await muted()).toEqual({ "d-bob": true, "d-carol": true });
  await one.sql`update memberships set muted = false where owner = 'd-ann'`;
  expect(await muted()).toEqual({ "d-bob": false, "d-carol": false });
});

test.concurrent("pinned conversations come first, in the order they were pinned; pages contain each once", async () => {
  const names = Array.from({ length: 9 }, (_, i) => `e-${i}`);
  const [ann] = (await receiver("e-ann", names)) as [Person];
  for (const name of ["e-7", "e-0", "e-4"]) await arrange(ann, name, { pinned: true });
  await arrange(ann, "e-7", { pinned: true }); // again: it keeps its place
  await arrange(ann, "e-2", { archived: true });
  const order = ["e-7", "e-0", "e-4", "e-8", "e-6", "e-5", "e-3", "e-1"];
  for (const limit of [1, 2, 3, 4, 7, 8, 9]) {
    const met: string[] = [];
    for (let before = ""; ;) {
      const page = await ann.at(two).json<Row[]>(`/conversations?archived=0&limit=${limit}${before}`);
      met.push(...page.map(({ peer }) => peer));
      if (page.length < limit) break;
      before = `&before=${page.at(-1)!.cursor}`;
    }
    expect([limit, met]).toEqual([limit, order]);
  }
  // A client of an earlier version pages as ever: all of them, newest first.
  expect(await peers(ann, "")).toEqual(names.toReversed());
  const old = await ann.json<Row[]>("/conversations?limit=5");
  expect(await peers(ann, `before=${old.at(-1)!.cursor}`)).toEqual(["e-3", "e-2", "e-1", "e-0"]);
  await arrange(ann, "e-0", { pinned: false });
  expect((await peers(ann)).slice(0, 3)).toEqual(["e-7", "e-4", "e-8"]);
});

test.concurrent("pins are limited, also those made at once on two pods", async () => {
  const [ann] = (await one.people("f-ann")) as [Person];
  const names = Array.from({ length: 24 }, (_, i) => `f-${String(i).padStart(2, "0")}`);
  await one.sql`insert into users (username, name_key, search_key, password) select n, n, n, 'x' from unnest(${names}::text[]) n`;
  await one.sql`
    with c as (
      insert into conversations (low, high, last_seq, last_at)
      select least(n collate "C", 'f-ann'), greatest(n collate "C", 'f-ann'), 1, now() from unnest(${names}::text[]) n
      returning id, low, high
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp) select id, 1, low, high, 'hi', now() from c
  `;
  await one.sql`update conversations set high_pinned_at = now() where high = 'f-ann' and low < 'f-19'`; // 19
  const release = await holdLock(one.sql, (tx) => tx`select from users where username = 'f-ann' for update`);
  const pinning = [arrange(ann, "f-20", { pinned: true }), arrange(ann.at(two), "f-21", { pinned: true })];
  await until("both wait", async () => {
    const waiting =
      await one.sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%change_membership%'`;
    return waiting.length === 2;
  });
  await release();
  const answers = await Promise.all(pinning);
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409]);
  const isRefused = answers.map(({ status }) => status === 409);
  expect(await answers[isRefused.indexOf(true)]!.json()).toEqual({
    error: { code: "too_many_pins", message: "You can pin 20 conversations. Unpin one first" },
  });
  const left = ["f-20", "f-21"][isRefused.indexOf(true)]!;
  expect((await arrange(ann, "f-22", { pinned: true, archived: true })).status).toBe(409); // archived ones count
  expect((await arrange(ann, "f-00", { pinned: true })).status).toBe(200); // as it already is
  await arrange(ann, "f-00", { pinned: false });
  expect((await arrange(ann, left, { pinned: true })).status).toBe(200);
});

test.concurrent("an archived conversation is apart, and a message of either user brings it back", async () => {
  const [ann, bob] = (await receiver("g-ann", ["g-bob", "g-carol", "g-dora"])) as [Person, Person];
  const count = async () => (await ann.at(two).get("/conversations?archived=0")).headers.get("chatify-archived");
  expect(await count()).toBe("0");
  for (const name of ["g-bob", "g-carol"]) await arrange(ann, name, { archived: true });
  expect(await peers(ann.at(two))).toEqual(["g-dora"]);
  expect(await peers(ann, "archived=1")).toEqual(["g-carol", "g-bob"]);
  expect(await peers(ann, "")).toEqual(["g-dora", "g-carol", "g-bob"]);
  expect(await peers(ann, "part=g-")).toEqual(["g-dora", "g-carol", "g-bob"]);
  expect(await count()).toBe("2");
  expect((await ann.get("/conversations?archived=1")).headers.get("chatify-archived")).toBeNull();
  const [newest] = await ann.json<Row[]>("/conversations?archived=1&limit=1");
  expect(await peers(ann, `archived=1&before=${newest!.cursor}`)).toEqual(["g-bob"]);
  expect(await ann.json<unknown>("/unread_counts/g-ann?archived=0")).toEqual({ "g-dora": 1 });
  expect(await ann.json<unknown>("/unread_counts/g-ann")).toEqual({ "g-bob": 1, "g-carol": 1, "g-dora": 1 });

  await (await bob.at(two).open()).send("g-ann", "again");
  expect(await peers(ann)).toEqual(["g-bob", "g-dora"]);
  await (await ann.open()).send("g-carol", "again");
  expect(await peers(ann)).toEqual(["g-carol", "g-bob", "g-dora"]);
  expect(await peers(ann, "archived=1")).toEqual([]);
  expect(await count()).toBe("0");

  // Muted, it comes back as well.
  await arrange(ann, "g-bob", { archived: true, muted: true });
  await (await bob.open()).send("g-ann", "and again");
  expect(await peers(ann)).toContain("g-bob");
  // Pinning ends the archive, and an archived pin keeps its place.
  await arrange(ann, "g-bob", { archived: true });
  await arrange(ann, "g-bob", { pinned: true });
  expect((await peers(ann))[0]).toBe("g-bob");
  await arrange(ann, "g-bob", { archived: true });
  expect(await peers(ann, "archived=1")).toEqual(["g-bob"]);
  await arrange(ann, "g-bob", { archived: false });
  expect((await peers(ann))[0]).toBe("g-bob");
});

test.concurrent("while the user blocks the peer, the archive ends with no message they cannot see", async () => {
  const [ann, bob] = (await receiver("h-ann", ["h-bob"])) as [Person, Person];
  const b = await bob.open();
  const count = async () => (await ann.get("/conversations?archived=0&blocked=1")).headers.get("chatify-archived");
  await ann.post("/blocks", { name: "h-bob", blocked: true });
  await b.send("h-ann", "hidden");
  expect((await (await arrange(ann, "h-bob", { archived: true })).json()) as Row).toMatchObject({ archived_seq: 1 });
  await b.send("h-ann", "hidden, too");
  expect(await peers(ann, "archived=1&blocked=1")).toEqual(["h-bob"]);
  expect(await peers(ann, "archived=1")).toEqual([]);
  expect(await peers(ann, "archived=0&blocked=1")).toEqual([]);
  expect(await count()).toBe("1");
  await ann.post("/blocks", { name: "h-bob", blocked: false });
  expect(await peers(ann)).toEqual(["h-bob"]); // with messages since
  expect(await count()).toBe("0");
});

test.concurrent("an unread mark ends when the user reads on, and shows in no count and to no one else", async () => {
  const [ann, bob] = (await receiver("i-ann", ["i-bob"])) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  a.say({ type: "read", peer: "i-bob", seq: 1 });
  await b.next("read");
  await arrange(ann, "i-bob", { marked_unread: true });
  const isMarked = async () => {
    const [row] = await ann.at(two).json<Row[]>("/conversations");
    return row!["marked_unread_seq"] === row!["my_read_seq"];
  };
  expect(await isMarked()).toBe(true);
  expect(await ann.json<unknown>("/unread_counts/i-ann")).toEqual({});
  expect(await ann.json<Row[]>("/messages/i-ann/i-bob?peek=1")).toMatchObject([{ read: true }]);
  expect((await bob.json<Row[]>("/conversations"))[0]).toMatchObject({ peer_read_seq: 1 });
  await b.send("i-ann", "one more");
  expect(await isMarked()).toBe(true);
  a.say({ type: "read", peer: "i-bob", seq: 2 });
  expect(await b.next("read")).toMatchObject({ seq: 2 });
  expect(await isMarked()).toBe(false);
  await arrange(ann, "i-bob", { marked_unread: true });
  await arrange(ann, "i-bob", { marked_unread: false });
  expect(await isMarked()).toBe(false);
  // Notes to oneself are always read, and can be marked nevertheless.
  await a.send("i-ann", "a note");
  await arrange(ann, "i-ann", { marked_unread: true });
  expect((await ann.json<Row[]>("/conversations"))[0]).toMatchObject({ my_read_seq: 1, marked_unread_seq: 1 });
});

test.concurrent("the export contains the arrangement; a deleted peer can be archived", async () => {
  const [ann, bob] = (await receiver("j-ann", ["j-bob", "j-carol", "j-dora"])) as [Person, Person];
  await arrange(ann, "j-bob", { pinned: true, archived: true, muted: true, mute_seconds: HOUR_S });
  await arrange(ann, "j-carol", { marked_unread: true });
  const { conversations } = (await (await ann.get("/export")).json()) as { conversations: object[] };
  const plain = { muted: false, muted_until: null, pinned_at: null, archived: false, marked_unread: false };
  expect(conversations).toEqual([
    { ...plain, peer: "j-bob", muted: true, muted_until: INSTANT, pinned_at: INSTANT, archived: true },
    { ...plain, peer: "j-carol", marked_unread: true },
  ]);
  expect((await bob.post("/me/delete", { password: PASSWORD })).status).toBe(200);
  expect((await arrange(ann, "j-bob", { archived: false })).status).toBe(200);
  expect((await ann.json<Row[]>("/conversations?archived=0"))[0]).toMatchObject({ peer: "j-bob", gone: true });
});

test.concurrent("pods that missed the event find the user", async () => {
  const [ann] = (await receiver("k-ann", ["k-bob"])) as [Person];
  const db = new Database({ target: address, name: "test-memberships", max: 1, log: SILENT });
  await using _ = { [Symbol.asyncDispose]: () => db.end() };
  await one.sql`update users set changed_at = null where username = 'k-ann'`;
  await one.sql`update conversations set last_at = last_at - interval '1 hour', marked_at = null where 'k-ann' in (low, high)`;
  expect(await usersWithRecentChanges(db, ["k-ann"], 60_000)).toEqual([]);
  await arrange(ann, "k-bob", { archived: true });
  expect(await usersWithRecentChanges(db, ["k-ann"], 60_000)).toEqual(["k-ann"]);
});
