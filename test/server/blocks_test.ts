/** Blocks and mutes as both users see them: the blocker receives nothing new, and the blocked user notices nothing. On two pods. */

import { expect, test } from "bun:test";

import { usersWithRecentChanges } from "../../src/db/conversations.ts";
import { Database } from "../../src/db/database.ts";
import { type Frame, type Person, SILENT } from "../support/harness.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

const { one, two, database: address } = await sharedPods();
await Bun.sleep(1_000); // the pods have met

type Row = Record<string, unknown>;
const block = (me: Person, name: string, blocked = true) => me.post("/blocks", { name, blocked });
const ofType = (heard: readonly Frame[], ...types: string[]) => heard.filter(({ type }) => types.includes(type));

/** The row of two people, and what must hold of it whatever happened (docs/protocol.md §5). */
async function consistent(a: string, b: string): Promise<Row> {
  const [low, high] = a < b ? [a, b] : [b, a];
  const [row] = await one.sql<Row[]>`
    select
      c.last_seq, c.low_read_seq, c.high_read_seq, c.low_delivered_seq, c.high_delivered_seq, c.low_unread, c.high_unread,
      (select count(*) from messages m where m.conversation_id = c.id) as rows,
      (select coalesce(max(m.seq), 0) from messages m where m.conversation_id = c.id) as highest,
      (select count(*) from messages m where m.conversation_id = c.id and m.receiver = c.low and not m.read) as low_left,
      (select count(*) from messages m where m.conversation_id = c.id and m.receiver = c.high and not m.read) as high_left
    from conversations c
    where c.low = ${low} and c.high = ${high}
  `;
  expect([row!["rows"], row!["highest"]]).toEqual([row!["last_seq"], row!["last_seq"]]);
  expect([row!["low_left"], row!["high_left"]]).toEqual([row!["low_unread"], row!["high_unread"]]);
  expect(row!["low_read_seq"]).toBeLessThanOrEqual(row!["low_delivered_seq"] as number);
  expect(row!["high_read_seq"]).toBeLessThanOrEqual(row!["high_delivered_seq"] as number);
  expect(row!["low_delivered_seq"]).toBeLessThanOrEqual(row!["last_seq"] as number);
  return row!;
}

test.concurrent(
  "a blocked user's messages are acked, and reach none of the blocker's sockets, list, history or counts",
  async () => {
    const [ann, bob] = (await one.people("a-ann", "a-bob")) as [Person, Person];
    const tabs = [await ann.open({ watch: [] }), await ann.at(two).open({ watch: [] })];
    const b = await bob.at(two).open({ watch: [] });
    const other = await bob.open({ watch: [] });
    await b.send("a-ann", "before");
    for (const tab of tabs) await tab.next("message");
    for (const tab of [b, other]) await tab.next("delivered");
    expect((await block(ann, "A-BOB")).status).toBe(200);
    for (const tab of tabs) await tab.next("sync");
    expect(await ann.at(two).json<unknown>("/blocks")).toEqual(["a-bob"]);
    for (const tab of [...tabs, b, other]) tab.heard.length = 0;

    const ack = await b.send("a-ann", "you never see this");
    expect(ack).toMatchObject({ seq: 2, peer: "a-ann", duplicate: false });
    expect(await other.next("message")).toMatchObject({ message: "before" });
    expect(await other.next("message")).toMatchObject({ message: "you never see this", seq: 2 });
    expect(await b.send("a-ann", "you never see this", ack["ref"])).toMatchObject({ seq: 2, duplicate: true });
    b.say({ type: "typing", peer: "a-ann" });
    tabs[0]!.say({ type: "read", peer: "a-bob", seq: 2 }); // a page that had it open
    await Bun.sleep(1_200); // delivered marks are told within a second
    for (const tab of tabs) expect(ofType(tab.heard, "message", "typing", "sync", "delivered", "read")).toEqual([]);
    for (const tab of [b, other]) expect(ofType(tab.heard, "delivered", "read", "error")).toEqual([]);

    for (const pod of [one, two]) {
      expect(await ann.at(pod).json<Row[]>("/conversations")).toEqual([]);
      expect(await ann.at(pod).json<unknown>("/unread_counts/a-ann")).toEqual({});
      for (const query of ["", "?peek=1&after=0", "?limit=5"]) {
        expect(await ann.at(pod).json<Row[]>(`/messages/a-ann/a-bob${query}`)).toEqual([]);
      }
      const [row] = await bob.at(pod).json<Row[]>("/conversations");
      expect(row).toMatchObject({ peer: "a-ann", last_seq: 2, peer_delivered_seq: 1, peer_read_seq: 0 });
      expect(await bob.at(pod).json<Row[]>("/messages/a-ann/a-bob?peek=1")).toHaveLength(2);
    }
    expect(await consistent("a-ann", "a-bob")).toMatchObject({ low_delivered_seq: 1, low_read_seq: 0, low_unread: 2 });
  },
);

test.concurrent("unblocking restores all messages, and marks continue where they were", async () => {
  const [ann, bob] = (await one.people("b-ann", "b-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  await b.send("b-ann", "one");
  await block(ann, "b-bob");
  await b.send("b-ann", "two");
  await b.send("b-ann", "three");
  await block(ann, "b-bob", false);
  await a.next("sync");
  await a.next("sync");
  expect(await ann.json<unknown>("/blocks")).toEqual([]);
  const [row] = await ann.json<Row[]>("/conversations");
  expect(row).toMatchObject({ peer: "b-bob", last_seq: 3, unread: 3 });
  const rows = await ann.json<Row[]>("/messages/b-ann/b-bob?peek=1&after=0");
  expect(rows.map(({ content }) => content)).toEqual(["one", "two", "three"]);
  await b.next("delivered");
  expect(await b.send("b-ann", "four")).toMatchObject({ seq: 4 });
  expect(await a.next("message")).toMatchObject({ message: "one" });
  expect(await a.next("message")).toMatchObject({ message: "four", seq: 4 });
  a.say({ type: "read", peer: "b-bob", seq: 4 });
  expect(await b.next("read")).toMatchObject({ reader: "b-ann", seq: 4 });
  expect(await consistent("b-ann", "b-bob")).toMatchObject({ last_seq: 4, low_read_seq: 4, low_unread: 0 });
});

test.concurrent("messages from before a block stay readable for the blocker, as they were", async () => {
  const [ann, bob, carl] = (await one.people("j-ann", "j-bob", "j-carl")) as [Person, Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  await a.send("j-bob", "one");
  await b.send("j-ann", "two");
  await (await carl.open({ watch: [] })).send("j-ann", "hello");
  await block(ann, "j-bob");
  await b.send("j-ann", "three");
  b.say({ type: "read", peer: "j-ann", seq: 1 });
  await b.next("read");
  b.heard.length = 0;
  await block(ann, "j-bob"); // again: nothing changes

  const texts = async (query: string) =>
    (await ann.json<Row[]>(`/messages/j-ann/j-bob?blocked=1${query}`)).map(({ content }) => content);
  for (const [query, expected] of [
    ["", ["one", "two"]],
    ["&limit=50", ["one", "two"]],
    ["&limit=1", ["two"]],
    ["&before=2", ["one"]],
    ["&before=9", ["one", "two"]],
    ["&after=1", ["two"]],
    ["&after=2", []],
  ] as const) {
    expect([query, await texts(query)]).toEqual([query, [...expected]]);
  }
  const then = { peer: "j-bob", blocked: true, last_seq: 2, last: { content: "two" }, unread: 0, online: false };
  const unmarked = { my_read_seq: 0, peer_read_seq: 0, peer_delivered_seq: 0, last_seen: null };
  for (const pod of [one, two]) {
    const rows = await ann.at(pod).json<Row[]>("/conversations?blocked=1");
    expect(rows).toMatchObject([{ peer: "j-carl" }, { ...then, ...unmarked }]);
    expect(rows[0]).not.toHaveProperty("blocked");
    for (const query of [`limit=1&before=${rows[0]!["cursor"]}`, "peer=J-Bob", "part=bob"]) {
      expect(await ann.at(pod).json<Row[]>(`/conversations?blocked=1&${query}`)).toMatchObject([then]);
    }
    expect(await ann.at(pod).json<Row[]>("/conversations?part=bob")).toEqual([]);
    const [own] = await ann.at(pod).json<Row[]>("/messages/j-ann/j-bob?blocked=1");
    expect(own).toMatchObject({ content: "one", read: false }); // read since: not to be known
    expect(await bob.at(pod).json<Row[]>("/messages/j-ann/j-bob?blocked=1&peek=1")).toHaveLength(3);
  }
  await b.hearsNo("read");
  expect(ofType(b.heard, "delivered")).toEqual([]);

  await block(ann, "j-bob", false);
  expect(await texts("")).toEqual(["one", "two", "three"]);
  expect((await ann.json<Row[]>("/conversations?blocked=1"))[0]).toMatchObject({
    peer: "j-bob",
    last_seq: 3,
    unread: 2,
  });
  await block(ann, "j-bob");
  expect(await texts("")).toEqual(["one", "two", "three"]);

  await block(ann, "j-carl");
  await block(carl, "j-ann"); // each has what both had
  for (const [me, peer] of [
    [ann, "j-carl"],
    [carl, "j-ann"],
  ] as const) {
    expect(await me.json<Row[]>(`/conversations?blocked=1&peer=${peer}`)).toMatchObject([{ peer, blocked: true }]);
  }
});

test.concurrent("a block hides exactly the messages after it, while the blocked user writes on", async () => {
  const [ann, bob] = (await one.people("k-ann", "k-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  const writing = (async () => {
    for (let i = 1; i <= 200; i++) {
      b.say({ to: "k-ann", message: `m${i}`, ref: b.newRef() });
      await Bun.sleep(3);
    }
    for (let i = 1; i <= 200; i++) await b.next("ack");
  })();
  for (let i = 0; i < 20; i++) await a.next("message");
  await block(ann, "k-bob");
  await writing;
  await b.send("k-ann", "the last");
  const shown = (await ann.json<Row[]>("/messages/k-ann/k-bob?blocked=1")).map(({ content }) => content);
  expect(shown.length).toBeLessThan(200);
  const heard = () => ofType(a.heard, "message").map(({ message }) => message);
  await until("all of it is heard", async () => heard().length >= shown.length);
  expect(heard()).toEqual(shown);
});

test.concurrent("a blocker receives no marks of the blocked user, and cannot write to them", async () => {
  const [ann, bob] = (await one.people("c-ann", "c-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  const other = await ann.at(two).open({ watch: [] });
  await a.send("c-bob", "from ann");
  await b.next("message");
  await a.next("delivered");
  await block(ann, "c-bob");
  b.say({ type: "read", peer: "c-ann", seq: 1 });
  await b.next("read"); // his own devices do
  const ref = a.newRef();
  a.say({ to: "c-bob", message: "refused", ref });
  expect(await a.next("error")).toMatchObject({ code: "blocked", ref });
  await Promise.all([b.hearsNo("message"), a.hearsNo("read"), other.hearsNo("read")]);
  expect(other.heard.filter(({ type, message }) => type === "message" && message === "refused")).toEqual([]);
  expect(await b.send("c-ann", "from bob")).toMatchObject({ seq: 2 }); // no number was lost
  expect(await consistent("c-ann", "c-bob")).toMatchObject({ last_seq: 2 });
  await block(ann, "c-bob", false);
  expect(await a.send("c-bob", "refused", ref)).toMatchObject({ seq: 3, duplicate: false });
});

test.concurrent("two users who block each other leave no gap and no wrong count, in one batch or many", async () => {
  const [ann, bob] = (await one.people("d-ann", "d-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
  let acks = 0;
  for (const [blocks, unblocks] of [[], [ann], [ann, bob], [bob]].map((who) => [
    who,
    [ann, bob].filter((one) => !who.includes(one)),
  ])) {
    for (const who of blocks!) await block(who, who === ann ? "d-bob" : "d-ann");
    for (const who of unblocks!) await block(who, who === ann ? "d-bob" : "d-ann", false);
    for (let i = 0; i < 50; i++) {
      a.say({ to: "d-bob", message: `a${i}`, ref: a.newRef() });
      b.say({ to: "d-ann", message: `b${i}`, ref: b.newRef() });
    }
    for (const [tab, who] of [
      [a, ann],
      [b, bob],
    ] as const) {
      for (let i = 0; i < 50; i++) await tab.next(blocks!.includes(who) ? "error" : "ack");
      if (!blocks!.includes(who)) acks += 50;
    }
    expect(await consistent("d-ann", "d-bob")).toMatchObject({ last_seq: acks });
  }
});

test.concurrent("blocking and unblocking while both write leaves numbers, marks and counts right", async () => {
  const [ann, bob] = (await one.people("e-ann", "e-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  const answered = (tab: typeof a) => ofType(tab.heard, "ack", "error").length;
  const writing = (async () => {
    for (let i = 0; i < 300; i++) {
      a.say({ to: "e-bob", message: `a${i}`, ref: a.newRef() });
      b.say({ to: "e-ann", message: `b${i}`, ref: b.newRef() });
      a.say({ type: "read", peer: "e-bob", seq: i });
      b.say({ type: "read", peer: "e-ann", seq: i });
      await Bun.sleep(3);
    }
  })();
  for (let i = 0; i < 20; i++) {
    expect((await block(ann, "e-bob", i % 2 === 0)).status).toBe(200);
    await Bun.sleep(40);
  }
  await writing;
  for (let i = 0; i < 100 && (answered(a) < 300 || answered(b) < 300); i++) await Bun.sleep(50);
  expect(ofType(b.heard, "ack")).toHaveLength(300); // blocked users receive no error
  expect(ofType(a.heard, "error").every(({ code }) => code === "blocked")).toBeTrue();
  await Bun.sleep(800);
  const row = await consistent("e-ann", "e-bob");
  expect(row["last_seq"]).toBe(300 + ofType(a.heard, "ack").length);
  expect(await ann.json<Row[]>("/messages/e-ann/e-bob")).toHaveLength(row["last_seq"] as number);
  expect(await consistent("e-ann", "e-bob")).toMatchObject({ low_unread: 0, low_read_seq: expect.any(Number) });
});

test.concurrent("a loss between pods sends no sync for messages of a blocked user", async () => {
  const [ann, bob] = (await one.people("f-ann", "f-bob")) as [Person, Person];
  const b = await bob.open({ watch: [] });
  await block(ann, "f-bob");
  await b.send("f-ann", "hello?");
  await one.sql`update users set changed_at = now() - interval '1 hour' where username = 'f-ann'`;
  const db = new Database({ target: address, name: "test-blocks", max: 1, log: SILENT });
  try {
    expect(await usersWithRecentChanges(db, ["f-ann", "f-bob"], 60_000)).toEqual(["f-bob"]);
    await block(ann, "f-bob", false); // a choice of one's own is told again
    expect(await usersWithRecentChanges(db, ["f-ann", "f-bob"], 60_000)).toEqual(["f-ann", "f-bob"]);
  } finally {
    await db.end();
  }
});

test.concurrent("a block without a conversation creates none, and holds when the user writes", async () => {
  const [ann, bob] = (await one.people("g-ann", "g-bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
  await block(ann, "g-bob");
  expect(await bob.json<Row[]>("/conversations")).toEqual([]);
  expect(await b.send("g-ann", "hi")).toMatchObject({ seq: 1, duplicate: false });
  await a.hearsNo("message");
  await block(ann, "g-bob", false);
  expect(await ann.json<Row[]>("/conversations")).toMatchObject([
    { peer: "g-bob", unread: 1, last: { content: "hi" } },
  ]);
});

test.concurrent("a mute reaches every device of the user who set it", async () => {
  const [ann, bob] = (await one.people("h-ann", "h-bob")) as [Person, Person];
  const tabs = [await ann.open({ watch: [] }), await ann.at(two).open({ watch: [] })];
  const b = await bob.open({ watch: [] });
  await b.send("h-ann", "hi");
  const muted = async (who: Person) => (await who.at(two).json<Row[]>("/conversations"))[0]!["muted"];
  expect(await muted(ann)).toBeFalse();
  expect(await (await ann.post("/mutes", { name: "H-Bob", muted: true })).json()).toEqual({
    name: "h-bob",
    muted: true,
  });
  for (const tab of tabs) await tab.next("sync");
  expect([await muted(ann), await muted(bob)]).toEqual([true, false]);
  await b.send("h-ann", "still here");
  for (const tab of tabs) expect((await tab.next("message"))["message"]).toBe("hi");
  for (const tab of tabs) expect((await tab.next("message"))["message"]).toBe("still here");
  await b.hearsNo("sync", 0);
  await ann.post("/mutes", { name: "h-bob", muted: false });
  expect(await muted(ann)).toBeFalse();
});

test.concurrent(
  "blocks and mutes are rejected without a session, from other sites, and for invalid users",
  async () => {
    const [ann] = (await one.people("i-ann", "i-bob")) as [Person];
    for (const [path, field] of [
      ["/blocks", "blocked"],
      ["/mutes", "muted"],
    ] as const) {
      const status = async (body: unknown, headers = {}) => (await ann.post(path, body, headers)).status;
      expect(await status({ name: "i-bob", [field]: true }, { cookie: "" })).toBe(401);
      expect(await status({ name: "i-bob", [field]: true }, { origin: "https://evil.example" })).toBe(403);
      expect(await status({ name: "i-bob", [field]: true }, { "content-type": "text/plain" })).toBe(415);
      expect(await status({ name: "nobody-here", [field]: true })).toBe(404);
      for (const body of [
        {},
        { name: "i-bob" },
        { name: 1, [field]: true },
        { name: "i-bob", [field]: "yes" },
        [],
        "{",
      ]) {
        expect(await status(body)).toBe(400);
      }
      expect(await status(`{"name":"${"x".repeat(20_000)}"}`)).toBe(413);
    }
    expect((await block(ann, "i-ann")).status).toBe(400);
    expect(await ann.json<unknown>("/blocks")).toEqual([]);
  },
);
