/**
 * The part of the checker that judges changes: a revision of a conversation is one version of one message in every
 * observation, each change is made once, and the versions of a message follow from the changes that were asked for.
 */

import type { Findings } from "./findings.ts";
import { type ChangeRequest, type Entry, hashOf, type ObservedMessage, pairOf, stateOf } from "./history.ts";

interface Change extends ChangeRequest {
  readonly askedAt: number;
  /** How often it was sent on a socket, and rejected. */
  sent: number;
  rejected: number;
  rejectedAs: string;
  answer?: { readonly revision: number; readonly message: ObservedMessage; readonly t: number };
  isMade: boolean;
  notVisible: boolean;
}

/** A message after the change that raised the conversation to this revision. */
interface Version {
  readonly message: ObservedMessage;
  readonly state: string;
  /** When the user who asked got the first answer. */
  answeredAt: number;
}

/** Error codes after which a client resends. */
export const RETRYABLE: ReadonlySet<string> = new Set(["busy", "rate_limited", "restarting"]);

export class ChangeChecker {
  readonly #findings: Findings;
  readonly #changes = new Map<string, Change>();
  /** By conversation, by revision. */
  readonly #versions = new Map<string, Map<number, Version>>();
  /** The changes that were made, by conversation. */
  readonly #made = new Map<string, Change[]>();

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  asked(entry: Entry & { e: "change" }): void {
    const { t: askedAt, user, peer, ref, kind, seq, text } = entry;
    const request = { user, peer, ref, kind, seq, text };
    const state = { askedAt, sent: 0, rejected: 0, rejectedAs: "", isMade: false, notVisible: false };
    this.#changes.set(ref, { ...request, ...state });
  }

  /** @returns the place in which it must be made; undefined if the ref is not of a change */
  sent(ref: string): string | undefined {
    const change = this.#changes.get(ref);
    if (!change) return undefined;
    change.sent++;
    return placeOf(change);
  }

  rejected(ref: string, code: string): void {
    const change = this.#changes.get(ref);
    if (!change) return;
    change.rejected++;
    change.rejectedAs = code;
    if (code !== "no_such_message" && !RETRYABLE.has(code))
      this.#findings.add("lost", `${ref} of ${change.user} was rejected with ${code}`);
  }

  notVisible(ref: string): void {
    const change = this.#changes.get(ref);
    if (change) change.notVisible = true;
  }

  /** A socket of `user` received an answer. @returns the place in which the change was made */
  answered(user: string, { t, ref = "", peer, revision, message }: Entry & { e: "changed" }): string | undefined {
    const change = this.#changes.get(ref);
    if (!change) {
      this.#findings.add("phantom", `the change ${ref} was answered to ${user}, but no user asked for it`);
      return undefined;
    }
    if (change.user !== user || change.peer !== peer || change.seq !== message.seq) {
      this.#findings.add(
        "leaked",
        `the change ${ref} of ${change.user} to ${change.seq} with ${change.peer} was answered to ${user} as of ${message.seq} with ${peer}`,
      );
      return undefined;
    }
    change.answer ??= { revision, message, t };
    const version = this.#versions.get(pairOf(user, peer))?.get(revision);
    if (version) version.answeredAt = Math.min(version.answeredAt, t);
    return placeOf(change);
  }

  /** A version of a message, as observed anywhere; nothing for one that was never changed. */
  observed(message: ObservedMessage): void {
    const { from, to, seq, revision = 0 } = message;
    if (revision === 0) return;
    const pair = pairOf(from, to);
    let versions = this.#versions.get(pair);
    if (!versions) this.#versions.set(pair, (versions = new Map()));
    const known = versions.get(revision);
    const state = stateOf(message);
    if (!known) return void versions.set(revision, { message, state, answeredAt: Number.POSITIVE_INFINITY });
    if (known.message.seq !== seq)
      this.#findings.add(
        "reordered",
        `${pair}: revision ${revision} was observed as of ${known.message.seq} and of ${seq}`,
      );
    else if (known.state !== state)
      this.#findings.add("altered", `${pair}: revision ${revision} was observed as ${known.state} and as ${state}`);
  }

  /** When the change that made a revision was first answered; infinity if it never was. */
  answeredAt(pair: string, revision: number): number {
    return this.#versions.get(pair)?.get(revision)?.answeredAt ?? Number.POSITIVE_INFINITY;
  }

  made({ user, ref, low, high, seq }: Entry & { e: "change_made" }): void {
    const pair = pairOf(low, high);
    const change = this.#changes.get(ref);
    if (
      !change ||
      change.user !== user ||
      pairOf(user, change.peer) !== pair ||
      change.seq !== seq ||
      change.sent === 0
    )
      return this.#findings.add("phantom", `the change ${ref} of ${user} was made, but never sent`);
    change.isMade = true;
    if (change.rejected >= change.sent) this.#findings.add("phantom", `the change ${ref} was made, but was rejected`);
    const made = this.#made.get(pair);
    if (made) made.push(change);
    else this.#made.set(pair, [change]);
  }

  /** @param options.originalOf the hash of a message as it was sent @param options.crashes when PostgreSQL crashed */
  end(options: {
    table: ReadonlyMap<string, readonly ObservedMessage[]>;
    revisionOf: (pair: string) => number;
    originalOf: (message: ObservedMessage) => string | undefined;
    crashes: readonly number[];
  }): void {
    const { table, revisionOf, originalOf, crashes } = options;
    const stored = new Map<string, ObservedMessage>();
    for (const [pair, rows] of table) {
      for (const row of rows) stored.set(`${pair} ${row.seq}`, row);
      this.#checkRevisions(pair, rows, revisionOf(pair));
      this.#checkMessages(pair, rows, originalOf);
    }
    for (const change of this.#changes.values()) this.#checkAnswer(change, stored.get(placeOf(change)), crashes);
  }

  /** A conversation's revision is the number of its changes, and the highest of its messages. */
  #checkRevisions(pair: string, rows: readonly ObservedMessage[], revision: number): void {
    const made = this.#made.get(pair)?.length ?? 0;
    if (made < revision)
      this.#findings.add("duplicate", `${pair} has revision ${revision}, but only ${made} changes were made`);
    if (made > revision) this.#findings.add("lost", `${pair} has revision ${revision}, but ${made} changes were made`);
    const highest = Math.max(0, ...rows.map((row) => row.revision ?? 0));
    if (highest !== revision)
      this.#findings.add("reordered", `${pair} has revision ${revision}, but its messages have ${highest}`);
    for (const observed of this.#versions.get(pair)?.keys() ?? []) {
      if (observed > revision)
        this.#findings.add("lost", `${pair}: revision ${observed} was observed, but the table has ${revision}`);
    }
  }

  /** The versions of each message follow from the changes that were made to it. */
  #checkMessages(
    pair: string,
    rows: readonly ObservedMessage[],
    originalOf: (message: ObservedMessage) => string | undefined,
  ): void {
    const versions = Map.groupBy(
      [...(this.#versions.get(pair) ?? [])].toSorted(([one], [other]) => one - other),
      ([, { message }]) => message.seq,
    );
    const made = Map.groupBy(this.#made.get(pair) ?? [], ({ seq }) => seq);
    for (const row of rows) {
      const hash = originalOf(row);
      const [seen = [], changes = []] = [versions.get(row.seq), made.get(row.seq)];
      if (hash === undefined || seen.length + changes.length === 0) continue;
      const deletion = seen.findIndex(([, { message }]) => message.deleted);
      const alive = deletion < 0 ? undefined : seen.slice(deletion).find(([, { message }]) => !isErased(message));
      if (alive)
        this.#findings.add("resurrected", `${pair}: ${row.seq} was deleted, but revision ${alive[0]} shows it`);
      const { edited: _, deleted: __, ...rest } = row;
      const original = { ...rest, hash, reactions: {} };
      if (seen.length === changes.length) this.#checkSteps(pair, original, seen, changes);
      else if (!isPossible(row, original, changes))
        this.#findings.add("altered", `${pair}: ${row.seq} is ${stateOf(row)}, which no changes to it explain`);
    }
  }

  /** Each version is the one before it and one change that no other version has. */
  #checkSteps(
    pair: string,
    original: ObservedMessage,
    seen: readonly (readonly [number, Version])[],
    changes: readonly Change[],
  ): void {
    const left = [...changes];
    let before = original;
    for (const [revision, { message, state }] of seen) {
      const at = left.findIndex((change) => stateOf(after(before, change)) === state);
      if (at < 0) {
        const step = `from ${stateOf(before)} to ${state}`;
        return this.#findings.add(
          "altered",
          `${pair}: revision ${revision} changed ${message.seq} ${step}, which no change asked for`,
        );
      }
      before = after(before, left[at] as Change);
      left.splice(at, 1);
    }
  }

  #checkAnswer(change: Change, row: ObservedMessage | undefined, crashes: readonly number[]): void {
    const { ref, user, answer, isMade, notVisible, rejectedAs, rejected, sent } = change;
    if (rejectedAs === "no_such_message" && rejected >= sent && row && !row.deleted)
      this.#findings.add("lost", `${ref} of ${user} was rejected as if ${change.seq} had been deleted`);
    if (!answer || notVisible) return;
    const { revision, t } = answer;
    const isStored = revision <= (row?.revision ?? 0) && (isMade || this.#wasUnchanged(change));
    if (isStored) return;
    if (crashes.some((crash) => crash >= t))
      this.#findings.add("early_ack", `the change ${ref} was answered before PostgreSQL crashed, and is missing`);
    else this.#findings.add("lost", `the change ${ref} of ${user} was answered, but is not stored`);
  }

  /** Whether the message was as asked already, so that nothing had to be made. */
  #wasUnchanged(change: Change): boolean {
    const { answer, user, peer, kind, seq, text } = change;
    if (!answer || stateOf(after(answer.message, change)) !== stateOf(answer.message)) return false;
    const isCause = (other: Change) =>
      other.user === user && other.seq === seq && other.kind === kind && other.text === text;
    const earlier = (this.#made.get(pairOf(user, peer)) ?? []).filter(({ askedAt }) => askedAt <= answer.t);
    return answer.revision === 0 || (kind === "react" && text === "") || earlier.some(isCause);
  }
}

/** Changes to one message, and on one socket, are made in the order in which they were asked for. */
const placeOf = ({ user, peer, seq }: ChangeRequest) => `${pairOf(user, peer)} ${seq}`;

const EMPTY = hashOf("");

const isErased = ({ hash, deleted, edited, reactions = {} }: ObservedMessage) =>
  deleted === true && !edited && hash === EMPTY && Object.keys(reactions).length === 0;

/** A message after a change. */
function after(message: ObservedMessage, { kind, user, text }: ChangeRequest): ObservedMessage {
  if (kind === "edit") return { ...message, hash: text, edited: true };
  if (kind === "delete") {
    const { edited: _, ...rest } = message;
    return { ...rest, hash: EMPTY, deleted: true, reactions: {} };
  }
  const { [user]: _, ...others } = message.reactions ?? {};
  return { ...message, reactions: text === "" ? others : { ...others, [user]: text } };
}

/** Whether changes explain a message whose versions were not all observed. */
function isPossible(row: ObservedMessage, original: ObservedMessage, changes: readonly ChangeRequest[]): boolean {
  const of = (kind: ChangeRequest["kind"]) => changes.filter((change) => change.kind === kind);
  if (of("delete").length > 0) return isErased(row);
  const edits = of("edit").map(({ text }) => text);
  const isText = edits.length > 0 ? edits.includes(row.hash) && row.edited : row.hash === original.hash && !row.edited;
  if (row.deleted || !isText) return false;
  const reactions = row.reactions ?? {};
  return [row.from, row.to].every((user) => {
    const asked = of("react").flatMap((change) => (change.user === user ? [change.text] : []));
    return asked.length > 0 ? asked.includes(reactions[user] ?? "") : reactions[user] === undefined;
  });
}
