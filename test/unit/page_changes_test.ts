import { describe, expect, test } from "bun:test";

import { shownMessages } from "../../static/js/elements/thread_items.js";
import { Conversation, type Message } from "../../static/js/store/conversation.js";
import { OfflineCache, toRow } from "../../static/js/store/offline_cache.js";
import { MemoryDatabase } from "../support/memory_database.ts";
import { open, settled } from "../support/page_model.ts";
import { until } from "../support/until.ts";

const message = (seq: number, revision = 0, change: Partial<Message> = {}): Message => ({
  seq,
  id: seq,
  from: "bob",
  to: "ann",
  text: `text ${seq}`,
  at: seq * 1_000,
  ...(revision > 0 && { revision }),
  ...change,
});
const texts = (conversation: Conversation) => conversation.messages().map(({ text }) => text);
const marks = { peer_read_seq: 0, peer_delivered_seq: 0, my_read_seq: 0 };

describe("a conversation", () => {
  test("shows the version of a message with the highest revision, in any order of arrival", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.load([message(1)], true);
    conversation.change(message(1, 2, { text: "second" }));
    conversation.change(message(1, 1, { text: "first" }));
    conversation.receive(message(1));
    expect(texts(conversation)).toEqual(["second"]);
    expect(conversation.lacksChanges).toBe(false);
  });

  test("shows a change that arrives before its message, and keeps one ahead of a gap", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.load([message(1)], true);
    expect(conversation.change(message(2, 1, { text: "edited" }))).toEqual({ isNew: true, hasGap: false });
    expect(conversation.receive(message(2))).toEqual({ isNew: false, hasGap: false });
    expect(conversation.change(message(4, 2, { text: "edited too" })).hasGap).toBe(true);
    conversation.receive(message(4));
    conversation.receive(message(3));
    expect(texts(conversation)).toEqual(["text 1", "edited", "text 3", "edited too"]);
    expect(conversation.unread).toBe(3);
  });

  test("lacks changes while a revision is missing, or when a page was requested before a change", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.load([message(3)], false);
    expect(conversation.change(message(3, 2)).hasGap).toBe(true);
    expect(conversation.lacksChanges).toBe(true);
    expect(conversation.change(message(1, 1)).hasGap).toBe(false); // not loaded, but its page will contain it
    expect([conversation.lacksChanges, conversation.loadedRevision]).toEqual([false, 2]);
    conversation.view.prepend({ messages: [message(1), message(2)], reachesStart: true, revision: 0 });
    expect(conversation.lacksChanges).toBe(true);
    conversation.receive(message(1, 1, { text: "edited" }));
    conversation.raiseRevision(2);
    expect([conversation.lacksChanges, texts(conversation)[0]]).toEqual([false, "edited"]);
  });

  test.each([true, false])("does not count deleted messages as unread (loaded: %p)", (isLoaded) => {
    const conversation = new Conversation("ann", "bob");
    conversation.update({ last_seq: 3, unread: 3, revision: 0, ...marks }, undefined);
    if (isLoaded) conversation.load([message(1), message(2), message(3)], true);
    const deleted = message(2, 1, { text: "", deleted: true });
    for (let i = 0; i < 2; i++) conversation.change(deleted);
    expect(conversation.unread).toBe(2);
    conversation.receive(message(4));
    expect(conversation.unread).toBe(3);
    conversation.change(message(4, 2, { text: "", deleted: true }));
    expect(conversation.unread).toBe(2);
    const older = { last_seq: 4, unread: 3, revision: 1, ...marks };
    conversation.update(older, undefined);
    expect(conversation.unread).toBe(2);
    conversation.update({ ...older, unread: 2, revision: 2 }, undefined);
    conversation.update(older, undefined);
    expect(conversation.unread).toBe(2);
    conversation.readState.read(1);
    expect(conversation.unread).toBe(isLoaded ? 1 : 2);
    conversation.distrust(); // the database may have lost the deletions
    conversation.update({ ...older, unread: 4, revision: 0 }, undefined);
    expect(conversation.unread).toBe(4);
    conversation.readState.read(4);
    expect(conversation.unread).toBe(0);
  });

  test("shows a changed last message in the list, also after an older row", () => {
    const conversation = new Conversation("ann", "bob");
    const row = { last_seq: 1, unread: 1, ...marks };
    conversation.update({ ...row, revision: 0 }, { from: "bob", text: "helo", at: 1_000 });
    conversation.change(message(1, 1, { text: "hello" }));
    conversation.update({ ...row, revision: 0 }, { from: "bob", text: "helo", at: 1_000 });
    conversation.receive(message(1, 0, { text: "helo" }));
    expect(conversation.preview?.text).toBe("hello");
    conversation.change(message(1, 2, { text: "", deleted: true }));
    expect(conversation.preview).toMatchObject({ text: "", deleted: true });
    expect(toRow(conversation)).toMatchObject({ revision: 2, last: { content: "", deleted: true }, unread: 0 });
  });
});

describe("the page's model", () => {
  /** Bob's conversation with three messages, on screen. */
  async function shown() {
    const page = await open();
    const { server, wire, chat } = page;
    server.says("bob", "one", "two", "three");
    chat.sync.start();
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    server.asked = [];
    return { ...page, bob: chat.conversations.getOrCreate("bob") };
  }

  test("shows edits, reactions and deletions as they arrive, and asks for nothing", async () => {
    const { server, wire, chat, bob, texts: shownTexts } = await shown();
    wire.emit("frame", server.changes(1, { text: "ONE" }));
    wire.emit("frame", server.changes(2, { reactions: { ann: "👍" } }));
    wire.emit("frame", server.changes(3, { deleted: true }));
    expect(shownTexts()).toEqual(["ONE", "two", ""]);
    expect(bob.messages()[1]?.reactions).toEqual({ ann: "👍" });
    const rows = shownMessages(chat, bob, { first: 1, last: 3, isAtEnd: true });
    expect(rows.map(({ editedAt, deleted }) => [editedAt, deleted])).toEqual([
      [60_000, undefined],
      [undefined, undefined],
      [undefined, true],
    ]);
    expect(chat.conversations.unread).toBe(2);
    await Bun.sleep(300);
    expect(server.asked).toEqual([]);
  });

  test("fetches the changes it missed while offline", async () => {
    const { server, wire, texts: shownTexts } = await shown();
    wire.lose();
    server.changes(1, { text: "ONE" });
    server.changes(3, { deleted: true });
    server.says("bob", "four");
    wire.greet();
    await settled();
    expect(shownTexts()).toEqual(["ONE", "two", "", "four"]);
    expect(server.asked).toContain("changed after 0");
    server.asked = [];
    wire.emit("frame", { type: "sync" });
    await settled();
    expect(server.asked).toEqual(["conversations"]);
  });

  test("fetches a lost change when a later one arrives, in pages", async () => {
    const { server, wire, texts: shownTexts } = await shown();
    for (let i = 0; i < 250; i++) server.says("bob", `more ${i}`);
    for (let seq = 4; seq <= 253; seq++) wire.emit("frame", server.frame(seq));
    for (let seq = 1; seq <= 252; seq++) server.changes(seq, { text: `edited ${seq}` });
    wire.emit("frame", server.changes(253, { text: "edited 253" }));
    await until("the change to be shown", () => shownTexts()[0] === "edited 1", 2_000);
    expect(shownTexts()).toEqual(Array.from({ length: 253 }, (_, i) => `edited ${i + 1}`));
    expect(server.asked.filter((what) => what.startsWith("changed"))).toEqual(["changed after 0", "changed after 200"]);
  });

  test("keeps a change that arrives while the page with its message is being loaded", async () => {
    const { server, wire, chat, texts: shownTexts } = await open();
    server.says("bob", "one");
    wire.greet();
    await settled();
    const { messages } = server;
    server.messages = async (...query) => {
      const page = await messages(...query);
      await Bun.sleep(5);
      return page;
    };
    chat.conversations.show("bob");
    await Bun.sleep(2);
    wire.emit("frame", server.changes(1, { text: "ONE" }));
    await until("the change to be shown", () => shownTexts()[0] === "ONE", 2_000);
  });

  test("takes a deletion for neither a read mark nor a new message", async () => {
    const { server, wire, chat, bob } = await shown();
    const arrived: Message[] = [];
    chat.conversations.on("arrived", (each) => arrived.push(each));
    server.says("bob", "four");
    wire.emit("frame", server.changes(4, { deleted: true }));
    expect([arrived, bob.lastSeq, bob.myRead, bob.unread]).toEqual([[], 4, 0, 3]);
  });

  test("updates the list for a conversation that is not opened, and asks for the row of an unknown one", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", "one");
    wire.greet();
    await settled();
    wire.emit("frame", server.changes(1, { deleted: true }));
    const bob = chat.conversations.getOrCreate("bob");
    expect([bob.preview?.deleted, bob.unread]).toEqual([true, 0]);
    server.asked = [];
    const [row] = await server.conversations();
    server.conversations = async ({ peer } = { limit: 1 }) => {
      server.asked.push(`row of ${peer}`);
      return [{ ...row!, peer: "carl" }];
    };
    const arrived: Message[] = [];
    chat.conversations.on("arrived", (each) => arrived.push(each));
    const { message: changed } = server.changed(1);
    wire.emit("frame", {
      type: "changed",
      peer: "carl",
      revision: 3,
      message: { ...changed, sender: "carl", deleted: false, revision: 3 },
    });
    await settled();
    expect(server.asked).toContain("row of carl");
    expect(chat.conversations.getOrCreate("carl").hasRow).toBe(true);
    expect(arrived).toEqual([]);
  });

  test("after a change of epoch, loads changed messages again", async () => {
    const { server, wire, texts: shownTexts } = await shown();
    wire.emit("frame", server.changes(1, { text: "lost" }));
    Object.assign(server.texts[0]!, { text: "one", change: undefined }); // a restored database
    server.revision = 0;
    server.changes(2, { text: "TWO" });
    wire.lose();
    wire.greet("2");
    await settled();
    expect(shownTexts()).toEqual(["one", "TWO", "three"]);
  });
});

describe("the offline cache", () => {
  const cached = (database: MemoryDatabase) => JSON.stringify([...(database.stores.get("messages") ?? [])]);
  const rows = (database: MemoryDatabase) => JSON.stringify([...(database.stores.get("rows") ?? [])]);

  /** A page with a cache. @returns it, after its first connection */
  async function openCached(database: MemoryDatabase, from?: Awaited<ReturnType<typeof open>>) {
    const cache = new OfflineCache(database, (run) => run());
    const page = await open({ cache, ...(from && { server: from.server }) });
    return { ...page, cache };
  }

  test("loses the text of a message deleted while it is open, and does not show it after a reload", async () => {
    const database = new MemoryDatabase();
    const first = await openCached(database);
    first.server.says("bob", "one", "secret");
    void first.chat.sync.start();
    first.chat.conversations.show("bob");
    first.wire.greet();
    await settled();
    await first.cache.flush();
    expect(cached(database)).toContain("secret");
    first.wire.emit("frame", first.server.changes(2, { deleted: true }));
    await settled();
    await first.cache.flush();
    expect(cached(database) + rows(database)).not.toContain("secret");
    first.cache.end();

    first.server.changes(1, { text: "ONE" });
    const second = await openCached(database, first);
    const online = Promise.withResolvers<void>();
    const { conversations } = second.server;
    second.server.conversations = (query) => online.promise.then(() => conversations(query));
    await second.chat.sync.start();
    second.chat.conversations.show("bob");
    await until("the cached messages", () => second.texts().length === 2);
    expect(second.texts()).toEqual(["one", ""]);
    online.resolve();
    second.wire.greet();
    await until("the change", () => second.texts()[0] === "ONE");
    second.cache.end();
  });

  test.each([[[]], [["four"]]])(
    "loses the text of a message deleted while the page was closed (new: %j)",
    async (news) => {
      const database = new MemoryDatabase();
      const first = await openCached(database);
      first.server.says("bob", "one", "secret", "three");
      void first.chat.sync.start();
      first.chat.conversations.show("bob");
      first.wire.greet();
      await settled();
      await first.cache.flush();
      first.cache.end();

      first.server.changes(2, { deleted: true });
      first.server.says("bob", ...news);
      const second = await openCached(database, first);
      await second.chat.sync.start();
      second.wire.greet();
      await until("the cache to follow", () => !cached(database).includes("secret"), 15_000);
      expect(second.server.asked).toContain("changed after 0");
      const page = await second.cache.messages("bob");
      expect(page?.messages.map(({ text }) => text)).toEqual(["one", "", "three", ...news]);
      expect(page?.revision).toBe(1);
      second.cache.end();
    },
  );

  test("keeps no changed messages across a change of epoch", async () => {
    const database = new MemoryDatabase();
    const first = await openCached(database);
    first.server.says("bob", "one");
    void first.chat.sync.start();
    first.chat.conversations.show("bob");
    first.wire.greet();
    await settled();
    first.wire.emit("frame", first.server.changes(1, { text: "lost" }));
    await settled();
    await first.cache.flush();
    first.cache.end();

    Object.assign(first.server.texts[0]!, { text: "one", change: undefined });
    first.server.revision = 0;
    first.server.says("bob", "two");
    first.server.changes(2, { text: "TWO" });
    const second = await openCached(database, first);
    void second.chat.sync.start();
    second.chat.conversations.show("bob");
    second.wire.greet("2");
    await until("the server's messages", () => second.texts().join() === "one,TWO");
    second.cache.end();
  });
});
