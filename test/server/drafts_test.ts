/** Drafts as a person with several devices sees them, on two pods. */

import { expect, test } from "bun:test";

import { Database } from "../../src/db/database.ts";
import * as drafts from "../../src/db/drafts.ts";
import { migratedDatabase, type Person, SILENT, startApp } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

const { one, two, database: address } = await sharedPods();
await Bun.sleep(1_000); // the pods have met

type Draft = { peer: string; text: string; at: string };
const INSTANT = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/);

test.concurrent("a draft reaches the user's other devices on every pod, and nobody else's", async () => {
  const [ann, bob] = (await one.people("a-ann", "A-Bob")) as [Person, Person];
  const [a, near, far] = [await ann.open(), await ann.open(), await ann.at(two).open()];
  const b = await bob.open();
  a.say({ type: "draft", peer: "a-bob", text: "Shall we\n meet — 😀" });
  const frame = { type: "draft", peer: "A-Bob", text: "Shall we\n meet — 😀", at: INSTANT };
  for (const tab of [near, far]) expect(await tab.next("draft")).toEqual(frame);
  expect(await ann.at(two).json<Draft[]>("/drafts")).toEqual([{ peer: "A-Bob", text: frame.text, at: INSTANT }]);
  far.say({ type: "draft", peer: "A-BOB", text: "" });
  for (const tab of [a, near]) expect(await tab.next("draft")).toEqual({ ...frame, text: "" });
  expect(await ann.json<Draft[]>("/drafts")).toEqual([]);
  a.say({ type: "draft", peer: "a-ann", text: "a note" });
  expect(await near.next("draft")).toMatchObject({ peer: "a-ann", text: "a note" });
  await b.hearsNo("draft");
  expect(await bob.json<Draft[]>("/drafts")).toEqual([]);
  expect((await fetch(`${one.url}/drafts`)).status).toBe(401);
});

test.concurrent("a draft too large for a packet between pods is fetched after sync", async () => {
  const [ann, bob] = (await one.people("g-ann", "g-bob")) as [Person, Person];
  const [a, far, b] = [await ann.open(), await ann.at(two).open(), await bob.at(two).open()];
  const text = "𐍈".repeat(4_000);
  a.say({ type: "draft", peer: "g-bob", text });
  await far.next("sync");
  expect(await ann.at(two).json<Draft[]>("/drafts")).toEqual([{ peer: "g-bob", text, at: INSTANT }]);
  await b.hearsNo("sync", 0);
});

test.concurrent("after a loss between pods, users who saved or deleted a draft lately receive sync", async () => {
  const database = await migratedDatabase();
  await using here = await startApp({ database });
  await using there = await startApp({ database });
  const [ann, bob, carol] = (await here.people("ann", "bob", "carol")) as [Person, Person, Person];
  const save = async (person: Person, text: string) => {
    const tab = await person.open();
    tab.say({ type: "draft", peer: "ann", text, ack: 1 });
    await tab.next("draft_saved");
  };
  for (const person of [bob, carol]) await save(person, "an old draft");
  await here.sql`update drafts set at = at - interval '1 hour'`;
  await save(ann, "a new draft");
  await save(bob, "");
  const [a, b, c] = [await ann.at(there).open(), await bob.at(there).open(), await carol.at(there).open()];
  await here.sql`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = current_database() and query like 'listen %' and application_name like 'chatify%'
  `;
  await Promise.all([a.next("sync"), b.next("sync")]);
  await c.hearsNo("sync", 1_000);
  expect(await bob.json<Draft[]>("/drafts")).toEqual([]);
});

test.concurrent(
  "of many drafts of one conversation the last one stays, of many conversations each its own",
  async () => {
    const [ann] = (await one.people("b-ann", "b-bob", "b-carol")) as [Person];
    const [a, other] = [await ann.open(), await ann.open()];
    for (let i = 0; i < 200; i++) a.say({ type: "draft", peer: i % 2 ? "b-bob" : "b-carol", text: `draft ${i}` });
    const last = new Map<string, string>();
    while (last.get("b-bob") !== "draft 199" || last.get("b-carol") !== "draft 198") {
      const { peer, text } = await other.next("draft");
      last.set(peer, text);
    }
    expect(other.heard.filter(({ type }) => type === "draft").length).toBeLessThan(200); // what was overtaken is not stored
    const kept = await ann.json<Draft[]>("/drafts");
    expect(new Map(kept.map(({ peer, text }) => [peer, text]))).toEqual(last);
    await a.hearsNo("error", 0);
  },
);

test.concurrent("a numbered draft is confirmed to its socket once stored, the last of many", async () => {
  const [ann] = (await one.people("f-ann", "F-Bob")) as [Person];
  const [a, other] = [await ann.open(), await ann.open()];
  for (let ack = 1; ack <= 50; ack++) a.say({ type: "draft", peer: "f-bob", text: `draft ${ack}`, ack });
  let saved = await a.next("draft_saved");
  while (saved.ack !== 50) saved = await a.next("draft_saved");
  expect(saved).toEqual({ type: "draft_saved", peer: "F-Bob", ack: 50 });
  expect(await ann.json<Draft[]>("/drafts")).toMatchObject([{ text: "draft 50" }]);
  a.say({ type: "draft", peer: "f-bob", text: "", ack: 51 });
  expect(await a.next("draft_saved")).toMatchObject({ ack: 51 });
  for (const ack of ["1", 1.5, null, {}]) {
    a.say({ type: "draft", peer: "f-bob", text: "x", ack });
    expect(await a.next("error")).toMatchObject({ code: "bad_request" });
  }
  a.say({ type: "draft", peer: "f-bob", text: "unnumbered" });
  while ((await other.next("draft")).text !== "unnumbered");
  for (const tab of [a, other]) await tab.hearsNo("draft_saved", 0);
});

test.concurrent("a draft that cannot be a message is rejected, and one to an unknown user ignored", async () => {
  const ann = await one.person("c-ann");
  const a = await ann.open();
  const texts = ["x".repeat(4_001), "NUL \0", "half a \ud83d"];
  for (const text of texts) {
    a.say({ type: "draft", peer: "c-ann", text });
    expect(await a.next("error")).toMatchObject({ code: "invalid_text" });
  }
  for (const frame of [{}, { peer: "c-ann" }, { text: "x" }, { peer: 1, text: "x" }, { peer: "c-ann", text: null }]) {
    a.say({ type: "draft", ...frame });
    expect(await a.next("error")).toMatchObject({ code: "bad_request" });
  }
  for (const peer of ["", "nobody-here", "x".repeat(300), "a\0"]) a.say({ type: "draft", peer, text: "x" });
  a.say({ type: "draft", peer: "c-ann", text: "😀".repeat(4_000) });
  a.say({ type: "draft", peer: "c-ann", text: "  " });
  for (let i = 0; i < 60 && (await ann.json<Draft[]>("/drafts"))[0]?.text !== "  "; i++) await Bun.sleep(50);
  expect(await ann.json<Draft[]>("/drafts")).toMatchObject([{ peer: "c-ann", text: "  " }]);
  await a.hearsNo("error", 0);
});

test.concurrent("a draft in flight during its owner's deletion is not stored", async () => {
  await one.people("e-ann", "e-bob");
  await one.sql`update users set deleted_at = now() where username = 'e-ann'`;
  const db = new Database({ target: address, name: "test-drafts", max: 1, log: SILENT });
  try {
    const kept = ["e-ann", "e-bob"].map((owner) => ({ owner, peerKey: "e-bob", text: `of ${owner}` }));
    const stored = await db.run((sql) => drafts.save(sql, kept));
    expect(stored).toEqual([undefined, { peer: "e-bob", text: "of e-bob", at: INSTANT }]);
  } finally {
    await db.end();
  }
  const rows = await one.sql<{ owner: string }[]>`select owner from drafts where owner like 'e-%'`;
  expect(rows.map(({ owner }) => owner)).toEqual(["e-bob"]);
});

test.concurrent("keeps the hundred newest drafts of a user", async () => {
  const ann = await one.person("d-ann");
  const names = Array.from({ length: 130 }, (_, i) => `d${i}`);
  await one.sql`
    insert into users (username, name_key, search_key, password) select n, n, n, 'x' from unnest(${names}::text[]) as n
  `;
  const db = new Database({ target: address, name: "test-drafts", max: 1, log: SILENT });
  const save = (peerKey: string, text: string) =>
    db.run((sql) => drafts.save(sql, [{ owner: "d-ann", peerKey, text }]));
  const rows = async () =>
    (await one.sql<[{ count: number }]>`select count(*) from drafts where owner = 'd-ann'`)[0].count;
  try {
    for (const peerKey of names) await save(peerKey, `to ${peerKey}`);
    const kept = await ann.json<Draft[]>("/drafts");
    expect(kept.map(({ peer }) => peer)).toEqual(names.slice(30).toReversed());
    expect(await rows()).toBeLessThanOrEqual(drafts.DRAFTS_MAX + 1);
    for (const peerKey of names) {
      await save(peerKey, "to be deleted");
      await save(peerKey, "");
    }
    expect(await ann.json<Draft[]>("/drafts")).toEqual([]);
    expect(await rows()).toBeLessThanOrEqual(drafts.DRAFTS_MAX + 1);
  } finally {
    await db.end();
  }
});

test.concurrent("drafts sent faster than a user types are rejected with the time to wait", async () => {
  await using app = await startApp({ env: { RATE_LIMIT: "on" } });
  const ann = await app.person("ann");
  const a = await ann.open();
  for (let i = 0; i < 33; i++) a.say({ type: "draft", peer: "ann", text: `${i}` });
  expect(await a.next("error")).toMatchObject({ code: "rate_limited", retry_after: expect.any(Number) });
});

test("drafts pending for the database are bounded: beyond 8 MiB they are rejected as busy", async () => {
  await using app = await startApp();
  const ann = await app.person("ann");
  const tab = await ann.open({ watch: [] });
  await using release = await holdLock(app.sql, (tx) => tx`lock table drafts in exclusive mode`);
  for (let i = 0; i < 900; i++) tab.say({ type: "draft", peer: `peer_${i}`, text: "𐍈".repeat(4_000) });
  await until("all are read", () => tab.heard.some(({ code }) => code === "busy"));
  const pong = tab.next("pong");
  tab.say({ type: "ping" });
  await pong;
  const refused = tab.heard.filter(({ code }) => code === "busy").length;
  await release();
  expect(refused).toBeGreaterThan(900 - 524 - 200); // two statements of 100 may be under way
  expect(refused).toBeLessThan(900 - 523);
});
