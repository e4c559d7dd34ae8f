/** Edits, deletions and reactions on their way to the server, and replies. */

import { describe, expect, test } from "bun:test";

import { shownMessages } from "../../static/js/elements/thread_items.js";
import { isPending, type Pending, toFrame } from "../../static/js/store/pending.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { open as openPage, settled } from "../support/page_model.ts";

type Sent = Record<string, unknown>;

/** An outbox, what it stored, and the frames that it sent. */
function open(stored = new Map<string, Pending>()) {
  const outbox = new Outbox(
    {
      load: () => [...stored.values()],
      put: (ref, pending) => void stored.set(ref, structuredClone(pending)),
      remove: (ref) => void stored.delete(ref),
      wipe: () => stored.clear(),
    },
    { pace: { atOnce: 100, everyMs: 1 } },
  );
  const sent: Sent[] = [];
  const connect = () => outbox.connected((pending) => sent.push(toFrame(pending)) > 0);
  /** The server answers all frames in turn. @returns them, without their refs */
  const answerAll = () => {
    for (let i = 0; i < sent.length; i++) outbox.remove(String(sent[i]!["ref"]));
    return sent.map((frame) => Object.fromEntries(Object.entries(frame).filter(([name]) => name !== "ref")));
  };
  const ref = () => String(sent.at(-1)?.["ref"]);
  return { outbox, stored, sent, connect, answerAll, ref };
}

const edit = (seq: number, message: string) => ({ type: "edit", peer: "bob", seq, message });
const react = (seq: number, emoji: string) => ({ type: "react", peer: "bob", seq, emoji });
const deletion = (seq: number) => ({ type: "delete", peer: "bob", seq });

describe("the outbox", () => {
  test("sends messages and changes in the order they were made, one at a time", () => {
    const { outbox, sent, connect, answerAll } = open();
    outbox.add("bob", "one", { replyTo: 2 });
    outbox.edit("Bob", { seq: 5 }, "hello");
    outbox.react("bob", { seq: 5 }, "👍");
    outbox.add("bob", "two");
    connect();
    expect(sent).toHaveLength(1);
    expect(answerAll()).toEqual([
      { type: "message", to: "bob", message: "one", reply_to: 2 },
      { ...edit(5, "hello"), peer: "Bob" },
      react(5, "👍"),
      { type: "message", to: "bob", message: "two" },
    ]);
    expect(outbox.size).toBe(0);
  });

  test("resends a change under the same ref after a lost connection and a reload", async () => {
    const { outbox, stored, sent, connect, ref } = open();
    connect();
    outbox.edit("bob", { seq: 5 }, "hello");
    outbox.disconnected();
    connect();
    expect(sent).toHaveLength(2);
    const next = open(stored);
    await next.outbox.load();
    next.connect();
    expect(new Set([...sent, ...next.sent].map((frame) => frame["ref"])).size).toBe(1);
    next.outbox.remove(ref());
    expect(stored.size).toBe(0);
  });

  test("stores changes as records that older pages ignore", () => {
    const { outbox, stored } = open();
    outbox.delete("bob", { seq: 5 });
    const [[key, record] = ["", undefined]] = stored;
    expect(isPending(key, record)).toBe(true);
    expect(["sending", "failed"]).not.toContain(record?.state);
    expect(isPending(key, { ...record, seq: "5" })).toBe(false);
  });

  test.each([
    [
      "two edits",
      (outbox: Outbox) => [outbox.edit("bob", { seq: 5 }, "a"), outbox.edit("BOB", { seq: 5 }, "b")],
      [{ ...edit(5, "b"), peer: "BOB" }],
    ],
    [
      "edits, a reaction and a deletion",
      (outbox: Outbox) => [
        outbox.edit("bob", { seq: 5 }, "a"),
        outbox.react("bob", { seq: 5 }, "👍"),
        outbox.edit("bob", { seq: 6 }, "other"),
        outbox.delete("bob", { seq: 5 }),
      ],
      [edit(6, "other"), deletion(5)],
    ],
    [
      "two reactions and an edit",
      (outbox: Outbox) => [
        outbox.react("bob", { seq: 5 }, "👍"),
        outbox.edit("bob", { seq: 5 }, "a"),
        outbox.react("bob", { seq: 5 }, ""),
      ],
      [edit(5, "a"), react(5, "")],
    ],
  ])("sends only what counts of %s that are unsent", (_, make, frames) => {
    const { outbox, connect, answerAll } = open();
    make(outbox);
    connect();
    expect(answerAll()).toEqual(frames);
  });

  test("sends a second edit after one that is in flight", () => {
    const { outbox, sent, connect, answerAll } = open();
    connect();
    outbox.edit("bob", { seq: 5 }, "a");
    outbox.edit("bob", { seq: 5 }, "b");
    expect(sent).toHaveLength(1);
    expect(answerAll()).toEqual([edit(5, "a"), edit(5, "b")]);
  });

  test("sends an edit under a new ref if the outcome of an earlier one is unknown", () => {
    const { outbox, sent, connect } = open();
    connect();
    outbox.edit("bob", { seq: 5 }, "a");
    outbox.disconnected();
    outbox.edit("bob", { seq: 5 }, "b");
    connect();
    expect(sent).toMatchObject([edit(5, "a"), edit(5, "b")]);
    expect(sent[0]!["ref"]).not.toBe(sent[1]!["ref"]);
  });

  test("changes a message that was never sent in its place", () => {
    const { outbox, stored, connect, answerAll } = open();
    const [one, two] = ["one", "two", "three"].map((text) => outbox.add("bob", text, { replyTo: 9 })!);
    const removed: string[] = [];
    outbox.on("removed", (each) => removed.push(each));
    outbox.edit("bob", one!, "ONE");
    outbox.delete("bob", two!);
    expect(removed).toEqual([one!.ref, two!.ref]); // other tabs drop the old texts
    expect([...stored.values()].map(({ text }) => text).toSorted()).toEqual(["ONE", "three"]);
    connect();
    expect(answerAll()).toEqual([
      { type: "message", to: "bob", message: "ONE", reply_to: 9 },
      { type: "message", to: "bob", message: "three", reply_to: 9 },
    ]);
  });

  test("changes a message that may be stored once its number is known, and shows it as changed", async () => {
    const { outbox, stored, sent, connect } = open();
    connect();
    const pending = outbox.add("bob", "helo")!;
    outbox.disconnected();
    outbox.edit("bob", pending, "hello");
    expect(outbox.to("bob")).toMatchObject([{ ref: pending.ref, text: "hello" }]);
    const next = open(stored);
    await next.outbox.load();
    next.outbox.edit("bob", pending, "hello!");
    next.connect();
    expect(next.sent).toMatchObject([{ type: "message", message: "helo", ref: pending.ref }]);
    expect(next.outbox.acknowledge(pending.ref, 7)?.text).toBe("helo");
    expect(next.sent[1]).toMatchObject(edit(7, "hello!"));
    expect(next.outbox.changesOf("bob")).toMatchObject([{ seq: 7, text: "hello!" }]);
    expect(sent).toHaveLength(1);
  });

  test("changes a message that another tab has sent meanwhile", async () => {
    const { outbox, stored, connect } = open();
    connect();
    const pending = outbox.add("bob", "helo")!;
    outbox.disconnected();
    outbox.edit("bob", pending, "hello");
    stored.delete(pending.ref);
    const next = open(stored);
    await next.outbox.load();
    next.connect();
    expect(next.sent).toEqual([]);
    next.outbox.acknowledge(pending.ref, 7);
    expect(next.sent).toMatchObject([edit(7, "hello")]);
  });

  test("changes a message that was rejected before a reload in its place", async () => {
    const { outbox, stored, connect, ref } = open();
    connect();
    outbox.add("bob", "helo");
    outbox.reject(ref(), "invalid_text");
    const next = open(stored);
    await next.outbox.load();
    next.connect();
    next.outbox.edit("bob", next.outbox.to("bob")[0]!, "hello");
    expect(next.sent).toMatchObject([{ type: "message", message: "hello" }]);
  });

  test("deletes a message that may be stored, and one that the server then rejects", () => {
    const { outbox, connect, sent } = open();
    connect();
    const [one, two] = [outbox.add("bob", "one")!, outbox.add("carl", "two")!];
    outbox.delete("bob", one);
    outbox.edit("carl", two, "TWO");
    expect(outbox.to("bob")).toEqual([]);
    outbox.reject(one.ref, "invalid_text");
    outbox.reject(two.ref, "invalid_text");
    expect(sent).toHaveLength(2);
    expect(outbox.to("carl")).toMatchObject([{ text: "TWO", state: "failed" }]);
    expect(outbox.size).toBe(1);
    outbox.edit("carl", outbox.to("carl")[0]!, "better");
    expect(sent[2]).toMatchObject({ message: "better" });
    expect(outbox.to("carl")).toMatchObject([{ text: "better", state: "sending" }]);
  });

  test("drops a rejected change with its error, and retries one that is rejected for a while", async () => {
    const { outbox, sent, connect, ref } = open();
    const rejected: unknown[] = [];
    outbox.on("rejected", (each) => rejected.push(each));
    connect();
    outbox.edit("bob", { seq: 5 }, "a");
    outbox.reject(ref(), "rate_limited", 0.01);
    expect(outbox.limitedFor).toBe(0.01);
    await Bun.sleep(30);
    expect(sent).toHaveLength(2);
    outbox.reject(ref(), "too_late");
    expect(rejected).toEqual([{ peer: "bob", seq: 5, type: "edit", code: "too_late" }]);
    expect([outbox.size, outbox.limitedFor]).toEqual([0, 0]);
  });

  test("keeps a text from being edited when it is full", () => {
    const { outbox } = open();
    for (let i = 0; i < 200; i++) outbox.add("bob", `${i}`);
    expect(outbox.edit("bob", { seq: 5 }, "a")).toBe(false);
    expect(outbox.edit("bob", outbox.to("bob")[3]!, "changed")).toBe(true);
    expect(outbox.to("bob")[3]?.text).toBe("changed");
  });
});

describe("the page's model", () => {
  /** Ann's conversation with one message of her own and one of Bob's, on screen. */
  async function shown() {
    const page = await openPage();
    const { server, wire, chat } = page;
    server.says("ann", "helo");
    server.says("bob", "hi");
    chat.sync.start();
    chat.conversations.show("bob");
    wire.greet();
    await settled();
    const bob = chat.conversations.getOrCreate("bob");
    const ticks = () =>
      shownMessages(chat, bob, { first: 1, last: 9, isAtEnd: true }).map(({ text, tick }) => [text, tick]);
    const asked = (type: string) => wire.sent.filter((frame) => frame.type === type);
    return { ...page, bob, ticks, asked };
  }

  test("shows a change at once as pending, and as stored after its answer", async () => {
    const { server, wire, outbox, bob, ticks, asked } = await shown();
    outbox.edit("bob", { seq: 1 }, "hello");
    outbox.react("bob", { seq: 2 }, "👍");
    expect(ticks()).toEqual([
      ["hello", "sending"],
      ["hi", undefined],
    ]);
    expect(bob.message(1)).toMatchObject({ text: "hello", pending: true, editedAt: expect.any(Number) });
    expect(bob.message(2)).toMatchObject({ reactions: { ann: "👍" }, pending: true });
    wire.emit("frame", server.changes(1, { text: "hello" }, asked("edit")[0]!["ref"]));
    wire.emit("frame", server.changes(2, { reactions: { ann: "👍" } }, asked("react")[0]!["ref"]));
    expect(ticks()).toEqual([
      ["hello", "sent"],
      ["hi", undefined],
    ]);
    expect([bob.message(1)?.pending, bob.message(2)?.reactions, outbox.size]).toEqual([undefined, { ann: "👍" }, 0]);
  });

  test("shows a deletion at once, also in the list, but caches it only when it is stored", async () => {
    const { outbox, chat, bob } = await shown();
    outbox.delete("bob", { seq: 1 });
    outbox.react("bob", { seq: 2 }, "👍");
    expect(bob.message(1)).toMatchObject({ text: "", deleted: true, pending: true });
    expect(bob.tail(2).messages[0]).toMatchObject({ text: "helo" });
    outbox.edit("bob", { seq: 2 }, "not mine");
    expect(chat.conversations.entries()[0]?.preview).toMatchObject({ text: "not mine" });
    expect(bob.preview?.text).toBe("hi");
  });

  test.each([
    ["with the ref", (ref: unknown) => ({ type: "error", code: "too_late", ref }), "too_late"],
    ["as an older server does", () => ({ type: "error", code: "bad_request" }), "bad_request"],
  ])("reverts a change that the server rejects %s", async (_, answer, code) => {
    const { wire, outbox, bob, asked } = await shown();
    const rejected: unknown[] = [];
    outbox.on("rejected", (each) => rejected.push(each));
    outbox.edit("bob", { seq: 1 }, "hello");
    wire.emit("frame", answer(asked("edit")[0]!["ref"]));
    expect([bob.message(1)?.text, bob.message(1)?.pending]).toEqual(["helo", undefined]);
    expect(rejected).toEqual([{ peer: "bob", seq: 1, type: "edit", code }]);
  });

  test("sends a reply, and shows which message it answers after the ack and to others", async () => {
    const { server, wire, chat, outbox, bob, asked } = await shown();
    chat.sync.write("bob", "yes", { replyTo: 2 });
    expect(outbox.to("bob")[0]?.replyTo).toBe(2);
    const [{ ref } = { ref: "" }] = asked("message");
    expect(asked("message")[0]).toMatchObject({ reply_to: 2 });
    wire.emit("frame", { type: "ack", ref, id: 3, seq: 3, timestamp: new Date(3_000).toISOString(), peer: "bob" });
    expect(bob.message(3)).toMatchObject({ text: "yes", replyTo: 2 });
    wire.emit("frame", { ...server.says("bob", "ok", "again"), seq: 4, id: 4, reply_to: 3 });
    expect(bob.message(4)?.replyTo).toBe(3);
  });
});
