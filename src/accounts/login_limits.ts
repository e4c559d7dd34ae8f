/** Limits on password attempts, logins and sign-ups: by name, by address and by known device. */

import type { LimitSettings } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { LimitName } from "../metrics.ts";
import { rateLimitKey } from "../util/address.ts";
import { formatSeconds } from "../util/duration.ts";
import { type Rate, RateLimit } from "../util/rate_limit.ts";

/**
 * An IPv6 address is charged to all of these prefixes, since a /48 contains 65,536 /64 networks.
 * Wider prefixes have higher limits, so that a single /64 cannot exhaust those of its neighbors.
 */
const PREFIXES = [
  { bits: 64, times: 1 },
  { bits: 56, times: 2 },
  { bits: 48, times: 4 },
] as const;

/** An attempt to sign in or to confirm a password. */
export interface LoginAttempt {
  /** As the client sent it, existing or not: a rejection must not reveal which. */
  readonly nameKey: string;
  readonly address: string;
  /**
   * The known device or session of the client, if any. Failures of other clients do not count
   * against it.
   */
  readonly device: string | undefined;
}

/** A limit and the key to charge in it. */
type Charge = readonly [RateLimit, string];

export class LoginLimits {
  readonly #signUps: AddressLimit;
  readonly #failedLogins: {
    readonly nameAtAddress: AddressLimit;
    readonly address: AddressLimit;
    readonly name: RateLimit;
    readonly device: RateLimit;
  };
  readonly #successfulLogins: { readonly address: AddressLimit; readonly name: RateLimit };
  readonly #rejected: (limit: LimitName) => void;

  /** @param rejected called on each rejection */
  constructor(settings: LimitSettings, rejected: (limit: LimitName) => void) {
    this.#rejected = rejected;
    this.#signUps = new AddressLimit(settings.signUps);
    this.#failedLogins = {
      nameAtAddress: new AddressLimit(settings.failedLogins),
      address: new AddressLimit(settings.failedLoginsAddress),
      name: new RateLimit(settings.failedLoginsName),
      device: new RateLimit(settings.failedLogins),
    };
    this.#successfulLogins = {
      address: new AddressLimit(settings.successfulLoginsAddress),
      name: new RateLimit(settings.successfulLogins),
    };
  }

  /**
   * Charges a login before the password is verified; otherwise 100 concurrent guesses would all
   * pass.
   *
   * @returns refunds the charge: to be called when the password was correct or was not checked
   * @throws ChatError `rate_limited`
   */
  beginLogin({ nameKey, address, device }: LoginAttempt): () => void {
    const failed = this.#failedLogins;
    if (device !== undefined) return this.#charge("failed_logins", [[failed.device, device]]);
    return this.#charge("failed_logins", [
      ...failed.nameAtAddress.of(address, nameKey),
      ...failed.address.of(address),
      [failed.name, nameKey],
    ]);
  }

  /**
   * Rejects a login that would exceed the limit of successful logins, before it costs a hash.
   *
   * @throws ChatError `rate_limited`
   */
  checkSuccessfulLogins(attempt: LoginAttempt): void {
    for (const [limit, key] of this.#successfulLoginsOf(attempt)) this.#reject("successful_logins", limit.waitMs(key));
  }

  /** Charges a successful login. @throws ChatError `rate_limited` */
  chargeSuccessfulLogin(attempt: LoginAttempt): void {
    this.#charge("successful_logins", this.#successfulLoginsOf(attempt));
  }

  /**
   * Charges a check whether a name is free. A taken name costs no hash, so it is charged as a failed
   * login: otherwise all names could be enumerated.
   *
   * @returns refunds it: to be called when the name is free
   * @throws ChatError `rate_limited`
   */
  beginNameCheck(address: string): () => void {
    return this.#charge("failed_logins", this.#failedLogins.address.of(address));
  }

  /** Charges an otherwise valid sign-up. @returns refunds it @throws ChatError `rate_limited` */
  beginSignUp(address: string): () => void {
    return this.#charge("sign_ups", this.#signUps.of(address));
  }

  #successfulLoginsOf({ nameKey, address, device }: LoginAttempt): readonly Charge[] {
    const { name, address: anyAccount } = this.#successfulLogins;
    return [[name, nameKey], ...(device === undefined ? anyAccount.of(address) : [])];
  }

  /** Charges all limits or none. @returns refunds them @throws ChatError `rate_limited` */
  #charge(limited: LimitName, charges: readonly Charge[]): () => void {
    const charged: Charge[] = [];
    const refund = () => charged.forEach(([limit, key]) => limit.refund(key));
    for (const [limit, key] of charges) {
      const waitMs = limit.charge(key);
      if (waitMs === 0) charged.push([limit, key]);
      else {
        refund();
        this.#reject(limited, waitMs);
      }
    }
    return refund;
  }

  #reject(limited: LimitName, waitMs: number): void {
    if (waitMs === 0) return;
    this.#rejected(limited);
    const retryAfter = Math.ceil(waitMs / 1_000);
    throw new ChatError("rate_limited", {
      message: `Too many attempts. Please wait ${formatSeconds(retryAfter)}`,
      retryAfter,
    });
  }
}

/** A limit per address, charged to all its prefixes. */
class AddressLimit {
  readonly #limits: readonly { readonly bits: number; readonly limit: RateLimit }[];

  constructor({ burst, perSecond }: Rate) {
    this.#limits = PREFIXES.map(({ bits, times }) => ({
      bits,
      limit: new RateLimit({ burst: burst * times, perSecond: perSecond * times }),
    }));
  }

  /** The limits to charge for an address. @param nameKey part of the key, if given */
  of(address: string, nameKey = ""): Charge[] {
    return this.#limits.map(({ bits, limit }) => [limit, `${nameKey}\n${rateLimitKey(address, bits)}`]);
  }
}
