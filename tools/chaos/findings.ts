/** The kinds of violated promises (docs/reliability.md), how often each was found, and the first examples. */

export const VIOLATIONS = {
  lost: "a message or change acknowledged, but missing from the table or from a user's history",
  undelivered: "acknowledged, but not on every device 10 s after recovery",
  duplicate: "a send or change stored or numbered twice, or a message twice on one socket",
  reordered: "numbers or revisions with gaps, out of order or reused; or a sender's order changed",
  phantom: "stored or shown, but never sent, or sent and rejected",
  altered: "a text, reaction or reply other than the one sent",
  resurrected: "a deleted message with a text or a reaction",
  leaked: "received by a user whom it does not concern",
  mark_regressed: "a mark that fell, or read > delivered > last",
  unread_mismatch: "an unread count other than the number of unread messages",
  early_ack: "acknowledged before it was durable",
  stuck: "neither acknowledged nor rejected 60 s after recovery",
  late: "a fault's time bound exceeded",
} as const;

export type Violation = keyof typeof VIOLATIONS;
const EXAMPLES_MAX = 5;

export class Findings {
  readonly #found = new Map<Violation, { count: number; examples: string[] }>();

  add(kind: Violation, example: string): void {
    const found = this.#found.getOrInsertComputed(kind, () => ({ count: 0, examples: [] }));
    found.count++;
    if (found.examples.length < EXAMPLES_MAX) found.examples.push(example);
  }

  get total(): number {
    return [...this.#found.values()].reduce((sum, { count }) => sum + count, 0);
  }

  count(kind: Violation): number {
    return this.#found.get(kind)?.count ?? 0;
  }

  examples(kind: Violation): readonly string[] {
    return this.#found.get(kind)?.examples ?? [];
  }
}
