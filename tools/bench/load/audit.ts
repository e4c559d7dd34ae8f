/** Oracles of the load: what must hold of every frame and every ack. */

/** Counts problems, and keeps the first few. */
export class Problems {
  count = 0;
  readonly #first: string[] = [];

  add(problem: string): void {
    this.count++;
    if (this.#first.length < 5) this.#first.push(problem);
  }

  /** The first few problems, and the number of others. */
  report(): string[] {
    const more = this.count - this.#first.length;
    return more > 0 ? [...this.#first, `… and ${more} more`] : [...this.#first];
  }
}

/** The numbers of a conversation as a socket learns them from acks and messages: each once, without gaps. */
export class SeqTracker {
  #next: number;
  readonly #early = new Set<number>();

  /** @param last the last number before */
  constructor(last: number) {
    this.#next = last + 1;
  }

  /** The highest contiguous number. */
  get last(): number {
    return this.#next - 1;
  }

  /** How many numbers arrived beyond a gap. */
  get waiting(): number {
    return this.#early.size;
  }

  /** @returns false for a number that arrived before */
  add(seq: number): boolean {
    if (seq === this.#next) {
      this.#next++;
      while (this.#early.delete(this.#next)) this.#next++;
      return true;
    }
    if (seq < this.#next || this.#early.has(seq)) return false;
    this.#early.add(seq);
    return true;
  }
}

/** An ack, or a row of the table. */
export interface StoredMessage {
  readonly ref: string;
  readonly id: number;
  readonly seq: number;
}

/**
 * Compares a user's acks with their rows: the same refs, ids and numbers, and no other row.
 *
 * @param rows all rows with the user's refs of this run
 */
export function auditAcks(
  user: string,
  acks: readonly StoredMessage[],
  rows: readonly (StoredMessage & { content?: string })[],
  textOf?: (ref: string) => string,
): string[] {
  const problems: string[] = [];
  const byRef = new Map(rows.map((row) => [row.ref, row]));
  if (byRef.size !== rows.length) problems.push(`${user} has ${rows.length - byRef.size} refs stored twice`);
  for (const { ref, id, seq } of acks) {
    const row = byRef.get(ref);
    if (!row) problems.push(`${user}'s ${ref} was acknowledged as ${seq} but is not stored`);
    else if (row.id !== id || row.seq !== seq)
      problems.push(`${user}'s ${ref} was acknowledged as ${seq} (${id}) but is stored as ${row.seq} (${row.id})`);
    else if (textOf && row.content !== textOf(ref)) problems.push(`${user}'s ${ref} is stored with another text`);
  }
  const acknowledged = new Set(acks.map((ack) => ack.ref));
  const extra = rows.filter((row) => !acknowledged.has(row.ref)).length;
  if (extra > 0) problems.push(`${user} has ${extra} rows that were not acknowledged`);
  const twice = acks.length - acknowledged.size;
  if (twice > 0) problems.push(`${twice} refs of ${user} were acknowledged twice`);
  return problems;
}
