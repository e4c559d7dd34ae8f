import { describe, expect, test } from "bun:test";

import { startApp } from "../support/harness.ts";

// The rules by which databases order text differ; chatify must not notice.
describe.each(["bytes", "en-US"])("on a database ordered by %s", (order) => {
  const options = order === "bytes" ? {} : { locale: order };

  test.concurrent("chat delivers to every tab of the recipient", async () => {
    await using app = await startApp(options);
    const [ann, bob] = [await app.person("ann"), await app.person("Bob")];
    const tabs = [await bob.open(), await bob.open()];
    const ack = await (await ann.open()).send("bob", "hello");
    expect(ack).toEqual({
      type: "ack",
      ref: expect.any(String),
      id: expect.any(Number),
      seq: 1,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/),
      peer: "Bob",
      duplicate: false,
    });
    for (const tab of tabs) {
      const { id, timestamp, ref } = ack;
      const message = { type: "message", from: "ann", to: "Bob", message: "hello", id, seq: 1, timestamp, ref };
      expect(await tab.next("message")).toEqual(message);
    }
  });

  test.concurrent("chat delivers a send to the sender's other tabs only", async () => {
    await using app = await startApp(options);
    const [ann] = await app.people("Ann", "bob");
    const [one, other] = [await ann!.open(), await ann!.open()];
    await one.send("BOB", "hello");
    expect(await other.next("message")).toMatchObject({ from: "Ann", to: "bob", message: "hello", seq: 1 });
    await one.hearsNo("message");
  });

  test.concurrent("a conversation has one order without gaps for all writers", async () => {
    await using app = await startApp(options);
    const [ann, bob] = [await app.person("ann"), await app.person("Bob")];
    const tabs = [await ann.open(), await bob.open()] as const;
    const watcher = await ann.open();
    for (let i = 0; i < 200; i++) {
      tabs[0].say({ to: "Bob", message: `a${i}` });
      tabs[1].say({ to: "ann", message: `b${i}` });
    }
    const acks = { a: [] as number[], b: [] as number[] };
    for (let i = 0; i < 200; i++) {
      acks.a.push((await tabs[0].next("ack"))["seq"]);
      acks.b.push((await tabs[1].next("ack"))["seq"]);
    }
    const rising = (numbers: number[]) => numbers.every((n, i) => i === 0 || n > (numbers[i - 1] ?? 0));
    expect(rising(acks.a) && rising(acks.b)).toBe(true);
    expect([...acks.a, ...acks.b].toSorted((x, y) => x - y)).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
    type Row = { seq: number; id: number; timestamp: string; content: string };
    const history = await ann.json<Row[]>("/messages/ann/bob?peek=1");
    expect(history.map(({ seq }) => seq)).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
    expect(rising(history.map(({ id }) => id))).toBe(true);
    expect(history.every(({ timestamp }, i) => i === 0 || timestamp > (history[i - 1]?.timestamp ?? ""))).toBe(true);
    for (const mine of ["a", "b"]) {
      const written = history.filter(({ content }) => content.startsWith(mine)).map(({ content }) => content);
      expect(written).toEqual(Array.from({ length: 200 }, (_, i) => mine + i));
    }
    const seen = [];
    for (let i = 0; i < 400; i++) seen.push((await watcher.next("message"))["seq"]);
    expect(seen).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
  });

  test.concurrent("unread counts follow reads, and always equal the rows with read=false", async () => {
    await using app = await startApp(options);
    const [ann, bob] = [await app.person("ann"), await app.person("Bob")];
    const [a, b] = [await ann.open(), await bob.open()];
    for (let i = 0; i < 5; i++) await a.send("Bob", `to Bob ${i}`);
    for (let i = 0; i < 3; i++) await b.send("ann", `to ann ${i}`);
    const check = async () => {
      const rows = await app.sql<{ receiver: string; count: number }[]>`
        select receiver, count(*) from messages where not read group by receiver
      `;
      const counted = Object.fromEntries(rows.map(({ receiver, count }) => [receiver, count]));
      expect(await ann.json("/unread_counts/ann")).toEqual(counted["ann"] ? { Bob: counted["ann"] } : {});
      expect(await bob.json("/unread_counts/bob")).toEqual(counted["Bob"] ? { ann: counted["Bob"] } : {});
      return counted;
    };
    expect(await check()).toEqual({ Bob: 5, ann: 3 });
    b.say({ type: "read", peer: "ANN", seq: 3 });
    expect(await b.next("read")).toEqual({ type: "read", reader: "Bob", peer: "ann", seq: 3 });
    expect(await a.next("read")).toEqual({ type: "read", reader: "Bob", peer: "ann", seq: 3 });
    expect(await check()).toEqual({ Bob: 2, ann: 3 });
    a.say({ type: "read", peer: "Bob", seq: 1_000_000 }); // cut to the end
    expect(await a.next("read")).toMatchObject({ reader: "ann", seq: 8 });
    expect(await check()).toEqual({ Bob: 2 });
  });
});

test.concurrent("a client of the original demo, with three fields, works", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  let online: string[] = [];
  while (online.length < 2) online = (await a.next("status_update"))["online"]; // the first may come before bob
  expect(online.toSorted()).toEqual(["ann", "bob"]);
  a.say({ to: "bob", message: "hi" });
  expect(await b.next("message")).toMatchObject({ from: "ann", to: "bob", message: "hi" });
  const ack = await a.next("ack");
  expect("ref" in ack).toBe(false);
  await app.person("carol");
  expect(await b.next("new_user")).toEqual({ type: "new_user", username: "carol" });
  // What it shows is whatever carries from or to: nothing but messages may.
  b.say({ type: "read", peer: "ann", seq: 1 });
  b.say({ type: "typing", peer: "ann" });
  await a.next("read");
  await a.next("typing");
  for (const frame of [...a.heard, ...b.heard]) expect("from" in frame || "to" in frame).toBe(frame.type === "message");
});

test.concurrent("a resend of a ref is stored once and acked with its first seq, on any socket", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, other, b] = [await ann!.open(), await ann!.open(), await bob!.open()];
  const first = await a.send("bob", "once", "a-ref-of-ann");
  const again = await other.send("bob", "once", "a-ref-of-ann");
  expect(again).toEqual({ ...first, duplicate: true });
  expect(await b.next("message")).toMatchObject({ message: "once" });
  await b.next("sync"); // it may have missed the first: it asks, and is not told twice
  await b.hearsNo("message");
  expect(await app.sql`select content from messages`).toHaveLength(1);
});

test.concurrent("a ref repeated within one batch is stored once", async () => {
  await using app = await startApp();
  const [ann] = await app.people("ann", "bob");
  const a = await ann!.open();
  for (let i = 0; i < 20; i++) a.say({ to: "bob", message: "once", ref: "the-same-ref" });
  const acks = [];
  for (let i = 0; i < 20; i++) acks.push(await a.next("ack"));
  expect(new Set(acks.map(({ id, seq }) => `${id} ${seq}`)).size).toBe(1);
  expect(acks.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
  expect(await app.sql`select content from messages`).toHaveLength(1);
});

test.concurrent("a ref reused for another text or receiver is rejected, and nothing is stored", async () => {
  await using app = await startApp();
  const [ann] = await app.people("ann", "bob", "carol");
  const a = await ann!.open();
  await a.send("bob", "first", "a-ref-of-ann");
  a.say({ to: "bob", message: "second", ref: "a-ref-of-ann" });
  expect(await a.next("error")).toMatchObject({ code: "ref_reused", ref: "a-ref-of-ann" });
  a.say({ to: "carol", message: "first", ref: "a-ref-of-ann" });
  expect(await a.next("error")).toMatchObject({ code: "ref_reused", ref: "a-ref-of-ann" });
  expect(await app.sql`select content from messages`).toHaveLength(1);
});

test.concurrent("the same ref of two users identifies two messages", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  expect(await a.send("bob", "from ann", "shared-ref")).toMatchObject({ seq: 1, duplicate: false });
  expect(await b.send("ann", "from bob", "shared-ref")).toMatchObject({ seq: 2, duplicate: false });
});

test.concurrent("a note to self is numbered, read at once, and reaches the other tabs", async () => {
  await using app = await startApp();
  const ann = await app.person("Ann");
  const [one, other] = [await ann.open(), await ann.open()];
  expect(await one.send("ann", "buy milk")).toMatchObject({ seq: 1, peer: "Ann" });
  expect(await other.next("message")).toMatchObject({ from: "Ann", to: "Ann", message: "buy milk" });
  expect(await ann.json("/unread_counts/ann")).toEqual({});
  expect(await ann.json("/messages/ann/Ann")).toMatchObject([{ content: "buy milk", read: true, seq: 1 }]);
  expect(await ann.json("/conversations")).toMatchObject([{ peer: "Ann", unread: 0, last_seq: 1, my_read_seq: 1 }]);
  other.say({ type: "read", peer: "Ann", seq: 1 });
  await one.hearsNo("read");
  await other.hearsNo("message", 0); // once, not once as sender and once as receiver
});

test.concurrent("a read mark that covers no message of the peer has no effect", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  await a.send("bob", "one");
  b.say({ type: "read", peer: "ann", seq: 1 });
  await a.next("read");
  await b.next("read");
  b.say({ type: "read", peer: "ann", seq: 1 }); // again
  b.say({ type: "read", peer: "ann", seq: 0 });
  a.say({ type: "read", peer: "bob", seq: 1 }); // only my own below
  a.say({ type: "read", peer: "nobody", seq: 1 });
  a.say({ type: "read", peer: "no\u0000body", seq: 1 });
  await a.hearsNo("read");
  await b.hearsNo("read", 0);
  await a.hearsNo("error", 0);
  expect(await app.sql`select low_read_seq, high_read_seq from conversations`).toEqual([
    { low_read_seq: 0, high_read_seq: 1 },
  ] as never);
});

test.concurrent("a read mark over twelve thousand messages is applied in steps, completely", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const b = await bob!.open();
  await (await ann!.open()).send("bob", "one");
  await app.sql`
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
    select c.id, n, 'ann', 'bob', 'text ' || n, now() from conversations c, generate_series(2, 12000) n
  `;
  await app.sql`update conversations set last_seq = 12000, high_unread = 12000`;
  b.say({ type: "read", peer: "ann", seq: 12_000 });
  const seqs = [await b.next("read"), await b.next("read"), await b.next("read")].map(({ seq }) => seq);
  expect(seqs).toEqual([5_000, 10_000, 12_000]);
  expect(await bob!.json("/unread_counts/bob")).toEqual({});
  expect(await app.sql`select from messages where not read`).toHaveLength(0);
});

test.concurrent("concurrent reads and sends leave the unread count right", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  for (let i = 1; i <= 300; i++) {
    a.say({ to: "bob", message: `m${i}` });
    if (i % 3 === 0) b.say({ type: "read", peer: "ann", seq: i });
  }
  for (let i = 0; i < 300; i++) await a.next("ack");
  const counts = async () => {
    const [{ count }] = await app.sql<[{ count: number }]>`select count(*) from messages where not read`;
    return [count, (await bob!.json<Record<string, number>>("/unread_counts/bob"))["ann"] ?? 0];
  };
  // The last reads may still be under way: both counts are compared once they rest.
  let [before, now] = [[-1, -1], await counts()];
  for (const since = performance.now(); performance.now() - since < 8_000;) {
    if (now[0] === now[1] && Bun.deepEquals(before, now)) break;
    await Bun.sleep(300);
    [before, now] = [now, await counts()];
  }
  expect(now[1]).toBe(now[0]!);
});

test.concurrent("sends delivered to the sender after the receiver has the message, and only raises it", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const a = await ann!.open();
  await a.send("bob", "while away");
  await a.hearsNo("delivered", 1_200);
  await bob!.json("/messages/ann/bob?peek=1&limit=50"); // a device fetched it
  expect(await a.next("delivered")).toEqual({ type: "delivered", peer: "bob", seq: 1 });
  const b = await bob!.open();
  await a.send("bob", "while here");
  expect(await a.next("delivered")).toEqual({ type: "delivered", peer: "bob", seq: 2 });
  await bob!.json("/messages/ann/bob?peek=1&limit=1&before=2");
  await a.hearsNo("delivered", 1_000);
  expect(await ann!.json("/conversations")).toMatchObject([{ peer_delivered_seq: 2, peer_read_seq: 0 }]);
  b.say({ type: "read", peer: "ann", seq: 2 });
  await a.next("read");
  expect(await ann!.json("/conversations")).toMatchObject([{ peer_delivered_seq: 2, peer_read_seq: 2 }]);
});

test.concurrent("relays typing to the peer only, at most once in two seconds", async () => {
  await using app = await startApp();
  const [ann, bob, carol] = await app.people("Ann", "bob", "carol");
  const [a, b, c] = [await ann!.open(), await bob!.open(), await carol!.open()];
  for (let i = 0; i < 5; i++) a.say({ type: "typing", peer: "BOB" });
  a.say({ type: "typing", peer: "nobody" });
  expect(await b.next("typing")).toEqual({ type: "typing", user: "Ann" });
  await b.hearsNo("typing");
  await c.hearsNo("typing", 0);
  await a.hearsNo("error", 0);
});
