/** Progress with the time left: one updating line on a terminal, elsewhere a line every few seconds. */

const TERMINAL_EVERY_MS = 200;
const PLAIN_EVERY_MS = 5_000;

export class Progress {
  readonly #write: (text: string) => void;
  readonly #terminal: boolean;
  readonly #plan: readonly { name: string; seconds: number }[];
  readonly #startedAt = performance.now();
  readonly #timer: Timer;
  #part = -1;
  #partStartedAt = 0;
  #activity = "";

  /** @param plan the parts and about how long each takes */
  constructor(
    plan: readonly { name: string; seconds: number }[],
    out: { isTTY?: boolean; write(text: string): unknown },
  ) {
    this.#plan = plan;
    this.#terminal = out.isTTY === true;
    this.#write = (text) => void out.write(text);
    this.#timer = setInterval(() => this.#show(), this.#terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS);
  }

  /** Starts the next part. */
  part(): void {
    this.#part++;
    this.#partStartedAt = performance.now();
    this.step("preparing");
    if (!this.#terminal) this.#show();
  }

  step(activity: string): void {
    this.#activity = activity;
    if (this.#terminal) this.#show();
  }

  end(): void {
    clearInterval(this.#timer);
    if (this.#terminal) this.#write("\r\x1b[K");
  }

  #show(): void {
    const part = this.#plan[this.#part];
    if (!part) return;
    const now = performance.now();
    const inPart = Math.max(1, part.seconds - (now - this.#partStartedAt) / 1_000);
    const later = this.#plan.slice(this.#part + 1).reduce((sum, { seconds }) => sum + seconds, 0);
    const elapsed = `${((now - this.#startedAt) / 1_000).toFixed(0)} s`;
    const line = `[${this.#part + 1}/${this.#plan.length}] ${part.name}: ${this.#activity}`;
    const text = `${line} (${elapsed}, about ${(inPart + later).toFixed(0)} s left)`;
    this.#write(this.#terminal ? `\r\x1b[K${text}` : `${text}\n`);
  }
}
