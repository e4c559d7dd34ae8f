import { describe, expect, test } from "bun:test";

import { NotificationPolicy } from "../../static/js/notifications/notification_policy.js";
import { NotificationPreferences } from "../../static/js/notifications/notification_preferences.js";
import { BroadcastTabElection, LockTabElection } from "../../static/js/notifications/tab_election.js";
import { Drafts } from "../../static/js/store/drafts.js";
import type { Frame, State } from "../../static/js/sync/connection.js";
import { DraftSync } from "../../static/js/sync/draft_sync.js";
import { Emitter } from "../../static/js/util/emitter.js";

/** A clock that goes when the test says so. */
class Clock {
  now = 0;
  #timers: { at: number; run: () => void; id: number }[] = [];
  #ids = 0;
  readonly around = {
    now: () => this.now,
    random: () => 0.5,
    setTimeout: (run: () => void, ms: number) => {
      this.#timers.push({ at: this.now + ms, run, id: ++this.#ids });
      return this.#ids;
    },
    clearTimeout: (id: unknown) => void (this.#timers = this.#timers.filter((timer) => timer.id !== id)),
  };
  async pass(ms: number) {
    const end = this.now + ms;
    await Bun.sleep(0); // what waits for nothing sets its timers first
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = next.at;
      next.run();
      await Bun.sleep(0);
    }
    this.now = end;
  }
}

/** Web Locks as a browser has them, for several tabs. */
class Locks {
  #held: { name: string; mode: string; tab: object }[] = [];
  #row: { name: string; mode: string; tab: object; run: () => Promise<unknown> }[] = [];
  of(tab: object) {
    return {
      query: async () => ({ held: this.#held.map(({ name }) => ({ name })) }),
      request: (name: string, { mode }: { mode: string }, run: () => Promise<unknown>) => {
        this.#row.push({ name, mode, tab, run });
        this.#serve();
        return new Promise(() => {});
      },
    } as unknown as Pick<LockManager, "request" | "query">;
  }
  close(tab: object) {
    this.#held = this.#held.filter((lock) => lock.tab !== tab);
    this.#row = this.#row.filter((lock) => lock.tab !== tab);
    this.#serve();
  }
  #serve() {
    for (const wanted of this.#row.slice()) {
      const { name, mode } = wanted;
      if (this.#held.some((lock) => lock.name === name && (mode === "exclusive" || lock.mode === "exclusive")))
        continue;
      this.#row.splice(this.#row.indexOf(wanted), 1);
      const lock = { name, mode, tab: wanted.tab };
      this.#held.push(lock);
      const free = () => {
        this.#held = this.#held.filter((other) => other !== lock);
        this.#serve();
      };
      void wanted.run().finally(free);
    }
  }
}

function browser() {
  const clock = new Clock();
  const locks = new Locks();
  const peers = new Map<string, { isMuted: boolean; myRead: number }>();
  const preferences = { notifications: true, sound: true };
  const conversation = (peer: string) => {
    if (!peers.has(peer)) peers.set(peer, { isMuted: false, myRead: 0 });
    return peers.get(peer)!;
  };
  const notified: string[] = [];
  const sounded: number[] = [];
  /** A tab; `shows` is the conversation in it, undefined when it is hidden. */
  const open = (shows?: string) => {
    const key = {};
    const tabs = new LockTabElection("ann", locks.of(key));
    tabs.campaign("notify");
    tabs.campaign("sound");
    tabs.show(shows);
    const attention = new NotificationPolicy(
      { me: "ann", conversations: { getOrCreate: conversation } },
      tabs,
      preferences,
      clock.around,
    );
    attention.on("notify", ({ from, text }) => notified.push(`${from}: ${text}`));
    attention.on("sound", () => sounded.push(clock.now));
    return { attention, tabs, close: () => locks.close(key) };
  };
  return { clock, conversation, preferences, notified, sounded, open };
}

describe("attention", () => {
  test("is shown once over all hidden tabs, also after the elected tab closes", async () => {
    const { clock, open, notified, sounded } = browser();
    const tabs = [open(), open(), open()];
    for (const { attention } of tabs) attention.messageArrived({ from: "bob", text: "hello", seq: 1 });
    await clock.pass(1_000);
    expect([notified, sounded.length]).toEqual([["bob: hello"], 1]);
    tabs[0]!.close();
    await clock.pass(5_000);
    for (const { attention } of tabs.slice(1))
      attention.messageArrived({ from: "bob", text: "are you there?", seq: 2 });
    await clock.pass(1_000);
    expect([notified, sounded.length]).toEqual([["bob: hello", "bob: are you there?"], 2]);
  });

  test("is not shown for the visible conversation, and only in the page beside another", async () => {
    const { clock, open, notified, sounded } = browser();
    const [hidden, seen] = [open(), open("bob")];
    for (const { attention } of [hidden, seen]) attention.messageArrived({ from: "Bob", text: "hello", seq: 1 });
    await clock.pass(1_000);
    expect([notified, sounded.length]).toEqual([[], 0]);
    for (const { attention } of [hidden, seen]) attention.messageArrived({ from: "carl", text: "hello", seq: 1 });
    await clock.pass(1_000);
    expect([notified, sounded.length]).toEqual([[], 1]);
    seen.tabs.show(undefined); // behind another window
    await clock.pass(5_000);
    for (const { attention } of [hidden, seen]) attention.messageArrived({ from: "Bob", text: "still there?", seq: 2 });
    await clock.pass(1_000);
    expect([notified, sounded.length]).toEqual([["Bob: still there?"], 2]);
  });

  test("is not shown for messages read elsewhere, muted or own", async () => {
    const { clock, open, conversation, notified, sounded } = browser();
    const { attention } = open();
    attention.messageArrived({ from: "bob", text: "read at once", seq: 1 });
    conversation("bob").myRead = 1;
    conversation("carl").isMuted = true;
    attention.messageArrived({ from: "carl", text: "loud", seq: 1 });
    attention.messageArrived({ from: "ann", text: "mine", seq: 2 });
    await clock.pass(1_000);
    expect([notified, sounded]).toEqual([[], []]);
  });

  test("shows a burst once with its last text, and sounds once in two seconds", async () => {
    const { clock, open, notified, sounded } = browser();
    const { attention } = open();
    for (let seq = 1; seq <= 50; seq++) attention.messageArrived({ from: "bob", text: `word ${seq}`, seq });
    await clock.pass(500);
    expect([notified, sounded.length]).toEqual([["bob: word 50"], 1]);
    for (let seq = 51; seq <= 55; seq++) {
      attention.messageArrived({ from: "bob", text: `word ${seq}`, seq });
      await clock.pass(1_000);
    }
    expect(notified.length).toBe(6);
    for (const [i, at] of sounded.entries()) expect(at - (sounded[i - 1] ?? -2_000)).toBeGreaterThanOrEqual(2_000);
    expect(sounded.length).toBe(3);
  });

  test("follows the preferences", async () => {
    const { clock, open, preferences, notified, sounded } = browser();
    const { attention } = open();
    preferences.notifications = false;
    attention.messageArrived({ from: "bob", text: "one", seq: 1 });
    await clock.pass(3_000);
    preferences.notifications = true;
    preferences.sound = false;
    attention.messageArrived({ from: "bob", text: "two", seq: 2 });
    await clock.pass(3_000);
    expect([notified, sounded.length]).toEqual([["bob: two"], 1]);
  });

  test("over plain http, without locks, sounds in one tab only", async () => {
    const clock = new Clock();
    const heard: ((event: { data: string }) => void)[] = [];
    let sounds = 0;
    const tabs = [0.2, 0.9, 0.5].map((random, i) => {
      const channel = {
        postMessage: (data: string) => heard.forEach((hear, j) => j !== i && hear({ data })),
        addEventListener: (_: "message", hear: (event: { data: string }) => void) => void heard.push(hear),
      };
      const loose = new BroadcastTabElection(channel, { ...clock.around, random: () => random });
      const conversation = () => ({ isMuted: false, myRead: 0 });
      const attention = new NotificationPolicy(
        { me: "ann", conversations: { getOrCreate: conversation } },
        loose,
        { notifications: false, sound: true },
        clock.around,
      );
      attention.on("sound", () => void sounds++);
      return attention;
    });
    for (const seq of [1, 2]) {
      for (const tab of tabs) tab.messageArrived({ from: "bob", text: "hello", seq });
      await clock.pass(4_000);
      expect(sounds).toBe(seq);
    }
  });
});

describe("the preferences", () => {
  const storage = () => {
    const kept = new Map<string, string>();
    return {
      getItem: (name: string) => kept.get(name) ?? null,
      setItem: (name: string, text: string) => void kept.set(name, text),
    };
  };

  test("are asked for once, are kept, and hold only as far as the browser allows", () => {
    let permission: NotificationPermission | undefined = "default";
    const place = storage();
    const open = () => new NotificationPreferences(place, () => permission);
    expect([open().isUndecided, open().notifications, open().sound]).toEqual([true, false, true]);
    open().set({ notifications: true });
    expect([open().isUndecided, open().notifications]).toEqual([false, false]);
    permission = "granted";
    expect(open().notifications).toBeTrue();
    open().set({ sound: false });
    expect([open().notifications, open().sound]).toEqual([true, false]);
    permission = "denied";
    expect(open().notifications).toBeFalse();
  });

  test("are not asked for where the browser cannot or must not notify", () => {
    expect(new NotificationPreferences(storage(), () => undefined).isUndecided).toBeFalse();
    expect(new NotificationPreferences(storage(), () => "denied").isUndecided).toBeFalse();
  });

  test("hold for as long as the page where nothing can be kept", () => {
    const forbidden = {
      getItem: () => null,
      setItem: () => {
        throw new DOMException("forbidden", "SecurityError");
      },
    };
    const preferences = new NotificationPreferences(forbidden, () => "granted");
    preferences.set({ notifications: false, sound: false });
    expect([preferences.isUndecided, preferences.sound]).toEqual([false, false]);
  });
});

/** A device's connection; the test speaks for the server. */
class Wire extends Emitter<{ frame: Frame; state: State; refused: number | undefined }> {
  state: State = "connecting";
  readonly #receive: (frame: Record<string, unknown>) => void;
  constructor(receive: (frame: Record<string, unknown>) => void) {
    super();
    this.#receive = receive;
  }
  get online() {
    return this.state === "open";
  }
  set online(isOnline: boolean) {
    this.state = isOnline ? "open" : "connecting";
    this.emit("state", this.state);
  }
  send(frame: Record<string, unknown>) {
    if (this.online) this.#receive(frame);
    return this.online;
  }
}

/** A server that keeps drafts, and devices whose clocks differ. */
function devices(...aheads: number[]) {
  const clock = new Clock();
  clock.now = 1_000_000;
  const kept = new Map<string, { peer: string; text: string; at: string }>();
  const sent: { device: number; at: number; text: string }[] = [];
  const all = aheads.map((ahead, device) => {
    const now = () => clock.now + ahead;
    const drafts = new Drafts(undefined, now);
    const wire = new Wire((frame) => {
      const { peer, text } = frame as { peer: string; text: string };
      sent.push({ device, at: clock.now, text });
      if (text) kept.set(peer, { peer, text, at: new Date(clock.now).toISOString() });
      else kept.delete(peer);
      for (const [other, { wire }] of all.entries())
        if (other !== device && wire.online) wire.emit("frame", { type: "draft", peer, text });
    });
    const server = { fetches: 0, delay: Promise.resolve() };
    const fetch = async () => {
      server.fetches++;
      const drafts = [...kept.values()];
      await server.delay;
      return { drafts, now: clock.now };
    };
    const shared = new DraftSync(drafts, { connection: wire, fetch }, { ...clock.around, now });
    wire.state = "open"; // there was nothing to compare
    const write = (text: string) => {
      drafts.write("bob", text);
      drafts.flush(); // the pause of drafts.js is tested beside it
    };
    const connect = () => {
      wire.online = true;
      return clock.pass(0); // in which the drafts are compared
    };
    return { drafts, wire, server, shared, write, connect, text: () => drafts.of("bob") };
  });
  return { clock, kept, sent, all };
}

describe("shared drafts", () => {
  test("reach the other device within a second, and not with every letter", async () => {
    const { clock, sent, all } = devices(0, 3_600_000);
    const [here, there] = [all[0]!, all[1]!];
    for (const text of ["h", "he", "hel", "hell", "hello"]) {
      here.write(text);
      await clock.pass(300);
    }
    await clock.pass(700);
    expect([here.text(), there.text()]).toEqual(["hello", "hello"]);
    for (const [i, { at }] of sent.entries()) expect(at - (sent[i - 1]?.at ?? 0)).toBeGreaterThanOrEqual(600);
    await clock.pass(10_000);
    there.write("hello Bob"); // its clock is an hour ahead
    await clock.pass(4_000);
    here.write("hello Bob!");
    await clock.pass(1_000);
    expect([here.text(), there.text()]).toEqual(["hello Bob!", "hello Bob!"]);
    here.write(""); // sent
    await clock.pass(1_000);
    expect(there.text()).toBe("");
  });

  test("never change a field being typed in, and both devices end with the last text", async () => {
    const { clock, all } = devices(0, -60_000);
    const [here, there] = [all[0]!, all[1]!];
    here.write("mine");
    await clock.pass(100);
    there.write("theirs");
    await clock.pass(100);
    expect([here.text(), there.text()]).toEqual(["mine", "theirs"]);
    for (const tries of [1, 2, 3]) {
      await clock.pass(1_000);
      for (const { drafts } of all) drafts.flush();
      there.write(`theirs ${tries}`);
    }
    for (let i = 0; i < 8; i++) {
      await clock.pass(1_000);
      for (const { drafts } of all) drafts.flush();
    }
    expect([here.text(), there.text()]).toEqual(["theirs 3", "theirs 3"]);
  });

  test("replaced by another device while they waited for their turn are not sent any more", async () => {
    const { clock, sent, all } = devices(0);
    const [here] = all;
    here!.write("mine");
    for (const [ms, text] of [
      [2_800, "theirs"],
      [100, "theirs 1"], // mine is to be sent again, when its turn comes
      [300, "theirs 2"], // nobody is typing here any longer
    ] as const) {
      await clock.pass(ms);
      here!.wire.emit("frame", { type: "draft", peer: "bob", text });
      here!.drafts.flush();
    }
    expect([here!.text(), sent.map(({ text }) => text)]).toEqual(["theirs 2", ["mine", "mine"]]);
    await clock.pass(5_000);
    expect([here!.text(), sent.length]).toEqual(["theirs 2", 2]);
  });

  test("begun elsewhere right after a message was sent here are not wiped by it", async () => {
    const { clock, kept, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    here.write("sent now");
    await clock.pass(1_000);
    here.write("");
    await clock.pass(1_000);
    for (const text of ["and", "and then"]) {
      there.write(text);
      await clock.pass(1_000);
      expect(here.text()).toBe(text);
    }
    await clock.pass(5_000);
    for (const { drafts } of all) drafts.flush();
    await clock.pass(5_000);
    expect([here.text(), there.text(), kept.get("bob")?.text]).toEqual(["and then", "and then", "and then"]);
  });

  test("written without a network go out with the next greeting", async () => {
    const { clock, kept, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    here.wire.online = false;
    here.write("in the tunnel");
    await clock.pass(10_000);
    expect(kept.size).toBe(0);
    await here.connect();
    await clock.pass(10_000);
    expect([kept.get("bob")?.text, there.text()]).toEqual(["in the tunnel", "in the tunnel"]);
  });

  test("lost on their way arrive after a `sync`, several of which cause one request", async () => {
    const { clock, kept, all } = devices(0);
    const here = all[0]!;
    kept.set("bob", { peer: "bob", text: "from my phone", at: new Date(clock.now).toISOString() });
    for (let i = 0; i < 10; i++) here.wire.emit("frame", { type: "sync" });
    await clock.pass(1_000);
    expect([here.text(), here.server.fetches]).toEqual(["from my phone", 1]);
    kept.clear(); // sent from the phone
    here.wire.emit("frame", { type: "sync" });
    await clock.pass(1_000);
    expect([here.text(), here.server.fetches]).toEqual(["", 2]);
  });

  test("are requested again after a reconnect during a request", async () => {
    const { clock, kept, all } = devices(0);
    const here = all[0]!;
    const { promise, resolve } = Promise.withResolvers<void>();
    here.server.delay = promise;
    await here.connect();
    here.wire.online = false;
    kept.set("bob", { peer: "bob", text: "from my phone", at: new Date(clock.now).toISOString() });
    await here.connect();
    resolve();
    await clock.pass(1);
    expect(here.text()).toBe("from my phone");
  });

  test("stored during a request are not taken for deleted by its older answer", async () => {
    const { clock, all } = devices(0);
    const here = all[0]!;
    const { promise, resolve } = Promise.withResolvers<void>();
    here.server.delay = promise;
    await here.connect();
    await clock.pass(10);
    here.write("hello");
    here.wire.emit("frame", { type: "draft_saved", peer: "bob", ack: 1 });
    await clock.pass(10_000);
    resolve();
    await clock.pass(1);
    expect(here.text()).toBe("hello");
  });

  test("rejected by the rate limit are sent again once it allows", async () => {
    const { clock, kept, sent, all } = devices(0);
    const here = all[0]!;
    here.write("hello");
    kept.clear(); // not stored
    here.wire.emit("frame", { type: "error", code: "rate_limited", message: "", retry_after: 2 });
    await clock.pass(1_900);
    expect(sent).toHaveLength(1);
    await clock.pass(200);
    expect(kept.get("bob")?.text).toBe("hello");
    here.wire.emit("frame", { type: "draft_saved", peer: "bob", ack: 2 });
    here.wire.emit("frame", { type: "error", code: "rate_limited", message: "", retry_after: 2 });
    await clock.pass(5_000);
    expect(sent).toHaveLength(2);
  });

  test.each([
    ["before", 0],
    ["after", 60_000],
  ])("written without a network %s another device wrote are kept beside its text, on both", async (_, wait) => {
    const { clock, kept, all } = devices(0, -3_600_000);
    const [here, there] = [all[0]!, all[1]!];
    here.wire.online = false;
    if (wait) here.write("in the tunnel");
    await clock.pass(60_000);
    there.write("left there");
    await clock.pass(60_000);
    if (!wait) here.write("in the tunnel");
    await clock.pass(5_000);
    await here.connect();
    await clock.pass(5_000);
    for (const { drafts } of all) drafts.flush();
    await clock.pass(5_000);
    const both = "left there\n\nin the tunnel";
    expect([here.text(), there.text(), kept.get("bob")?.text]).toEqual([both, both, both]);
  });

  test("written without a network on three devices are all kept", async () => {
    const { clock, all } = devices(0, 0, 0);
    for (const [i, { wire, write }] of all.entries()) {
      wire.online = false;
      write(`text ${i}`);
    }
    await clock.pass(10_000);
    for (const { connect } of all) {
      await connect();
      await clock.pass(5_000);
      for (const { drafts } of all) drafts.flush();
      await clock.pass(5_000);
    }
    const shown = all.map((device) => device.text());
    expect(new Set(shown).size).toBe(1);
    for (const i of [0, 1, 2]) expect(shown[0]).toContain(`text ${i}`);
  });

  test("that go on without a network replace the version that the server has", async () => {
    const { clock, kept, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    here.write("hello");
    await clock.pass(5_000);
    here.wire.online = false;
    here.write("help");
    await clock.pass(5_000);
    await here.connect();
    await clock.pass(5_000);
    expect([here.text(), there.text(), kept.get("bob")?.text]).toEqual(["help", "help", "help"]);
  });

  test("that the server rejects stay when another device writes and sends", async () => {
    const { clock, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    const long = "x".repeat(4_001);
    here.write(long);
    await clock.pass(5_000);
    for (const [text, shown] of [
      ["o", `o\n\n${long}`],
      ["ok", `ok\n\n${long}`],
      ["", long], // sent
    ] as const) {
      there.write(text);
      await clock.pass(1_000);
      here.drafts.flush();
      expect([here.text(), there.text()]).toEqual([shown, text]);
    }
    here.write("x".repeat(10)); // cut to what can be sent
    await clock.pass(1_000);
    expect(there.text()).toBe("x".repeat(10));
  });

  test("taken by a socket that was lost before the server had stored them count as never sent", async () => {
    const { clock, kept, all } = devices(0);
    const here = all[0]!;
    here.write("stored");
    here.wire.emit("frame", { type: "draft_saved", peer: "bob", ack: 1 });
    await clock.pass(5_000);
    here.write("stored, and lost");
    await clock.pass(1_000);
    here.wire.online = false;
    kept.set("bob", { peer: "bob", text: "from the phone", at: new Date(clock.now).toISOString() });
    await clock.pass(5_000);
    await here.connect();
    expect(here.text()).toBe("from the phone\n\nstored, and lost");
  });

  test("of another tab that arrive late from the server are ignored", async () => {
    const { clock, all } = devices(0);
    const [here] = all;
    for (const text of ["hel", "hello", "hey"]) here!.drafts.mergeAndSave({ peer: "bob", text, at: clock.now++ });
    here!.wire.emit("frame", { type: "draft", peer: "bob", text: "hello" });
    expect(here!.text()).toBe("hey");
  });

  test("are appended to while typed, when another device adds its text", async () => {
    const { clock, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    there.wire.online = false;
    there.write("in the tunnel");
    await clock.pass(5_000);
    here.write("left here");
    here.write("left here!"); // waits for its turn
    await there.connect();
    await clock.pass(1_000);
    for (let i = 0; i < 4; i++) {
      for (const { drafts } of all) drafts.flush();
      await clock.pass(1_000);
    }
    expect([here.text(), there.text()]).toEqual(Array(2).fill("left here!\n\nin the tunnel"));
  });

  test("sent elsewhere while offline are removed, and those the server never had stay", async () => {
    const { clock, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    there.write("to be sent");
    await clock.pass(10_000);
    expect(here.text()).toBe("to be sent");
    here.drafts.write("carl", "only here");
    here.wire.online = false;
    there.write("");
    await clock.pass(10_000);
    await here.connect();
    expect([here.text(), here.drafts.of("carl")]).toEqual(["", "only here"]);
  });

  test("stored and then sent elsewhere while offline are not restored", async () => {
    const { clock, kept, all } = devices(0, 0);
    const [here, there] = [all[0]!, all[1]!];
    here.write("hello");
    here.wire.emit("frame", { type: "draft_saved", peer: "bob", ack: 1 });
    await clock.pass(5_000);
    here.wire.online = false;
    there.write("");
    await clock.pass(5_000);
    await here.connect();
    await clock.pass(5_000);
    expect([here.text(), kept.size]).toEqual(["", 0]);
  });

  test("are sent at once when the page is left, unless no server would accept them", async () => {
    const { clock, sent, all } = devices(0);
    const [here] = all;
    here!.write("a");
    here!.write("ab");
    here!.shared.flush();
    expect(sent.map(({ text }) => text)).toEqual(["a", "ab"]);
    await clock.pass(5_000);
    here!.write("x".repeat(4_001));
    here!.write("🙂".repeat(4_000));
    await clock.pass(5_000);
    expect(sent.map(({ text }) => [...text].length)).toEqual([1, 2, 4_000]);
  });
});
