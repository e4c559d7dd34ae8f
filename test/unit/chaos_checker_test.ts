/** The fault run's checker: a correct history passes, and every kind of violation is found. */

import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { Checker } from "../../tools/chaos/checker.ts";
import { type Findings, type Violation, VIOLATIONS } from "../../tools/chaos/findings.ts";
import {
  type ChangeRequest,
  type Entry,
  type Event,
  hashOf,
  type ObservedMessage,
  stateOf,
} from "../../tools/chaos/history.ts";
import { RunMetrics } from "../../tools/chaos/run_metrics.ts";

/** `change`: what the sender of a message does to the message at this place, modulo the number of messages. */
type Act = { from: "ann" | "bob"; resent: boolean; cut: boolean; change: "edit" | "delete" | "react"; at: number };

/**
 * A correct history of ann and bob: one page each, some sends and changes answered twice, some sockets closed. Each
 * act sends a message, then makes a change.
 */
function story(acts: readonly Act[]): Entry[] {
  const events: Entry[] = [];
  let t = 0;
  const add = (event: Event) => void events.push({ t: (t += 10), ...event });
  const sockets = { ann: 1, bob: 2 };
  let last = 2;
  const open = (user: "ann" | "bob") => add({ e: "open", socket: sockets[user], page: `${user}.1`, pod: 0 });
  for (const user of ["ann", "bob"] as const) add({ e: "page", page: `${user}.1`, user });
  open("ann");
  open("bob");
  const rows: ObservedMessage[] = [];
  const made: Event[] = [];
  let revision = 0;
  for (const [i, { from, resent, cut }] of acts.entries()) {
    const to = from === "ann" ? "bob" : "ann";
    const [seq, ref] = [i + 1, `ref-${i + 1}`];
    const told = { from, to, id: 100 + 3 * i, seq, hash: `hash${i}` } as const;
    rows.push({ ...told, ref });
    add({ e: "write", user: from, to, ref, hash: told.hash });
    add({ e: "send", socket: sockets[from], ref });
    const ack = { e: "ack", ref, id: told.id, seq, peer: to } as const;
    if (cut) {
      add({ e: "close", socket: sockets[from], code: 1006 });
      sockets[from] = ++last;
      open(from);
      add({ e: "send", socket: sockets[from], ref });
      add({ ...ack, socket: sockets[from], duplicate: true });
    } else {
      add({ ...ack, socket: sockets[from], duplicate: false });
      if (resent) {
        add({ e: "send", socket: sockets[from], ref });
        add({ ...ack, socket: sockets[from], duplicate: true });
      }
    }
    add({ e: "message", socket: sockets[to], ...told, ref });
    add({ e: "contiguous", page: `${from}.1`, peer: to, seq });
    add({ e: "contiguous", page: `${to}.1`, peer: from, seq });
    const change = changeOf(rows, { i, ...acts[i] } as Act & { i: number });
    if (change) {
      const { request, message } = change;
      add({ e: "change", ...request });
      made.push({ e: "change_made", user: request.user, ref: request.ref, low: "ann", high: "bob", seq: request.seq });
      message.revision = ++revision;
      rows[request.seq - 1] = { ...message };
      const told = { ...message };
      const { user, peer, ref } = request;
      const changed = { e: "changed", revision, message: told } as const;
      for (const _ of resent ? [1, 2] : [1]) {
        add({ e: "send", socket: sockets[user as "ann"], ref });
        add({ ...changed, socket: sockets[user as "ann"], peer, ref });
      }
      add({ ...changed, socket: sockets[peer as "ann"], peer: user });
      for (const page of ["ann", "bob"] as const)
        add({ e: "revised", page: `${page}.1`, peer: page === "ann" ? "bob" : "ann", revision });
    }
    const unmarked = { lowRead: 0, highRead: 0, lowDelivered: 0, highDelivered: 0 };
    add({ e: "marks", low: "ann", high: "bob", last: seq, revision, ...unmarked });
    const counts = { unread: 0, read: 0, peerRead: 0, peerDelivered: 0 };
    add({ e: "summary", page: "ann.1", requestedAt: t + 5, peer: "bob", last: seq, revision, ...counts });
  }
  if (rows.length === 0) return events;
  const of = (user: string) => rows.filter(({ to, deleted }) => to === user && !deleted).length;
  add({ e: "mark", socket: sockets.ann, kind: "delivered", reader: "bob", peer: "ann", seq: rows.length });
  for (const row of rows) add({ e: "row", read: row.deleted === true, ...row });
  for (const event of made) add(event);
  for (const [user, peer] of [
    ["ann", "bob"],
    ["bob", "ann"],
  ] as const) {
    add({ e: "unread", user, counts: of(user) > 0 ? { [peer]: of(user) } : {} });
    add({ e: "final_history", user, peer, rows });
    add({
      e: "changes",
      page: `${user}.1`,
      peer,
      after: 0,
      rows: rows.filter((row) => row.revision).toSorted(byRevision),
    });
    const shown = rows.map((row) => [row.seq, stateOf(row), row.revision ?? 0] as const);
    add({ e: "displayed", page: `${user}.1`, peer, first: 1, rows: shown, unread: of(user) });
  }
  const marks = { last: rows.length, revision, lowRead: 0, highRead: 0, lowDelivered: 0, highDelivered: rows.length };
  add({ e: "conversation", low: "ann", high: "bob", ...marks, lowUnread: of("ann"), highUnread: of("bob") });
  return events;
}

const byRevision = (one: ObservedMessage, other: ObservedMessage) => (one.revision ?? 0) - (other.revision ?? 0);

type Changeable = { -readonly [Field in keyof ObservedMessage]: ObservedMessage[Field] };

/** A user's change, and the message after it; undefined for one that was deleted or is as asked already. */
function changeOf(
  rows: readonly ObservedMessage[],
  { i, change: kind, at }: Act & { i: number },
): { request: ChangeRequest; message: Changeable } | undefined {
  const { edited, deleted, ...before } = rows[at % rows.length] as ObservedMessage;
  if (deleted) return undefined;
  const peer = before.from === "ann" ? "bob" : "ann";
  const text = kind === "edit" ? `edit${i}` : kind === "react" ? ["👍", "❤️"][i % 2]! : "";
  const request = { user: before.from, peer, ref: `change-${i}`, kind, seq: before.seq, text };
  const kept = { ...before, ...(edited && { edited }) };
  if (kind === "edit") return { request, message: { ...before, hash: text, edited: true } };
  if (kind === "react") {
    if (before.reactions?.[before.from] === text) return undefined;
    return { request, message: { ...kept, reactions: { ...before.reactions, [before.from]: text } } };
  }
  const { reactions: _, ...rest } = before;
  return { request, message: { ...rest, hash: hashOf(""), deleted: true } };
}

function judge(entries: readonly Entry[]): Findings {
  const checker = new Checker();
  for (const entry of entries) checker.take(entry);
  return checker.end();
}

const act = fc.record({
  from: fc.constantFrom("ann", "bob"),
  resent: fc.boolean(),
  cut: fc.boolean(),
  change: fc.constantFrom("react", "react", "edit", "edit", "delete"),
  at: fc.nat(40),
});
const acts = fc.array(act as fc.Arbitrary<Act>, { minLength: 4, maxLength: 30 });

/** Events a millisecond apart. */
function timed(events: readonly Event[]): Entry[] {
  return events.map((event, t): Entry => Object.assign({ t }, event));
}

function found(findings: Findings): Violation[] {
  return (Object.keys(VIOLATIONS) as Violation[]).filter((name) => findings.count(name) > 0);
}

test("chaos checker finds nothing in a correct history", () => {
  fc.assert(fc.property(acts, (acts) => expect(found(judge(story(acts)))).toEqual([])));
});

type Of<Kind extends Event["e"]> = Extract<Entry, { e: Kind }>;

/** The history with one event of a kind, selected by `pick`, replaced by none, one or several. */
function changed<Kind extends Event["e"]>(kind: Kind, change: (event: Of<Kind>) => readonly Entry[]) {
  return (entries: readonly Entry[], pick: number): Entry[] => {
    const at = entries.flatMap((entry, i) => (entry.e === kind ? [i] : []));
    const chosen = at[pick % at.length];
    return entries.flatMap((entry, i) => (i === chosen ? change(entry as Of<Kind>) : [entry]));
  };
}

const drop = () => [];
/** The response to a request sent after this response arrived. */
const later = (summary: Of<"summary">, marks: Partial<Of<"summary">>): Entry => {
  return { ...summary, ...marks, t: summary.t + 2, requestedAt: summary.t + 1 };
};
/** Changes to a history, and what must be found. */
const BREAKS: readonly (readonly [string, Violation, (entries: readonly Entry[], pick: number) => Entry[]])[] = [
  ["a missing row", "lost", changed("row", drop)],
  [
    "a message missing from a user's history",
    "lost",
    changed("final_history", (e) => [{ ...e, rows: e.rows.slice(1) }]),
  ],
  [
    "a page without the last message",
    "undelivered",
    changed("displayed", (e) => [{ ...e, rows: e.rows.slice(0, -1) }]),
  ],
  ["a page with a gap", "undelivered", changed("displayed", (e) => [{ ...e, rows: e.rows.toSpliced(1, 1) }])],
  [
    "a message delivered late without a fault",
    "undelivered",
    changed("contiguous", (e) => [{ ...e, t: e.t + 60_000 }]),
  ],
  ["a row stored twice", "duplicate", changed("row", (e) => [e, { ...e, id: e.id + 1, seq: 99 }])],
  ["a message twice on one socket", "duplicate", changed("message", (e) => [e, e])],
  [
    "two acks with different numbers",
    "duplicate",
    changed("ack", (e) => [e, { ...e, seq: e.seq + 1, id: e.id + 1, duplicate: true }]),
  ],
  [
    "acks with another number",
    "reordered",
    (entries) => entries.map((entry) => (entry.e === "ack" ? { ...entry, seq: entry.seq + 1000 } : entry)),
  ],
  ["a gap in the numbers of the table", "reordered", changed("row", (e) => [{ ...e, seq: e.seq + 1000 }])],
  ["a number for two messages", "reordered", changed("message", (e) => [{ ...e, id: e.id + 1 }])],
  ["history out of order", "reordered", changed("final_history", (e) => [{ ...e, rows: e.rows.toReversed() }])],
  [
    "a row that was never sent",
    "phantom",
    changed("row", (e) => [e, { ...e, ref: "never-written", seq: e.seq + 500, id: e.id + 500 }]),
  ],
  [
    "a message that is not stored",
    "phantom",
    changed("message", (e) => [e, { ...e, id: e.id + 5000, seq: e.seq + 500 }]),
  ],
  ["another text in the table", "altered", changed("row", (e) => [{ ...e, hash: "other" }])],
  ["another text on a socket", "altered", changed("message", (e) => [{ ...e, hash: "other" }])],
  [
    "another text on a page",
    "altered",
    changed("displayed", (e) => [{ ...e, rows: e.rows.map(([seq, , revision]) => [seq, "other", revision] as const) }]),
  ],
  ["another user's message", "leaked", changed("message", (e) => [e, { ...e, from: "eve", to: "mallory", id: 7 }])],
  ["another user's mark", "leaked", changed("mark", (e) => [{ ...e, reader: "eve", peer: "mallory" }])],
  ["another user's ack", "leaked", changed("ack", (e) => [{ ...e, socket: e.peer === "bob" ? 2 : 1 }])],
  [
    "a mark that regressed",
    "mark_regressed",
    changed("conversation", (e) => [{ ...e, highDelivered: e.highDelivered - 1 }]),
  ],
  ["read beyond delivered", "mark_regressed", changed("summary", (e) => [{ ...e, peerRead: 2, peerDelivered: 1 }])],
  ["a summary that regressed", "mark_regressed", changed("summary", (e) => [e, later(e, { last: e.last - 1 })])],
  ["a wrong count of a user", "unread_mismatch", changed("unread", (e) => [{ ...e, counts: { eve: 1 } }])],
  ["a wrong count on a page", "unread_mismatch", changed("displayed", (e) => [{ ...e, unread: e.unread + 1 }])],
  [
    "a wrong count in the table",
    "unread_mismatch",
    changed("conversation", (e) => [{ ...e, lowUnread: e.lowUnread + 1 }]),
  ],
  [
    "an ack before the row is visible",
    "early_ack",
    changed("ack", (e) => [e, { t: e.t, e: "not_visible", user: "", ref: e.ref }]),
  ],
  [
    "a send that is never settled",
    "stuck",
    changed("displayed", (e) => [e, { t: e.t, e: "unsent", page: e.page, ref: "ref-1" }]),
  ],
  ["changes that are not stored", "lost", (entries) => entries.filter(({ e }) => e !== "change_made")],
  [
    "a change that only its answer shows",
    "lost",
    (entries, pick) => {
      const [change] = changed("change", (e) => [e])(entries, pick).filter(({ e }) => e === "change") as Of<"change">[];
      const answered = entries.findLast((e) => e.e === "changed" && e.ref !== undefined) as Of<"changed">;
      const [ref, revision] = ["lost-change", 1_000];
      const message = { ...answered.message, revision };
      const [{ t }, asked] = [answered, { ...change!, user: message.from, peer: message.to, seq: message.seq, ref }];
      const events = [{ ...asked, t }, { t, e: "send", socket: answered.socket, ref } as const];
      const at = entries.indexOf(answered);
      return entries.toSpliced(at, 0, ...events, { ...answered, revision, message, ref, peer: message.to });
    },
  ],
  [
    "a change rejected for no reason",
    "lost",
    changed("change", (e) => [e, { t: e.t, e: "rejected", socket: 1, ref: e.ref, code: "not_yours" }]),
  ],
  ["a change made twice", "duplicate", changed("conversation", (e) => [{ ...e, revision: e.revision + 1 }])],
  [
    "a revision of two messages",
    "reordered",
    changed("changed", (e) => [e, { ...e, message: { ...e.message, seq: e.message.seq + 1 } }]),
  ],
  ["a revision that the message has not", "reordered", changed("changed", (e) => [{ ...e, revision: e.revision + 1 }])],
  ["changes out of order", "reordered", changed("changes", (e) => [{ ...e, rows: e.rows.toReversed(), after: 99 }])],
  ["a change that was never sent", "phantom", changed("change_made", (e) => [e, { ...e, ref: "never-asked" }])],
  [
    "a changed message shown in two ways",
    "altered",
    changed("changed", (e) => [e, { ...e, message: { ...e.message, reactions: { ann: "🎉" } } }]),
  ],
  ["a reply to another message", "altered", changed("message", (e) => [{ ...e, replyTo: 7 }])],
  ["a change late without a fault", "undelivered", changed("revised", (e) => [{ ...e, t: e.t + 60_000 }])],
  [
    "a page without a change",
    "undelivered",
    changed("displayed", (e) => [
      { ...e, rows: e.rows.map(([seq, state, revision]) => [seq, state, revision - 1] as const) },
    ]),
  ],
  [
    "a deleted message shown again",
    "resurrected",
    (entries) => {
      const row = entries.find(({ e }) => e === "row") as Of<"row">;
      const deleted = { ...row, hash: hashOf(""), deleted: true as const, edited: undefined, reactions: undefined };
      const shown = { ...row, deleted: undefined, revision: 501 };
      const fetched = [{ ...deleted, revision: 500 }, shown] as unknown as ObservedMessage[];
      return entries.toSpliced(entries.indexOf(row), 0, {
        t: 0,
        e: "changes",
        page: "ann.1",
        peer: "bob",
        after: 0,
        rows: fetched,
      });
    },
  ],
  [
    "a deleted message that is unread",
    "unread_mismatch",
    changed("row", (e) => [{ ...e, read: false, deleted: true }]),
  ],
  [
    "a revision that regressed",
    "mark_regressed",
    changed("summary", (e) => [e, later(e, { revision: e.revision - 1 })]),
  ],
  ["another user's change", "leaked", changed("changed", (e) => [{ ...e, message: { ...e.message, from: "eve" } }])],
  ["an exceeded bound", "late", changed("ack", (e) => [e, { t: e.t, e: "violation", fault: "F02", message: "slow" }])],
];

for (const [name, expected, change] of BREAKS) {
  test(`chaos checker finds ${name}: ${expected}`, () => {
    fc.assert(
      fc.property(acts, fc.nat(), (acts, pick) => {
        expect(found(judge(change(story(acts), pick)))).toContain(expected);
      }),
      { numRuns: 30 },
    );
  });
}

test("chaos checker has a test of every kind of violation", () => {
  expect(new Set(BREAKS.map(([, name]) => name))).toEqual(new Set(Object.keys(VIOLATIONS) as Violation[]));
});

test("chaos checker takes a message lost in a crash for an early ack", () => {
  const act = { from: "ann", resent: false, cut: false, change: "react", at: 0 } as const;
  const entries = story([act, act]);
  const last = entries.findLastIndex(({ e }) => e === "row");
  const crash: Entry = { t: 500, e: "fault", n: 1, fault: "F08", crash: true };
  const lost = entries.toSpliced(last, 1, crash);
  expect(judge(lost).count("early_ack")).toBe(1);
});

test("chaos checker compares no responses to overlapping requests", () => {
  const counts = { revision: 0, unread: 0, read: 0, peerRead: 0, peerDelivered: 0 };
  const summary = (t: number, requestedAt: number, last: number): Entry => ({
    t,
    e: "summary",
    page: "ann.1",
    requestedAt,
    peer: "bob",
    last,
    ...counts,
  });
  const page: Entry = { t: 0, e: "page", page: "ann.1", user: "ann" };
  const regressions = (...entries: Entry[]) => judge([page, ...entries]).count("mark_regressed");
  expect(regressions(summary(30, 10, 5), summary(31, 20, 4))).toBe(0);
  expect(regressions(summary(30, 10, 5), summary(31, 20, 4), summary(41, 35, 4))).toBe(1);
});

/** ann's socket receives bob's messages, one every two seconds, except number `but`. */
function stream(but: number, synced: boolean): Entry[] {
  const events: Entry[] = [
    { t: 0, e: "page", page: "ann.1", user: "ann" },
    { t: 0, e: "page", page: "bob.1", user: "bob" },
    { t: 0, e: "open", socket: 1, page: "ann.1", pod: 0 },
    { t: 0, e: "open", socket: 2, page: "bob.1", pod: 0 },
  ];
  for (let seq = 1; seq <= 20; seq++) {
    const [t, ref] = [seq * 2_000, `ref-${seq}`];
    const told = { from: "bob", to: "ann", id: seq, seq, hash: "x" };
    events.push({ t, e: "write", user: "bob", to: "ann", ref, hash: "x" }, { t, e: "send", socket: 2, ref });
    events.push({ t, e: "ack", socket: 2, ref, id: seq, seq, peer: "ann", duplicate: false });
    if (seq !== but) events.push({ t, e: "message", socket: 1, ...told });
    else if (synced) events.push({ t: t + 100, e: "sync", socket: 1 });
  }
  return events;
}

test("chaos checker finds a frame that an open socket missed, unless it got a sync", () => {
  expect(judge(stream(0, false)).count("undelivered")).toBe(0);
  expect(judge(stream(10, false)).count("undelivered")).toBe(1);
  expect(judge(stream(10, true)).count("undelivered")).toBe(0);
  expect(judge(stream(1, false)).count("undelivered")).toBe(0); // before the first one received: the page fetches it
});

test("chaos checker finds a changed sender's order on one socket, but not across two", () => {
  const begin: Event[] = [
    { e: "page", page: "ann.1", user: "ann" },
    { e: "open", socket: 1, page: "ann.1", pod: 0 },
    { e: "write", user: "ann", to: "bob", ref: "a", hash: "1" },
    { e: "write", user: "ann", to: "bob", ref: "b", hash: "2" },
    { e: "send", socket: 1, ref: "a" },
    { e: "send", socket: 1, ref: "b" },
  ];
  const ack = (ref: string, seq: number, socket: number): Event => ({
    e: "ack",
    socket,
    ref,
    id: seq,
    seq,
    peer: "bob",
    duplicate: false,
  });
  const stored = (first: string, second: string): Event[] => [
    { e: "row", from: "ann", to: "bob", id: 1, seq: 1, hash: first === "a" ? "1" : "2", ref: first, read: true },
    { e: "row", from: "ann", to: "bob", id: 2, seq: 2, hash: second === "a" ? "1" : "2", ref: second, read: true },
    {
      e: "conversation",
      low: "ann",
      high: "bob",
      last: 2,
      revision: 0,
      lowRead: 0,
      highRead: 0,
      lowDelivered: 0,
      highDelivered: 0,
      lowUnread: 0,
      highUnread: 0,
    },
  ];
  const turned = [...begin, ack("b", 1, 1), ack("a", 2, 1), ...stored("b", "a")];
  expect(found(judge(timed(turned)))).toEqual(["reordered"]);
  const cut: Event[] = [
    ...begin,
    ack("b", 1, 1),
    { e: "close", socket: 1, code: 1006 },
    { e: "open", socket: 2, page: "ann.1", pod: 0 },
    { e: "send", socket: 2, ref: "a" },
    ack("a", 2, 2),
    ...stored("b", "a"),
  ];
  expect(found(judge(timed(cut)))).toEqual([]);
});

test("chaos checker takes a stored send that was rejected for a phantom", () => {
  const events: Event[] = [
    { e: "page", page: "ann.1", user: "ann" },
    { e: "open", socket: 1, page: "ann.1", pod: 0 },
    { e: "write", user: "ann", to: "bob", ref: "a", hash: "1" },
    { e: "send", socket: 1, ref: "a" },
    { e: "rejected", socket: 1, ref: "a", code: "busy" },
    { e: "row", from: "ann", to: "bob", id: 1, seq: 1, hash: "1", ref: "a", read: true },
  ];
  expect(judge(timed(events)).count("phantom")).toBe(1);
});

test("chaos metrics count duplicate acks, unknown outcomes and reconnection times", () => {
  const metrics = new RunMetrics();
  const events: Entry[] = [
    { t: 0, e: "open", socket: 1, page: "ann.1", pod: 0 },
    { t: 10, e: "write", user: "ann", to: "bob", ref: "a", hash: "1" },
    { t: 10, e: "send", socket: 1, ref: "a" },
    { t: 20, e: "fault", n: 1, fault: "F26", crash: false },
    { t: 30, e: "close", socket: 1, code: 1006 },
    { t: 430, e: "open", socket: 2, page: "ann.1", pod: 1 },
    { t: 430, e: "send", socket: 2, ref: "a" },
    { t: 440, e: "ack", socket: 2, ref: "a", id: 1, seq: 1, peer: "bob", duplicate: true },
    { t: 500, e: "healed", n: 1, note: "" },
  ];
  for (const entry of events) metrics.take(entry);
  expect(metrics).toMatchObject({ acked: 1, written: 1, duplicateAcks: 1, unknown: 1 });
  expect(metrics.faults[0]).toMatchObject({ reconnectMs: [400] });
  expect(metrics.ackLatency().calm.p50).toBe(430);
});

test("chaos checker excuses messages from before a page was opened, even if its history loads before its socket opens", () => {
  const events: Entry[] = [
    { t: 0, e: "page", page: "ann.1", user: "ann" },
    { t: 1, e: "open", socket: 1, page: "ann.1", pod: 0 },
    { t: 2, e: "write", user: "ann", to: "bob", ref: "ref-1", hash: "h" },
    { t: 3, e: "send", socket: 1, ref: "ref-1" },
    { t: 4, e: "ack", socket: 1, ref: "ref-1", id: 1, seq: 1, peer: "bob", duplicate: false },
    { t: 60_000, e: "page", page: "bob.1", user: "bob" },
    { t: 60_010, e: "contiguous", page: "bob.1", peer: "ann", seq: 1 },
    { t: 60_020, e: "open", socket: 2, page: "bob.1", pod: 0 },
  ];
  const late = (ms: number) =>
    events.map((entry) => (entry.e === "contiguous" ? { ...entry, t: entry.t + ms } : entry));
  expect(judge(events).count("undelivered")).toBe(0);
  expect(judge(late(20_000)).count("undelivered")).toBe(1);
});
