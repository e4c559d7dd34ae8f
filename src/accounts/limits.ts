/**
 * The limits of this pod: how much one person, one address or one socket may do in a time. It counts; answering, dropping and closing
 * are its callers' part. Without `RATE_LIMIT` everything is let through.
 */

import { LIMITED_ACTIONS, type LimitedAction, type LimitSettings } from "../config.ts";
import { ChatError, type ErrorCode } from "../errors.ts";
import type { Limited } from "../metrics.ts";
import { type Bucket, draw, RateLimit } from "../util/rate_limit.ts";
import { type LoginAttempt, LoginLimits } from "./login_limits.ts";

/** Within this time, so many refusals of a kind close a socket (CONTRACT §4: 1008). */
const STRIKES_WITHIN_MS = 60_000;
const STRIKES: Partial<Record<ErrorCode, number>> = { bad_request: 3, rate_limited: 10 };

/** What a socket carries of its own limits: the credits of its frames, and when it was refused what, once it was. */
export interface MeteredSocket extends Bucket {
  strikes: Partial<Record<ErrorCode, number[]>> | undefined;
}

export class Limits {
  readonly #settings: LimitSettings | undefined;
  readonly #actions: ReadonlyMap<LimitedAction, RateLimit> | undefined;
  readonly #logins: LoginLimits | undefined;
  readonly #refused: (limit: Limited) => void;

  /** @param settings undefined: nothing is limited @param refused told of each refusal */
  constructor(settings: LimitSettings | undefined, refused: (limit: Limited) => void = () => {}) {
    this.#settings = settings;
    this.#refused = refused;
    if (!settings) return;
    this.#actions = new Map(LIMITED_ACTIONS.map((action) => [action, new RateLimit(settings[action])]));
    this.#logins = new LoginLimits(settings, refused);
  }

  /** Counts an action of a user. @param ref of the send, for the refusal @throws ChatError `rate_limited` */
  spend(action: LimitedAction, nameKey: string, ref?: string): void {
    const waitMs = this.#actions?.get(action)?.take(nameKey) ?? 0;
    if (waitMs === 0) return;
    this.#refused(action);
    throw new ChatError("rate_limited", { ref, retryAfter: Math.ceil(waitMs / 1_000) });
  }

  /** As `spend`, for what is dropped without a word. */
  allows(action: LimitedAction, nameKey: string): boolean {
    const allowed = (this.#actions?.get(action)?.take(nameKey) ?? 0) === 0;
    if (!allowed) this.#refused(action);
    return allowed;
  }

  /** Counts a frame of a socket. @returns 0, or the seconds until the next is taken */
  chargeFrame(socket: MeteredSocket, now: number): number {
    if (!this.#settings) return 0;
    const waitMs = draw(socket, this.#settings.frames, now);
    if (waitMs > 0) this.#refused("frames");
    return Math.ceil(waitMs / 1_000);
  }

  /** Notes what a socket was refused. @returns whether that was once too often */
  addStrike(socket: MeteredSocket, code: ErrorCode, now: number): boolean {
    const most = STRIKES[code];
    if (most === undefined || !this.#settings) return false;
    const strikes = (socket.strikes ??= {});
    const lately = (strikes[code] ?? []).filter((at) => now - at < STRIKES_WITHIN_MS);
    strikes[code] = [...lately, now];
    return lately.length + 1 >= most;
  }

  /** Whether a person with so many sockets here gets no other. */
  isAtSocketLimit(sockets: number): boolean {
    const enough = this.#settings !== undefined && sockets >= this.#settings.sockets;
    if (enough) this.#refused("sockets");
    return enough;
  }

  /**
   * Begins a login: takes what a failure costs before the password is looked at, or a hundred tries at once would all find something left.
   *
   * @returns gives it back: the password was right, or was not looked at
   * @throws ChatError `rate_limited`
   */
  beginLogin(attempt: LoginAttempt): () => void {
    return this.#logins?.beginLogin(attempt) ?? (() => {});
  }

  /** Refuses a login that could not be counted if it succeeded, before it costs a hash. @throws ChatError `rate_limited` */
  checkSignIns(attempt: LoginAttempt): void {
    this.#logins?.checkSignIns(attempt);
  }

  /** Counts a login that succeeded. @throws ChatError `rate_limited` */
  chargeSignIn(attempt: LoginAttempt): void {
    this.#logins?.chargeSignIn(attempt);
  }

  /** Begins to ask whether a name is free. @returns as `beginLogin`; to be called when it is @throws ChatError `rate_limited` */
  beginNameCheck(address: string): () => void {
    return this.#logins?.beginNameCheck(address) ?? (() => {});
  }

  /** Begins a sign-up that is good but for its being one too many. @returns as `beginLogin` @throws ChatError `rate_limited` */
  beginSignUp(address: string): () => void {
    return this.#logins?.beginSignUp(address) ?? (() => {});
  }
}
