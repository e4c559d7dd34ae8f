import { describe, expect, spyOn, test } from "bun:test";

import { UnreadDivider } from "../../static/js/elements/thread_items.js";
import { Conversation, type Message } from "../../static/js/store/conversation.js";
import { ConversationStore } from "../../static/js/store/conversation_store.js";
import { PeopleDirectory } from "../../static/js/store/people_directory.js";
import { PeopleSearch } from "../../static/js/store/people_search.js";
import { ReadState } from "../../static/js/store/read_state.js";
import { Limited, type Row } from "../../static/js/sync/api.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { Emitter } from "../../static/js/util/emitter.js";

const message = (seq: number, from = "bob"): Message => ({
  seq,
  id: seq,
  from,
  to: from === "bob" ? "ann" : "bob",
  text: `text ${seq}`,
  at: seq * 1_000,
});
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
const row = (peer: string, lastSeq: number, more: Partial<Row> = {}): Row => ({
  peer,
  last_seq: lastSeq,
  last: { sender: peer, content: `text ${lastSeq}`, timestamp: new Date(lastSeq * 1_000).toISOString() },
  unread: 0,
  peer_read_seq: 0,
  peer_delivered_seq: 0,
  my_read_seq: 0,
  online: false,
  last_seen: null,
  cursor: String(lastSeq),
  ...more,
});
const emptyOutbox = () => new Outbox({ load: () => [], put: () => {}, remove: () => {}, wipe: () => {} });

describe("events", () => {
  class Source extends Emitter<{ changed: string; ended: void }> {}

  test("reach every listener until it unsubscribes", () => {
    const source = new Source();
    const received: string[] = [];
    const stop = source.on("changed", (peer) => received.push(`first ${peer}`));
    source.on("changed", (peer) => received.push(`second ${peer}`));
    source.emit("changed", "bob");
    stop();
    source.emit("changed", "carl");
    source.emit("ended");
    expect(received).toEqual(["first bob", "second bob", "second carl"]);
  });

  test("reach the other listeners when one throws, and report the error", () => {
    const reported = spyOn(globalThis, "reportError").mockImplementation(() => {});
    const source = new Source();
    const received: string[] = [];
    source.on("changed", () => {
      throw new Error("broken");
    });
    source.on("changed", (peer) => received.push(peer));
    source.emit("changed", "bob");
    expect([received, reported.mock.calls.length]).toEqual([["bob"], 1]);
    reported.mockRestore();
  });

  test("emitted soon are emitted once for each detail", async () => {
    const source = new Source();
    const received: string[] = [];
    source.on("changed", (peer) => received.push(peer));
    for (const peer of ["bob", "carl", "bob"]) source.emitSoon("changed", peer);
    expect(received).toEqual([]);
    await Promise.resolve();
    expect(received).toEqual(["bob", "carl"]);
  });
});

describe("the read state", () => {
  const count = (seqs: number[]) => (after: number, to: number) =>
    seqs.filter((seq) => seq > after && seq <= to).length;
  const unloaded = () => undefined;

  test("adds arriving messages to the server's count, each once", () => {
    const reading = new ReadState();
    reading.update({ last_seq: 5, unread: 2, my_read_seq: 3, peer_read_seq: 0, peer_delivered_seq: 0 });
    for (const seq of [4, 6, 7, 6]) reading.received(seq);
    expect(reading.unread(unloaded)).toBe(4);
    reading.update({ last_seq: 7, unread: 4, my_read_seq: 3, peer_read_seq: 0, peer_delivered_seq: 0 });
    expect(reading.unread(unloaded)).toBe(4);
  });

  test("counts the rest after a part was read, if the messages are loaded", () => {
    const reading = new ReadState();
    reading.update({ last_seq: 5, unread: 5, my_read_seq: 0, peer_read_seq: 0, peer_delivered_seq: 0 });
    expect(reading.read(2)).toBe(true);
    expect([reading.unread(count([1, 2, 3, 4, 5])), reading.unread(unloaded)]).toEqual([3, 5]);
    expect([reading.read(5), reading.unread(unloaded), reading.unsavedMark]).toEqual([true, 0, 5]);
    reading.confirm(5);
    expect(reading.unsavedMark).toBeUndefined();
  });
});

describe("the conversation store", () => {
  test("lists the newest first and counts unmuted unread messages, listed or not", () => {
    const store = new ConversationStore("ann", emptyOutbox());
    store.addPage([row("bob", 3, { unread: 2 }), row("carl", 9, { unread: 1, muted: true })], false);
    store.setUnreadCounts({ bob: 2, dora: 4 });
    expect(store.entries().map(({ peer }) => peer)).toEqual(["carl", "bob"]);
    expect(store.unread).toBe(6);
    store.readElsewhere("dora", 7);
    expect(store.unread).toBe(2);
  });

  test("stays forgotten when an older answer arrives", () => {
    const store = new ConversationStore("ann", emptyOutbox());
    store.addPage([row("bob", 3)], false);
    store.forgetList();
    store.reread(new Set(store.all()), new Set(), { isLast: true, cursor: "1" });
    expect([store.isListLoaded, store.listedCount]).toEqual([false, 0]);
  });

  test("announces a peer's message once, and the user's own as a reply", () => {
    const store = new ConversationStore("ann", emptyOutbox());
    const events: string[] = [];
    store.on("arrived", ({ text }) => events.push(text));
    store.on("replied", (peer) => events.push(`to ${peer}`));
    for (const each of [message(1), message(1), message(2, "ann")]) store.receive("bob", each);
    expect(events).toEqual(["text 1", "to bob"]);
  });
});

/** A server of people; `answer` is what its search does. */
function directory(answer: (part: string) => Promise<string[]>) {
  const conversations = new ConversationStore("ann", emptyOutbox());
  const people = async (part: string) => (await answer(part)).map((username) => ({ username }));
  const api = { people, conversations: async () => [] } as never;
  return new PeopleDirectory("ann", { api, conversations, send: () => true });
}

describe("the search for people", () => {
  test("asks once for a word typed quickly, and shows no result of an earlier one", async () => {
    const asked: string[] = [];
    const search = new PeopleSearch(
      directory(async (part) => {
        asked.push(part);
        if (part === "b") await Bun.sleep(50);
        return [`${part}ob`];
      }),
    );
    search.set("b");
    await Bun.sleep(140); // the answer is on its way
    for (const text of ["bo", "boo "]) search.set(text);
    expect([search.state, search.found]).toEqual(["searching", []]);
    await Bun.sleep(200);
    expect([asked, search.state, search.found]).toEqual([["b", "boo"], "", ["booob"]]);
  });

  test("resumes by itself once the server accepts searches again", async () => {
    let refusals = 0;
    const search = new PeopleSearch(
      directory(async () => {
        if (refusals++ === 0) throw new Limited("/get_users", 0.05);
        return ["bob"];
      }),
    );
    search.set("bob");
    await Bun.sleep(150);
    expect([search.state, search.limitedFor]).toEqual(["limited", 0.05]);
    await Bun.sleep(100);
    expect([search.state, search.found]).toEqual(["", ["bob"]]);
  });

  test("suggests users once, and inserts new users in order", async () => {
    const people = directory(async () => ["bob", "dora"]);
    const search = new PeopleSearch(people);
    expect([search.suggest(), search.suggest()]).toEqual([true, false]);
    await Bun.sleep(5);
    people.add("carl");
    expect(search.found).toEqual(["bob", "carl", "dora"]);
  });
});

describe("the line of new messages", () => {
  function opened() {
    const conversation = new Conversation("ann", "bob");
    conversation.load(range(1, 5), true);
    conversation.readState.read(3);
    const divider = new UnreadDivider();
    divider.open(conversation);
    return { conversation, divider };
  }

  test("is above the first unread message, and disappears with a reply", () => {
    const { conversation, divider } = opened();
    expect([divider.isPlaced, divider.below(conversation)]).toEqual([true, 4]);
    divider.remove();
    expect([divider.isPlaced, divider.below(conversation)]).toEqual([false, undefined]);
  });

  test("stays above unread messages, moves below those read, and ignores what the user watches arrive", () => {
    const { conversation, divider } = opened();
    divider.shown(5);
    conversation.receive(message(6));
    expect([divider.arrived(conversation, 6, false), divider.below(conversation)]).toEqual([true, 4]);
    conversation.readState.read(6);
    conversation.receive(message(7));
    divider.arrived(conversation, 7, false);
    expect(divider.below(conversation)).toBe(7);
    conversation.readState.read(7);
    conversation.receive(message(8));
    expect([divider.arrived(conversation, 8, true), divider.missed(conversation)]).toEqual([false, false]);
  });
});
