import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { nameKey, searchKey } from "../../src/util/text.ts";
import { PASSWORD, type Person, startApp, type TestApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

interface Row {
  sender: string;
  receiver: string;
  content: string;
  timestamp: string;
  read: boolean;
  id: number;
  seq: number;
  ref?: string;
}

const app = await sharedApp();
const ann = await app.person("Ann");
const bob = await app.person("bob");
const carol = await app.person("carol");

/** Writes a conversation into the tables: numbers 1 … `count`, of which `bySecond` says whose those are that the second wrote. */
async function write(
  { sql }: TestApp,
  pair: [string, string],
  count: number,
  { bySecond = "false", content = "'text ' || n" }: { bySecond?: string; content?: string } = {},
): Promise<void> {
  const [low, high] = pair.toSorted() as [string, string];
  const [first, second] = pair;
  await sql.unsafe(
    `
      with c as (
        insert into conversations (low, high, last_seq, last_at)
        values ($1, $2, $5::int, now())
        returning id
      )
      insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
      select c.id, n, case when s then $4 else $3 end, case when s then $3 else $4 end, ${content},
        now() - ($5::int - n) * interval '1 millisecond'
      from c, generate_series(1, $5::int) as n, lateral (select ${bySecond} as s) as whose
    `,
    [low, high, first, second, count],
  );
  await sql`
    update conversations c
    set
      low_unread = (select count(*) from messages m where m.conversation_id = c.id and m.receiver = c.low),
      high_unread = (select count(*) from messages m where m.conversation_id = c.id and m.receiver = c.high)
    where low = ${low} and high = ${high}
  `;
}

/** What marks say of the conversation of two people, in byte order of their names. */
async function marks({ sql }: TestApp, low: string, high: string) {
  const [row] = await sql`
    select low_read_seq, high_read_seq, low_unread, high_unread, high_delivered_seq
    from conversations where low = ${low} and high = ${high}
  `;
  const unread = await sql<{ seq: number }[]>`
    select seq from messages where not read and (sender, receiver) in ((${low}, ${high}), (${high}, ${low})) order by seq
  `;
  return { ...row, rows: unread.map(({ seq }) => seq) };
}

const seqs = (rows: readonly { seq: number }[]) => rows.map(({ seq }) => seq);
const range = (from: number, to: number) => Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

async function codeOf(answer: Response): Promise<string> {
  expect(answer.headers.get("content-type")).toBe("application/json");
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

describe("/messages", () => {
  test("is an array, oldest first, with the original demo's fields and seq", async () => {
    const [a, b] = [await ann.open(), await bob.open()];
    const ack = await a.send("bob", "hello", "the-ref-of-ann");
    b.say({ to: "Ann", message: "hello yourself" });
    await b.next("ack");
    const rows = await ann.json<Row[]>("/messages/Ann/bob");
    expect(rows).toEqual([
      {
        sender: "Ann",
        receiver: "bob",
        content: "hello",
        timestamp: ack["timestamp"],
        read: false,
        id: ack["id"],
        seq: 1,
        ref: "the-ref-of-ann",
      },
      {
        sender: "bob",
        receiver: "Ann",
        content: "hello yourself",
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/) as unknown as string,
        read: true, // by this very request
        id: expect.any(Number) as unknown as number,
        seq: 2,
      },
    ]);
    // The same for either order of names and any case; of the refs, each sees only their own.
    const same = await bob.json<Row[]>("/messages/BOB/aNN?peek=1");
    expect(same.map(({ ref, ...row }) => [ref, row.content])).toEqual([
      [undefined, "hello"],
      [undefined, "hello yourself"],
    ]);
    await Promise.all([a.close(), b.close()]);
  });

  test("is empty without messages, and for an unknown name", async () => {
    for (const path of [
      "/messages/bob/carol",
      "/messages/bob/nobody",
      "/messages/nobody/bob?limit=5",
      "/messages/bob/BOB",
    ]) {
      const answer = await bob.get(path);
      expect(answer.status).toBe(200);
      expect(await answer.text()).toBe("[]");
    }
  });

  test("accepts names that an older program allowed", async () => {
    await app.sql`
      insert into users (username, name_key, search_key, password) values ('John Smith', 'john smith', 'john smith', 'x')
    `;
    await write(app, ["Ann", "John Smith"], 2, { bySecond: "true" });
    expect(seqs(await ann.json<Row[]>("/messages/Ann/john%20smith?peek=1"))).toEqual([1, 2]);
    expect(await ann.json("/unread_counts/Ann")).toMatchObject({ "John Smith": 2 });
    const tab = await ann.open();
    await tab.send("John Smith", "are you still here?");
    await tab.close();
    expect(seqs(await ann.json<Row[]>("/messages/JOHN%20SMITH/ann?limit=1"))).toEqual([3]);
  });

  describe("in pages of a conversation of 450", () => {
    let app: TestApp;
    let ann: Person;
    beforeAll(async () => {
      app = await startApp();
      ann = await app.person("ann");
      await app.person("bob");
      await write(app, ["ann", "bob"], 450);
    });
    afterAll(() => app.stop());

    test.each([
      ["limit=1", range(450, 450)],
      ["limit=200", range(251, 450)],
      ["limit=10&before=451", range(441, 450)],
      ["limit=10&before=11", range(1, 10)],
      ["limit=10&before=5", range(1, 4)],
      ["limit=10&before=1", []],
      ["limit=3&before=9007199254740991", range(448, 450)],
      ["before=450", range(250, 449)],
      ["limit=10&after=0", range(1, 10)],
      ["limit=10&after=445", range(446, 450)],
      ["limit=10&after=450", []],
      ["limit=10&after=9007199254740991", []],
      ["after=100", range(101, 300)],
      ["", range(1, 450)],
      ["peek=1", range(1, 450)],
      ["colour=red&limit=2", range(449, 450)],
    ])("?%s is accepted", async (query, expected) => {
      const answer = await ann.get(`/messages/ann/bob?${query}`);
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(seqs((await answer.json()) as Row[])).toEqual(expected);
    });

    test.each([
      "limit=0",
      "limit=201",
      "limit=-1",
      "limit=1.5",
      "limit=1e2",
      "limit=",
      "limit=ten",
      "limit=%00",
      "limit=99999999999999999999",
      "before=0",
      "before=-5",
      "before=x",
      "before=",
      "before=9007199254740992",
      "after=-1",
      "after=x",
      "after=",
      "before=5&after=2",
      "limit=5&before=5&after=5",
      "at=",
      "at=x",
      "at=2026-02-28",
      "at=2026-02-30T00:00:00Z",
      "at=2026-02-28T24:00:00Z",
      "at=2026-02-28T00:00:00",
      "at=2026-02-28T00:00:00%2B02:00",
      "at=0000-01-01T00:00:00Z",
      "at=%2D9999-01-01T00:00:00Z",
      "at=infinity",
      "at=2026-02-28T00:00:00Z'",
      "at=2026-02-28T00:00:00Z%00",
      "at=2026-02-28T00:00:00Z&before=5",
      "at=2026-02-28T00:00:00Z&after=0",
      "at=2026-02-28T00:00:00Z&changed_after=0",
    ])("?%s is refused with 400", async (query) => {
      for (const peer of ["bob", "nobody"]) {
        const answer = await ann.get(`/messages/ann/${peer}?${query}`);
        expect(answer.status).toBe(400);
        expect(await codeOf(answer)).toBe("bad_request");
      }
    });

    test("?at= is answered with the first message at or after an instant", async () => {
      const all = await ann.json<Row[]>("/messages/ann/bob");
      const from = async (at: string, limit = 2) =>
        seqs(await ann.json<Row[]>(`/messages/ann/bob?limit=${limit}&at=${at}`));
      for (const { seq, timestamp } of all.filter(({ seq }) => [1, 2, 224, 225, 226, 449, 450].includes(seq)))
        expect(await from(timestamp)).toEqual(range(seq, Math.min(450, seq + 1)));
      const [instant = "", fraction = ""] = all[299]!.timestamp.replace("Z", "").split(".");
      const later = `${instant}.${String(Number(fraction.padEnd(6, "0")) + 1).padStart(6, "0")}Z`; // by a microsecond
      expect(await from(later)).toEqual([301, 302]);
      expect(await from("0001-01-01T00:00:00Z")).toEqual([1, 2]);
      expect(await from("9999-12-31T23:59:59.999Z")).toEqual([]);
      expect(await from(all[0]!.timestamp, 200)).toEqual(range(1, 200));
      expect(await ann.json("/messages/ann/nobody?at=2026-02-28T00:00:00Z")).toEqual([]);
      expect(await ann.json("/messages/ann/ann?at=2026-02-28T00:00:00Z")).toEqual([]);
    });

    test("every message is met once, backwards and forwards", async () => {
      for (const limit of [7, 200]) {
        const back: number[] = [];
        for (let before = 451; before > 1; before = back[0] ?? 0) {
          back.unshift(...seqs(await ann.json<Row[]>(`/messages/ann/bob?limit=${limit}&before=${before}`)));
        }
        expect(back).toEqual(range(1, 450));
        const on: number[] = [];
        for (;;) {
          const page = seqs(await ann.json<Row[]>(`/messages/ann/bob?limit=${limit}&after=${on.at(-1) ?? 0}`));
          if (page.length === 0) break;
          on.push(...page);
        }
        expect(on).toEqual(range(1, 450));
      }
    });
  });
});

describe("a reader", () => {
  let pairs = 0;

  /** Two people new here: `you` wrote 1–10 to `me` but for 4, 9 and 10, which are mine. */
  async function twoPeople() {
    const [me, you] = [await app.person(`me${++pairs}`), await app.person(`you${pairs}`)];
    await write(app, [me.name, you.name], 10, { bySecond: "n not in (4, 9, 10)" });
    return { me, you, path: `/messages/${me.name}/${you.name}`, state: () => marks(app, me.name, you.name) };
  }

  test("fetching all marks all received messages as read, and no sent ones", async () => {
    const { me, you, path, state } = await twoPeople();
    const tab = await you.open();
    const rows = await me.json<Row[]>(path);
    expect(rows.filter(({ read }) => !read).map(({ seq }) => seq)).toEqual([4, 9, 10]);
    expect(await tab.next("read")).toEqual({ type: "read", reader: me.name, peer: you.name, seq: 10 });
    expect(await state()).toMatchObject({ low_read_seq: 10, low_unread: 0, high_unread: 3, rows: [4, 9, 10] });
    expect(await me.json(`/unread_counts/${me.name}`)).toEqual({});
    expect(await you.json(`/unread_counts/${you.name}`)).toEqual({ [me.name]: 3 });
    await tab.close();
  });

  test("fetching a page marks up to its highest seq as read", async () => {
    const { me, path, state } = await twoPeople();
    expect(seqs(await me.json<Row[]>(`${path}?limit=2&before=6`))).toEqual([4, 5]);
    expect(await state()).toMatchObject({ low_read_seq: 5, low_unread: 3, rows: [4, 6, 7, 8, 9, 10] });
    await me.json(`${path}?limit=1&after=0`); // marks only rise
    expect(await state()).toMatchObject({ low_read_seq: 5, low_unread: 3 });
  });

  test("fetching a page of own messages marks those below it as read", async () => {
    const { me, path, state } = await twoPeople();
    expect(seqs(await me.json<Row[]>(`${path}?limit=2`))).toEqual([9, 10]);
    expect(await state()).toMatchObject({ low_read_seq: 10, low_unread: 0, rows: [4, 9, 10] });
  });

  test("peek, HEAD and requests from other sites mark nothing as read", async () => {
    const { me, path, state } = await twoPeople();
    for (const query of ["?peek=1", "?peek=1&limit=5", "?peek=1&after=0"]) {
      const rows = await me.json<Row[]>(path + query);
      expect(rows.some(({ read }) => read)).toBe(false);
    }
    await me.json(path, { "sec-fetch-site": "cross-site" });
    await me.json(`${path}?limit=3`, { "sec-fetch-site": "cross-site" });
    for (const query of ["", "?limit=5"]) {
      const head = await fetch(app.url + path + query, { method: "HEAD", headers: { cookie: me.cookie } });
      expect(head.status).toBe(200);
    }
    await Bun.sleep(50);
    expect(await state()).toMatchObject({ low_read_seq: 0, low_unread: 7, rows: range(1, 10) });
    await me.json(`${path}?peek=0&limit=1&after=0`, { "sec-fetch-site": "same-origin" });
    expect(await state()).toMatchObject({ low_read_seq: 1, low_unread: 6 });
  });

  test("a rejected request marks nothing as read", async () => {
    const { me, path, state } = await twoPeople();
    expect((await carol.get(path)).status).toBe(403);
    for (const query of ["?limit=0", "?before=9&after=1"]) expect((await me.get(path + query)).status).toBe(400);
    expect((await fetch(app.url + path)).status).toBe(401);
    expect(await state()).toMatchObject({ low_read_seq: 0, low_unread: 7, rows: range(1, 10) });
  });

  test("of notes to self finds them read", async () => {
    const { me } = await twoPeople();
    const tab = await me.open();
    await tab.send(me.name, "one");
    await tab.send(me.name.toUpperCase(), "two");
    const rows = await me.json<Row[]>(`/messages/${me.name}/${me.name}?limit=5`);
    expect(rows.map(({ sender, receiver, content, read }) => [sender, receiver, content, read])).toEqual([
      [me.name, me.name, "one", true],
      [me.name, me.name, "two", true],
    ]);
    expect(await me.json(`/messages/${me.name.toUpperCase()}/${me.name}`)).toEqual(rows);
    await tab.hearsNo("read", 100);
    await tab.close();
  });
});

describe("/messages without limits", () => {
  test("streams a conversation of any length, whole and in order, and marks all of it", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.person("bob");
    await app.person("dave");
    await write(app, ["bob", "ann"], 3_217);
    await write(app, ["ann", "dave"], 3_000); // the last page is full
    const rows = await ann.json<Row[]>("/messages/ann/bob");
    expect(seqs(rows)).toEqual(range(1, 3_217));
    expect(rows.every(({ content, seq }) => content === `text ${seq}`)).toBe(true);
    expect(rows.every(({ read }) => read)).toBe(true);
    expect(await ann.json("/unread_counts/ann")).toEqual({});
    expect(await app.sql`select from messages where receiver = 'ann' and not read`).toHaveLength(0);
    expect(seqs(await ann.json<Row[]>("/messages/ann/dave"))).toEqual(range(1, 3_000));
  });

  test("with a client that disconnects midway is not an error", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.person("bob");
    await write(app, ["ann", "bob"], 5_000);
    for (let i = 0; i < 60; i++) {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port: app.port, socket: { data() {} } });
      socket.write(`GET /messages/ann/bob?peek=1 HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\n\r\n`);
      await Bun.sleep(i / 4); // before it begins, between two pages, after its end
      socket.terminate();
    }
    expect(seqs(await ann.json<Row[]>("/messages/ann/bob?limit=1"))).toEqual([5_000]);
    expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });

  test("that fails midway is cut off without closing the array", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    await app.person("bob");
    // 20 pages of 1 MB: more than the way to a reader who does not read holds
    await write(app, ["ann", "bob"], 20_000, { content: "repeat('x', 1000)" });
    let text = "";
    const closed = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: app.port,
      socket: {
        data(socket, bytes) {
          text += bytes.toString();
          if (text.length === bytes.length) socket.pause(); // from the first bytes on
          begun.resolve();
        },
        close: () => closed.resolve(),
        error: () => closed.resolve(),
      },
    });
    socket.write(`GET /messages/ann/bob?peek=1 HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\n\r\n`);
    await begun.promise;
    await Bun.sleep(500); // as far as it goes without being read
    await app.sql`alter table messages rename to gone`;
    socket.resume();
    await closed.promise;
    const [head = "", body = ""] = text.split("\r\n\r\n");
    expect(head).toStartWith("HTTP/1.1 200");
    expect(head.toLowerCase()).toContain("transfer-encoding: chunked");
    expect(text).not.toContain("\r\n0\r\n\r\n"); // the end of a whole answer
    expect(text.trimEnd()).not.toEndWith("]");
    expect(body.length).toBeGreaterThan(0);
    expect(text.length).toBeLessThan(15_000_000); // it had not been read ahead to the end
    expect(app.log.join("")).toContain("messages response failed midway");
    const answer = await ann.get("/messages/ann/bob"); // that fails before it has begun
    expect(answer.status).toBe(500);
    expect(await codeOf(answer)).toBe("internal");
    await app.sql`alter table gone rename to messages`;

    await app.sql`alter function mark_read rename to gone`; // what cannot be marked is not told as read
    await app.person("carol");
    await write(app, ["carol", "ann"], 1);
    expect(await codeOf(await ann.get("/messages/ann/carol"))).toBe("internal");
    await app.sql`alter function gone rename to mark_read`;
    expect(seqs(await ann.json<Row[]>("/messages/ann/bob?limit=1"))).toEqual([20_000]);
  }, 30_000);
});

test("returns a text byte for byte, in history and in the list of conversations", async () => {
  const texts = [
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 𝒳𠮷",
    "שלום \u202Eabc\u202C \u200Fعربي\u200E",
    "e\u0301 é \u0301",
    "<script>alert('x')</script>&lt;&amp;",
    `"double" 'single' \`back\``,
    "\\ \\\\ \\n \\u0000 \\x00 %00 %zz",
    "{} {a,b} {{username}} [1,2] ${x} $1 %s NULL",
    "'; drop table messages; --",
    "line\nbreak\r\nand\ttab",
    "\u0001\u001b[2J\u007f\u0085\u2028\u2029\ufeff.",
    "  spaces around  ",
    "\ufffd\ufffe\uffff\u{10ffff}",
    "x".repeat(4_000),
    "𐍈".repeat(4_000),
  ];
  const [tab, listener] = [await carol.open(), await bob.open()];
  for (const text of texts) {
    await tab.send("bob", text);
    expect((await listener.next("message"))["message"]).toBe(text);
    expect(await carol.json("/conversations?limit=1")).toMatchObject([{ last: { content: text } }]);
  }
  for (const query of ["?limit=200", ""]) {
    const answer = await bob.get(`/messages/bob/carol${query}`);
    const bytes = Buffer.from(await answer.bytes());
    expect(Buffer.compare(bytes, Buffer.from(bytes.toString()))).toBe(0); // UTF-8 throughout
    expect((JSON.parse(bytes.toString()) as Row[]).map(({ content }) => content)).toEqual(texts);
  }
  expect(
    await app.sql<{ content: string }[]>`select content from messages where sender = 'carol' order by seq`,
  ).toEqual(texts.map((content) => ({ content })) as never);
  await Promise.all([tab.close(), listener.close()]);
});

describe("/unread_counts", () => {
  test("counts by sender, without zeros", async () => {
    const me = await app.person("Counter");
    await app.people("Dora", "__proto__");
    await write(app, ["Dora", "Counter"], 3);
    await write(app, ["carol", "Counter"], 1);
    await write(app, ["Counter", "bob"], 5);
    await write(app, ["__proto__", "Counter"], 2);
    const answer = await me.get("/unread_counts/Counter");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const text = await answer.text();
    expect(text).toContain('"Dora":3');
    expect(Object.entries(JSON.parse(text)).toSorted()).toEqual([
      ["Dora", 3],
      ["__proto__", 2],
      ["carol", 1],
    ]);
    expect(await me.json("/unread_counts/cOUNTER")).toEqual(JSON.parse(text));
    await me.post("/mutes", { name: "Dora", muted: true });
    expect(Object.keys(await me.json<object>("/unread_counts/Counter?muted=0")).toSorted()).toEqual([
      "__proto__",
      "carol",
    ]);
    expect(await me.json("/unread_counts/Counter")).toEqual(JSON.parse(text)); // who does not ask is told of all
    await me.json("/messages/counter/dora");
    expect(Object.keys(await me.json<object>("/unread_counts/Counter")).toSorted()).toEqual(["__proto__", "carol"]);
  });
});

describe("/get_users", () => {
  let app: TestApp;
  let me: Person;
  const search = (query: string) => me.json<string[]>(`/get_users?${query}`);

  beforeAll(async () => {
    app = await startApp();
    me = await app.person("Me");
    const names = [
      "Zoë",
      "zoltan",
      "ZOE.2",
      "Ζωή",
      "ΖΩΓΡΑΦΟΣ",
      "Όμηρος",
      "οδός",
      "Ёлка",
      "елена",
      "山田Taro",
      "x_1",
      "x-2",
      "메아리",
    ];
    for (const name of names) {
      await app.sql`
        insert into users (username, name_key, search_key, password)
        values (${name}, ${nameKey(name)}, ${searchKey(name)}, 'x')
      `;
    }
  });
  afterAll(() => app.stop());

  test("lists every name but the caller's, as signed up", async () => {
    const all = await search("");
    expect(all).toHaveLength(13);
    expect(all).toContain("ΖΩΓΡΑΦΟΣ");
    expect(all).not.toContain("Me");
    expect(await search("q=")).toEqual(all);
    expect(await search("q=me")).toEqual([]);
  });

  test.each([
    ["zo", ["Zoë", "ZOE.2", "zoltan"]],
    ["ZOE", ["Zoë", "ZOE.2"]],
    ["zoë", ["Zoë", "ZOE.2"]],
    ["zoe\u0308", ["Zoë", "ZOE.2"]],
    ["zoltan", ["zoltan"]],
    ["oltan", []],
    ["ζω", ["ΖΩΓΡΑΦΟΣ", "Ζωή"]],
    ["ΖΏ", ["ΖΩΓΡΑΦΟΣ", "Ζωή"]],
    ["ζωη", ["Ζωή"]],
    ["ομηρος", ["Όμηρος"]],
    ["ΌΜΗΡΟΣ", ["Όμηρος"]],
    ["ζωγραφος", ["ΖΩΓΡΑΦΟΣ"]],
    ["οδοσ", ["οδός"]],
    ["ο", ["οδός", "Όμηρος"]],
    ["Ел", ["елена", "Ёлка"]],
    ["山", ["山田Taro"]],
    ["山田t", ["山田Taro"]],
    ["메아", ["메아리"]],
    ["x", ["x-2", "x_1"]],
    ["x_", ["x_1"]],
    ["%", []],
    ["_", []],
    ["\\", []],
    ["'", []],
    ["\0", []],
    ["zo\0", []],
    ["z".repeat(5_000), []],
    ["\u{10ffff}", []],
  ])("?q=%j finds by prefix, without regard to case or accents", async (q, expected) => {
    const found = await search(`q=${encodeURIComponent(q)}`);
    expect(found.toSorted()).toEqual([...expected].toSorted());
  });

  test("limit cuts the list, and out of range is refused with 400", async () => {
    const all = await search("");
    expect(await search("limit=5")).toEqual(all.slice(0, 5));
    expect(await search("q=zo&limit=1")).toHaveLength(1);
    expect(await search("limit=1000")).toEqual(all);
    for (const limit of ["0", "-1", "1001", "x", "", "1.5"]) {
      const answer = await me.get(`/get_users?limit=${limit}`);
      expect(answer.status).toBe(400);
      expect(await codeOf(answer)).toBe("bad_request");
    }
  });

  test("?q=%zz and other broken escapes are plain text", async () => {
    for (const q of ["%zz", "%ED%A0%80", "%ff", "%"]) expect(await search(`q=${q}`)).toEqual([]);
  });
});

describe("/conversations", () => {
  test("returns the fields that a list row needs", async () => {
    const [annika, bobby] = [await app.person("Annika"), await app.person("bobby")];
    expect(await annika.json("/conversations")).toEqual([]);
    const [a, b] = [await annika.open(), await bobby.open()];
    await a.send("bobby", "one");
    await b.send("annika", "two");
    const last = await b.send("annika", "three");
    a.say({ type: "read", peer: "bobby", seq: 2 });
    await b.next("read");
    const row = {
      last_seq: 3,
      revision: 0,
      last: { sender: "bobby", content: "three", timestamp: last["timestamp"] },
      online: true,
      muted: false,
      settings_revision: 0,
      gone: false,
      last_seen: null,
      cursor: expect.any(String),
    };
    const deliveredTo = async (peer: Person, reader: Person) =>
      (await reader.json<{ peer_delivered_seq: number }[]>(`/conversations?peer=${peer.name}`))[0]!.peer_delivered_seq;
    await until("both are marked as delivered", async () => {
      const marks = [await deliveredTo(bobby, annika), await deliveredTo(annika, bobby)];
      return marks[0]! >= 1 && marks[1] === 3;
    });
    // The mark of Bob's new socket is stored behind his hello: if late, it includes his own messages.
    const peerDelivered = await deliveredTo(bobby, annika);
    expect([1, 3]).toContain(peerDelivered);
    const answer = await annika.get("/conversations");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(await answer.json()).toEqual([
      { ...row, peer: "bobby", unread: 1, my_read_seq: 2, peer_read_seq: 0, peer_delivered_seq: peerDelivered },
    ]);
    expect(await bobby.json("/conversations")).toEqual([
      { ...row, peer: "Annika", unread: 1, my_read_seq: 0, peer_read_seq: 2, peer_delivered_seq: 3 },
    ]);
  });

  test("are paged newest first, each once, also with equal times", async () => {
    await using app = await startApp();
    const me = await app.person("mm");
    const names = Array.from({ length: 120 }, (_, i) => `${i % 2 ? "a" : "z"}${i}`);
    await app.sql`
      insert into users (username, name_key, search_key, password) select n, n, n, 'x' from unnest(${names}::text[]) as n
    `;
    await app.sql`
      insert into conversations (low, high, last_seq, last_at)
      select least(n collate "C", 'mm'), greatest(n collate "C", 'mm'), 1, timestamptz '2026-01-01' + (i / 7) * interval '1 microsecond'
      from unnest(${names}::text[]) with ordinality as t (n, i)
    `;
    await app.sql`
      insert into messages (conversation_id, seq, sender, receiver, content, timestamp)
      select id, 1, low, high, 'hi', last_at from conversations
    `;
    const tab = await me.open();
    await tab.send("mm", "a note");
    const expected = await app.sql<{ peer: string }[]>`
      select case when low = 'mm' then high else low end as peer from conversations order by last_at desc, id desc
    `;
    type Page = { peer: string; cursor: string }[];
    for (const limit of [1, 7, 50, 200]) {
      const met: string[] = [];
      for (let query = `limit=${limit}`; ;) {
        const page = await me.json<Page>(`/conversations?${query}`);
        met.push(...page.map(({ peer }) => peer));
        if (page.length < limit) break;
        query = `limit=${limit}&before=${page.at(-1)?.cursor}`;
      }
      expect(met).toEqual(expected.map(({ peer }) => peer));
    }
    expect(await me.json<Page>("/conversations")).toHaveLength(50);
    expect((await me.json<Page>("/conversations?limit=1"))[0]?.peer).toBe("mm");
  });

  test("returns the one with a peer from anywhere in the list, and none without messages", async () => {
    const [me, far] = [await app.person("Lister"), await app.person("Far-Away")];
    await write(app, ["Far-Away", "Lister"], 2);
    await write(app, ["carol", "Lister"], 1);
    const one = await me.json<{ peer: string; unread: number }[]>("/conversations?peer=far-away");
    expect(one).toMatchObject([{ peer: "Far-Away", unread: 2, muted: false, gone: false }]);
    expect(await far.json("/conversations?peer=LISTER")).toMatchObject([{ peer: "Lister", unread: 0 }]);
    expect(await me.json("/conversations?peer=bob")).toEqual([]); // never written with
    expect(await me.json("/conversations?peer=Nobody-There")).toEqual([]);
    for (const nobody of ["", "%00", "%3Cnobody%20can%20be%3E"])
      expect(await me.json(`/conversations?peer=${nobody}`)).toEqual([]);
    await far.post("/me/delete", { password: PASSWORD });
    expect(await me.json("/conversations?peer=Far-Away")).toMatchObject([{ peer: "Far-Away", gone: true }]);
    await me.post("/blocks", { name: "carol", blocked: true });
    expect(await me.json("/conversations?peer=carol")).toEqual([]);
  });

  test.each([
    ["limit", "0"],
    ["limit", "201"],
    ["limit", "-1"],
    ["limit", "x"],
    ["limit", ""],
    ["before", ""],
    ["before", "5"],
    ["before", "%00"],
    ["before", "%zz"],
    ["before", btoa("2026-02-30T00:00:00Z|1")],
    ["before", btoa("2026-13-01T00:00:00Z|1")],
    ["before", btoa("0000-01-01T00:00:00Z|1")],
    ["before", btoa("2026-01-01T24:00:01Z|1")],
    ["before", btoa("2026-01-01T00:00:60Z|1")],
    ["before", btoa("infinity|1")],
    ["before", btoa("2026-01-01T00:00:00Z")],
    ["before", btoa("2026-01-01T00:00:00Z|")],
    ["before", btoa("2026-01-01T00:00:00Z|-1")],
    ["before", btoa("2026-01-01T00:00:00Z|9999999999999999")],
    ["before", btoa("2026-01-01T00:00:00Z|1|1")],
    ["before", btoa("2026-01-01T00:00:00Z|1'--")],
  ])("?%s=%s is refused with 400", async (name, value) => {
    const answer = await ann.get(`/conversations?${name}=${value}`);
    expect(answer.status).toBe(400);
    expect(await codeOf(answer)).toBe("bad_request");
  });
});

test("/online lists users with a socket, as they signed up", async () => {
  await using app = await startApp();
  const [ann, bob] = [await app.person("Ann"), await app.person("bob")];
  expect(await ann.json("/online")).toEqual([]);
  const tabs = [await ann.open(), await ann.open(), await bob.open()];
  expect((await bob.json<string[]>("/online")).toSorted()).toEqual(["Ann", "bob"]);
  for (const tab of tabs) await tab.close();
  expect((await bob.json<string[]>("/online")).toSorted()).toEqual(["Ann", "bob"]); // for five seconds more
});
