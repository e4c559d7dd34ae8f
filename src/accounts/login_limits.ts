/** Limits on password attempts, logins and sign-ups: by name, by address and by known device. */

import type { LimitSettings } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { LimitName } from "../metrics.ts";
import type { Rate } from "../setting_readers.ts";
import { rateLimitKey } from "../util/address.ts";
import { RateLimit } from "../util/rate_limit.ts";

/**
 * An IPv6 address is charged to all of these prefixes, since a /48 contains 65,536 /64 networks.
 * Wider prefixes have higher limits, so that a single /64 cannot exhaust those of its neighbours.
 */
const PREFIXES = [
  { bits: 64, times: 1 },
  { bits: 56, times: 2 },
  { bits: 48, times: 4 },
] as const;

/** An attempt to sign in or to confirm a password. */
export interface LoginAttempt {
  /** As the client sent it, existing or not: a refusal must not reveal which. */
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
  readonly #failures: {
    readonly nameAtAddress: AddressLimit;
    readonly address: AddressLimit;
    readonly name: RateLimit;
    readonly device: RateLimit;
  };
  readonly #signIns: { readonly address: AddressLimit; readonly name: RateLimit };
  readonly #refused: (limit: LimitName) => void;

  /** @param refused called on each refusal */
  constructor(settings: LimitSettings, refused: (limit: LimitName) => void) {
    this.#refused = refused;
    this.#signUps = new AddressLimit(settings.signUps);
    this.#failures = {
      nameAtAddress: new AddressLimit(settings.logins),
      address: new AddressLimit(settings.loginsAddress),
      name: new RateLimit(settings.loginsName),
      device: new RateLimit(settings.logins),
    };
    this.#signIns = {
      address: new AddressLimit(settings.signInsAddress),
      name: new RateLimit(settings.signIns),
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
    const failures = this.#failures;
    if (device !== undefined) return this.#charge("failed_logins", [[failures.device, device]]);
    return this.#charge("failed_logins", [
      ...failures.nameAtAddress.of(address, nameKey),
      ...failures.address.of(address),
      [failures.name, nameKey],
    ]);
  }

  /**
   * Rejects a login that would exceed the limit of sign-ins, before it costs a hash.
   *
   * @throws ChatError `rate_limited`
   */
  checkSignIns(attempt: LoginAttempt): void {
    for (const [limit, key] of this.#signInsOf(attempt)) this.#refuse("successful_logins", limit.waitMs(key));
  }

  /** Charges a successful login. @throws ChatError `rate_limited` */
  chargeSignIn(attempt: LoginAttempt): void {
    this.#charge("successful_logins", this.#signInsOf(attempt));
  }

  /**
   * Charges a check whether a name is free. A taken name costs no hash, so it is charged as a failed
   * login: otherwise all names could be enumerated.
   *
   * @returns refunds it: to be called when the name is free
   * @throws ChatError `rate_limited`
   */
  beginNameCheck(address: string): () => void {
    return this.#charge("failed_logins", this.#failures.address.of(address));
  }

  /** Charges an otherwise valid sign-up. @returns refunds it @throws ChatError `rate_limited` */
  beginSignUp(address: string): () => void {
    return this.#charge("sign_ups", this.#signUps.of(address));
  }

  #signInsOf({ nameKey, address, device }: LoginAttempt): readonly Charge[] {
    const { name, address: anyAccount } = this.#signIns;
    return [[name, nameKey], ...(device === undefined ? anyAccount.of(address) : [])];
  }

  /** Charges all limits or none. @returns refunds them @throws ChatError `rate_limited` */
  #charge(limited: LimitName, charges: readonly Charge[]): () => void {
    const charged: Charge[] = [];
    const refund = () => charged.forEach(([limit, key]) => limit.refund(key));
    for (const [limit, key] of charges) {
      const waitMs = limit.take(key);
      if (waitMs === 0) charged.push([limit, key]);
      else {
        refund();
        this.#refuse(limited, waitMs);
      }
    }
    return refund;
  }

  #refuse(limited: LimitName, waitMs: number): void {
    if (waitMs === 0) return;
    this.#refused(limited);
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

/** A duration in its largest unit: "1 second", "5 minutes", "2 hours". */
export function formatSeconds(seconds: number): string {
  const [count, unit] =
    seconds < 60
      ? [seconds, "second"]
      : seconds < 3_600
        ? [Math.ceil(seconds / 60), "minute"]
        : [Math.ceil(seconds / 3_600), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
