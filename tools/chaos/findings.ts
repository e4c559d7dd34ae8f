/** The ways in which a chat can break its promises (CONTRACT §5), and what was found of each: how often, and the first few in words. */

export const VIOLATIONS = {
  lost: "acknowledged, and missing from the table or from somebody's history",
  undelivered: "acknowledged, and not with everybody concerned 10 s after everything was whole again",
  duplicate: "one send stored twice, numbered twice, or one message twice on one socket",
  reordered: "numbers with a hole, out of order, or for two messages; or a sender's order turned round",
  phantom: "stored or shown, and never sent, or sent and refused",
  altered: "another text than was sent",
  leaked: "heard by somebody whom it does not concern",
  mark_regressed: "a mark that fell, or read > delivered > last",
  unread_mismatch: "an unread count other than the number of messages not read",
  early_ack: "acknowledged before it was stored for good",
  stuck: "neither acknowledged nor refused, 60 s after everything was whole again",
  late: "a bound of a fault that was not kept",
} as const;

export type Violation = keyof typeof VIOLATIONS;
const WORDS_MAX = 5;

export class Findings {
  readonly #found = new Map<Violation, { count: number; words: string[] }>();

  add(name: Violation, words: string): void {
    let found = this.#found.get(name);
    if (!found) this.#found.set(name, (found = { count: 0, words: [] }));
    found.count++;
    if (found.words.length < WORDS_MAX) found.words.push(words);
  }

  /** How many of all classes. */
  get total(): number {
    return [...this.#found.values()].reduce((sum, { count }) => sum + count, 0);
  }

  count(name: Violation): number {
    return this.#found.get(name)?.count ?? 0;
  }

  /** The first few of a class. */
  words(name: Violation): readonly string[] {
    return this.#found.get(name)?.words ?? [];
  }
}
