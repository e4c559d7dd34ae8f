/** What must hold of every frame and every ack. Each check says in words what was wrong; none of it is ever expected. */

/** Problems found, the first few in words. */
export class Problems {
  count = 0;
  readonly words: string[] = [];

  add(words: string): void {
    this.count++;
    if (this.words.length < 5) this.words.push(words);
  }

  /** The words, with how many more there were. */
  report(): string[] {
    const more = this.count - this.words.length;
    return more > 0 ? [...this.words, `… and ${more} more`] : [...this.words];
  }
}

/** The numbers of one conversation as one socket learns them, acks and messages together: each once, none left out. */
export class SeqTracker {
  #next: number;
  readonly #early = new Set<number>();

  /** @param last the last number before */
  constructor(last: number) {
    this.#next = last + 1;
  }

  /** The last number up to which all are there. */
  get last(): number {
    return this.#next - 1;
  }

  /** SeqTracker that came while one before them had not. */
  get waiting(): number {
    return this.#early.size;
  }

  /** @returns false when the number was there already */
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

/** An ack, or a row of the table: what a person's n-th send became. */
export interface Placed {
  readonly ref: string;
  readonly id: number;
  readonly seq: number;
}

/**
 * Holds every ack of a person against the rows the table has of them: same ref, same id, same number, and not a row more.
 *
 * @param rows all rows of the person's refs of this run
 */
export function auditAcks(
  person: string,
  acks: readonly Placed[],
  rows: readonly (Placed & { content?: string })[],
  textOf?: (ref: string) => string,
): string[] {
  const problems: string[] = [];
  const byRef = new Map(rows.map((row) => [row.ref, row]));
  if (byRef.size !== rows.length) problems.push(`${person} has ${rows.length - byRef.size} refs stored twice`);
  for (const ack of acks) {
    const row = byRef.get(ack.ref);
    if (!row) problems.push(`${person} was acknowledged ${ack.ref} as ${ack.seq}, and the table has no such row`);
    else if (row.id !== ack.id || row.seq !== ack.seq) {
      problems.push(
        `${person} was acknowledged ${ack.ref} as id ${ack.id}, seq ${ack.seq}, and the table says ${row.id}, ${row.seq}`,
      );
    } else if (textOf && row.content !== textOf(ack.ref))
      problems.push(`${person}'s ${ack.ref} is stored with another text`);
  }
  const acknowledged = new Set(acks.map((ack) => ack.ref));
  const extra = rows.filter((row) => !acknowledged.has(row.ref)).length;
  if (extra > 0) problems.push(`${person} has ${extra} rows that nobody acknowledged`);
  if (acknowledged.size !== acks.length)
    problems.push(`${person} was acknowledged ${acks.length - acknowledged.size} refs twice`);
  return problems;
}
