import { describe, expect, test } from "bun:test";

import { group, isEmoji } from "../../static/js/elements/thread_items.js";
import { VirtualWindow } from "../../static/js/elements/thread_viewport.js";
import { Conversation, type Message } from "../../static/js/store/conversation.js";
import { Backoff } from "../../static/js/sync/connection.js";

const message = (seq: number, from = "bob", ref?: string): Message => ({
  seq,
  id: seq * 10,
  from,
  to: from === "bob" ? "ann" : "bob",
  text: `text ${seq}`,
  at: seq * 1000,
  ...(ref ? { ref } : {}),
});
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
const seqs = (conversation: Conversation) => conversation.messages().map(({ seq }) => seq);
const row = (
  last_seq: number,
  unread = 0,
  marks: Partial<Record<"peer_read_seq" | "peer_delivered_seq" | "my_read_seq", number>> = {},
) => ({
  last_seq,
  unread,
  peer_read_seq: 0,
  peer_delivered_seq: 0,
  my_read_seq: 0,
  ...marks,
});

function loaded(...page: Message[]) {
  const conversation = new Conversation("ann", "bob");
  conversation.load(page, true);
  return conversation;
}

describe("a conversation", () => {
  test("shows messages in order, and holds early ones until the gap is filled", () => {
    const conversation = loaded(...range(1, 2));
    expect(conversation.receive(message(4))).toEqual({ isNew: true, hasGap: true });
    expect(seqs(conversation)).toEqual([1, 2]);
    expect(conversation.receive(message(3))).toEqual({ isNew: false, hasGap: false });
    expect(seqs(conversation)).toEqual([1, 2, 3, 4]);
  });

  test("stores a repeated message once", () => {
    const conversation = loaded(message(1));
    for (let i = 0; i < 3; i++) conversation.receive(message(2));
    conversation.receive(message(1));
    expect(seqs(conversation)).toEqual([1, 2]);
    expect(conversation.unread).toBe(1);
  });

  test("counts messages that fill a gap as unread, when an ack overtook the list row", () => {
    const conversation = loaded(message(1));
    conversation.receive(message(5, "ann"));
    conversation.update(row(4, 3), undefined);
    for (const next of range(2, 4)) conversation.receive(next);
    expect(conversation.unread).toBe(3);
  });

  test("counts unread messages of a peer in another spelling", () => {
    const conversation = new Conversation("ann", "BOB");
    conversation.load(range(1, 2), true);
    conversation.receive(message(3));
    conversation.receive(message(4, "ann"));
    expect(conversation.unread).toBe(1);
    conversation.readState.read(2);
    expect(conversation.unread).toBe(1);
    conversation.readState.read(3);
    expect(conversation.unread).toBe(0);
  });

  test("orders any arrival, for any order of frames", () => {
    for (let round = 0; round < 200; round++) {
      const conversation = loaded();
      for (const next of range(1, 12).toSorted(() => Math.random() - 0.5)) conversation.receive(next);
      expect(seqs(conversation)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      expect(conversation.unread).toBe(12);
      expect(conversation.hasGap).toBe(false);
    }
  });

  test("shows an own message while those before it are missing", () => {
    const conversation = loaded(message(1));
    conversation.receive(message(3, "ann", "my-ref-1"));
    expect(seqs(conversation)).toEqual([1, 3]);
    conversation.receive(message(2));
    expect(seqs(conversation)).toEqual([1, 2, 3]);
  });

  test("reports a gap known only from the list", () => {
    const conversation = loaded(...range(1, 3));
    conversation.update(row(5, 2), undefined);
    expect(conversation.hasGap).toBe(true);
    for (const next of range(4, 5)) conversation.receive(next);
    expect(conversation.hasGap).toBe(false);
    expect(conversation.unread).toBe(2);
  });

  test("keeps only list data until loaded, and reports a jump", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.update(row(7, 1), { from: "bob", text: "text 7", at: 7000 });
    expect(conversation.receive(message(8))).toEqual({ isNew: true, hasGap: false });
    expect(conversation.receive(message(10))).toEqual({ isNew: true, hasGap: true });
    expect(conversation.preview?.text).toBe("text 10");
    expect(conversation.messages()).toEqual([]);
    expect(conversation.unread).toBe(3);
  });

  test("merges messages that arrive during its first page", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.receive(message(51));
    conversation.load(range(1, 50), true);
    expect(conversation.hasGap).toBe(true);
    conversation.receive(message(51));
    expect(conversation.contiguousSeq).toBe(51);
    expect(conversation.unread).toBe(1);
  });

  test("grows upwards without doubling", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.load(range(101, 150), false);
    conversation.view.prepend({ messages: range(51, 100), reachesStart: false, revision: 0 });
    conversation.view.prepend({ messages: range(51, 100), reachesStart: false, revision: 0 });
    conversation.view.prepend({ messages: range(1, 50), reachesStart: true, revision: 0 });
    expect(seqs(conversation)).toEqual(range(1, 150).map(({ seq }) => seq));
    expect(conversation.reachesStart).toBe(true);
  });

  test("finds the first unread message, and whether it is loaded", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.update(row(100, 20, { my_read_seq: 79 }), undefined);
    conversation.load(
      range(91, 100).map((each) => (each.seq === 95 ? message(95, "ann") : each)),
      false,
    );
    expect([conversation.reachesUnread, conversation.firstAfter(79)]).toEqual([false, undefined]);
    expect(conversation.firstAfter(94)).toBe(96); // what I wrote is not new to me
    conversation.view.prepend({ messages: range(71, 90), reachesStart: false, revision: 0 });
    expect([conversation.reachesUnread, conversation.firstAfter(79)]).toEqual([true, 80]);
    expect(conversation.firstAfter(100)).toBeUndefined();
  });

  test("has nothing unread when the server says so, even with an old mark", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.load(
      Array.from({ length: 10 }, (_, index) => message(51 + index, "ann")),
      false,
    );
    expect(conversation.reachesUnread).toBe(true);
    conversation.load(range(51, 60), false);
    expect(conversation.reachesUnread).toBe(false); // the user's read mark is unknown
    conversation.update(row(60, 0, { my_read_seq: 7 }), undefined);
    expect(conversation.reachesUnread).toBe(true);
  });

  test("marks only rise", () => {
    const conversation = loaded(message(1, "ann"), message(2, "ann"), message(3, "ann"));
    conversation.readState.raisePeer({ read: 2 });
    conversation.readState.raisePeer({ delivered: 1, read: 1 });
    conversation.update(row(3), undefined);
    expect(conversation.messages().map((own) => conversation.markOf(own))).toEqual(["read", "read", "sent"]);
    conversation.readState.raisePeer({ delivered: 3 });
    expect(conversation.markOf(message(3, "ann"))).toBe("delivered");
  });

  test("counts unread down as they are seen, here or elsewhere", () => {
    const conversation = loaded(...range(1, 2), message(3, "ann"));
    conversation.update(row(3, 2), undefined);
    expect(conversation.readState.read(1)).toBe(true);
    expect(conversation.unread).toBe(1);
    expect(conversation.readState.unsavedMark).toBe(1);
    expect(conversation.readState.read(1)).toBe(false);
    conversation.readState.confirm(2);
    expect(conversation.unread).toBe(0);
    expect(conversation.readState.unsavedMark).toBeUndefined();
  });

  test("ignores a response older than newer events", () => {
    const conversation = loaded(message(1));
    conversation.receive(message(2));
    conversation.update(row(1, 0), { from: "bob", text: "text 1", at: 1000 });
    expect(conversation.unread).toBe(1);
    expect(conversation.preview?.text).toBe("text 2");
    conversation.readState.read(2);
    conversation.update(row(2, 1), undefined);
    expect(conversation.unread).toBe(0);
  });

  test("with self is never unread and has no read mark", () => {
    const notes = new Conversation("ann", "ann");
    notes.load([], true);
    notes.receive({ ...message(1, "ann"), to: "ann" });
    expect(notes.unread).toBe(0);
    expect(notes.markOf(message(1, "ann"))).toBe("sent");
  });
});

describe("the view of a conversation", () => {
  const page = (first: number, last: number, revision = 0) => ({
    messages: range(first, last),
    reachesStart: first === 1,
    revision,
  });
  const shown = (conversation: Conversation) => seqs(conversation).map(Number);
  const from = (first: number, last: number) => range(first, last).map(({ seq }) => seq);

  /** 1,000 messages, of which the newest 50 are loaded and 10 are unread; the view is around message 400. */
  function jumped(): Conversation {
    const conversation = new Conversation("ann", "bob");
    conversation.update(row(1_000, 10, { my_read_seq: 990 }), undefined);
    conversation.load(range(951, 1_000), false);
    conversation.view.detach(page(361, 440));
    return conversation;
  }

  test("shows a range anywhere, while new messages arrive at the end", () => {
    const conversation = jumped();
    expect(conversation.receive(message(1_001))).toEqual({ isNew: true, hasGap: false });
    expect(conversation.receive(message(1_003))).toEqual({ isNew: true, hasGap: true });
    expect(shown(conversation)).toEqual(from(361, 440));
    expect([conversation.view.isDetached, conversation.unread, conversation.contiguousSeq]).toEqual([true, 12, 1_001]);
    expect(conversation.preview?.text).toBe("text 1003");
    conversation.receive(message(1_002));
    conversation.view.attach();
    expect(shown(conversation)).toEqual(from(951, 1_003));
    expect([conversation.unread, conversation.hasGap]).toEqual([13, false]);
  });

  test("grows on both sides without a hole, and becomes one with the newest where they meet", () => {
    const conversation = jumped();
    conversation.view.prepend(page(281, 360));
    conversation.view.append(page(441, 940));
    conversation.view.append(page(942, 950)); // 941 is missing
    expect(shown(conversation)).toEqual(from(281, 940));
    conversation.receive(message(1_001));
    conversation.view.append(page(941, 1_000));
    expect(conversation.view.isDetached).toBe(false);
    expect(shown(conversation)).toEqual(from(281, 1_001));
    expect(conversation.reachesStart).toBe(false);
  });

  test("becomes one with newest messages from the cache that end before it", () => {
    const conversation = new Conversation("ann", "bob");
    conversation.update(row(300, 0, { my_read_seq: 300 }), undefined);
    conversation.load(range(101, 200), false);
    conversation.view.detach(page(221, 300));
    for (const { seq } of range(201, 219)) conversation.receive(message(seq));
    expect(shown(conversation)).toEqual(from(221, 300));
    conversation.receive(message(220));
    expect(shown(conversation)).toEqual(from(101, 300));
    expect(conversation.hasGap).toBe(false);
  });

  test("stays while the newest messages are loaded again, but not after a rollback of the database", () => {
    const conversation = jumped();
    conversation.unload();
    expect([conversation.view.isLoaded, shown(conversation).length]).toEqual([true, 80]);
    conversation.load(range(1_951, 2_000), false);
    expect(shown(conversation)).toEqual(from(361, 440));
    conversation.raiseRevision(3);
    conversation.distrust();
    expect([conversation.view.isDetached, conversation.view.isLoaded]).toEqual([false, false]);
  });

  test("has changes of its messages, and knows which ones it lacks", () => {
    const conversation = jumped();
    conversation.change({ ...message(400), text: "edited", revision: 1 });
    expect(conversation.message(400)?.text).toBe("edited");
    expect([conversation.lacksChanges, conversation.loadedRevision]).toEqual([false, 1]);
    conversation.view.detach(page(361, 440)); // requested before the change
    expect([conversation.lacksChanges, conversation.loadedRevision]).toEqual([true, 0]);
    conversation.change({ ...message(1_000), text: "edited too", revision: 2 });
    expect([conversation.lacksChanges, conversation.loadedRevision]).toEqual([true, 0]);
    conversation.receive({ ...message(400), text: "edited", revision: 1 });
    conversation.raiseRevision(2);
    expect(conversation.lacksChanges).toBe(false);
    expect([conversation.message(400)?.text, conversation.message(1_000)?.text]).toEqual(["edited", "edited too"]);
    expect(conversation.differs({ seq: 400, at: 1 })).toBe(true);
  });

  test("lacks a change after the ranges meet if one of them did", () => {
    const conversation = jumped();
    conversation.change({ ...message(1_000), text: "edited", revision: 2 }); // 1 is on its way
    conversation.view.append(page(441, 960)); // requested before both
    conversation.change({ ...message(990), text: "edited too", revision: 1 });
    expect(conversation.view.isDetached).toBe(false);
    expect([conversation.loadedRevision, conversation.lacksChanges]).toEqual([1, true]);
  });
});

describe("the rendered window", () => {
  const edges = ({ first, last }: VirtualWindow) => [first, last];
  const loaded = (firstSeq: number, lastSeq: number, isDetached = false) => ({ firstSeq, lastSeq, isDetached });
  const END = Number.POSITIVE_INFINITY;

  test("starts at the end, and grows in the direction of scrolling", () => {
    const rendered = new VirtualWindow();
    rendered.toEnd(10_000);
    expect(edges(rendered)).toEqual([9_941, END]);
    expect(rendered.down(loaded(9_941, 10_000))).toBe(false);
    expect(rendered.up(loaded(9_941, 10_000))).toBe(false); // no older message is loaded
    expect(rendered.up(loaded(9_901, 10_000))).toBe(true);
    expect(edges(rendered)).toEqual([9_921, END]);
  });

  test("opens at a message with those before it", () => {
    const rendered = new VirtualWindow();
    rendered.to(500, loaded(1, 10_000));
    expect(edges(rendered)).toEqual([470, 629]);
    rendered.to(10_000, loaded(1, 10_000));
    expect(edges(rendered)).toEqual([9_970, END]);
    rendered.to(3, loaded(1, 5));
    expect(edges(rendered)).toEqual([1, END]);
  });

  test("is bounded, contains the visible messages, and never removes them", () => {
    const rendered = new VirtualWindow();
    const held = 10_000;
    rendered.toEnd(held);
    const seen = () => [rendered.first, Math.min(rendered.last, held)] as const;
    for (const way of ["up", "down"] as const) {
      for (;;) {
        const [first, last] = seen();
        if (!(way === "up" ? rendered.up(loaded(1, held)) : rendered.down(loaded(1, held)))) break;
        const [from, to] = seen();
        expect(to - from + 1).toBeLessThanOrEqual(160);
        // At the end it grows at, nothing is lost; at the other a step at most.
        if (way === "up") expect([from < first, to >= Math.min(last, first + 100)]).toEqual([true, true]);
        else expect([to > last, from <= Math.max(first, last - 100)]).toEqual([true, true]);
      }
      expect(way === "up" ? rendered.first : rendered.last).toBe(way === "up" ? 1 : END);
    }
  });

  test("ends where the loaded messages do, unless they are the newest", () => {
    const rendered = new VirtualWindow();
    const range = loaded(361, 440, true);
    rendered.to(400, range);
    expect(edges(rendered)).toEqual([370, 440]);
    expect([rendered.down(range), rendered.isAtEnd]).toEqual([false, false]);
    expect(rendered.down(loaded(361, 540, true))).toBe(true);
    expect(edges(rendered)).toEqual([370, 460]);
    expect(rendered.up(range)).toBe(true);
    expect(rendered.up(range)).toBe(false);
    rendered.to(362, range);
    expect(edges(rendered)).toEqual([361, 440]);
  });

  test("grows with a larger screen", () => {
    const rendered = new VirtualWindow();
    rendered.to(500, loaded(1, 1_000));
    for (let ends = 0; ends < 2;) {
      ends = 0;
      if (!rendered.down(loaded(1, 1_000), Number.POSITIVE_INFINITY)) ends++;
      if (!rendered.up(loaded(1, 1_000), Number.POSITIVE_INFINITY)) ends++;
    }
    expect(edges(rendered)).toEqual([1, END]);
  });

  test("stays bounded as messages arrive, dropping those far from the visible ones", () => {
    const [reading, away] = [new VirtualWindow(), new VirtualWindow()];
    for (const rendered of [reading, away]) rendered.toEnd(100);
    for (let held = 101; held <= 2_000; held++) {
      reading.trim(held, { isAtEnd: true });
      away.trim(held, { isAtEnd: false });
      expect(held - reading.first).toBeLessThanOrEqual(180);
    }
    expect(reading.isAtEnd).toBe(true);
    expect(edges(away)).toEqual([41, 220]);
  });
});

describe("grouping", () => {
  const minute = 60_000;
  const noon = new Date(2026, 10, 22, 12).getTime();
  const said = (from: string, at: number, text = "hi", seq = 0) => ({ from, at, text, seq });
  const shape = (...messages: ReturnType<typeof said>[]) => shapeFrom(undefined, ...messages);
  const shapeFrom = (newFrom: number | undefined, ...messages: ReturnType<typeof said>[]) =>
    group(messages, newFrom).map((item) =>
      item.kind !== "message" ? item.kind : `${item.first ? "[" : ""}${item.message.from}${item.last ? "]" : ""}`,
    );

  test("groups messages of one user within five minutes", () => {
    expect(
      shape(said("a", noon), said("a", noon + minute), said("b", noon + 2 * minute), said("b", noon + 8 * minute)),
    ).toEqual(["day", "[a", "a]", "[b]", "[b]"]);
  });

  test("separates days, and never backwards", () => {
    const midnight = new Date(2026, 10, 23).getTime();
    expect(shape(said("a", midnight - 1), said("a", midnight + 1), said("a", midnight - 1))).toEqual([
      "day",
      "[a]",
      "day",
      "[a]",
      "[a]",
    ]);
  });

  test("separates new messages, within a group too, below the day's line", () => {
    const run = [1, 2, 3].map((seq) => said("a", noon + seq, "hi", seq));
    expect(shapeFrom(2, ...run)).toEqual(["day", "[a]", "new", "[a", "a]"]);
    expect(shapeFrom(1, ...run)).toEqual(["day", "new", "[a", "a", "a]"]);
    expect(shapeFrom(9, ...run)).toEqual(["day", "[a", "a", "a]"]);
  });

  test("recognizes messages of emoji only", () => {
    for (const text of ["🙂", "👍🏽 👩‍👩‍👧", "❤️🎉🇬🇷"]) expect([text, isEmoji(text)]).toEqual([text, true]);
    for (const text of ["", "🙂🙂🙂🙂", "ok 🙂", "1", "#"]) expect([text, isEmoji(text)]).toEqual([text, false]);
  });
});

describe("backoff", () => {
  test("doubles its ceiling up to thirty seconds, and starts anew", () => {
    const backoff = new Backoff(() => 0.999_999);
    const waits = Array.from({ length: 9 }, () => Math.round(backoff.next(1006) ?? 0));
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    backoff.reset();
    expect(Math.round(backoff.next() ?? 0)).toBe(500);
  });

  test("spreads reconnects over five seconds after a restart", () => {
    expect(new Backoff(() => 0.5).next(1012)).toBe(2500);
    expect(new Backoff(() => 0).next(1012)).toBe(0);
  });

  test("never reconnects after the session ended, and slowly after rate limiting", () => {
    expect(new Backoff().next(4401)).toBeUndefined();
    expect(new Backoff(() => 0).next(1008)).toBeGreaterThanOrEqual(15_000);
  });
});
