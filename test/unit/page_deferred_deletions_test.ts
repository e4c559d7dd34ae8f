/** Deletions that can be undone for a while, by the page that made them and by others with the same outbox. */

import { afterEach, describe, expect, setSystemTime, test } from "bun:test";

import { isPending, type Pending, toFrame } from "../../static/js/store/pending.js";
import { Outbox } from "../../static/js/sync/outbox.js";

const START = Date.parse("2026-03-18T12:00:00Z");
const stored = new Map<string, Pending>();

afterEach(() => {
  setSystemTime();
  stored.clear();
  timers.clear();
});

/** The timers of all pages; `passes` moves the clock on and runs those that are due. */
const timers = new Map<number, { at: number; run: () => void }>();
let timerId = 0;
const clock = {
  setTimeout: (run: () => void, ms: number) => (timers.set(++timerId, { at: Date.now() + ms, run }), timerId),
  clearTimeout: (id: number) => void timers.delete(id),
};
async function passes(ms: number) {
  const end = Date.now() + ms;
  for (;;) {
    const [id, next] = [...timers].toSorted(([, a], [, b]) => a.at - b.at)[0] ?? [];
    if (id === undefined || !next || next.at > end) break;
    setSystemTime(Math.max(next.at, Date.now()));
    timers.delete(id);
    next.run();
    await Bun.sleep(1); // reads the store
  }
  setSystemTime(end);
}

/** A page that is connected; the server has answered nothing. */
function openTab() {
  if (Date.now() > START + 86_400_000 || Date.now() < START) setSystemTime(START);
  const outbox = new Outbox(
    {
      load: () => [...stored.values()].map((each) => structuredClone(each)),
      put: (ref, pending) => void stored.set(ref, structuredClone(pending)),
      remove: (ref) => void stored.delete(ref),
      wipe: () => stored.clear(),
    },
    { timers: clock, pace: { atOnce: 100, everyMs: 1 } },
  );
  const sent: Record<string, unknown>[] = [];
  const connect = () => outbox.connected((pending) => sent.push(toFrame(pending)) > 0);
  connect();
  const types = () => sent.map(({ type }) => type);
  const undo = () => {
    const refs = outbox.deferred.undoable().map(({ ref }) => ref);
    for (const ref of refs) outbox.remove(ref);
    return refs.length;
  };
  return { outbox, sent, types, undo, connect };
}

describe("a deferred deletion", () => {
  test("is shown at once, and sent when it can no longer be undone", async () => {
    const { outbox, sent } = openTab();
    outbox.deleteLater("bob", [{ seq: 5 }, { seq: 6 }], 5_000);
    expect(outbox.changesOf("bob").map(({ seq, type }) => [seq, type])).toEqual([
      [5, "delete"],
      [6, "delete"],
    ]);
    await passes(4_999);
    expect(sent).toEqual([]);
    expect(outbox.deferred.undoable()).toHaveLength(2);
    await passes(1);
    expect(outbox.deferred.undoable()).toEqual([]);
    outbox.remove(String(sent[0]?.["ref"]));
    expect(sent).toMatchObject([5, 6].map((seq) => ({ type: "delete", peer: "bob", seq })));
  });

  test("is never sent once undone", async () => {
    const { outbox, sent, undo } = openTab();
    outbox.deleteLater("bob", [{ seq: 5 }, { seq: 6 }], 5_000);
    await passes(4_999);
    expect(undo()).toBe(2);
    await passes(60_000);
    expect(sent).toEqual([]);
    expect(stored.size).toBe(0);
  });

  test("is sent by the page that is open after a reload, which can undo it until then", async () => {
    openTab().outbox.deleteLater("bob", [{ seq: 5 }], 5_000);
    timers.clear(); // that page is closed
    await passes(3_000);
    const next = openTab();
    await next.outbox.load();
    expect(next.outbox.changesOf("bob")).toHaveLength(1);
    expect(next.outbox.deferred.undoable()).toHaveLength(1);
    await passes(2_000);
    expect(next.outbox.deferred.undoable()).toEqual([]);
    await passes(2_000);
    expect(next.sent).toMatchObject([{ type: "delete", seq: 5 }]);
  });

  test("is sent at once by a page opened long after", async () => {
    openTab().outbox.deleteLater("bob", [{ seq: 5 }], 5_000);
    timers.clear();
    await passes(3_600_000);
    const next = openTab();
    await next.outbox.load();
    await passes(0);
    expect(next.types()).toEqual(["delete"]);
  });

  test("is not sent by another page once undone or postponed in its own", async () => {
    const [one, other] = [openTab(), openTab()];
    one.outbox.deleteLater("bob", [{ seq: 5 }, { seq: 6 }], 5_000);
    await other.outbox.load();
    const [first, second] = one.outbox.deferred.undoable().map(({ ref }) => ref);
    one.outbox.remove(first!);
    one.outbox.deferred.postpone([second!], 20_000);
    await passes(15_000);
    expect(other.sent).toEqual([]);
    expect(other.outbox.changesOf("bob").map(({ seq }) => seq)).toEqual([6]);
    await passes(10_000);
    expect(one.types()).toEqual(["delete"]);
    // Both may send it, under one ref.
    expect(new Set([...one.sent, ...other.sent].map((frame) => frame["ref"])).size).toBe(1);
  });

  test("of a message that is not sent yet holds that and later ones back", async () => {
    const { outbox, sent, connect, undo } = openTab();
    outbox.disconnected();
    const message = outbox.add("bob", "one")!;
    outbox.add("bob", "two");
    outbox.add("carol", "three");
    outbox.deleteLater("bob", [{ ref: message.ref }], 5_000);
    expect(outbox.to("bob").map(({ text }) => text)).toEqual(["two"]);
    connect();
    expect(sent.map(({ message: text }) => text)).toEqual(["three"]);
    undo();
    expect(sent.map(({ message: text }) => text)).toEqual(["three", "one"]);
  });

  test("of a message that is not sent yet discards it in the end", async () => {
    const { outbox, sent, connect } = openTab();
    outbox.disconnected();
    const message = outbox.add("bob", "one")!;
    outbox.deleteLater("bob", [{ ref: message.ref }], 5_000);
    connect();
    await passes(5_000);
    expect(sent).toEqual([]);
    expect(stored.size).toBe(0);
  });

  test("of a message in flight is sent with its number, also if the ack came first", async () => {
    const { outbox, types, sent } = openTab();
    const [one, two] = [outbox.add("bob", "one")!, outbox.add("bob", "two")!];
    outbox.deleteLater("bob", [{ seq: 0, ref: one.ref }], 5_000);
    outbox.acknowledge(one.ref, 7);
    outbox.acknowledge(two.ref, 8);
    outbox.deleteLater("bob", [{ seq: 0, ref: two.ref }], 5_000);
    outbox.edit("bob", { seq: 0, ref: two.ref }, "2");
    outbox.remove(String(sent.at(-1)?.["ref"]));
    await passes(5_000);
    outbox.remove(String(sent.at(-1)?.["ref"]));
    expect(types()).toEqual(["message", "message", "edit", "delete", "delete"]);
    expect(sent.map(({ seq }) => seq)).toEqual([undefined, undefined, 8, 7, 8]);
  });

  test("keeps an unsent edit until it can no longer be undone", async () => {
    const { outbox, sent, undo, connect } = openTab();
    outbox.disconnected();
    outbox.edit("bob", { seq: 5 }, "edited");
    outbox.deleteLater("bob", [{ seq: 5 }], 5_000);
    undo();
    connect();
    expect(sent).toMatchObject([{ type: "edit", message: "edited" }]);
    outbox.disconnected();
    outbox.deleteLater("bob", [{ seq: 5 }], 5_000);
    await passes(5_000);
    connect();
    expect(sent.slice(1)).toMatchObject([{ type: "delete", seq: 5 }]);
  });

  test("is refused as a whole when the outbox has no room for all", () => {
    const { outbox } = openTab();
    outbox.disconnected();
    for (let i = 0; i < 199; i++) outbox.add("bob", `${i}`);
    expect(outbox.deleteLater("bob", [{ seq: 1 }, { seq: 2 }], 5_000)).toBe(false);
    expect(outbox.room).toBe(1);
    expect(outbox.deleteLater("bob", [{ seq: 1 }], 5_000)).toBe(true);
  });

  test("is stored as a record that older pages ignore", () => {
    openTab().outbox.deleteLater("bob", [{ seq: 5 }], 5_000);
    const [[key, record] = ["", undefined]] = stored;
    expect(isPending(key, record)).toBe(true);
    expect(["sending", "failed", "changing"]).not.toContain(record?.state);
    expect(isPending(key, { ...record, sendAt: "soon" })).toBe(false);
    expect(isPending(key, { ...record, type: "edit" })).toBe(false);
  });
});

test("reports a change of a message that another tab discarded", () => {
  const { outbox } = openTab();
  const rejected: unknown[] = [];
  outbox.on("rejected", (each) => rejected.push(each));
  expect(outbox.edit("bob", { seq: 0, ref: "discarded-elsewhere" }, "x")).toBe(true);
  expect(rejected).toEqual([{ peer: "bob", seq: 0, type: "edit", code: "no_such_message" }]);
  expect(outbox.size).toBe(0);
});
