/**
 * The limits of this pod: how much one person, one address or one socket may do in a time. It counts; answering, dropping and closing
 * are its callers' part. Without `RATE_LIMIT` everything is let through.
 */

import { countedBy } from "./address.ts";
import type { LimitSettings } from "./config.ts";
import { ChatError, type ErrorCode } from "./errors.ts";
import type { Limited } from "./metrics.ts";
import { type Bucket, draw, RateLimit } from "./rate_limit.ts";

/** Within this time, so many refusals of a kind close a socket (CONTRACT §4: 1008). */
const STRIKES_WITHIN_MS = 60_000;
const STRIKES: Partial<Record<ErrorCode, number>> = { bad_request: 3, rate_limited: 10 };

/** What one person may do so often. */
export type Act = "sends" | "typing" | "watch" | "searches" | "history" | "drafts" | "account";

/** What a socket carries of its own limits: the credits of its frames, and when it was refused what, once it was. */
export interface Metered extends Bucket {
  strikes: Partial<Record<ErrorCode, number[]>> | undefined;
}

export class Limits {
  readonly #settings: LimitSettings | undefined;
  readonly #acts: Readonly<Record<Act, RateLimit>> | undefined;
  readonly #tries: Tries | undefined;
  readonly #refused: (limit: Limited) => void;

  /** @param settings undefined: nothing is limited @param refused told of each refusal */
  constructor(settings: LimitSettings | undefined, refused: (limit: Limited) => void = () => {}) {
    this.#settings = settings;
    this.#refused = refused;
    if (!settings) return;
    this.#acts = {
      sends: new RateLimit(settings.sends),
      typing: new RateLimit(settings.typing),
      watch: new RateLimit(settings.watch),
      searches: new RateLimit(settings.searches),
      history: new RateLimit(settings.history),
      drafts: new RateLimit(settings.drafts),
      account: new RateLimit(settings.account),
    };
    this.#tries = new Tries(settings, refused);
  }

  /** Counts an act of a person. @param ref of the send, for the refusal @throws ChatError `rate_limited` */
  spend(act: Act, nameKey: string, ref?: string): void {
    const waitMs = this.#acts?.[act].take(nameKey) ?? 0;
    if (waitMs === 0) return;
    this.#refused(act);
    throw new ChatError("rate_limited", { ref, retryAfter: Math.ceil(waitMs / 1_000) });
  }

  /** As `spend`, for what is dropped without a word. */
  allows(act: Act, nameKey: string): boolean {
    const allowed = (this.#acts?.[act].take(nameKey) ?? 0) === 0;
    if (!allowed) this.#refused(act);
    return allowed;
  }

  /** Counts a frame of a socket. @returns 0, or the seconds until the next is taken */
  frame(socket: Metered, now: number): number {
    if (!this.#settings) return 0;
    const waitMs = draw(socket, this.#settings.frames, now);
    if (waitMs > 0) this.#refused("frames");
    return Math.ceil(waitMs / 1_000);
  }

  /** Notes what a socket was refused. @returns whether that was once too often */
  strike(socket: Metered, code: ErrorCode, now: number): boolean {
    const most = STRIKES[code];
    if (most === undefined || !this.#settings) return false;
    const strikes = (socket.strikes ??= {});
    const lately = (strikes[code] ?? []).filter((at) => now - at < STRIKES_WITHIN_MS);
    strikes[code] = [...lately, now];
    return lately.length + 1 >= most;
  }

  /** Whether a person with so many sockets here gets no other. */
  hasEnough(sockets: number): boolean {
    const enough = this.#settings !== undefined && sockets >= this.#settings.sockets;
    if (enough) this.#refused("sockets");
    return enough;
  }

  /**
   * Begins a login: takes what a failure costs before the password is looked at, or a hundred tries at once would all find something left.
   *
   * @param nameKey as given, whether or not somebody has it: a refusal must not tell
   * @returns gives it back: the password was right, or was not looked at
   * @throws ChatError `rate_limited`
   */
  beginLogin(nameKey: string, address: string): () => void {
    return this.#tries?.beginLogin(nameKey, countedBy(address)) ?? (() => {});
  }

  /** Begins to ask whether a name is free. @returns as `beginLogin`; to be called when it is @throws ChatError `rate_limited` */
  beginNaming(address: string): () => void {
    return this.#tries?.beginNaming(countedBy(address)) ?? (() => {});
  }

  /** Begins a sign-up that is good but for its being one too many. @returns as `beginLogin` @throws ChatError `rate_limited` */
  beginSignUp(address: string): () => void {
    return this.#tries?.beginSignUp(countedBy(address)) ?? (() => {});
  }
}

/** Tries of people who are not signed in. */
class Tries {
  readonly #signUps: RateLimit;
  readonly #logins: RateLimit;
  readonly #name: RateLimit;
  readonly #address: RateLimit;
  /** Addresses that failed lately have spent the only credit. */
  readonly #blameless: RateLimit;
  readonly #refused: (limit: Limited) => void;

  constructor(settings: LimitSettings, refused: (limit: Limited) => void) {
    this.#refused = refused;
    this.#signUps = new RateLimit(settings.signUps);
    this.#logins = new RateLimit(settings.logins);
    this.#name = new RateLimit(settings.loginsName);
    this.#address = new RateLimit(settings.loginsAddress);
    const { burst, perSecond } = settings.logins;
    this.#blameless = new RateLimit({ burst: 1, perSecond: perSecond / burst });
  }

  beginLogin(nameKey: string, address: string): () => void {
    const taken: (readonly [RateLimit, string])[] = [];
    const giveBack = () => taken.forEach(([limit, key]) => limit.giveBack(key));
    const blameless = this.#blameless.take(address) === 0;
    if (blameless) taken.push([this.#blameless, address]);
    for (const [limit, key] of [
      [this.#logins, `${nameKey}\n${address}`],
      [this.#address, address],
      [this.#name, nameKey],
    ] as const) {
      const waitMs = limit.take(key);
      if (waitMs === 0) taken.push([limit, key]);
      // Strangers who fail at a name must not lock out whoever has it: an address that never failed has its try.
      else if (limit !== this.#name || !blameless) {
        giveBack();
        this.#refused("logins");
        throw tooManyTries(waitMs);
      }
    }
    return giveBack;
  }

  /** A name that is taken costs no hash; so that nobody can run through all names it counts as a login that failed. */
  beginNaming(address: string): () => void {
    return this.#begin(this.#address, address, "logins");
  }

  beginSignUp(address: string): () => void {
    return this.#begin(this.#signUps, address, "sign_ups");
  }

  #begin(limit: RateLimit, key: string, name: Limited): () => void {
    const waitMs = limit.take(key);
    if (waitMs === 0) return () => limit.giveBack(key);
    this.#refused(name);
    throw tooManyTries(waitMs);
  }
}

function tooManyTries(waitMs: number): ChatError {
  const retryAfter = Math.ceil(waitMs / 1_000);
  return new ChatError("rate_limited", { words: `Too many tries. Please wait ${inWords(retryAfter)}`, retryAfter });
}

/** Seconds as a person says them. */
function inWords(seconds: number): string {
  const [count, unit] =
    seconds < 60
      ? [seconds, "second"]
      : seconds < 3_600
        ? [Math.ceil(seconds / 60), "minute"]
        : [Math.ceil(seconds / 3_600), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
