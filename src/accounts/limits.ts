/**
 * The limits of this pod: how often a user, an address or a socket may do something. Charges and
 * reports; callers drop frames and close sockets. With `RATE_LIMIT=off`, everything is allowed.
 */

import { LIMITED_ACTIONS, type LimitedAction, type LimitSettings } from "../config.ts";
import { ChatError, type ErrorCode } from "../errors.ts";
import type { LimitName } from "../metrics.ts";
import { type Bucket, charge, RateLimit } from "../util/rate_limit.ts";
import { LoginLimits } from "./login_limits.ts";

/** This many errors of one code within this time close a socket (docs/protocol.md §4: 1008). */
const STRIKES_WITHIN_MS = 60_000;
const STRIKES: Partial<Record<ErrorCode, number>> = { bad_request: 3, rate_limited: 10 };

/**
 * The limiter state that a socket carries: its credits for frames, and the times of its errors by
 * code.
 */
export interface MeteredSocket extends Bucket {
  strikes: Partial<Record<ErrorCode, number[]>> | undefined;
}

export class Limits {
  readonly #settings: LimitSettings | undefined;
  readonly #actions: ReadonlyMap<LimitedAction, RateLimit> | undefined;
  /** Undefined without limits. */
  readonly logins: LoginLimits | undefined;
  readonly #rejected: (limit: LimitName) => void;

  /** @param settings undefined for no limits @param rejected called on each rejection */
  constructor(settings: LimitSettings | undefined, rejected: (limit: LimitName) => void = () => {}) {
    this.#settings = settings;
    this.#rejected = rejected;
    if (!settings) return;
    this.#actions = new Map(LIMITED_ACTIONS.map((action) => [action, new RateLimit(settings[action])]));
    this.logins = new LoginLimits(settings, rejected);
  }

  /**
   * Charges an action of a user.
   *
   * @param ref of the send, named in the error
   * @throws ChatError `rate_limited`
   */
  charge(action: LimitedAction, nameKey: string, ref?: string): void {
    const waitMs = this.#actions?.get(action)?.charge(nameKey) ?? 0;
    if (waitMs === 0) return;
    this.#rejected(action);
    throw new ChatError("rate_limited", { ref, retryAfter: Math.ceil(waitMs / 1_000) });
  }

  /** As `charge`, but returns false instead of throwing: for actions that are dropped silently. */
  tryCharge(action: LimitedAction, nameKey: string): boolean {
    const allowed = (this.#actions?.get(action)?.charge(nameKey) ?? 0) === 0;
    if (!allowed) this.#rejected(action);
    return allowed;
  }

  /** Charges a frame of a socket. @returns 0, or the seconds until the next frame is accepted */
  chargeFrame(socket: MeteredSocket, now: number): number {
    if (!this.#settings) return 0;
    const waitMs = charge(socket, this.#settings.frames, now);
    if (waitMs > 0) this.#rejected("frames");
    return Math.ceil(waitMs / 1_000);
  }

  /** Records an error sent to a socket. @returns whether the socket must be closed for it */
  addStrike(socket: MeteredSocket, code: ErrorCode, now: number): boolean {
    const max = STRIKES[code];
    if (max === undefined || !this.#settings) return false;
    const strikes = (socket.strikes ??= {});
    const recent = (strikes[code] ?? []).filter((at) => now - at < STRIKES_WITHIN_MS);
    strikes[code] = [...recent, now];
    return recent.length + 1 >= max;
  }

  /** Whether a user with this many sockets on this pod may open no further one. */
  isAtSocketLimit(sockets: number): boolean {
    const isAtLimit = this.#settings !== undefined && sockets >= this.#settings.sockets;
    if (isAtLimit) this.#rejected("sockets");
    return isAtLimit;
  }
}
