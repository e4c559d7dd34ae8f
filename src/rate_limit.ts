/** Credits per key, refilled steadily up to a burst (token bucket). Limits hold per pod. */

/** @example new RateLimit({ burst: 20, perSecond: 5 }).take("ann") // 0: go on */
export class RateLimit {
  readonly #burst: number;
  readonly #perMs: number;
  readonly #buckets = new Map<string, { credits: number; at: number }>();
  #sweepAt = 0;

  /** @param options.burst credits at most @param options.perSecond credits that come back each second */
  constructor(options: { burst: number; perSecond: number }) {
    if (!(options.burst >= 1)) throw new RangeError(`Cannot limit: burst must be at least 1, got ${options.burst}`);
    this.#burst = options.burst;
    this.#perMs = options.perSecond / 1_000;
  }

  /** Spends a credit of `key`. @returns 0, or the milliseconds until there is one */
  take(key: string, now = performance.now()): number {
    this.#sweep(now);
    const bucket = this.#buckets.get(key) ?? { credits: this.#burst, at: now };
    bucket.credits = Math.min(this.#burst, bucket.credits + (now - bucket.at) * this.#perMs);
    bucket.at = now;
    this.#buckets.set(key, bucket);
    if (bucket.credits < 1) return Math.ceil((1 - bucket.credits) / this.#perMs);
    bucket.credits--;
    return 0;
  }

  /** Keys remembered: those that have not filled up again. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Forgets full buckets, once in the time one takes to fill. */
  #sweep(now: number): void {
    if (now < this.#sweepAt) return;
    const fillMs = this.#burst / this.#perMs;
    this.#sweepAt = now + fillMs;
    for (const [key, { at }] of this.#buckets) if (now - at >= fillMs) this.#buckets.delete(key);
  }
}
