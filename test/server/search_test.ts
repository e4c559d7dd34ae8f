/** The search of messages: what contains what, whose messages are found, their order, and pages of them. */

import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";

import { nameOf, type Pair } from "../../tools/support/users.ts";
import { type FilledApp, startFilledApp } from "../support/filled_app.ts";
import { type Person, startApp, type Tab, type TestApp } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";

interface Hit {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly timestamp: string;
  readonly seq: number;
  readonly peer: string;
  readonly cursor: string;
}

const path = (q: string, more: Record<string, string | number> = {}) =>
  `/search?${new URLSearchParams({ q, ...more } as Record<string, string>)}`;
const search = (person: Person, q: string, more?: Record<string, string | number>) => person.json<Hit[]>(path(q, more));
const contents = (hits: readonly Hit[]) => hits.map(({ content }) => content);

/** All pages of a search, each continued from the last row or from where the server stopped. */
async function everyPage(person: Person, q: string, more: Record<string, string | number>): Promise<Hit[]> {
  const all: Hit[] = [];
  for (let before: string | undefined; ;) {
    const answer = await person.get(path(q, { ...more, ...(before === undefined ? {} : { before }) }));
    expect(answer.status).toBe(200);
    const hits = (await answer.json()) as Hit[];
    all.push(...hits);
    before =
      answer.headers.get("chatify-continue") ??
      (hits.length === (more["limit"] ?? 20) ? hits.at(-1)?.cursor : undefined);
    if (before === undefined) return all;
  }
}

let app: TestApp;
let ann: Person;
let bob: Person;
let carol: Person;
let tab: Tab;

beforeAll(async () => {
  app = await startApp();
  [ann, bob, carol] = (await app.people("Ann", "bob", "carol")) as [Person, Person, Person];
  tab = await ann.open();
});
afterAll(async () => {
  expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  await app.stop();
});

const FOUND: readonly (readonly [content: string, q: string])[] = [
  // any part, any case
  ["Meet me at the Harbour", "arbou"],
  ["Meet me at the Harbour", "HARBOUR"],
  ["Meet me at the Harbour", "the h"],
  ["two  spaces", "o  s"],
  ["a line\nand another", "line and"],
  ["tab\tand\u00a0space", "tab and space"],
  // accents
  ["Crème brûlée", "creme brulee"],
  ["Creme brulee", "CRÈME BRÛLÉE"],
  ["cre\u0300me, decomposed", "crème"],
  ["crème, composed", "cre\u0300me"],
  ["Việt Nam", "viet nam"],
  ["Łódź", "lodz"],
  ["smørrebrød", "smorrebrod"],
  ["İstanbul'da ışık", "istanbul'da isik"],
  // Greek
  ["Ο καφές είναι έτοιμος", "ΚΑΦΕΣ"],
  ["ΚΑΦΕΣ ΣΤΗΝ ΟΔΟ", "καφές στην οδό"],
  ["στους δρόμους", "ΔΡΟΜΟΥΣ"],
  ["ΔΡΟΜΟΥΣ", "δρόμους"],
  ["μαΐου", "μαϊου"],
  ["Ἐν ἀρχῇ ἦν", "εν αρχη ην"],
  ["Ζωή", "ζω\u03b7\u0301"],
  // Cyrillic
  ["Ещё раз, моё", "еще"],
  ["ЕЩЕ РАЗ", "ещё раз"],
  // several characters for one
  ["Die Straße", "strasse"],
  ["Die Strasse", "STRAẞE"],
  ["Die Straße", "stras"],
  ["Die Straße", "aß"],
  ["Die Straße", "se"],
  ["Flußschiffahrt", "flussschiff"],
  ["Ausßicht, a typing error", "usßicht"],
  ["oﬃce ﬁles", "office files"],
  ["encyclopædia", "encyclopaedia"],
  ["well… yes", "well... yes"],
  ["don’t “quote” me", `don't "quote"`],
  ["Ｆｕｌｌ　ｗｉｄｔｈ", "full width"],
  ["𝓕𝓪𝓷𝓬𝔂", "fancy"],
  // other scripts
  ["明天去北京大学", "北京"],
  ["ガラスの靴をはく", "ラスの"],
  ["ｶﾞﾗｽの靴", "ガラス"],
  ["か\u3099くせい", "がくせい"],
  ["안녕하세요 여러분", "하세요"],
  ["안녕하세요".normalize("NFD"), "하세요"],
  ["مَرْحَبًا بك", "مرحبا"],
  ["أهلا وسهلا", "اهلا"],
  ["שָׁלוֹם", "שלום"],
  ["नमस्ते दुनिया", "मस्ते"],
  ["สวัสดีครับ", "สดีค"],
  // emoji
  ["see you 👍🏽", "u 👍🏽"],
  ["see you 👍🏽", " 👍"],
  ["family 👨‍👩‍👧‍👦 here", "👨‍👩‍👧‍👦"],
  ["love ❤️ you", "❤ you"],
  ["love ❤ you", "❤️ you"],
  ["🇬🇷 flag", "🇬🇷"],
  // letters, no wildcards
  ["100% sure", "0%"],
  ["snake_case", "e_c"],
  ["it's O'Brien", "'b"],
  [`say "hello"`, `"he`],
  ["C:\\temp\\new", "\\t"],
  ["a.*b", ".*"],
  ["f(x)[0]{1}^$|?+", "(x)[0]{1}^$|?+"],
  ["***:abc", "***:"],
  ["(?i)Abc", "(?i)a"],
  ["[[:alpha:]]", "[[:alpha:]]"],
  ["[^-a]", "[^-a]"],
  ["\\u0041", "\\u0041"],
  ["<b>&amp;</b>", "<b>&amp;"],
  ["$1 ${x}", "$1 ${"],
  ["x".repeat(100), "X".repeat(100)],
  ["👍".repeat(100), "👍".repeat(100)],
  [`${"long ".repeat(799)}end.`, "long end."],
];

const NOT_FOUND: readonly (readonly [content: string, q: string])[] = [
  ["1000 sure", "0%"],
  ["snakeXcase", "e_c"],
  ["axxb", "a.*b"],
  ["Abc", "(?i)abc"],
  ["ab", "[ab]b"],
  ["temp", "\\temp"],
  ["AAA", "\\u0041"],
  ["harbor", "harbour"],
  ["かくせい", "がくせい"],
  ["はは", "ばば"],
  ["कमल", "किमल"],
  ["日本", "日 本"],
  ["one two", "onetwo"],
  ["Maße", "maßs"],
  ["a ≠ b", "a = b"],
  ["1 2", "1️⃣"],
];

describe("a text", () => {
  test.each(FOUND)("%j is found by %j", async (content, q) => {
    const { seq } = await tab.send("bob", content);
    expect((await search(ann, q, { peer: "bob", limit: 50 })).map((hit) => hit.seq)).toContain(seq as number);
    expect((await search(bob, q, { limit: 1 }))[0]?.content).toBe(content);
  });

  test.each(NOT_FOUND)("%j is not found by %j", async (content, q) => {
    const { seq } = await tab.send("bob", content);
    expect((await search(ann, q, { peer: "bob", limit: 50 })).map((hit) => hit.seq)).not.toContain(seq as number);
  });

  test("is found in a database with another collation", async () => {
    await using icu = await startApp({ locale: "en-US" });
    const [ann] = await icu.people("Ann", "bob");
    await (await ann!.open()).send("bob", "Ο καφές, 100%");
    for (const q of ["ΚΑΦΕΣ", "0%"]) expect(await search(ann!, q)).toHaveLength(1);
    for (const q of ["0_", "καφεδ"]) expect(await search(ann!, q)).toEqual([]);
  });
});

describe("a hit", () => {
  test("is the row of /messages, with its peer and a cursor, and marks nothing", async () => {
    await tab.send("carol", "a pinecone of mine");
    await (await carol.open()).send("Ann", "a pinecone of hers");
    for (const [person, peer] of [
      [ann, "carol"],
      [carol, "Ann"],
    ] as const) {
      const rows = await person.json<Hit[]>(`/messages/Ann/carol?peek=1&limit=2`);
      const hits = await search(person, "pinecone");
      for (const row of rows) Object.assign(row, { peer, cursor: expect.any(String) });
      expect(hits).toEqual(rows.toReversed());
    }
    const [row] = await ann.json<{ unread: number }[]>("/conversations?peer=carol");
    expect(row?.unread).toBe(1);
  });

  test("shows no read mark while one of the two hides them", async () => {
    const reads = async () => (await search(ann, "a secret reader")) as unknown as { read: boolean }[];
    await tab.send("carol", "a secret reader");
    await carol.json("/messages/Ann/carol");
    expect(await reads()).toMatchObject([{ read: true }]);
    await carol.post("/me/settings", { hide_read: true });
    expect(await reads()).toMatchObject([{ read: false }]);
    await carol.post("/me/settings", { hide_read: false });
    await ann.post("/me/settings", { hide_read: true });
    expect(await reads()).toMatchObject([{ read: false }]);
    await ann.post("/me/settings", { hide_read: false });
  });
});

describe("whose messages", () => {
  test("only one's own are found, sent and received, and notes to oneself", async () => {
    await tab.send("bob", "walrus from Ann to bob");
    await (await bob.open()).send("carol", "walrus from bob to carol");
    await tab.send("Ann", "walrus of Ann");
    expect(contents(await search(ann, "walrus"))).toEqual(["walrus of Ann", "walrus from Ann to bob"]);
    expect(contents(await search(bob, "walrus"))).toEqual(["walrus from bob to carol", "walrus from Ann to bob"]);
    expect(contents(await search(carol, "walrus"))).toEqual(["walrus from bob to carol"]);
    expect((await search(ann, "walrus of"))[0]?.peer).toBe("Ann");
    // another's cursor is only a place in time
    const { cursor } = (await search(carol, "walrus"))[0]!;
    expect(contents(await search(ann, "walrus", { before: cursor }))).toEqual(["walrus from Ann to bob"]);
  });

  test("`peer` limits them to one conversation, by any spelling of the name", async () => {
    await tab.send("bob", "ostrich for bob");
    await tab.send("carol", "ostrich for carol");
    await tab.send("Ann", "ostrich for Ann");
    for (const name of ["bob", "BOB ", "Carol", "ann"]) {
      const hits = await search(ann, "ostrich", { peer: name });
      expect(hits.map(({ peer }) => peer.toLowerCase())).toEqual([name.trim().toLowerCase()]);
    }
  });

  test("those with a blocked user are found by the blocked one only, until the block ends", async () => {
    const [dan, eve] = (await app.people("dan", "eve")) as [Person, Person];
    const [ofDan, ofEve] = [await dan.open(), await eve.open()];
    await ofDan.send("eve", "badger before");
    await ofEve.send("dan", "badger answer");
    await dan.post("/blocks", { name: "eve", blocked: true });
    await ofEve.send("dan", "badger after");
    for (const more of [{}, { peer: "eve" }]) expect(await search(dan, "badger", more)).toEqual([]);
    expect(contents(await search(eve, "badger"))).toEqual(["badger after", "badger answer", "badger before"]);
    await eve.post("/blocks", { name: "dan", blocked: true });
    for (const person of [dan, eve]) expect(await search(person, "badger")).toEqual([]);
    await dan.post("/blocks", { name: "eve", blocked: false });
    expect(contents(await search(dan, "badger"))).toEqual(["badger after", "badger answer", "badger before"]);
    expect(await search(eve, "badger")).toEqual([]);
  });

  test("those with a deleted account are found", async () => {
    const gus = await app.person("gus");
    await (await gus.open()).send("Ann", "marmot of gus");
    await app.sql`update users set deleted_at = now() where username = 'gus'`;
    expect(contents(await search(ann, "marmot", { peer: "gus" }))).toEqual(["marmot of gus"]);
  });

  test("edited ones are found by their new text, and deleted ones not at all", async () => {
    const { seq } = await tab.send("bob", "lemming");
    tab.say({ type: "edit", peer: "bob", seq, message: "gopher", ref: tab.newRef() });
    await tab.next("changed");
    for (const person of [ann, bob]) {
      expect(await search(person, "lemming")).toEqual([]);
      const [row] = await person.json<Hit[]>(`/messages/Ann/bob?peek=1&limit=1`);
      expect(await search(person, "gopher")).toMatchObject([row as object]);
    }
    tab.say({ type: "delete", peer: "bob", seq, ref: tab.newRef() });
    await tab.next("changed");
    for (const person of [ann, bob]) expect(await search(person, "gopher")).toEqual([]);
  });
});

describe("a request", () => {
  const cursor = (text: string) => Buffer.from(text).toString("base64url");
  test.each([
    ["no q", "/search"],
    ["an empty q", "/search?q="],
    ["a q of one character", path("a")],
    ["a q of one character beyond the basic plane", path("👍")],
    ["a q of 101 characters", path("x".repeat(101))],
    ["a NUL", path("a\0b")],
    ["a line break", path("a\nb")],
    ["a control character", path("a\u0085b")],
    ["only accents", path("\u0301\u0301")],
    ["only invisible characters", path("\u200d\ufe0f")],
    ["limit 0", path("abc", { limit: 0 })],
    ["limit 51", path("abc", { limit: 51 })],
    ["limit x", path("abc", { limit: "x" })],
    ["an empty cursor", path("abc", { before: "" })],
    ["a cursor that is none", path("abc", { before: "42" })],
    ["a cursor without a number", path("abc", { before: cursor("2026-01-01T00:00:00.000000Z|1") })],
    ["a cursor with a negative number", path("abc", { before: cursor("2026-01-01T00:00:00.000000Z|1|-1") })],
    ["a cursor with a huge number", path("abc", { before: cursor(`2026-01-01T00:00:00.000000Z|1|${"9".repeat(20)}`) })],
    ["a cursor of another day", path("abc", { before: cursor("2026-02-30T00:00:00.000000Z|1|1") })],
    ["a cursor of infinity", path("abc", { before: cursor("infinity|1|1") })],
  ])("with %s answers 400", async (_, path) => {
    const answer = await ann.get(path);
    expect(answer.status).toBe(400);
    expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("bad_request");
  });

  test.each(["nobody", "x", "", "\0", "x".repeat(1_000)])("with the unknown peer %j answers 404", async (peer) => {
    const answer = await ann.get(path("abc", { peer }));
    expect(answer.status).toBe(404);
    expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("no_such_user");
  });

  test("with bytes that are not UTF-8, or with unusual cursors, is answered", async () => {
    expect(await ann.json("/search?q=%ff%fe%ED%A0%80")).toEqual([]);
    for (const place of ["0001-01-01T00:00:00Z|0|0", "9999-12-31T23:59:59.999999Z|999999999999999|999999999999999"])
      expect(Array.isArray(await search(ann, "the", { before: cursor(place) }))).toBe(true);
  });
});

describe("many searches", () => {
  test("of a user are limited, then 429 with the time to wait", async () => {
    await using limited = await startApp({ env: { RATE_LIMIT: "on", LIMIT_MESSAGE_SEARCHES: "1/h burst 3" } });
    const [tina, uwe] = (await limited.people("tina", "uwe")) as [Person, Person];
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) statuses.push((await tina.get(path("hello"))).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    expect(Number((await tina.get(path("hello"))).headers.get("retry-after"))).toBeGreaterThan(3_000);
    expect((await uwe.get(path("hello"))).status).toBe(200);
  });

  test("of a user at once run one by one, and more than five are refused", async () => {
    await using lock = await holdLock(app.sql, (tx) => tx`lock table messages in access exclusive mode`);
    const asked = Array.from({ length: 8 }, () => ann.get(path("hello")));
    const refused = await Promise.race([...asked, Bun.sleep(3_000)]);
    expect(refused?.status).toBe(503);
    expect(Number(refused?.headers.get("retry-after"))).toBeGreaterThan(0);
    const waiting =
      await app.sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    expect(waiting).toHaveLength(1);
    await lock();
    const statuses = (await Promise.all(asked)).map(({ status }) => status).toSorted();
    expect(statuses).toEqual([200, 200, 200, 200, 200, 503, 503, 503]);
    expect((await ann.get(path("hello"))).status).toBe(200);
  });

  test("of several users at once leave connections for other requests", async () => {
    const people = await app.people("fay", "gil", "hal", "ida", "jon");
    for (const person of people) await (await person.open()).send("Ann", "hello");
    await using lock = await holdLock(app.sql, (tx) => tx`lock table messages in access exclusive mode`);
    const asked = people.map((person) => person.get(path("hello")));
    await Bun.sleep(100);
    expect((await ann.get("/sessions")).status).toBe(200);
    await lock();
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  });
});

describe("pages", () => {
  const OTHERS = 10_050;
  let filled: FilledApp;
  let me: Person;

  beforeAll(async () => {
    filled = await startFilledApp(async (database) => {
      await database.addUsers(OTHERS + 1);
      await database.addConversations([[0, 1]], 6_000);
      const others = Array.from({ length: OTHERS - 1 }, (_, i): Pair => [0, i + 2]);
      await database.addConversations(others, 3);
      // In all conversations the same instants: of thousands of messages three times, later of one at a time.
      await database.sql`update messages set timestamp = '2026-01-01'::timestamptz + seq * interval '1 second'`;
      await database.sql`update conversations set last_at = '2026-01-01'::timestamptz + last_seq * interval '1 second'`;
      await database.sql`
        update messages set content = 'Needle'
        where (conversation_id * 7 + seq) % 100 = 0 or seq in (1000, 2000) or seq = 6000
      `;
      await database.settle();
    });
    me = filled.user(0);
  }, 60_000);
  afterAll(() => filled?.stop());

  const expected = async (peer?: string) => {
    const rows = await filled.sql<{ peer: string; seq: number }[]>`
      select case when sender = 'p00000' then receiver else sender end as peer, seq
      from messages
      where content = 'Needle' and (${peer ?? ""} = '' or ${peer ?? ""} in (sender, receiver))
      order by timestamp desc, conversation_id desc, seq desc
    `;
    return rows.map(({ peer, seq }) => `${peer} ${seq}`);
  };
  const found = (hits: readonly Hit[]) => hits.map(({ peer, seq }) => `${peer} ${seq}`);

  test.each([7, 20, 50])(
    "of %d have no gaps and no repeats, newest first, also among equal timestamps",
    async (limit) => {
      const all = await expected();
      const hits: Hit[] = [];
      for (let page = 0; page < 5; page++) {
        const before = hits.at(-1)?.cursor;
        hits.push(...(await search(me, "needle", { limit, ...(before === undefined ? {} : { before }) })));
      }
      expect(found(hits)).toEqual(all.slice(0, 5 * limit));
      expect(found(await everyPage(me, "needle", { limit: 50, peer: nameOf(1) }))).toEqual(await expected(nameOf(1)));
    },
  );

  test("find everything, of more conversations than one pass merges", async () => {
    const hits = await everyPage(me, "needle", { limit: 50 });
    expect(found(hits)).toEqual(await expected());
  }, 60_000);

  test("that end early say where to continue, and nothing is left out", async () => {
    const now = performance.now.bind(performance);
    const hurried = spyOn(performance, "now").mockImplementation(() => now() * 1_000);
    try {
      const first = await me.get(path("needle", { peer: nameOf(1), limit: 50 }));
      expect(first.headers.get("chatify-continue")).toMatch(/^[\w-]+$/);
      expect(found(await everyPage(me, "needle", { peer: nameOf(1), limit: 50 }))).toEqual(await expected(nameOf(1)));
      expect(await everyPage(me, "not there", { peer: nameOf(1) })).toEqual([]);
    } finally {
      hurried.mockRestore();
    }
    expect((await me.get(path("not there", { peer: nameOf(1) }))).headers.has("chatify-continue")).toBe(false);
  });
});
