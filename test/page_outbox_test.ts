import { describe, expect, test } from "bun:test";

import { type Draft, Outbox } from "../static/js/outbox.js";
import { OutboxStore } from "../static/js/outbox_store.js";
import { NO_DATABASE } from "./memory_database.ts";

/** What `localStorage` does, without a browser. */
class FakeStorage {
  entries = new Map<string, string>();
  get length() {
    return this.entries.size;
  }
  key = (index: number) => [...this.entries.keys()][index] ?? null;
  getItem = (key: string) => this.entries.get(key) ?? null;
  setItem = (key: string, value: string) => void this.entries.set(key, value);
  removeItem = (key: string) => void this.entries.delete(key);
}

/** Timers that run when told to. */
class FakeTimers {
  waits: number[] = [];
  #run: (() => void) | undefined;
  setTimeout = (run: () => void, ms: number) => {
    this.waits.push(ms);
    this.#run = run;
    return this.waits.length;
  };
  clearTimeout = () => (this.#run = undefined);
  pass() {
    const run = this.#run;
    this.#run = undefined;
    run?.();
  }
}

function open(storage = new FakeStorage(), user = "ann") {
  const timers = new FakeTimers();
  const outbox = new Outbox(new OutboxStore({ shelf: storage, database: NO_DATABASE }, user), timers);
  const sent: string[] = [];
  const refs: string[] = [];
  const connect = () =>
    outbox.connected((draft: Draft) => {
      sent.push(draft.text);
      refs.push(draft.ref);
      return true;
    });
  return { outbox, storage, timers, sent, refs, connect };
}

describe("the outbox", () => {
  test("sends at once while connected, under a ref the server accepts", () => {
    const { outbox, sent, connect } = open();
    connect();
    const draft = outbox.add("bob", "hello");
    expect(sent).toEqual(["hello"]);
    expect(draft?.ref).toMatch(/^[A-Za-z0-9_-]{8,64}$/);
    expect(draft?.state).toBe("sending");
  });

  test("keeps a text until its ack, and sends all again in order under the same refs", () => {
    const { outbox, sent, refs, connect } = open();
    for (const text of ["one", "two", "three"]) outbox.add("bob", text);
    expect(sent).toEqual([]);
    connect();
    outbox.settle(refs[0] ?? "");
    outbox.disconnected();
    outbox.add("bob", "four");
    connect();
    expect(sent).toEqual(["one", "two", "three", "two", "three", "four"]);
    expect(refs.slice(1, 3)).toEqual(refs.slice(3, 5));
    expect(outbox.settle(refs[0] ?? "")).toBeUndefined();
  });

  test("survives a reload, for the same person only", async () => {
    const { outbox, storage } = open();
    outbox.add("bob", "one");
    outbox.add("carl", "two");
    open(storage, "ann.b").outbox.add("bob", "of another ann");
    for (const name of ["eve", "an", "ann.b.c"]) {
      const stranger = open(storage, name);
      await stranger.outbox.load();
      expect(stranger.outbox.size).toBe(0);
    }
    const again = open(storage);
    await again.outbox.load();
    again.connect();
    expect(again.sent).toEqual(["one", "two"]);
    expect(again.outbox.to("bob").map(({ text }) => text)).toEqual(["one"]);
  });

  test("ignores what something else left in the storage", async () => {
    const { outbox, storage } = open();
    storage.setItem("chatify.draft.ann.broken", "{");
    storage.setItem("chatify.draft.ann.other", '{"ref":1}');
    storage.setItem("unrelated", "{");
    await outbox.load();
    expect(outbox.size).toBe(0);
  });

  test("waits as long as the server says and keeps the order of what comes behind", () => {
    const { outbox, timers, sent, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.refuse(refs[0] ?? "", "rate_limited", 3);
    outbox.add("bob", "two");
    expect(sent).toEqual(["one"]);
    expect(timers.waits).toEqual([3000]);
    timers.pass();
    expect(sent).toEqual(["one", "one"]);
    expect(outbox.to("bob").map(({ state }) => state)).toEqual(["sending", "sending"]);
    outbox.settle(refs[0] ?? "");
    expect(sent).toEqual(["one", "one", "two"]);
  });

  test("fails what will never be taken, until somebody tries again or throws it away", () => {
    const { outbox, storage, sent, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.refuse(refs[0] ?? "", "no_such_user");
    expect(outbox.to("bob")).toMatchObject([{ state: "failed", code: "no_such_user" }]);
    outbox.add("bob", "two");
    outbox.disconnected();
    connect();
    expect(sent).toEqual(["one", "two", "two"]);
    outbox.retry(refs[0] ?? "");
    expect(sent.at(-1)).toBe("one");
    expect(refs.at(-1)).toBe(refs[0] ?? "");
    outbox.discard(refs[0] ?? "");
    expect(outbox.to("bob").map(({ text }) => text)).toEqual(["two"]);
    expect(storage.length).toBe(1);
  });

  test("gives a text a new ref when another text has the old one", () => {
    const { outbox, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.refuse(refs[0] ?? "", "ref_reused");
    outbox.retry(refs[0] ?? "");
    expect(refs).toHaveLength(2);
    expect(refs[1]).not.toBe(refs[0] ?? "");
    expect(outbox.size).toBe(1);
  });

  test("is bounded, and says so instead of dropping", () => {
    const { outbox } = open();
    for (let i = 0; i < 200; i++) expect(outbox.add("bob", `${i}`)).toBeDefined();
    expect(outbox.add("bob", "one too many")).toBeUndefined();
    expect(outbox.size).toBe(200);
  });

  test("leaves nothing behind when its person signs out", () => {
    const { outbox, storage } = open();
    storage.setItem("chatify.language", "el");
    outbox.add("bob", "secret");
    outbox.wipe();
    expect([...storage.entries.keys()]).toEqual(["chatify.language"]);
    expect(outbox.size).toBe(0);
  });

  test("goes on in memory when the browser keeps nothing", () => {
    const storage = new FakeStorage();
    storage.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const { outbox, sent, connect } = open(storage);
    outbox.add("bob", "hello");
    connect();
    expect(sent).toEqual(["hello"]);
  });
});
