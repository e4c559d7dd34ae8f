/** Responses too long to build at once are complete and in order, and clients that do not read them are bounded. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { type Person, startApp, type TestApp } from "../support/harness.ts";
import { closeCode, RawSocket } from "../support/raw.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

interface Row {
  readonly seq: number;
  readonly content: string;
  readonly read: boolean;
}

/** In JSON six bytes each: a page of 200 is more than the system keeps for a reader on the same machine. */
const WIDEST = "\u0001".repeat(4_000);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Writes as many of the longest texts from one to the other. */
async function write({ sql }: TestApp, from: string, to: string, count: number): Promise<void> {
  await sql`
    with c as (
      insert into conversations (low, high, last_seq, last_at, low_unread, high_unread)
      values (
        least(${from} collate "C", ${to}), greatest(${from} collate "C", ${to}), ${count}, now(),
        case when ${to} < ${from} then ${count}::int else 0 end, case when ${to} > ${from} then ${count}::int else 0 end
      )
      returning id
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
    select c.id, n, ${from}, ${to}, n || ${WIDEST.slice(10)}, now() from c, generate_series(1, ${count}::int) n
  `;
}

/** A connection that asks for a path and reads nothing until it is told to. */
async function stall(app: TestApp, person: Person, path: string) {
  let text = "";
  const closed = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: app.port,
    socket: {
      open(socket) {
        socket.pause();
        socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${person.cookie}\r\nConnection: close\r\n\r\n`);
      },
      data: (_, bytes) => void (text += bytes.toString()),
      close: () => closed.resolve(),
      error: () => closed.resolve(),
    },
  });
  const read = async () => {
    socket.resume();
    await closed.promise;
    return text;
  };
  return { read, leave: () => void socket.terminate() };
}

async function unsentBytes(app: TestApp): Promise<number> {
  const metrics = await (await fetch(`${app.url}/metrics`)).text();
  return Number(/^chatify_unsent_bytes (\S+)$/m.exec(metrics)?.[1]);
}

const isWhole = (answer: string) => answer.endsWith("]\r\n0\r\n\r\n");

describe("a page of long texts", () => {
  test.each([
    ["limit=200", range(51, 250)],
    ["limit=200&before=241", range(41, 240)],
    ["limit=200&after=30", range(31, 230)],
    ["after=200", range(201, 250)],
    ["limit=1", [250]],
  ])("with %s is whole and in order, and marks up to its highest number", async (query, seqs) => {
    await using app = await startApp();
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    await write(app, "bob", "ann", 250);
    const rows = await ann.json<Row[]>(`/messages/ann/bob?${query}`);
    expect(rows.map(({ seq }) => seq)).toEqual(seqs);
    expect(rows.every(({ content, seq, read }) => read && content === seq + WIDEST.slice(10))).toBe(true);
    expect(await ann.json("/unread_counts/ann")).toEqual(seqs.at(-1) === 250 ? {} : { bob: 250 - seqs.at(-1)! });
  });

  test("is limited to four at a time per user, rejected before marking anything; short ones are not counted", async () => {
    await using app = await startApp();
    const [ann, bob] = (await app.people("ann", "bob", "cid")) as [Person, Person, Person];
    await write(app, "ann", "ann", 200);
    await write(app, "cid", "ann", 200);
    const stalled = [];
    for (let i = 0; i < 4; i++) stalled.push(await stall(app, ann, "/messages/ann/ann?limit=200"));
    await until("four are stalled", async () => (await unsentBytes(app)) >= 4 * 256 * 1_024);
    const refused = await ann.get("/messages/ann/cid?limit=200");
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "5"]);
    expect(await ann.json("/unread_counts/ann")).toEqual({ cid: 200 });
    expect(await ann.json<Row[]>("/messages/ann/cid?limit=10")).toHaveLength(10);
    expect(await bob.json("/messages/bob/ann?limit=200")).toEqual([]);
    stalled[0]!.leave();
    await until("one has ended", async () => (await ann.get("/messages/ann/ann?limit=200")).status === 200);
    for (const one of stalled) one.leave();
    await until("nothing waits", async () => (await unsentBytes(app)) === 0);
  });

  test("that fails midway is cut off, and marks no more than it sent", async () => {
    await using app = await startApp();
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    await write(app, "bob", "ann", 200);
    const stalled = await stall(app, ann, "/messages/ann/bob?limit=200");
    await until("it is stalled", async () => (await unsentBytes(app)) > 0);
    await app.sql`alter table messages rename to gone`;
    const text = await stalled.read();
    await app.sql`alter table gone rename to messages`;
    expect(isWhole(text)).toBe(false);
    const given = Number(/.*"seq":(\d+)/s.exec(text)?.[1]);
    expect(given).toBeGreaterThan(100);
    const [{ read }] = await app.sql<[{ read: number }]>`select max(seq) as read from messages where read`;
    expect(read).toBeGreaterThanOrEqual(given);
    expect(read).toBeLessThan(given + 20); // what one statement reads
  });
});

describe("a long list", () => {
  test("of conversations is the same with long texts as with short ones", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.sql`
      insert into users (username, name_key, search_key, password)
      select 'peer_' || n, 'peer_' || n, 'peer_' || n, '!' from generate_series(1, 250) n
    `;
    for (const text of ["short", WIDEST]) {
      await app.sql`truncate conversations, memberships, messages`;
      await app.sql`
        with c as (
          insert into conversations (low, high, last_seq, last_at)
          select 'ann', 'peer_' || n, 1, now() + n * interval '1 second' from generate_series(1, 250) n
          returning id, high
        )
        insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
        select id, 1, high, 'ann', high || ${text}, now() from c
      `;
      const list =
        await ann.json<{ peer: string; last: { content: string }; cursor: string }[]>("/conversations?limit=200");
      expect(list.map(({ peer }) => peer)).toEqual(range(51, 250).map((n) => `peer_${n}`).toReversed()); // prettier-ignore
      expect(list.every(({ peer, last }) => last.content === peer + text)).toBe(true);
      const found = await ann.json<{ peer: string; last: { content: string } }[]>(
        "/conversations?part=peer_2&limit=20",
      );
      expect(found).toHaveLength(20);
      expect(found.every(({ peer, last }) => last.content === peer + text)).toBe(true);
      const rest = await ann.json<{ peer: string }[]>(`/conversations?limit=200&before=${list.at(-1)!.cursor}`);
      expect(rest.map(({ peer }) => peer)).toEqual(range(1, 50).map((n) => `peer_${n}`).toReversed()); // prettier-ignore
    }
  });

  test("of drafts has each with its text, the newest first", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.sql`
      insert into drafts (owner, peer, text, at)
      select 'ann', 'peer_' || n, n || ${WIDEST.slice(10)}, now() + n * interval '1 second' from generate_series(1, 100) n
    `;
    const drafts = await ann.json<{ peer: string; text: string; at: string }[]>("/drafts");
    expect(drafts.map(({ peer }) => peer)).toEqual(range(1, 100).map((n) => `peer_${n}`).toReversed()); // prettier-ignore
    expect(drafts.every(({ peer, text }) => text === peer.slice(5) + WIDEST.slice(10))).toBe(true);
    expect(Object.keys(drafts[0]!)).toEqual(["peer", "text", "at"]);
    const exported = await ann.json<{ drafts: unknown[] }>("/export");
    expect(exported.drafts).toEqual(drafts);
  });

  test("of names, blocks or counts contains each once", async () => {
    await using app = await startApp();
    const [ann] = (await app.people("ann", "zoe")) as [Person, Person];
    const names = range(1, 5_000).map((n) => `peer_${n}`);
    await app.sql`
      insert into users (username, name_key, search_key, password, disabled_at)
      select 'peer_' || n, 'peer_' || n, 'peer_' || n, '!', case when n > 2500 and n <= 4500 then now() end
      from generate_series(1, 5000) n
    `;
    await app.sql`
      insert into conversations (low, high, last_seq, last_at, low_unread, high_unread, blocked_by)
      select least('ann', other), greatest('ann', other), 1, now(), n, n, case when n > 2500 then array['ann'] end
      from generate_series(1, 5000) n, lateral (select case when n % 2 = 0 then 'a_' else 'peer_' end || n as other) o
    `;
    await app.sql`
      update memberships m
      set blocked_seq = 1, blocked_at = now()
      from conversations c
      where c.id = m.conversation_id and m.owner = 'ann' and c.blocked_by is not null
    `;
    const shown = names.filter((_, i) => i < 2_500 || i >= 4_500);
    expect(await ann.json<string[]>("/get_users")).toEqual([...shown.toSorted(), "zoe"]);
    expect(await ann.json<string[]>("/get_users?q=peer_&limit=1000")).toEqual(shown.toSorted().slice(0, 1_000));
    expect(await ann.json<string[]>("/get_users?q=peer_45&limit=1000")).toEqual(
      shown.filter((name) => name.startsWith("peer_45")).toSorted(),
    );
    const peer = (n: number) => (n % 2 === 0 ? "a_" : "peer_") + n;
    const blocked = range(2_501, 5_000).map(peer).toSorted();
    expect(await ann.json<string[]>("/blocks")).toEqual(blocked);
    expect((await ann.json<{ blocks: string[] }>("/export")).blocks).toEqual(blocked);
    expect(await ann.json<Record<string, number>>("/unread_counts/ann")).toEqual(
      Object.fromEntries(range(1, 2_500).map((n) => [peer(n), n])),
    );
  });
});

describe("beyond the budget for unsent data", () => {
  test("the response stalled longest is cut, and those of other users continue", async () => {
    await using app = await startApp({ env: { UNSENT_MAX: "1MiB" } });
    const people = (await app.people("ann", "bob", "cid", "dan", "eve")) as [Person, Person, Person, Person, Person];
    const stalled = [];
    for (const [i, person] of people.entries()) {
      await write(app, person.name, person.name, 200);
      stalled.push(await stall(app, person, `/messages/${person.name}/${person.name}?limit=200`));
      await until("it is stalled", async () => (await unsentBytes(app)) >= Math.min(i + 1, 4) * 256 * 1_024);
    }
    await until("one is cut", async () =>
      /stalled_disconnects_total 1$/m.test(await (await fetch(`${app.url}/metrics`)).text()),
    );
    const [first, ...others] = await Promise.all(stalled.map(({ read }) => read()));
    expect(isWhole(first!)).toBe(false);
    expect(others.map(isWhole)).toEqual([true, true, true, true]);
    expect(app.log.filter((line) => line.includes("too much unsent data"))).toHaveLength(1);
    expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });

  test("the socket stalled longest closes with 1013, and one that reads stays", async () => {
    await using app = await startApp({ env: { UNSENT_MAX: "1MB" } });
    const [ann, bob, cid] = (await app.people("ann", "bob", "cid")) as [Person, Person, Person];
    const tab = await ann.open({ watch: [] });
    const reader = await bob.open({ watch: [] });
    const stalled = [await RawSocket.upgraded(app.port, bob), await RawSocket.upgraded(app.port, cid)] as const;
    for (const socket of stalled) socket.pause();
    let cuts = 0;
    const send = (to: string) => Promise.all(range(1, 10).map(() => tab.send(to, "𐍈".repeat(4_000))));
    await until("Bob's socket is stalled", async () => {
      await send("bob");
      return (await unsentBytes(app)) > 300_000;
    });
    await until("a socket is cut", async () => {
      await send("cid");
      cuts = Number(/stalled_disconnects_total (\d+)/.exec(await (await fetch(`${app.url}/metrics`)).text())?.[1]);
      return cuts > 0;
    });
    for (const socket of stalled) socket.resume();
    await stalled[0].closed;
    expect([cuts, closeCode(stalled[0].heard)]).toEqual([1, 1013]);
    expect(stalled[1].isClosed).toBe(false);
    await tab.send("bob", "still there?");
    await until("Bob reads it", () => reader.heard.some(({ message }) => message === "still there?"));
    stalled[1].end();
  });
});
