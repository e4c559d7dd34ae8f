/** How often a password may be tried, and how often logins and sign-ups may succeed: by name, by address and by known device. */

import type { LimitSettings } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { Limited } from "../metrics.ts";
import type { Rate } from "../setting_readers.ts";
import { rateLimitKey } from "../util/address.ts";
import { RateLimit } from "../util/rate_limit.ts";

/**
 * Prefixes by which an IPv6 address counts, all at once: whoever has a /48 has 65,536 of the /64. A wider one may do more, so that one
 * /64 alone does not use up what its neighbours have.
 */
const PREFIXES = [
  { bits: 64, times: 1 },
  { bits: 56, times: 2 },
  { bits: 48, times: 4 },
] as const;

/** A try to sign in, or to confirm a password. */
export interface LoginAttempt {
  /** As given, whether or not somebody has it: a refusal must not tell. */
  readonly nameKey: string;
  readonly address: string;
  /** What the account knows the client by: a device that signed in before, or a session. Strangers' failures do not count against it. */
  readonly device: string | undefined;
}

/** A limit and the key that counts in it. */
type Counted = readonly [RateLimit, string];

export class LoginLimits {
  readonly #signUps: AddressLimit;
  readonly #failures: {
    readonly here: AddressLimit;
    readonly address: AddressLimit;
    readonly name: RateLimit;
    readonly device: RateLimit;
  };
  readonly #signIns: { readonly address: AddressLimit; readonly name: RateLimit };
  readonly #refused: (limit: Limited) => void;

  /** @param refused told of each refusal */
  constructor(settings: LimitSettings, refused: (limit: Limited) => void) {
    this.#refused = refused;
    this.#signUps = new AddressLimit(settings.signUps);
    this.#failures = {
      here: new AddressLimit(settings.logins),
      address: new AddressLimit(settings.loginsAddress),
      name: new RateLimit(settings.loginsName),
      device: new RateLimit(settings.logins),
    };
    this.#signIns = {
      address: new AddressLimit(settings.signInsAddress),
      name: new RateLimit(settings.signIns),
    };
  }

  /** See `Limits`. */
  beginLogin({ nameKey, address, device }: LoginAttempt): () => void {
    const failures = this.#failures;
    if (device !== undefined) return this.#take("logins", [[failures.device, device]]);
    return this.#take("logins", [
      ...failures.here.of(address, nameKey),
      ...failures.address.of(address),
      [failures.name, nameKey],
    ]);
  }

  /** See `Limits`. */
  checkSignIns(attempt: LoginAttempt): void {
    for (const [limit, key] of this.#signInsOf(attempt)) this.#refuse("sign_ins", limit.waitMs(key));
  }

  /** See `Limits`. */
  chargeSignIn(attempt: LoginAttempt): void {
    this.#take("sign_ins", this.#signInsOf(attempt));
  }

  /** A name that is taken costs no hash; so that nobody can run through all names it counts as a login that failed. */
  beginNameCheck(address: string): () => void {
    return this.#take("logins", this.#failures.address.of(address));
  }

  beginSignUp(address: string): () => void {
    return this.#take("sign_ups", this.#signUps.of(address));
  }

  #signInsOf({ nameKey, address, device }: LoginAttempt): readonly Counted[] {
    const { name, address: anyName } = this.#signIns;
    return [[name, nameKey], ...(device === undefined ? anyName.of(address) : [])];
  }

  /** Spends a credit of each, or of none. @returns gives them back @throws ChatError `rate_limited` */
  #take(what: Limited, all: readonly Counted[]): () => void {
    const taken: Counted[] = [];
    const giveBack = () => taken.forEach(([limit, key]) => limit.refund(key));
    for (const [limit, key] of all) {
      const waitMs = limit.take(key);
      if (waitMs === 0) taken.push([limit, key]);
      else {
        giveBack();
        this.#refuse(what, waitMs);
      }
    }
    return giveBack;
  }

  #refuse(what: Limited, waitMs: number): void {
    if (waitMs === 0) return;
    this.#refused(what);
    const retryAfter = Math.ceil(waitMs / 1_000);
    throw new ChatError("rate_limited", {
      message: `Too many tries. Please wait ${formatSeconds(retryAfter)}`,
      retryAfter,
    });
  }
}

/** Counts an address by its prefixes. */
class AddressLimit {
  readonly #limits: readonly { readonly bits: number; readonly limit: RateLimit }[];

  constructor({ burst, perSecond }: Rate) {
    this.#limits = PREFIXES.map(({ bits, times }) => ({
      bits,
      limit: new RateLimit({ burst: burst * times, perSecond: perSecond * times }),
    }));
  }

  /** What counts an address. @param nameKey counted together with it */
  of(address: string, nameKey = ""): Counted[] {
    return this.#limits.map(({ bits, limit }) => [limit, `${nameKey}\n${rateLimitKey(address, bits)}`]);
  }
}

/** Seconds as a person says them. */
export function formatSeconds(seconds: number): string {
  const [count, unit] =
    seconds < 60
      ? [seconds, "second"]
      : seconds < 3_600
        ? [Math.ceil(seconds / 60), "minute"]
        : [Math.ceil(seconds / 3_600), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
