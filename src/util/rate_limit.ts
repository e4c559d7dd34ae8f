/** Credits per key, refilled steadily up to a burst (token bucket). Limits hold per pod. */

/** Credits at most, and how many come back each second. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** The credits somebody had at an instant; more than the burst counts as the burst. */
export interface Bucket {
  credits: number;
  at: number;
}

/** Keys remembered at most: made-up names and addresses must not grow a map without end. */
const KEYS_MAX = 50_000;

/** Spends a credit. @returns 0, or the milliseconds until there is one */
export function draw(bucket: Bucket, { burst, perSecond }: Rate, now: number): number {
  bucket.credits = Math.min(burst, bucket.credits + ((now - bucket.at) * perSecond) / 1_000);
  bucket.at = now;
  if (bucket.credits < 1) return Math.ceil(((1 - bucket.credits) * 1_000) / perSecond);
  bucket.credits--;
  return 0;
}

/** @example new RateLimit({ burst: 20, perSecond: 5 }).take("ann") // 0: go on */
export class RateLimit {
  readonly #rate: Rate;
  readonly #most: number;
  readonly #buckets = new Map<string, Bucket>();
  #sweepAt = 0;

  /** @param options.most keys remembered */
  constructor(rate: Rate, options: { most?: number } = {}) {
    if (!(rate.burst >= 1)) throw new RangeError(`Cannot limit: burst must be at least 1, got ${rate.burst}`);
    this.#rate = rate;
    this.#most = options.most ?? KEYS_MAX;
  }

  /** Spends a credit of `key`. @returns 0, or the milliseconds until there is one */
  take(key: string, now = performance.now()): number {
    this.#sweep(now);
    let bucket = this.#buckets.get(key);
    if (!bucket) {
      if (this.#buckets.size >= this.#most) this.#forget(now);
      this.#buckets.set(key, (bucket = { credits: this.#rate.burst, at: now }));
    }
    return draw(bucket, this.#rate, now);
  }

  /** As `take`, but spends nothing. */
  waitMs(key: string, now = performance.now()): number {
    const bucket = this.#buckets.get(key);
    return bucket ? draw({ ...bucket }, this.#rate, now) : 0;
  }

  /** Undoes a `take`. */
  refund(key: string): void {
    const bucket = this.#buckets.get(key);
    if (bucket) bucket.credits++;
  }

  /** Keys remembered: those that have not filled up again. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Forgets full buckets, once in the time one takes to fill. */
  #sweep(now: number): void {
    if (now < this.#sweepAt) return;
    const fillMs = (this.#rate.burst * 1_000) / this.#rate.perSecond;
    this.#sweepAt = now + fillMs;
    for (const [key, { at }] of this.#buckets) if (now - at >= fillMs) this.#buckets.delete(key);
  }

  /** Forgets the half that is nearest to full: whoever makes up keys to have one forgotten has to spend as much on each of them. */
  #forget(now: number): void {
    const creditsNow = ({ credits, at }: Bucket) => credits + ((now - at) * this.#rate.perSecond) / 1_000;
    const fullest = [...this.#buckets].map(([key, bucket]) => ({ key, credits: creditsNow(bucket) }));
    fullest.sort((one, other) => other.credits - one.credits);
    for (const { key } of fullest.slice(0, Math.ceil(this.#most / 2))) this.#buckets.delete(key);
  }
}
