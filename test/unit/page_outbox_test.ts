import { describe, expect, test } from "bun:test";

import { RateLimit } from "../../src/util/rate_limit.ts";
import { outboxPrefix } from "../../static/js/store/browser_storage.js";
import { OfflineStore } from "../../static/js/store/offline_store.js";
import { isPending, type Pending } from "../../static/js/store/pending.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { NO_DATABASE } from "../support/memory_database.ts";

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

const storeOf = (user: string, storage: FakeStorage) =>
  new OfflineStore<Pending>({ storage, database: NO_DATABASE }, "outbox", outboxPrefix(user), isPending);

/** A clock that the test advances. */
class FakeTimers {
  now = 0;
  waits: number[] = [];
  #timers: { id: number; at: number; run: () => void }[] = [];
  setTimeout = (run: () => void, ms: number) => {
    this.#timers.push({ id: this.waits.push(ms), at: this.now + ms, run });
    return this.waits.length;
  };
  clearTimeout = (id: number) => void (this.#timers = this.#timers.filter((timer) => timer.id !== id));
  /** Goes on to the next timer. @returns whether there was one */
  pass(): boolean {
    const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
    if (!next) return false;
    this.clearTimeout(next.id);
    this.now = Math.max(this.now, next.at);
    next.run();
    return true;
  }
}

function open(storage = new FakeStorage(), user = "ann") {
  const timers = new FakeTimers();
  const outbox = new Outbox(storeOf(user, storage), {
    timers,
    now: () => timers.now,
  });
  const sent: string[] = [];
  const refs: string[] = [];
  const connect = () =>
    outbox.connected((draft: Pending) => {
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
    outbox.remove(refs[0] ?? "");
    outbox.disconnected();
    outbox.add("bob", "four");
    connect();
    expect(sent).toEqual(["one", "two", "two"]);
    expect(refs[2]).toBe(refs[1]!);
    for (let i = 2; i < 5; i++) outbox.remove(refs[i] ?? "");
    expect(sent.slice(2)).toEqual(["two", "three", "four"]);
    expect(outbox.remove(refs[0] ?? "")).toBeUndefined();
  });

  test("survives a reload, for the same user only", async () => {
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
    expect(again.sent).toEqual(["one", "two"]); // to two people
    expect(again.outbox.to("bob").map(({ text }) => text)).toEqual(["one"]);
  });

  test("ignores foreign data in the storage", async () => {
    const { outbox, storage } = open();
    storage.setItem("chatify.draft.ann.broken", "{");
    storage.setItem("chatify.draft.ann.other", '{"ref":1}');
    storage.setItem("unrelated", "{");
    await outbox.load();
    expect(outbox.size).toBe(0);
  });

  test("waits for retry_after and keeps the order of later texts", () => {
    const { outbox, timers, sent, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.reject(refs[0] ?? "", "rate_limited", 3);
    outbox.add("bob", "two");
    expect(sent).toEqual(["one"]);
    expect(timers.waits).toEqual([3000]);
    timers.pass();
    expect(sent).toEqual(["one", "one"]);
    expect(outbox.to("bob").map(({ state }) => state)).toEqual(["sending", "sending"]);
    outbox.remove(refs[0] ?? "");
    expect(sent).toEqual(["one", "one", "two"]);
  });

  test("marks a rejected text as failed until it is resent or discarded", () => {
    const { outbox, storage, sent, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.reject(refs[0] ?? "", "no_such_user");
    expect(outbox.to("bob")).toMatchObject([{ state: "failed", code: "no_such_user" }]);
    outbox.add("bob", "two");
    outbox.disconnected();
    connect();
    expect(sent).toEqual(["one", "two", "two"]);
    outbox.remove(refs[2] ?? "");
    outbox.add("bob", "three");
    outbox.remove(refs[3] ?? "");
    outbox.retry(refs[0] ?? "");
    expect(sent.at(-1)).toBe("one");
    expect(refs.at(-1)).toBe(refs[0] ?? "");
    outbox.add("bob", "four");
    outbox.remove(refs[0] ?? "");
    expect(outbox.to("bob").map(({ text }) => text)).toEqual(["four"]);
    expect(storage.length).toBe(1);
  });

  test("has one message in flight per conversation, however the peer's name is spelled", () => {
    const { outbox, sent, refs, connect } = open();
    connect();
    outbox.add("BOB", "one");
    outbox.add("bob", "two");
    expect(outbox.to("Bob").map(({ text }) => text)).toEqual(["one", "two"]);
    expect(sent).toEqual(["one"]);
    outbox.remove(refs[0] ?? "");
    expect(sent).toEqual(["one", "two"]);
  });

  test("assigns a new ref when another text has the old one", () => {
    const { outbox, refs, connect } = open();
    connect();
    outbox.add("bob", "one");
    outbox.reject(refs[0] ?? "", "ref_reused");
    outbox.retry(refs[0] ?? "");
    expect(refs).toHaveLength(2);
    expect(refs[1]).not.toBe(refs[0] ?? "");
    expect(outbox.size).toBe(1);
  });

  test("is bounded, and reports that instead of dropping", () => {
    const { outbox } = open();
    for (let i = 0; i < 200; i++) expect(outbox.add("bob", `${i}`)).toBeDefined();
    expect(outbox.add("bob", "one too many")).toBeUndefined();
    expect(outbox.size).toBe(200);
  });

  test("is erased at sign-out", () => {
    const { outbox, storage } = open();
    storage.setItem("chatify.language", "el");
    outbox.add("bob", "secret");
    outbox.wipe();
    expect([...storage.entries.keys()]).toEqual(["chatify.language"]);
    expect(outbox.size).toBe(0);
  });

  test("works in memory when the browser stores nothing", () => {
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

/** A server with a limit: it answers half a second later, and closes for the tenth refusal within a minute. */
class Limited {
  readonly accepted: string[] = [];
  readonly #limit: RateLimit;
  readonly #timers: FakeTimers;
  #strikes: number[] = [];

  constructor(timers: FakeTimers, rate: { burst: number; perSecond: number }) {
    this.#timers = timers;
    this.#limit = new RateLimit(rate);
  }

  /** Another of the person's tabs or devices. */
  alsoSends(everyMs: number): void {
    this.#limit.charge("ann", this.#timers.now);
    this.#timers.setTimeout(() => this.alsoSends(everyMs), everyMs);
  }

  take(outbox: Outbox, { ref, text }: Pending): boolean {
    const { now } = this.#timers;
    const waitMs = this.#limit.charge("ann", now);
    if (waitMs === 0) this.accepted.push(text);
    else this.#strikes = [...this.#strikes.filter((at) => now - at < 60_000), now];
    expect(this.#strikes.length).toBeLessThan(10);
    const answer = () =>
      waitMs === 0 ? outbox.remove(ref) : outbox.reject(ref, "rate_limited", Math.ceil(waitMs / 1_000));
    this.#timers.setTimeout(answer, 500);
    return true;
  }
}

describe("the outbox's pace", () => {
  test("is fifteen at once, then four a second, over all reconnects", () => {
    const { outbox, timers, sent, refs, connect } = open();
    for (let i = 0; i < 50; i++) outbox.add(`peer${i}`, `${i}`);
    connect();
    expect(sent).toHaveLength(15);
    outbox.disconnected();
    connect();
    expect(sent).toHaveLength(15);
    const begun = timers.now;
    for (let settled = 0; outbox.size > 0; timers.pass()) {
      for (; settled < refs.length; settled++) outbox.remove(refs[settled]!);
    }
    expect(new Set(sent).size).toBe(50);
    expect(timers.now - begun).toBeGreaterThanOrEqual(34 * 250);
    expect(timers.now - begun).toBeLessThanOrEqual(36 * 250);
  });

  test("refunds unused credit", () => {
    const { outbox, timers, sent, refs, connect } = open();
    connect();
    for (let i = 0; i < 15; i++) outbox.remove(outbox.add("bob", `${i}`)!.ref);
    outbox.add("bob", "waits");
    expect(sent).toHaveLength(15);
    timers.pass();
    expect(sent.at(-1)).toBe("waits");
    outbox.remove(refs.at(-1)!);
    timers.now += 60_000;
    for (let i = 0; i < 20; i++) outbox.add(`peer${i}`, `${i}`);
    expect(sent).toHaveLength(16 + 15);
  });

  test.each([
    ["the default", { burst: 20, perSecond: 5 }, 0],
    ["another tab that sends twice a second", { burst: 20, perSecond: 5 }, 500],
    ["another tab that takes all there is", { burst: 20, perSecond: 5 }, 201],
    ["a host's own limit of one a second", { burst: 5, perSecond: 1 }, 0],
    ["a host's own limit of one in five seconds", { burst: 1, perSecond: 0.2 }, 0],
  ])("sends two hundred texts in order to a server with %s, without being closed", (_, rate, alsoEveryMs) => {
    const { outbox, timers } = open();
    const server = new Limited(timers, rate);
    if (alsoEveryMs > 0) server.alsoSends(alsoEveryMs);
    const texts = Array.from({ length: 200 }, (_, i) => `${i}`);
    for (const text of texts) outbox.add("bob", text);
    outbox.connected((draft: Pending) => server.take(outbox, draft));
    const isBusy = alsoEveryMs === 201; // then hardly anything is left to take
    for (let i = 0; i < 20_000 && outbox.size > 0; i++) timers.pass();
    expect(server.accepted).toEqual(texts.slice(0, server.accepted.length));
    expect(server.accepted.length).toBeGreaterThanOrEqual(isBusy ? 15 : 200);
  });

  test("reports the server's wait and its end", () => {
    const { outbox, timers, refs, connect } = open();
    const said: number[] = [];
    outbox.on("limited", (seconds) => said.push(seconds));
    connect();
    outbox.add("bob", "one");
    outbox.reject(refs[0]!, "rate_limited", 3);
    expect(said).toEqual([3]);
    timers.pass();
    expect(said).toEqual([3, 0]);
    outbox.reject(refs[1]!, "busy", 2);
    timers.pass();
    expect(said).toEqual([3, 0]);
  });

  test("is full again once only failed messages are left", () => {
    const { outbox, timers, sent, refs, connect } = open();
    connect();
    outbox.add("carol", "rejected");
    outbox.reject(refs[0]!, "blocked");
    outbox.add("bob", "limited");
    outbox.reject(refs[1]!, "rate_limited", 1);
    timers.pass();
    outbox.remove(refs.at(-1)!);
    timers.now += 60_000;
    sent.length = 0;
    for (let i = 0; i < 15; i++) outbox.add(`peer${i}`, `${i}`);
    expect(outbox.to("carol").map(({ state }) => state)).toEqual(["failed"]);
    expect(sent).toHaveLength(15);
  });

  test("is unlimited where the server has no limits", () => {
    const outbox = new Outbox(storeOf("ann", new FakeStorage()), {
      pace: null,
    });
    const sent: string[] = [];
    for (let i = 0; i < 100; i++) outbox.add("bob", `${i}`);
    outbox.connected((draft: Pending) => sent.push(draft.text) > 0);
    expect(sent).toHaveLength(100);
  });
});
