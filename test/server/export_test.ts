/** The export contains all of a user's data once, in order, and completely or not at all. */

import { expect, test } from "bun:test";

import { type Person, startApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const app = await sharedApp();

type Line = { sender: string; receiver: string; content: string; seq: number; read: boolean };
interface Export {
  username: string;
  blocks: string[];
  mutes: string[];
  drafts: { peer: string; text: string }[];
  messages: Line[];
}

/** Lets two people have written, one of them long texts if told. */
async function converse(one: string, other: string, count: number, characters = 20): Promise<void> {
  await app.sql`
    with conversation as (
      insert into conversations (low, high, last_seq, last_at, high_unread)
      values (least(${one}::text collate "C", ${other}), greatest(${one}::text collate "C", ${other}), ${count}, now(), 0)
      returning id
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select id, n, ${one}, ${other}, n || ' ' || repeat('x', ${characters}), now(), false
    from conversation, generate_series(1, ${count}::int) n
  `;
}

test.concurrent(
  "export holds every message of every conversation once, in order, a line each, and marks nothing",
  async () => {
    const [ann, bob] = (await app.people("ann", "Ζωή", "carol", "dora")) as [Person, Person];
    await converse("ann", "Ζωή", 1_700);
    await converse("ann", "carol", 1);
    await converse("ann", "dora", 60, 16_000);
    const few = Array.from({ length: 600 }, (_, i) => `e${i}`);
    await app.sql`insert into users (username, name_key, search_key, password) select n, n, n, 'x' from unnest(${few}::text[]) n`;
    for (const name of few.slice(0, 300)) await converse("ann", name, 3);
    const [a, b] = [await ann.open(), await bob.open()];
    await a.send("ann", 'a note \u2028 "quoted"\n and 😀');
    await b.send("ann", "from Ζωή");
    await ann.post("/blocks", { name: "carol", blocked: true });
    await ann.post("/mutes", { name: "dora", muted: true });
    await ann.post("/blocks", { name: "e599", blocked: true });
    a.say({ type: "draft", peer: "carol", text: "unsent" });
    for (let i = 0; i < 40 && (await ann.json<unknown[]>("/drafts")).length === 0; i++) await Bun.sleep(25);
    const before =
      await app.sql`select low, high, last_seq, low_unread, high_unread, low_read_seq, high_read_seq from conversations order by id`;
    const day = () => new Date().toISOString().slice(0, 10);
    let days = [day()];
    const answer = await ann.get("/export");
    days.push(day()); // midnight may pass in between
    expect(days.map((day) => `attachment; filename="chatify-ann-${day}.json"`)).toContain(
      answer.headers.get("content-disposition")!,
    );
    const all = 1_700 + 1 + 60 + 900 + 2;
    expect(answer.headers.get("chatify-messages")).toBe(String(all));
    const text = await answer.text();
    expect(text.split("\n").filter((line) => line.startsWith('{"sender"'))).toHaveLength(all);
    const { messages, ...about } = JSON.parse(text) as Export;
    expect(about).toMatchObject({
      username: "ann",
      blocks: ["carol", "e599"],
      mutes: ["dora"],
      drafts: [{ peer: "carol", text: "unsent" }],
    });
    const seqs = new Map<string, number[]>();
    for (const { sender, receiver, seq } of messages) {
      const peer = sender === "ann" ? receiver : sender;
      seqs.set(peer, [...(seqs.get(peer) ?? []), seq]);
    }
    expect(seqs.size).toBe(304);
    for (const list of seqs.values()) expect(list).toEqual(list.map((_, i) => i + 1));
    expect(messages.find(({ receiver }) => receiver === "ann")!.content).toBeString();
    expect(messages.some(({ content }) => content === 'a note \u2028 "quoted"\n and 😀')).toBeTrue();
    expect(
      await app.sql`select low, high, last_seq, low_unread, high_unread, low_read_seq, high_read_seq from conversations order by id`,
    ).toEqual(before);
    days = [day()];
    const zoe = await bob.get("/export", {});
    days.push(day());
    expect(
      days.map(
        (day) => `attachment; filename="chatify-${day}.json"; filename*=UTF-8''chatify-%CE%96%CF%89%CE%AE-${day}.json`,
      ),
    ).toContain(zoe.headers.get("content-disposition")!);
    expect(((await zoe.json()) as Export).messages).toHaveLength(1_701);
  },
);

test.concurrent("export of a user without messages is complete, and requires a session", async () => {
  const nina = await app.person("nina");
  const answer = await nina.get("/export");
  expect(answer.headers.get("chatify-messages")).toBe("0");
  expect((await answer.json()) as Export).toMatchObject({ username: "nina", messages: [], blocks: [], drafts: [] });
  expect((await fetch(`${app.url}/export`)).status).toBe(401);
  const head = await fetch(`${app.url}/export`, { method: "HEAD", headers: { cookie: nina.cookie } });
  expect([head.status, await head.text()]).toEqual([200, ""]);
});

test.concurrent("export runs once at a time per user, and again after the client disconnects", async () => {
  const [olga] = (await app.people("olga", "peter")) as [Person];
  await converse("olga", "peter", 3_000, 4_000);
  const reading = new AbortController();
  const first = await fetch(`${app.url}/export`, { headers: { cookie: olga.cookie }, signal: reading.signal });
  expect(first.status).toBe(200);
  const second = await olga.get("/export");
  expect([second.status, second.headers.get("retry-after")]).toEqual([429, "5"]);
  reading.abort();
  let third = await olga.get("/export");
  for (let i = 0; i < 60 && third.status === 429; i++) {
    await Bun.sleep(50);
    third = await olga.get("/export");
  }
  expect(((await third.json()) as Export).messages).toHaveLength(3_000);
});

test.concurrent("export shows the same read state as /messages", async () => {
  const [quin, rosa] = (await app.people("quin", "rosa")) as [Person, Person];
  const [q, r] = [await quin.open(), await rosa.open()];
  await q.send("rosa", "hello");
  r.say({ type: "read", peer: "quin", seq: 1 });
  await r.next("read");
  const read = async () => ((await (await quin.get("/export")).json()) as Export).messages[0]!.read;
  expect(await read()).toBeTrue();
  await rosa.post("/me/settings", { hide_read: true });
  expect(await read()).toBeFalse();
});

test("export that fails midway cuts the connection and closes no bracket", async () => {
  await using broken = await startApp();
  const sven = await broken.person("sven");
  await broken.sql`
    insert into conversations (low, high, last_seq, last_at) values ('sven', 'sven', 5000, now())
  `;
  await broken.sql`
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
    select id, n, 'sven', 'sven', repeat('x', 4000), now() from conversations, generate_series(1, 5000) n
  `;
  const answer = await sven.get("/export");
  const reader = answer.body!.getReader();
  let text = new TextDecoder().decode((await reader.read()).value);
  await broken.sql`alter table messages rename to elsewhere`;
  let failed = false;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read())
      text += new TextDecoder().decode(next.value);
  } catch {
    failed = true;
  }
  expect(failed).toBeTrue();
  expect(() => JSON.parse(text)).toThrow();
});
