/** A browser's stored data of a user: unsent texts, drafts, and conversations for offline reading. */

import { afterEach, describe, expect, jest, test } from "bun:test";

import { createChat } from "../../static/js/chat_model.js";
import { outboxPrefix } from "../../static/js/store/browser_storage.js";
import { Conversation, type Message } from "../../static/js/store/conversation.js";
import { type Draft, Drafts, isDraft } from "../../static/js/store/drafts.js";
import { OfflineCache } from "../../static/js/store/offline_cache.js";
import { type Database, OfflineDatabase, OfflineStore } from "../../static/js/store/offline_store.js";
import { isPending, type Pending } from "../../static/js/store/pending.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { Emitter } from "../../static/js/util/emitter.js";
import { MemoryDatabase, NO_DATABASE } from "../support/memory_database.ts";

/** What `localStorage` does, without a browser. */
class Shelf {
  readonly entries = new Map<string, string>();
  full = false;
  get length() {
    return this.entries.size;
  }
  key = (index: number) => [...this.entries.keys()][index] ?? null;
  getItem = (key: string) => this.entries.get(key) ?? null;
  removeItem = (key: string) => void this.entries.delete(key);
  setItem = (key: string, value: string) => {
    if (this.full) throw new DOMException("full", "QuotaExceededError");
    this.entries.set(key, value);
  };
}

const settled = () => Bun.sleep(15);
const isText = (_: string, value: unknown) => typeof value === "string";
const records = (storage: Shelf, database: Database) =>
  new OfflineStore<string>({ storage, database }, "box", "box.", isText);
const outboxStore = (storage: Shelf, database: Database) =>
  new OfflineStore<Pending>({ storage, database }, "outbox", outboxPrefix("ann"), isPending);

describe("stored messages and drafts", () => {
  test("are stored synchronously, and move from localStorage to the database", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    records(storage, database).put("a", "one");
    expect([...storage.entries.keys()]).toEqual(["box.a"]); // the tab may close now
    expect(await records(storage, database).load()).toEqual(["one"]);
    await settled();
    records(storage, database).put("b", "two");
    await settled();
    expect([...storage.entries.keys()]).toEqual([]);
    expect(await records(storage, database).load()).toEqual(["one", "two"]);
  });

  test("move to the database what a closed page left in localStorage, also of an older version", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    const draft = { ref: "0123456789", peer: "bob", text: "old", at: 1, state: "failed", code: "busy" } as const;
    storage.setItem("chatify.draft.ann.0123456789", JSON.stringify(draft));
    expect(await outboxStore(storage, database).load()).toEqual([draft]);
    await settled();
    expect(storage.length).toBe(0);
    expect(await outboxStore(storage, database).load()).toEqual([draft]);
  });

  test("keep the newer of two, and not one removed during the read", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    await database.write([
      { store: "box", key: "a", value: "old" },
      { store: "box", key: "b", value: "sent meanwhile" },
    ]);
    storage.setItem("box.a", '"new"');
    const kept = records(storage, database);
    const loading = kept.load();
    kept.remove("b");
    expect(await loading).toEqual(["new"]);
  });

  test("stay removed when several loads overlap", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    await database.write([{ store: "box", key: "a", value: "discarded meanwhile" }]);
    const kept = records(storage, database);
    const loads = [kept.load()];
    await Bun.sleep(1);
    loads.push(kept.load());
    kept.remove("a");
    expect(await Promise.all(loads)).toEqual([[], []]);
  });

  test("stay removed when another tab removes them during a load", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    const value = { ref: "0123456789", peer: "bob", text: "discarded", at: 1, state: "failed", code: "busy" };
    await database.write([{ store: "outbox", key: value.ref, value }]);
    const outbox = new Outbox(outboxStore(storage, database));
    const loading = outbox.load();
    await Bun.sleep(1);
    outbox.remove(value.ref); // as the other tab says
    await loading;
    expect(outbox.size).toBe(0);
  });

  test("stay erased after sign-out, though typing continues", async () => {
    const [storage, database] = [new Shelf(), new MemoryDatabase()];
    const kept = records(storage, database);
    kept.put("a", "one");
    kept.wipe();
    kept.put("b", "two");
    await settled();
    expect(storage.length).toBe(0);
    expect([...(await database.entries("box")).keys()]).toEqual(["a"]); // of which the database is erased as a whole
    expect(kept.isVolatile).toBeFalse();
  });

  test("report once that they last only as long as the page", async () => {
    const full = new Shelf();
    full.full = true;
    const cases: [Shelf, Database, boolean][] = [
      [new Shelf(), new MemoryDatabase(), false],
      [new Shelf(), NO_DATABASE, false],
      [full, new MemoryDatabase(), false],
      [full, NO_DATABASE, true],
    ];
    for (const [storage, database, isVolatile] of cases) {
      const kept = records(storage, database);
      await kept.load();
      expect(kept.isVolatile).toBe(isVolatile);
      kept.put("a", "one");
      await settled();
      expect(kept.isVolatile).toBe(isVolatile);
      expect(storage.length).toBe(database === NO_DATABASE && !isVolatile ? 1 : 0);
    }
  });
});

describe("a database that does not open", () => {
  const { indexedDB } = globalThis;
  afterEach(() => {
    Object.assign(globalThis, { indexedDB });
    jest.useRealTimers();
  });

  test.each(["error", "timeout"])("is opened again by the next call: %s", async (event) => {
    jest.useFakeTimers();
    const requests: EventTarget[] = [];
    const open = () => {
      const request = Object.assign(new EventTarget(), { result: new EventTarget() });
      requests.push(request);
      return request;
    };
    Object.assign(globalThis, { indexedDB: { open } });
    const database = new OfflineDatabase("x", ["box"], "relaxed");
    const first = database.canOpen();
    if (event === "error") requests[0]?.dispatchEvent(new Event(event));
    else jest.advanceTimersByTime(5_000); // as in Safari, which may never respond
    expect(await first).toBeFalse();
    const second = database.canOpen();
    requests[1]?.dispatchEvent(new Event("success"));
    jest.advanceTimersByTime(5_000);
    expect(await second).toBeTrue();
  });
});

describe("drafts", () => {
  function open(storage = new Shelf(), database = new MemoryDatabase()) {
    const clock = { now: 1_000 };
    const store = new OfflineStore<Draft>({ storage, database }, "unfinished", "chatify.unfinished.ann/", isDraft);
    const drafts = new Drafts(store, () => clock.now);
    const [shown, told]: [string[], Draft[]] = [[], []];
    drafts.on("changed", (peer) => shown.push(peer));
    drafts.on("written", (unfinished) => told.push(unfinished));
    return { drafts, clock, storage, database, shown, told };
  }

  test("survive the page, one per peer in any spelling", async () => {
    const first = open();
    first.drafts.write("Bob", "half a sent");
    first.drafts.write("carl.x", "hi");
    first.drafts.flush();
    const again = open(first.storage, first.database);
    await again.drafts.load();
    expect([again.drafts.of("bob"), again.drafts.of("carl.x"), again.drafts.of("dora")]).toEqual([
      "half a sent",
      "hi",
      "",
    ]);
    again.drafts.write("Bob", "");
    again.drafts.flush();
    await settled();
    const third = open(first.storage, first.database);
    await third.drafts.load();
    expect(third.drafts.of("Bob")).toBe("");
  });

  test("are reported after a pause, not for every letter", async () => {
    const { drafts, told } = open();
    for (const text of ["h", "he", "hey"]) drafts.write("bob", text);
    expect(told).toEqual([]);
    await Bun.sleep(350);
    expect(told.map(({ text }) => text)).toEqual(["hey"]);
    drafts.write("bob", "hey");
    drafts.flush();
    expect(told).toHaveLength(1);
  });

  test("the newest of any device wins", () => {
    const { drafts, clock, shown } = open();
    expect(drafts.mergeAndSave({ peer: "bob", text: "from the phone", at: 500 })).toBe(true);
    expect(drafts.mergeAndSave({ peer: "bob", text: "older", at: 400 })).toBe(false);
    expect([drafts.of("bob"), shown]).toEqual(["from the phone", ["bob"]]);
    clock.now = 100; // this clock is slow, and still what is written now is newer
    drafts.write("bob", "here");
    expect(drafts.mergeAndSave({ peer: "bob", text: "from the phone", at: 500 })).toBe(false);
    expect(drafts.of("bob")).toBe("here");
  });

  test("never overwrites a field being typed in, whose text then wins", () => {
    const { drafts, clock, told, shown } = open();
    drafts.write("bob", "typing he");
    expect(drafts.mergeAndSave({ peer: "bob", text: "other", at: 2_000 })).toBe(false);
    drafts.flush();
    expect(told.at(-1)).toEqual({ peer: "bob", text: "typing he", at: 2_001 });
    clock.now = 10_000; // a cup of tea later
    expect(drafts.mergeAndSave({ peer: "bob", text: "other", at: 9_000 })).toBe(true);
    expect([drafts.of("bob"), shown]).toEqual(["other", ["bob"]]);
  });

  test("are bounded: the oldest go", async () => {
    const { drafts, storage, database } = open();
    for (let i = 0; i < 130; i++) {
      drafts.write(`person${i}`, "text");
      drafts.flush();
    }
    await settled();
    expect(database.stores.get("unfinished")?.size).toBe(100);
    expect(storage.length).toBe(0);
    expect([drafts.of("person29"), drafts.of("person30")]).toEqual(["", "text"]);
  });
});

const message = (seq: number, peer = "bob", ref?: string): Message => ({
  seq,
  id: seq,
  from: peer,
  to: "ann",
  text: `text ${seq}`,
  at: seq * 1_000,
  ...(ref ? { ref } : {}),
});
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));

function loaded(peer: string, messages: Message[]) {
  const conversation = new Conversation("ann", peer);
  conversation.load(messages, true);
  return conversation;
}

describe("the offline cache", () => {
  const now = (run: () => void) => run();
  function open(database = new MemoryDatabase(), conversations: Conversation[] = []) {
    const asked: string[] = [];
    const cache = new OfflineCache(database, now);
    cache.start({
      newest: () => conversations.toSorted((a, b) => (b.preview?.at ?? 0) - (a.preview?.at ?? 0)),
      fetch: async (peer, { limit }) => {
        asked.push(`${peer} ${limit}`);
        return [];
      },
    });
    return { cache, database, asked };
  }

  test("keeps the last 200 messages of the last 30 conversations, in batches", async () => {
    const many = Array.from({ length: 40 }, (_, i) => loaded(`p${i}`, range(1, 10 + i)));
    const long = loaded("long", range(1, 450));
    const { cache, database } = open(new MemoryDatabase(), [...many, long]);
    cache.setEpoch("1");
    for (const conversation of [...many, long]) cache.changed(conversation);
    await cache.flush();
    expect(database.writes).toBeLessThanOrEqual(2);
    const { cache: next } = open(database);
    const kept = await next.load();
    expect(kept?.records.map(({ row }) => row.peer)).toEqual([
      "long",
      ...many
        .slice(-29)
        .map(({ peer }) => peer)
        .toReversed(),
    ]);
    const page = await next.messages("LONG");
    expect([page?.messages[0]?.seq, page?.messages.at(-1)?.seq, page?.complete]).toEqual([251, 450, false]);
    expect((await next.messages("p39"))?.complete).toBe(true);
    expect(await next.messages("p0")).toBeUndefined();
  });

  test("writes nothing before hello names the epoch, and drops data of another", async () => {
    const bob = loaded("bob", range(1, 3));
    const { cache, database } = open(new MemoryDatabase(), [bob]);
    cache.changed(bob);
    await cache.flush();
    expect(database.writes).toBe(0);
    cache.setEpoch("1");
    await cache.flush();
    const other = open(database, []);
    expect((await other.cache.load())?.records).toHaveLength(1);
    other.cache.setEpoch("2");
    await settled();
    expect([database.stores.get("rows")?.size, database.stores.get("messages")?.size]).toEqual([0, 0]);
    expect(await other.cache.messages("bob")).toBeUndefined();
  });

  test("ignores a tab's writes for an old epoch", async () => {
    const bob = loaded("bob", range(1, 3));
    const stale = open(new MemoryDatabase(), [bob]);
    stale.cache.setEpoch("1");
    await stale.cache.flush();
    const fresh = open(stale.database, []);
    await fresh.cache.load();
    fresh.cache.setEpoch("2");
    bob.receive(message(4));
    stale.cache.changed(bob);
    await stale.cache.flush();
    await settled();
    expect((await open(stale.database).cache.load())?.records).toEqual([]);
  });

  test("is erased at sign-out", async () => {
    const bob = loaded("bob", range(1, 3));
    const { cache, database } = open(new MemoryDatabase(), [bob]);
    cache.setEpoch("1");
    cache.end();
    cache.changed(bob);
    await cache.flush();
    await settled();
    expect(database.stores.get("rows")?.size ?? 0).toBe(0);
  });
});

/** A page with its own memory and a server that can be away. */
function page(database: MemoryDatabase, server: { rows: () => object[]; messages: () => Message[]; away: boolean }) {
  // oxlint-disable-next-line typescript/no-explicit-any
  const wire = Object.assign(new Emitter<any>(), {
    state: "connecting",
    sent: [] as object[],
    connect() {},
    probe() {},
    send(frame: object) {
      if (wire.state === "open") wire.sent.push(frame);
      return wire.state === "open";
    },
    end() {
      wire.state = "ended";
      wire.emit("state", "ended");
    },
    greet(epoch: string) {
      wire.state = "open";
      wire.emit("state", "open");
      wire.emit("frame", { type: "hello", username: "ann", epoch });
    },
  });
  const asked: string[] = [];
  const answer = async <T>(what: string, value: () => T): Promise<T> => {
    asked.push(what);
    if (server.away) throw new TypeError("Failed to fetch");
    return value();
  };
  const api = {
    fetchUsername: () => answer("me", () => "ann"),
    people: () => answer("people", () => [{ username: "bob" }]),
    blocks: () => answer("blocks", () => []),
    unread: () => answer("unread", () => ({})),
    arrange: () => answer("arrange", () => ({})),
    block: () => answer("block", () => {}),
    conversations: () => answer("conversations", () => server.rows() as never[]),
    list: () => answer("conversations", () => ({ rows: server.rows() as never[], archived: 0 })),
    messages: (
      _me: string,
      peer: string,
      { limit, before, after }: { limit: number; before?: number; after?: number },
    ) =>
      answer(`${peer} ${after ?? "newest"}`, () =>
        server
          .messages()
          .filter(({ seq }) => seq > (after ?? 0) && seq < (before ?? Infinity))
          .slice(after === undefined ? -limit : 0)
          .slice(0, limit)
          .map((message) => ({ message, read: false })),
      ),
  };
  const cache = new OfflineCache(database, (run) => run());
  const outbox = new Outbox(outboxStore(new Shelf(), database));
  const chat = createChat("ann", { api, connection: wire as never, outbox, cache });
  const seqs = () =>
    chat.conversations
      .getOrCreate("bob")
      .messages()
      .map(({ seq }) => seq);
  return { chat, cache, outbox, wire, asked, seqs };
}

const row = (peer: string, last: Message, unread = 0) => ({
  peer,
  last_seq: last.seq,
  last: { sender: last.from, content: last.text, timestamp: new Date(last.at).toISOString() },
  unread,
  peer_read_seq: 0,
  peer_delivered_seq: 0,
  my_read_seq: 0,
  online: true,
  last_seen: null,
  cursor: String(last.seq),
});

describe("a page loaded again", () => {
  async function visited() {
    const database = new MemoryDatabase();
    const stored = range(1, 3);
    const server = { rows: () => [row("bob", stored.at(-1)!, 3)] as object[], messages: () => stored, away: false };
    const first = page(database, server);
    await first.chat.sync.start();
    first.chat.conversations.show("bob");
    first.wire.greet("1");
    await settled();
    await first.cache.flush();
    await settled();
    return { database, stored, server };
  }

  test("shows cached conversations without presence before the server responds, and then fills the gap", async () => {
    const { database, stored, server } = await visited();
    server.away = true;
    const { chat, wire, seqs, asked } = page(database, server);
    await chat.sync.start({ isIdentityKnown: false });
    chat.conversations.show("bob");
    await settled();
    expect(seqs()).toEqual([1, 2, 3]);
    expect(chat.conversations.entries().map(({ peer, unread }) => [peer, unread])).toEqual([["bob", 3]]);
    expect(chat.people.presence.of("bob")).toBeUndefined();
    server.away = false;
    stored.push(...range(4, 6));
    wire.greet("1");
    await settled();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6]);
    expect(asked.at(-1)).toBe("bob 3");
  });

  test("drops the cache when the epoch changes", async () => {
    for (const change of ["epoch", "shorter"]) {
      const { database, stored, server } = await visited();
      server.away = true;
      const { chat, wire, seqs } = page(database, server);
      await chat.sync.start({ isIdentityKnown: false });
      chat.conversations.show("bob");
      await settled();
      server.away = false;
      stored.length = 0;
      stored.push({ ...message(1), text: "another" });
      wire.greet(change === "epoch" ? "2" : "1");
      await settled();
      await settled();
      expect(seqs()).toEqual([1]);
      expect(chat.conversations.entries().map(({ preview }) => preview?.text)).toEqual(["another"]);
    }
  });

  test("drops a conversation that the server no longer lists", async () => {
    const { database, server } = await visited();
    const { chat, wire, cache } = page(database, server);
    server.rows = () => [];
    server.messages = () => [];
    await chat.sync.start({ isIdentityKnown: false });
    chat.conversations.show("bob");
    wire.greet("1");
    await settled();
    await settled();
    expect(chat.conversations.entries()).toEqual([]);
    expect(chat.conversations.getOrCreate("bob").messages()).toEqual([]);
    await cache.flush();
    await settled();
    expect([...(database.stores.get("rows")?.keys() ?? [])]).toEqual([]);
    expect([...(database.stores.get("messages")?.keys() ?? [])]).toEqual([]);
  });

  test("drops a conversation blocked while open, and keeps one further down the list", async () => {
    const { database, server, stored } = await visited();
    const { chat, wire } = page(database, server);
    await chat.sync.start();
    wire.greet("1");
    await settled();
    server.rows = () => [
      row("carl", message(9, "carl")),
      ...Array.from({ length: 49 }, (_, i) => row(`p${i}`, message(8, `p${i}`))),
    ];
    wire.emit("frame", { type: "sync" });
    await settled();
    expect(chat.conversations.entries().some(({ peer }) => peer === "bob")).toBe(true);
    server.rows = () => [row("carl", message(2, "carl"))];
    expect(stored.at(-1)?.seq).toBe(3);
    wire.emit("frame", { type: "sync" });
    await settled();
    expect(chat.conversations.entries().some(({ peer }) => peer === "bob")).toBe(false);
  });

  test("sends the texts of an earlier page before any new one", async () => {
    const { database, server } = await visited();
    const before = page(database, server);
    before.outbox.add("bob", "first");
    await settled();
    const { chat, wire } = page(database, server);
    const started = chat.sync.start();
    wire.greet("1"); // quicker than the store
    chat.sync.write("bob", "second");
    await started;
    const texts = () => wire.sent.flatMap((frame) => ("message" in frame ? [frame.message] : []));
    expect(texts()).toEqual(["first"]);
    const [ref] = wire.sent.flatMap((frame) => ("ref" in frame ? [frame.ref] : []));
    wire.emit("frame", { type: "ack", ref, id: 9, seq: 9, timestamp: new Date().toISOString(), peer: "bob" });
    expect(texts()).toEqual(["first", "second"]);
  });

  test("keeps read marks made offline until the server has them", async () => {
    const { database, server } = await visited();
    const first = page(database, server);
    await first.chat.sync.start();
    first.chat.conversations.show("bob");
    first.wire.greet("1");
    await settled();
    first.wire.state = "connecting";
    first.chat.sync.markRead("bob", 3);
    await first.cache.flush();
    await settled();
    const { chat, wire } = page(database, server);
    await chat.sync.start({ isIdentityKnown: false });
    wire.greet("1");
    await settled();
    expect(wire.sent).toContainEqual({ type: "read", peer: "bob", seq: 3 });
  });
});
