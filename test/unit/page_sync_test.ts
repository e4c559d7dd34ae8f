import { describe, expect, setSystemTime, test } from "bun:test";

import { shownMessages } from "../../static/js/elements/thread_items.js";
import { Limited, type Row } from "../../static/js/sync/api.js";
import { type ListQuery, open, settled } from "../support/page_model.ts";

describe("the page's model", () => {
  test("shows stored and arriving messages, each once", async () => {
    const { server, wire, chat, texts } = await open();
    server.says("bob", "one", "two");
    chat.sync.start();
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    expect(texts()).toEqual(["one", "two"]);
    const frame = server.says("bob", "three");
    wire.emit("frame", frame);
    wire.emit("frame", frame);
    expect(texts()).toEqual(["one", "two", "three"]);
    expect(chat.conversations.unread).toBe(3);
  });

  test("shows an own text at once and moves it to its place with the ack", async () => {
    const { server, wire, chat, outbox, texts } = await open();
    wire.greet();
    chat.conversations.show("bob");
    await settled();
    chat.sync.write("bob", "hello");
    const sent = wire.sent.find(({ type }) => type === "message");
    expect(sent).toMatchObject({ to: "bob", message: "hello" });
    expect(outbox.to("bob")).toHaveLength(1);
    server.texts.push({ from: "bob", text: "hi" }, { from: "ann", text: "hello", ref: sent?.ref });
    wire.emit("frame", {
      type: "ack",
      ref: sent?.ref,
      id: 2,
      seq: 2,
      timestamp: new Date().toISOString(),
      peer: "bob",
    });
    expect(outbox.size).toBe(0);
    expect(texts()).toEqual(["hello"]);
    wire.emit("frame", server.frame(1));
    expect(texts()).toEqual(["hi", "hello"]);
  });

  test("fetches missed messages after a reconnect", async () => {
    const { server, wire, chat, texts } = await open();
    server.says("bob", "one");
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    wire.lose();
    server.says("bob", "two", "three");
    wire.greet();
    await settled();
    expect(texts()).toEqual(["one", "two", "three"]);
    expect(server.asked.at(-1)).toBe("after 1");
  });

  test("fetches a gap that stays, and not one that closes by itself", async () => {
    const { server, wire, chat, texts } = await open();
    server.says("bob", "one");
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    server.says("bob", "two", "three");
    server.asked = [];
    wire.emit("frame", server.frame(3));
    wire.emit("frame", server.frame(2));
    await Bun.sleep(300);
    expect(server.asked).toEqual([]);
    server.says("bob", "four", "five");
    wire.emit("frame", server.frame(5));
    await Bun.sleep(300);
    expect(texts()).toEqual(["one", "two", "three", "four", "five"]);
    expect(server.asked).toContain("after 3");
  });

  test("reports messages that arrived while disconnected, and no earlier ones", async () => {
    const { server, wire, chat } = await open();
    const missed: string[] = [];
    chat.sync.on("missed", ({ text }) => missed.push(text));
    server.says("bob", "long ago");
    wire.greet();
    await chat.sync.resume();
    expect(missed).toEqual([]);
    wire.lose();
    server.says("bob", "one", "two");
    wire.greet();
    await chat.sync.resume();
    await chat.sync.resume();
    expect(missed).toEqual(["two"]);
  });

  test("does not report old messages of a conversation that was not listed, such as that with a blocked user", async () => {
    const { server, wire, chat } = await open();
    const missed: unknown[] = [];
    chat.sync.on("missed", (message) => missed.push(message));
    wire.greet();
    await settled();
    wire.emit("frame", { ...server.frame(1), from: "carl", timestamp: new Date(60_000).toISOString() });
    server.says("bob", "written while blocked");
    wire.emit("frame", { type: "sync" });
    await settled();
    expect([chat.conversations.getOrCreate("bob").unread, missed]).toEqual([1, []]);
  });

  test("mutes at once, does not count unread messages then, and reverts when the server rejects it", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", "one");
    wire.greet();
    await settled();
    expect(chat.conversations.unread).toBe(1);
    const muting = chat.people.arrange("bob", { muted: true });
    expect([chat.conversations.getOrCreate("bob").isMuted, chat.conversations.unread]).toEqual([true, 0]);
    await muting;
    wire.emit("frame", { type: "sync" });
    await settled();
    wire.emit("frame", server.says("bob", "two"));
    expect([chat.conversations.getOrCreate("bob").unread, chat.conversations.unread]).toEqual([2, 0]);
    server.refuses = true;
    expect(await chat.people.arrange("bob", { muted: false }).catch(() => "refused")).toBe("refused");
    expect(chat.conversations.getOrCreate("bob").isMuted).toBeTrue();
  });

  describe("with a long list", () => {
    /** Loads all pages of a list of `count` conversations; `rows` are the server's. */
    async function listed(count: number) {
      const page = await open();
      const { server, wire, chat } = page;
      server.says("bob", "one");
      const [sample] = await server.conversations();
      const rows: Row[] = Array.from({ length: count }, (_, index) => {
        const last = { sender: "ann", content: "hi", timestamp: new Date((count - index) * 1_000).toISOString() };
        return { ...sample!, peer: `p${index}`, last, last_seq: 5, unread: 1, cursor: String(index + 1) };
      });
      server.asked = [];
      server.conversations = async ({ limit, before = "0", peer }: ListQuery = { limit: 50 }) => {
        server.asked.push(peer ?? `${limit} before ${before}`);
        const found = peer ? rows.filter((row) => row.peer === peer) : rows.slice(Number(before));
        return structuredClone(found.slice(0, limit));
      };
      wire.greet();
      await settled();
      while (!chat.conversations.isListComplete) await chat.list.loadMore();
      server.asked = [];
      const change = (index: number) => Object.assign(rows[index]!, { muted: true, unread: 0, peer_read_seq: 5 });
      const seen = (index: number) => {
        const { isMuted, unread, readState } = chat.conversations.getOrCreate(`p${index}`);
        return [isMuted, unread, readState.peerRead];
      };
      return { ...page, rows, change, seen };
    }

    test.each(["sync", "hello"])("reads the loaded rows again after `%s`", async (type) => {
      const { server, wire, change, seen } = await listed(120);
      change(56);
      change(119);
      wire.emit("frame", { type, epoch: "1" });
      await settled();
      expect([seen(56), seen(119)]).toEqual([
        [true, 0, 5],
        [true, 0, 5],
      ]);
      expect(server.asked).toEqual(["50 before 0", "70 before 50"]);
    });

    test("reads 200 rows again and the one on screen, and the rest when the user needs them", async () => {
      const { server, wire, chat, change, seen } = await listed(330);
      chat.conversations.show("p250");
      await settled();
      for (const index of [250, 260, 320]) change(index);
      server.asked = [];
      wire.emit("frame", { type: "sync" });
      await settled();
      expect(server.asked.filter((what) => !what.includes("after"))).toEqual(["50 before 0", "150 before 50", "p250"]);
      expect([seen(250)[0], seen(260)[0], chat.conversations.listedCount]).toEqual([true, false, 200]);
      expect(await chat.loader.isMuted("p260")).toBeTrue();
      while (!chat.conversations.isListComplete) await chat.list.loadMore();
      expect([seen(320)[0], chat.conversations.listedCount]).toEqual([true, 330]);
    });

    test("reads only the first page to fill a gap", async () => {
      const { server, chat } = await listed(120);
      await chat.sync.resume();
      expect(server.asked).toEqual(["50 before 0"]);
    });
  });

  test("hides a blocked user's conversation that the server no longer lists", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", "one");
    wire.greet();
    await settled();
    await chat.people.block("bob", true);
    await chat.sync.resume();
    expect([chat.conversations.entries(), chat.conversations.unread]).toEqual([[], 0]);
  });

  test("resumes once for many simultaneous reasons", async () => {
    const { server, wire, chat } = await open();
    wire.greet();
    for (let i = 0; i < 10; i++) wire.emit("frame", { type: "sync" });
    await settled();
    expect(server.asked.filter((what) => what === "conversations")).toHaveLength(2);
    expect(chat.conversations.isListLoaded).toBe(true);
  });

  test("drops everything but unsent texts when the database was rolled back", async () => {
    for (const epoch of ["2", "1"]) {
      const { server, wire, chat, outbox, texts } = await open();
      server.says("bob", "one", "two", "three");
      chat.conversations.show("bob");
      wire.greet("1");
      await settled();
      wire.lose();
      chat.sync.write("bob", "unsent");
      server.texts.length = 0;
      server.says("bob", "older");
      wire.greet(epoch);
      await settled();
      expect(texts()).toEqual(["older"]);
      expect(outbox.to("bob").map(({ text }) => text)).toEqual(["unsent"]);
      expect(wire.sent.at(-1)).toMatchObject({ type: "message", message: "unsent" });
    }
  });

  test("finds a name written without accents, and prefers an exact match", async () => {
    const { server, chat } = await open();
    server.people = async () => [{ username: "Μαρία" }, { username: "Μαριάννα" }];
    expect(await chat.people.find("μαρια")).toBe("Μαρία");
    expect(await chat.people.find("μαριαν")).toBeUndefined();
    server.people = async () => [{ username: "Ζωή" }, { username: "ζωη" }];
    expect(await chat.people.find("ΖΩΗ")).toBe("ζωη");
  });

  test("fetches history back to the first unread message, within a bound", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", ...Array.from({ length: 400 }, (_, index) => `text ${index + 1}`));
    server.myRead = 100;
    wire.greet();
    await settled();
    chat.conversations.show("bob");
    await settled();
    const bob = chat.conversations.getOrCreate("bob");
    expect([bob.firstSeq, bob.reachesUnread]).toEqual([351, false]);
    await chat.history.reachUnread("bob");
    expect([bob.firstSeq <= 100, bob.reachesUnread, bob.firstAfter(100)]).toEqual([true, true, 101]);
    expect(chat.history.reachUnread("bob")).toBeUndefined();

    const far = await open();
    far.server.says("bob", ...Array.from({ length: 5_000 }, (_, index) => `text ${index + 1}`));
    far.wire.greet();
    await settled();
    far.chat.conversations.show("bob");
    await settled();
    await far.chat.history.reachUnread("bob");
    expect(far.chat.conversations.getOrCreate("bob").firstSeq).toBeGreaterThan(3_700);
  });

  test("knows deleted and blocked peers", async () => {
    const { server, wire, chat } = await open();
    server.blocks = async () => ["Bob"];
    wire.greet();
    chat.conversations.show("bob");
    await settled();
    expect(chat.conversations.getOrCreate("bob").isBlocked).toBe(true);
    server.says("bob", "unblocked");
    wire.emit("frame", { type: "sync" });
    await settled();
    expect([
      chat.conversations.getOrCreate("bob").isBlocked,
      chat.conversations.getOrCreate("bob").isPeerDeleted,
    ]).toEqual([false, false]);
    const { conversations } = server;
    server.conversations = async () => (await conversations()).map((row) => Object.assign(row, { gone: true }));
    wire.emit("frame", { type: "sync" });
    await settled();
    expect(chat.conversations.getOrCreate("bob").isPeerDeleted).toBe(true);
  });

  test("settles a pending message that history already has", async () => {
    const { server, wire, chat, outbox } = await open();
    const draft = outbox.add("bob", "hello");
    server.texts.push({ from: "ann", text: "hello", ref: draft?.ref ?? "" });
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    expect(outbox.size).toBe(0);
  });

  test("shows a failed message to a peer whose name the user spelled differently", async () => {
    const { server, wire, chat, outbox } = await open();
    chat.conversations.show("BOB");
    chat.sync.write("BOB", "hello");
    wire.greet();
    outbox.reject(outbox.to("BOB")[0]?.ref ?? "", "bad_request");
    server.says("bob", "hi");
    void chat.sync.resume();
    await settled();
    const bob = chat.conversations.getOrCreate("BOB");
    expect(bob.peer).toBe("bob");
    expect(shownMessages(chat, bob, { first: 1, last: Infinity, isAtEnd: true }).map(({ text }) => text)).toEqual([
      "hi",
      "hello",
    ]);
    expect(chat.conversations.entries().map(({ pending }) => pending?.text)).toEqual(["hello"]);
  });

  test("shows a peer's message under the ref of an own one, and does not take it for that", async () => {
    const { server, wire, chat, outbox } = await open();
    server.texts.push({ from: "ann", text: "mine", ref: "same-ref" }, { from: "bob", text: "first", ref: "same-ref" });
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    const ref = outbox.add("bob", "pending")?.ref ?? "";
    server.texts.push({ from: "bob", text: "second", ref });
    wire.emit("frame", server.frame(3));
    const bob = chat.conversations.getOrCreate("bob");
    const shown = shownMessages(chat, bob, { first: 1, last: Infinity, isAtEnd: true });
    expect(shown.map(({ text }) => text)).toEqual(["mine", "first", "second", "pending"]);
    expect(new Set(shown.map(({ key }) => key)).size).toBe(4);
    expect(bob.messages().at(-1)?.ref).toBeUndefined();
  });

  test("sends read marks, also those set without a connection", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", "one", "two");
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    chat.sync.markRead("bob", 1);
    chat.sync.markRead("bob", 1);
    wire.lose();
    chat.sync.markRead("bob", 2);
    expect(chat.conversations.unread).toBe(0);
    wire.greet();
    await settled();
    expect(wire.sent.filter(({ type }) => type === "read")).toEqual([
      { type: "read", peer: "bob", seq: 1 },
      { type: "read", peer: "bob", seq: 2 },
    ]);
    expect(chat.conversations.unread).toBe(0);
  });

  test("sends the watched users after `hello`, and again only when they change", async () => {
    const { wire, chat } = await open();
    chat.people.presence.watch(["bob", "carl"]);
    wire.greet();
    chat.people.presence.watch(["carl", "bob", "ann"]);
    const watched = () => wire.sent.filter(({ type }) => type === "watch").map(({ users }) => users);
    expect(watched()).toEqual([["bob", "carl"]]);
    for (const name of ["d", "do", "dor", "dora"]) chat.people.presence.watch([name, "bob"]); // while a name is typed
    await Bun.sleep(1_100);
    expect(watched()).toEqual([
      ["bob", "carl"],
      ["bob", "dora"],
    ]);
    wire.emit("frame", { type: "error", code: "rate_limited", message: "", retry_after: 0.01 });
    await Bun.sleep(50);
    expect(watched()).toHaveLength(3);
    expect(watched().at(-1)).toEqual(["bob", "dora"]);
  });

  test("sends a read mark again that the rate limit rejected, and not the users watched long before", async () => {
    const { server, wire, chat } = await open();
    server.says("bob", "one");
    wire.greet();
    await settled();
    setSystemTime(Date.now() + 60_000);
    chat.sync.markRead("bob", 1);
    const sent = wire.sent.length;
    wire.emit("frame", { type: "error", code: "rate_limited", message: "", retry_after: 0.01 });
    await Bun.sleep(50);
    setSystemTime();
    expect(wire.sent.slice(sent)).toEqual([{ type: "read", peer: "bob", seq: 1 }]);
  });

  test("asks again once the rate limit allows it", async () => {
    const { server, wire, chat, texts } = await open();
    server.says("bob", "one");
    const { conversations } = server;
    let refusals = 0;
    server.conversations = () => {
      if (refusals++ === 0) throw new Limited("/conversations", 0.5);
      return conversations();
    };
    chat.conversations.show("bob");
    wire.greet();
    await Bun.sleep(400);
    expect(refusals).toBe(1);
    await Bun.sleep(1_400);
    expect(refusals).toBe(2);
    expect(texts()).toEqual(["one"]);
    expect(chat.conversations.unread).toBe(1);
  });

  test("reports when the rate limit delays sending, and when it no longer does", async () => {
    const { wire, chat, outbox } = await open();
    wire.greet();
    const said: number[] = [];
    outbox.on("limited", () => said.push(outbox.limitedFor));
    chat.sync.write("bob", "hello");
    const { ref } = wire.sent.find(({ type }) => type === "message")!;
    wire.emit("frame", { type: "error", code: "rate_limited", message: "", ref, retry_after: 0.05 });
    await Bun.sleep(10);
    expect(said).toEqual([0.05]);
    await Bun.sleep(100);
    expect(said).toEqual([0.05, 0]);
    expect(wire.sent.filter(({ type }) => type === "message")).toHaveLength(2);
  });

  test("sends `typing` at most once in two seconds", async () => {
    const { wire, chat } = await open();
    wire.greet();
    for (let i = 0; i < 5; i++) chat.people.presence.sendTyping("bob");
    expect(wire.sent.filter(({ type }) => type === "typing")).toEqual([{ type: "typing", peer: "bob" }]);
  });

  test("shows typing until a message arrives", async () => {
    const { server, wire, chat } = await open();
    wire.greet();
    wire.emit("frame", { type: "typing", user: "bob" });
    expect(chat.people.presence.isTyping("bob")).toBe(true);
    wire.emit("frame", server.says("bob", "here"));
    expect(chat.people.presence.isTyping("bob")).toBe(false);
  });

  test("adds what another tab of the user wrote, notes to oneself too", async () => {
    const { wire, chat } = await open();
    wire.greet();
    await settled();
    const timestamp = new Date().toISOString();
    wire.emit("frame", { type: "message", from: "ann", to: "bob", message: "from my phone", id: 1, seq: 1, timestamp });
    wire.emit("frame", { type: "message", from: "ann", to: "ann", message: "milk", id: 2, seq: 1, timestamp });
    expect(chat.conversations.entries().map(({ peer, preview, unread }) => [peer, preview?.text, unread])).toEqual(
      expect.arrayContaining([
        ["bob", "from my phone", 0],
        ["ann", "milk", 0],
      ]),
    );
  });
});
