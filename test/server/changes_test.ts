/** Edits, deletions, reactions and replies, as both users see them on all their devices. On two pods. */

import { expect, test } from "bun:test";

import { type Frame, migratedDatabase, type Person, startApp, type Tab } from "../support/harness.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

const { one, two } = await sharedPods();
await Bun.sleep(1_000); // the pods have met

type Row = Record<string, unknown>;
let refs = 0;
const newRef = () => `change-${++refs}`.padEnd(10, "_");
const rows = (me: Person, peer: string, query = "peek=1") => me.json<Row[]>(`/messages/${me.name}/${peer}?${query}`);
const listed = async (me: Person, peer: string, query = "") =>
  (await me.json<Row[]>(`/conversations?peer=${peer}${query}`))[0];

/** Asks for a change. @returns the `changed` or `error` frame that answers it */
async function change(tab: Tab, frame: Row): Promise<Frame> {
  const ref = (frame["ref"] as string | undefined) ?? newRef();
  const before = tab.heard.length;
  tab.say({ ...frame, ref });
  const answers = () =>
    tab.heard.slice(before).find((heard) => heard["ref"] === ref && ["changed", "error"].includes(heard.type));
  await until(`an answer to ${ref}`, () => answers() !== undefined);
  return answers()!;
}

/** The revisions that a socket was told of, without answers to its own changes. */
const toldOf = (tab: Tab) =>
  tab.heard.flatMap(({ type, revision, ref }) => (type === "changed" && ref === undefined ? [revision as number] : []));

/** Ann with two tabs, one on each pod, and Bob likewise. */
async function four(a: string, b: string) {
  const [ann, bob] = (await one.people(a, b)) as [Person, Person];
  const tabs = await Promise.all([ann, ann.at(two), bob, bob.at(two)].map((person) => person.open({ watch: [] })));
  return { ann, bob, tabs: tabs as [Tab, Tab, Tab, Tab] };
}

test.concurrent("a change reaches every socket of both users, on every pod, and history", async () => {
  const { ann, bob, tabs } = await four("c-ann", "c-bob");
  const [asking] = tabs;
  await asking.send("c-bob", "helo");
  await asking.send("c-bob", "second");
  const edited = await change(asking, { type: "edit", peer: "C-Bob", seq: 1, message: "hello" });
  expect(edited).toMatchObject({ type: "changed", peer: "c-bob", revision: 1 });
  const message = edited["message"] as Row;
  expect(message).toMatchObject({
    sender: "c-ann",
    receiver: "c-bob",
    content: "hello",
    seq: 1,
    revision: 1,
    ref: expect.any(String),
  });
  expect(Date.parse(message["edited_at"] as string)).toBeGreaterThan(Date.now() - 60_000);
  const { ref: _, ...forBob } = message;
  const [, ...others] = await Promise.all(tabs.map((tab, i) => (i === 0 ? edited : tab.next("changed"))));
  expect(others).toEqual([
    { type: "changed", peer: "c-bob", revision: 1, message },
    { type: "changed", peer: "c-ann", revision: 1, message: forBob },
    { type: "changed", peer: "c-ann", revision: 1, message: forBob },
  ]);

  expect(await change(tabs[3], { type: "react", peer: "c-ann", seq: 1, emoji: "👍🏽" })).toMatchObject({ revision: 2 });
  expect(await change(tabs[1], { type: "react", peer: "c-bob", seq: 1, emoji: "❤️" })).toMatchObject({
    revision: 3,
    message: { reactions: { "c-bob": "👍🏽", "c-ann": "❤️" }, content: "hello" },
  });
  expect(await change(tabs[3], { type: "react", peer: "c-ann", seq: 1, emoji: "🎉" })).toMatchObject({
    message: { reactions: { "c-bob": "🎉", "c-ann": "❤️" } }, // the last counts
  });
  expect(await change(tabs[3], { type: "react", peer: "c-ann", seq: 1, emoji: "" })).toMatchObject({
    revision: 5,
    message: { reactions: { "c-ann": "❤️" }, edited_at: message["edited_at"] },
  });
  expect(await change(asking, { type: "delete", peer: "c-bob", seq: 1 })).toMatchObject({ revision: 6 });
  const gone = { sender: "c-ann", content: "", deleted: true, seq: 1, revision: 6 };
  for (const me of [ann, bob.at(two)]) {
    const [first, second] = await rows(me, me === ann ? "c-bob" : "c-ann");
    expect(first).toMatchObject(gone);
    expect(first).not.toHaveProperty("reactions");
    expect(first).not.toHaveProperty("edited_at");
    expect(second).not.toHaveProperty("revision");
  }
  expect(await listed(bob, "c-ann")).toMatchObject({ revision: 6, last: { content: "second" } });
  for (const tab of tabs.slice(1)) await until("the deletion", () => tab.heard.some(({ revision }) => revision === 6));
  expect(toldOf(tabs[2])).toEqual([1, 2, 3, 4, 5, 6]);
  expect(toldOf(tabs[3])).toEqual([1, 3, 6]); // it made the others
});

test.concurrent("changed_after lists the changed messages by revision, in pages, and marks nothing", async () => {
  const { ann, bob, tabs } = await four("p-ann", "p-bob");
  for (let i = 1; i <= 4; i++) await tabs[0].send("p-bob", `text ${i}`);
  for (const [seq, emoji] of [
    [3, "👍"],
    [1, "👍"],
    [4, "👍"],
    [3, "❤️"],
  ] as const)
    await change(tabs[2], { type: "react", peer: "p-ann", seq, emoji });
  const seqs = async (query: string) => (await rows(bob, "p-ann", query)).map(({ seq, revision }) => [seq, revision]);
  expect(await seqs("changed_after=0")).toEqual(await seqs("changed_after=0&limit=200"));
  const all = await seqs("changed_after=0");
  expect(all.map(([, revision]) => revision)).toEqual(all.map(([, revision]) => revision).toSorted());
  expect(new Set(all.map(([seq]) => seq))).toEqual(new Set([1, 3, 4]));
  expect(await seqs(`changed_after=${all[0]![1]}&limit=1`)).toEqual([all[1]!]);
  expect(await seqs("changed_after=99")).toEqual([]);
  expect((await rows(bob, "p-ann", "changed_after=0")).map(({ read }) => read)).toEqual([false, false, false]);
  expect((await listed(bob, "p-ann"))!["unread"]).toBe(4);
  for (const query of ["changed_after=0&after=1", "changed_after=-1", "changed_after=x", "changed_after=0&before=4"])
    expect((await ann.get(`/messages/p-ann/p-bob?${query}`)).status).toBe(400);
});

/** One grapheme cluster of 100 emoji, joined by U+200D. */
const LONG = Array.from({ length: 100 }, () => "👩").join("\u200d");
test.concurrent("rejects impossible changes in words, and changes nothing", async () => {
  const { ann, bob, tabs } = await four("r-ann", "r-bob");
  const [a, , b] = tabs;
  await one.people("r-carol");
  await a.send("r-bob", "of Ann");
  await b.send("r-ann", "of Bob");
  await a.send("r-bob", "deleted");
  await a.send("r-bob", "old");
  await change(a, { type: "delete", peer: "r-bob", seq: 3 });
  await one.sql`update messages set timestamp = timestamp - interval '25 hours' where sender = 'r-ann' and seq = 4`;
  const before = await rows(ann, "r-bob");
  const cases: [Row, string][] = [
    [{ type: "edit", seq: 2, message: "x" }, "not_yours"],
    [{ type: "delete", seq: 2 }, "not_yours"],
    [{ type: "edit", seq: 3, message: "x" }, "no_such_message"],
    [{ type: "react", seq: 3, emoji: "👍" }, "no_such_message"],
    [{ type: "edit", seq: 4, message: "x" }, "too_late"],
    ...[0, 5, 1e15, 1e300].flatMap((seq): [Row, string][] => [
      [{ type: "edit", seq, message: "x" }, "no_such_message"],
      [{ type: "delete", seq }, "no_such_message"],
      [{ type: "react", seq, emoji: "👍" }, "no_such_message"],
      [{ type: "message", to: "r-bob", message: "x", reply_to: seq }, "no_such_message"],
    ]),
    // The seq of a message in another conversation only.
    [{ type: "edit", peer: "r-carol", seq: 1, message: "x" }, "no_such_message"],
    [{ type: "delete", peer: "r-carol", seq: 1 }, "no_such_message"],
    [{ type: "react", peer: "r-carol", seq: 1, emoji: "👍" }, "no_such_message"],
    [{ type: "message", to: "r-carol", message: "x", reply_to: 1 }, "no_such_message"],
    ...["", " ", "a\0b", "x".repeat(4_001), "\ud800"].map((message): [Row, string] => [
      { type: "edit", seq: 1, message },
      "invalid_text",
    ]),
    ...["👍👍", "a", "ab", "ναι", "1", "#", "👍a", " ", LONG, `${LONG}\u200d`, "\ud83d", "\u200d", "🏽🏽"].map(
      (emoji): [Row, string] => [{ type: "react", seq: 1, emoji }, "invalid_text"],
    ),
    [{ type: "edit", peer: "nobody", seq: 1, message: "x" }, "no_such_user"],
  ];
  for (const [frame, code] of cases) {
    const answer = await change(a, { peer: "r-bob", ...frame });
    expect([frame, answer["code"]]).toEqual([frame, code]);
    expect(answer["message"]).toMatch(/^[A-Z](?:.* ){2}/); // a sentence
  }
  expect(await rows(ann, "r-bob")).toEqual(before);
  expect(await rows(ann, "r-carol")).toEqual([]);
  expect(await one.sql`select from conversations where low = 'r-ann' and high = 'r-carol'`).toHaveLength(0);
  expect(await listed(bob, "r-ann")).toMatchObject({ revision: 1, last_seq: 4 });
  for (const frame of [
    { type: "edit", peer: "r-bob", seq: 1, message: "x" },
    { type: "edit", peer: "r-bob", seq: 1.5, message: "x", ref: newRef() },
    { type: "react", peer: "r-bob", seq: 1, emoji: 1, ref: newRef() },
    { type: "delete", peer: ["r-bob"], seq: 1, ref: newRef() },
    { type: "delete", peer: "r-bob", seq: -1, ref: newRef() },
    { to: "r-bob", message: "x", reply_to: "1", ref: newRef() },
  ]) {
    const tab = await ann.open({ watch: [] }); // three would close it
    tab.say(frame);
    expect(await tab.next("error")).toMatchObject({ code: "bad_request", ...("ref" in frame && { ref: frame.ref }) });
    await tab.close();
  }
});

test.concurrent("makes a resent change once, even after another change", async () => {
  const { ann, tabs } = await four("o-ann", "o-bob");
  const [a, other] = tabs;
  await a.send("o-bob", "one");
  const ref = newRef();
  await change(a, { type: "edit", peer: "o-bob", seq: 1, message: "two", ref });
  await change(other, { type: "edit", peer: "o-bob", seq: 1, message: "three" });
  expect(await change(other, { type: "edit", peer: "o-bob", seq: 1, message: "two", ref })).toMatchObject({
    type: "changed",
    revision: 2,
    message: { content: "three" },
  });
  expect((await rows(ann, "o-bob"))[0]).toMatchObject({ content: "three", revision: 2 });
  // another change with this ref
  for (const frame of [
    { type: "edit", message: "two!" },
    { type: "react", emoji: "👍" },
  ])
    expect(await change(a, { peer: "o-bob", seq: 1, ref, ...frame })).toMatchObject({ code: "ref_reused" });
  await a.send("o-bob", "next");
  expect(await change(a, { type: "edit", peer: "o-bob", seq: 2, message: "two", ref })).toMatchObject({
    code: "ref_reused",
  });
  // what is already so changes nothing, and is not sent on
  expect(await change(a, { type: "edit", peer: "o-bob", seq: 1, message: "three" })).toMatchObject({ revision: 2 });
  expect(await change(a, { type: "react", peer: "o-bob", seq: 2, emoji: "" })).toMatchObject({ revision: 0 });
  await change(a, { type: "delete", peer: "o-bob", seq: 1 });
  expect(await change(other, { type: "delete", peer: "o-bob", seq: 1 })).toMatchObject({ revision: 3 });
  await Bun.sleep(300);
  expect(toldOf(tabs[2])).toEqual([1, 2, 2, 3]); // once more after the resend
});

test.concurrent("a message that was changed and is resent is the same message", async () => {
  const { ann, tabs } = await four("s-ann", "s-bob");
  const [a, other] = tabs;
  const sent = await a.send("s-bob", "hello");
  await change(a, { type: "edit", peer: "s-bob", seq: 1, message: "goodbye" });
  expect(await other.send("s-bob", "hello", sent["ref"])).toMatchObject({ duplicate: true, seq: 1 });
  expect(await rows(ann, "s-bob")).toHaveLength(1);
  // a reaction leaves the text as it was sent
  const second = await a.send("s-bob", "second");
  await change(tabs[2], { type: "react", peer: "s-ann", seq: 2, emoji: "👍" });
  expect(await other.send("s-bob", "second", second["ref"])).toMatchObject({ duplicate: true, seq: 2 });
  a.say({ to: "s-bob", message: "another text", ref: second["ref"] });
  expect(await a.next("error")).toMatchObject({ code: "ref_reused", ref: second["ref"] });
});

test.concurrent("a deleted message is not unread, and is empty in the list", async () => {
  const { ann, bob, tabs } = await four("u-ann", "u-bob");
  for (const text of ["one", "two", "three"]) await tabs[0].send("u-bob", text);
  await change(tabs[0], { type: "delete", peer: "u-bob", seq: 3 });
  expect(await listed(bob, "u-ann")).toMatchObject({ unread: 2, last_seq: 3, last: { content: "", deleted: true } });
  tabs[2].say({ type: "read", peer: "u-ann", seq: 3 });
  await tabs[0].next("read");
  expect((await listed(bob, "u-ann"))!["unread"]).toBe(0);
  await change(tabs[0], { type: "delete", peer: "u-bob", seq: 1 }); // read already
  expect((await listed(bob, "u-ann"))!["unread"]).toBe(0);
  const [counted] = await one.sql<Row[]>`select low_unread, high_unread from conversations where low = 'u-ann'`;
  expect(counted).toEqual({ low_unread: 0, high_unread: 0 });
  expect((await rows(ann, "u-bob")).map(({ content }) => content)).toEqual(["", "two", ""]);
});

test.concurrent("what a blocked user changes, only they see, until the block ends", async () => {
  const { ann, bob, tabs } = await four("b-ann", "b-bob");
  const [a, , b] = tabs;
  for (const text of ["one", "two", "last"]) await b.send("b-ann", text);
  await change(b, { type: "react", peer: "b-ann", seq: 2, emoji: "👍" });
  await change(b, { type: "edit", peer: "b-ann", seq: 2, message: "two, edited" });
  await change(a, { type: "react", peer: "b-bob", seq: 1, emoji: "👋", ref: "ann-before" });
  const seen = await rows(ann, "b-bob");
  expect((await ann.post("/blocks", { name: "b-bob", blocked: true })).status).toBe(200);
  await a.next("sync");
  for (const tab of tabs) tab.heard.length = 0;
  await change(b, { type: "edit", peer: "b-ann", seq: 1, message: "secret" });
  // whether Bob wrote since is not shown
  for (const seq of [4, 99])
    expect(await change(a, { type: "react", peer: "b-bob", seq, emoji: "👍" })).toMatchObject({ code: "blocked" });
  expect(await change(a, { type: "message", to: "b-bob", message: "x", reply_to: 99 })).toMatchObject({
    code: "blocked",
  });
  // Ann sent this before the block, and lost the reply
  expect(await change(a, { type: "react", peer: "b-bob", seq: 1, emoji: "👋", ref: "ann-before" })).toMatchObject({
    message: { content: "one", reactions: { "b-ann": "👋" } },
  });
  await change(b, { type: "delete", peer: "b-ann", seq: 2 });
  await change(b, { type: "edit", peer: "b-ann", seq: 3, message: "secret last" });
  await change(b, { type: "react", peer: "b-ann", seq: 3, emoji: "👍" });
  expect(await change(a, { type: "react", peer: "b-bob", seq: 1, emoji: "👍" })).toMatchObject({ code: "blocked" });
  expect((await rows(bob, "b-ann")).map(({ content }) => content)).toEqual(["secret", "", "secret last"]);
  const withoutRead = (list: Row[]) => list.map(({ read: _read, ...row }) => row);
  expect(withoutRead(await rows(ann, "b-bob", "blocked=1"))).toEqual(withoutRead(seen));
  expect(withoutRead(await rows(ann, "b-bob", "blocked=1&changed_after=0"))).toEqual(withoutRead([seen[1]!, seen[0]!]));
  expect(await listed(ann, "b-bob", "&blocked=1")).toMatchObject({ revision: 3, last: { content: "last" } });
  expect(await rows(ann, "b-bob", "changed_after=0")).toEqual([]);
  await Bun.sleep(300);
  expect(toldOf(a)).toEqual([]);
  expect(toldOf(tabs[1])).toEqual([3]); // Ann's own
  expect(toldOf(tabs[3])).toEqual([4, 5, 6, 7]);

  expect((await ann.post("/blocks", { name: "b-bob", blocked: false })).status).toBe(200);
  expect((await rows(ann, "b-bob")).map(({ content }) => content)).toEqual(["secret", "", "secret last"]);
  expect((await rows(ann, "b-bob", "changed_after=3")).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  expect(await one.sql`select from frozen_messages where owner = 'b-ann'`).toHaveLength(0);
  await ann.post("/blocks", { name: "b-bob", blocked: true });
  expect((await rows(ann, "b-bob", "blocked=1")).map(({ content }) => content)).toEqual(["secret", "", "secret last"]);
});

test.concurrent("a reply names the message it answers, everywhere", async () => {
  const { ann, bob, tabs } = await four("y-ann", "y-bob");
  await tabs[0].send("y-bob", "question");
  await tabs[2].next("message");
  tabs[2].say({ to: "y-ann", message: "answer", reply_to: 1, ref: newRef() });
  const heard = await Promise.all(
    [tabs[0], tabs[1], tabs[3]].map(async (tab) => {
      await until("the answer", () => tab.heard.some(({ message }) => message === "answer"));
      return tab.heard.find(({ message }) => message === "answer")!;
    }),
  );
  for (const frame of heard) expect(frame).toMatchObject({ seq: 2, reply_to: 1 });
  expect((await rows(bob, "y-ann"))[1]).toMatchObject({ content: "answer", reply_to: 1 });
  expect((await rows(ann.at(two), "y-bob"))[0]).not.toHaveProperty("reply_to");
  const exported = await (await ann.get("/export")).text();
  expect(exported).toContain('"reply_to":1');
});

test.concurrent("notes to oneself can be changed", async () => {
  const [ann] = (await one.people("n-ann")) as [Person];
  const [a, b] = [await ann.open({ watch: [] }), await ann.at(two).open({ watch: [] })];
  await a.send("n-ann", "milk");
  await change(a, { type: "edit", peer: "n-ann", seq: 1, message: "milk, bread" });
  await change(b, { type: "react", peer: "n-ann", seq: 1, emoji: "✅" });
  await until("the reaction", () => toldOf(a).length > 0);
  expect(a.heard.findLast(({ type }) => type === "changed")).toMatchObject({
    peer: "n-ann",
    message: { content: "milk, bread", reactions: { "n-ann": "✅" } },
  });
  await Bun.sleep(300);
  expect([toldOf(a), toldOf(b)]).toEqual([[2], [1]]);
});

test.concurrent("an edit too long for a packet reaches the other pod as a request to fetch it", async () => {
  const { bob, tabs } = await four("l-ann", "l-bob");
  await tabs[0].send("l-bob", "short");
  const long = "€".repeat(4_000);
  await change(tabs[0], { type: "edit", peer: "l-bob", seq: 1, message: long });
  expect(await tabs[2].next("changed")).toMatchObject({ message: { content: long } });
  await tabs[3].next("sync");
  expect(await rows(bob.at(two), "l-ann", "changed_after=0")).toMatchObject([{ content: long }]);
});

test.concurrent("changes from four sockets on two pods have one order, the same for all", async () => {
  const { ann, bob, tabs } = await four("m-ann", "m-bob");
  await tabs[0].send("m-bob", "text");
  await tabs[0].send("m-bob", "other");
  await Promise.all(
    tabs.map(async (tab, i) => {
      const peer = i < 2 ? "m-bob" : "m-ann";
      for (let n = 0; n < 8; n++) {
        await change(tab, { type: "react", peer, seq: 1 + (n % 2), emoji: ["👍", "❤️", "😂", ""][(n + i) % 4] });
        if (i < 2) await change(tab, { type: "edit", peer, seq: 1 + (n % 2), message: `text ${i} ${n}` });
      }
    }),
  );
  const last = (await listed(ann, "m-bob"))!["revision"] as number;
  const rowsOfBoth = await Promise.all([rows(ann, "m-bob"), rows(bob.at(two), "m-ann")]);
  const shown = (list: Row[]) => list.map(({ content, reactions, revision }) => ({ content, reactions, revision }));
  expect(shown(rowsOfBoth[0])).toEqual(shown(rowsOfBoth[1]));
  expect(Math.max(...rowsOfBoth[0].map(({ revision }) => revision as number))).toBe(last);
  const revisionsOf = ({ heard }: Tab) =>
    [...new Set(heard.flatMap(({ revision }) => (revision ? [revision as number] : [])))].toSorted((a, b) => a - b);
  const all = Array.from({ length: last }, (_, i) => i + 1);
  for (const tab of tabs) await until("all changes", () => revisionsOf(tab).length >= all.length);
  for (const tab of tabs) expect(revisionsOf(tab)).toEqual(all);
  const edits = await one.sql<
    Row[]
  >`select count(*)::int as n from change_refs where conversation_id = (select id from conversations where low = 'm-ann')`;
  expect(edits[0]!["n"]).toBe(last);
});

test("windows close: EDIT_WINDOW=0 forbids edits, DELETE_WINDOW ends deletions", async () => {
  await using app = await startApp({ env: { EDIT_WINDOW: "0", DELETE_WINDOW: "30m" } });
  const [ann] = (await app.people("ann", "bob")) as [Person];
  const tab = await ann.open({ watch: [] });
  expect(tab.heard[0]).toMatchObject({ type: "hello", edit_window: 0, delete_window: 1_800 });
  expect(Math.abs(Date.parse(tab.heard[0]!["time"]) - Date.now())).toBeLessThan(5_000);
  await tab.send("bob", "one");
  await tab.send("bob", "two");
  expect(await change(tab, { type: "edit", peer: "bob", seq: 1, message: "x" })).toMatchObject({ code: "too_late" });
  expect(await change(tab, { type: "delete", peer: "bob", seq: 1 })).toMatchObject({ type: "changed" });
  await app.sql`update messages set timestamp = timestamp - interval '31 minutes'`;
  expect(await change(tab, { type: "delete", peer: "bob", seq: 2 })).toMatchObject({ code: "too_late" });
  expect(await change(tab, { type: "react", peer: "bob", seq: 2, emoji: "👍" })).toMatchObject({ type: "changed" });
});

test("refs of changes are forgotten after 30 days, by a pod that starts", async () => {
  const database = await migratedDatabase();
  await using first = await startApp({ database });
  const [ann] = (await first.people("ann", "bob")) as [Person];
  const tab = await ann.open({ watch: [] });
  await tab.send("bob", "one");
  for (const emoji of ["👍", "❤️"]) await change(tab, { type: "react", peer: "bob", seq: 1, emoji });
  await first.sql`update change_refs set at = at - interval '31 days' where ref in (select ref from change_refs limit 1)`;
  const second = await startApp({ database });
  await until("one ref is left", async () => (await first.sql`select from change_refs`).length === 1);
  await second.stop();
});

test("limits changes of a user, not of all", async () => {
  await using app = await startApp({ env: { RATE_LIMIT: "on", LIMIT_CHANGES: "2/h" } });
  const [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
  await a.send("bob", "one");
  const react = { type: "react", peer: "bob", seq: 1, emoji: "👍" };
  for (const emoji of ["👍", "❤️"]) expect(await change(a, { ...react, emoji })).toMatchObject({ type: "changed" });
  expect(await change(a, react)).toMatchObject({ code: "rate_limited", retry_after: expect.any(Number) });
  expect(await change(b, { ...react, peer: "ann" })).toMatchObject({ type: "changed" });
});

test.concurrent("one ref at once in two conversations, through two pods, makes one change", async () => {
  const { ann, tabs } = await four("w-ann", "w-bob");
  await one.people("w-carol");
  for (const peer of ["w-bob", "w-carol"]) await tabs[0].send(peer, "hello");
  for (let i = 0; i < 10; i++) {
    const ref = newRef();
    const answers = await Promise.all([
      change(tabs[0], { type: "edit", peer: "w-bob", seq: 1, message: `text ${i}`, ref }),
      change(tabs[1], { type: "edit", peer: "w-carol", seq: 1, message: `text ${i}`, ref }),
    ]);
    expect(answers.map(({ code }) => code).toSorted()).toEqual(["ref_reused", undefined] as never[]);
  }
  const revisions = await Promise.all(["w-bob", "w-carol"].map(async (peer) => (await listed(ann, peer))!["revision"]));
  expect((revisions[0] as number) + (revisions[1] as number)).toBe(10);
});
