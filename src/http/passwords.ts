/**
 * Hashes and verifies passwords for requests: a few at a time, in fair turns, failed attempts rate
 * limited.
 */

import type { LoginAttempt, LoginLimits } from "../accounts/login_limits.ts";
import type { Database } from "../db/database.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError } from "../errors.ts";
import type { Counter } from "../metrics.ts";
import { rateLimitKey } from "../util/address.ts";
import { FairQueue } from "../util/fair_queue.ts";
import { hashPassword, verifyPassword } from "../util/password.ts";

/** 128 queued hashes take 3 s on two cores, well below `RESPONSE_SECONDS`. */
const HASHES = { concurrency: 2, waiting: 128, client: { keys: 4, waiting: 32 } };

/** The client on whose behalf a password is hashed. */
interface Client {
  /** Whether the account knows the browser. */
  readonly device: "known" | "unknown";
  readonly address: string;
  readonly nameKey: string;
}

export class Passwords {
  readonly #db: Database;
  readonly #limits: LoginLimits | undefined;
  readonly #failures: Counter;
  readonly #queue = new FairQueue(HASHES);

  /** @param parts.failures counts failed logins */
  constructor({ db, limits, failures }: { db: Database; limits: LoginLimits | undefined; failures: Counter }) {
    this.#db = db;
    this.#limits = limits;
    this.#failures = failures;
  }

  /**
   * The active user with these credentials, or undefined. Only failures are charged.
   *
   * @throws ChatError `rate_limited`, `busy`
   */
  async authenticate(attempt: LoginAttempt, password: string): Promise<users.User | undefined> {
    const refund = this.#limits?.beginLogin(attempt);
    const user = await this.#verify(attempt, password).catch((error: unknown) => {
      refund?.();
      throw error;
    });
    if (user) refund?.();
    return user;
  }

  /**
   * Checks the password of a signed-in user.
   *
   * @throws ChatError `wrong_password`, which counts as a failed login; `rate_limited`, `busy`
   */
  async confirm(me: Session, password: string, address: string): Promise<void> {
    const attempt = { nameKey: me.nameKey, address, device: `session ${me.id}` };
    if (!(await this.authenticate(attempt, password))) throw new ChatError("wrong_password");
  }

  /** @returns a PHC string @throws ChatError `busy` */
  hash(password: string, client: Client): Promise<string> {
    return this.#queue.run(queueKeys(client), () => hashPassword(password));
  }

  async #verify({ nameKey, address, device }: LoginAttempt, password: string): Promise<users.User | undefined> {
    const keys = queueKeys({ device: device === undefined ? "unknown" : "known", address, nameKey });
    // The lookup waits in the queue too, so that a client rejected with `busy` costs PostgreSQL
    // nothing.
    const user = await this.#queue.run(keys, async () => {
      for (;;) {
        const user = nameKey === "" ? undefined : await users.find(this.#db, nameKey);
        const verdict = await verifyPassword(password, user?.password);
        if (verdict === "wrong" || !user || user.isDisabled) return undefined;
        if (verdict === "right") return user;
        const renewed = await hashPassword(password);
        if (await users.renewHash(this.#db, user, renewed)) return { ...user, password: renewed };
        // else a concurrent login renewed the hash first: read it again
      }
    });
    if (!user) this.#failures.add();
    return user;
  }
}

/**
 * The keys under which a hash waits in the `FairQueue`, from coarse to fine: a hosting company
 * with a /32 has 65,536 /48 networks. Devices known to the account get every second turn,
 * however many unknown clients wait. The name is last: behind a proxy that is not trusted all
 * clients share one address.
 */
function queueKeys({ device, address, nameKey }: Client): readonly string[] {
  return [device, ...[32, 48, 56].map((bits) => rateLimitKey(address, bits)), nameKey];
}
