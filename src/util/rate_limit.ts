/** A token bucket per key. Limits apply per pod. */

/** The capacity of a bucket, and the credits added per second. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** Credits at an instant, in `performance.now()` time; capped at the burst when next charged. */
export interface Bucket {
  credits: number;
  creditsAt: number;
}

/** Bounds the map, since clients can invent names and addresses. */
const KEYS_MAX = 50_000;

/** Charges a credit. @returns 0, or the milliseconds until there is one */
export function charge(bucket: Bucket, { burst, perSecond }: Rate, now: number): number {
  bucket.credits = Math.min(burst, bucket.credits + ((now - bucket.creditsAt) * perSecond) / 1_000);
  bucket.creditsAt = now;
  if (bucket.credits < 1) return Math.ceil(((1 - bucket.credits) * 1_000) / perSecond);
  bucket.credits--;
  return 0;
}

/** @example new RateLimit({ burst: 20, perSecond: 5 }).charge("ann") // 0: allowed */
export class RateLimit {
  readonly #rate: Rate;
  readonly #maxKeys: number;
  readonly #buckets = new Map<string, Bucket>();
  #sweepAt = 0;

  /** @param options.maxKeys keys kept in memory */
  constructor(rate: Rate, options: { maxKeys?: number } = {}) {
    if (!(rate.burst >= 1)) throw new RangeError(`RateLimit: burst must be at least 1, got ${rate.burst}`);
    this.#rate = rate;
    this.#maxKeys = options.maxKeys ?? KEYS_MAX;
  }

  /** Charges a credit of `key`. @returns 0, or the milliseconds until there is one */
  charge(key: string, now = performance.now()): number {
    this.#sweep(now);
    let bucket = this.#buckets.get(key);
    if (!bucket) {
      if (this.#buckets.size >= this.#maxKeys) this.#evict(now);
      this.#buckets.set(key, (bucket = { credits: this.#rate.burst, creditsAt: now }));
    }
    return charge(bucket, this.#rate, now);
  }

  /** As `charge`, but charges nothing. */
  waitMs(key: string, now = performance.now()): number {
    const bucket = this.#buckets.get(key);
    return bucket ? charge({ ...bucket }, this.#rate, now) : 0;
  }

  /** Undoes a `charge`. */
  refund(key: string): void {
    const bucket = this.#buckets.get(key);
    if (bucket) bucket.credits++;
  }

  /** Keys in memory: those whose buckets have not refilled. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Deletes full buckets, once per time that a bucket takes to fill. */
  #sweep(now: number): void {
    if (now < this.#sweepAt) return;
    const fillMs = (this.#rate.burst * 1_000) / this.#rate.perSecond;
    this.#sweepAt = now + fillMs;
    for (const [key, { creditsAt }] of this.#buckets) if (now - creditsAt >= fillMs) this.#buckets.delete(key);
  }

  /**
   * Deletes the fuller half of the buckets: to evict a drained bucket, an attacker must drain as
   * many invented keys just as far.
   */
  #evict(now: number): void {
    const creditsNow = ({ credits, creditsAt }: Bucket) => credits + ((now - creditsAt) * this.#rate.perSecond) / 1_000;
    const fullest = [...this.#buckets].map(([key, bucket]) => ({ key, credits: creditsNow(bucket) }));
    fullest.sort((one, other) => other.credits - one.credits);
    for (const { key } of fullest.slice(0, Math.ceil(this.#maxKeys / 2))) this.#buckets.delete(key);
  }
}
