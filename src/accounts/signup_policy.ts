/**
 * Decides who may sign up, by `SIGNUP`, by invitation, or by the code that a fresh install prints.
 * Verifies invitations and the code before any query; `users.create` consumes the grant.
 */

import type { Signup } from "../config.ts";
import type { Database } from "../db/database.ts";
import * as invites from "../db/invites.ts";
import { isFresh, type SignupGrant } from "../db/users.ts";
import { ChatError } from "../errors.ts";
import { equalsInConstantTime } from "../util/token.ts";
import { sign, verify } from "./session_cookie.ts";

/** What a client presents at sign-up; "" for none. */
export interface SignupCredentials {
  readonly invite: string;
  readonly code: string;
}

/** Crockford's base 32, without letters that look like digits. 12 characters are 60 bits. */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LENGTH = 12;
const DAY_MS = 86_400_000;

export class SignupPolicy {
  readonly signup: Signup;
  readonly #db: Database;
  readonly #secrets: readonly string[];
  readonly #databaseId: string;

  /**
   * @param parts.secrets the first signs, all verify
   * @param parts.databaseId each database has its own code
   */
  constructor(parts: { db: Database; signup: Signup; secrets: readonly string[]; databaseId: string }) {
    this.signup = parts.signup;
    this.#db = parts.db;
    this.#secrets = parts.secrets;
    this.#databaseId = parts.databaseId;
  }

  /**
   * The grant that these credentials give.
   *
   * @throws ChatError `bad_code`, `signup_closed`, `invite_needed`, `invite_used`
   */
  async grantFor({ invite, code }: SignupCredentials): Promise<SignupGrant> {
    if (code !== "") {
      if (this.#codes().some((valid) => equalsInConstantTime(normalizeCode(code), normalizeCode(valid))))
        return "firstAdmin";
      throw new ChatError("bad_code");
    }
    if (this.signup === "open") return "open";
    if (this.signup === "closed") throw new ChatError("signup_closed");
    const { id, expiresAt } = this.#verifyInvite(invite);
    if (expiresAt < Date.now() || !(await invites.isUsable(this.#db, id))) throw new ChatError("invite_used");
    return { invite: id };
  }

  /**
   * Creates an invitation.
   *
   * @param options.by id of the inviting user; undefined on the command line
   */
  async createInvite(options: {
    days: number;
    uses: number;
    by?: number;
  }): Promise<{ token: string; expiresAt: Date }> {
    const expiresAt = new Date(Math.floor(Date.now() / 1_000) * 1_000 + options.days * DAY_MS);
    const id = await invites.add(this.#db, { uses: options.uses, expiresAt, by: options.by });
    return { token: sign(`${id}.${expiresAt.getTime() / 1_000}`, this.#secrets[0] as string), expiresAt };
  }

  /** The code for the first admin, or undefined once there is an account. */
  async codeToShow(): Promise<string | undefined> {
    return (await isFresh(this.#db)) ? this.#codes()[0] : undefined;
  }

  /**
   * One code per secret, since pods may list the secrets in different order for a while. Derived,
   * so nothing is stored.
   */
  #codes(): string[] {
    return this.#secrets.map((secret) => {
      const bytes = new Bun.CryptoHasher("sha256", secret).update(`admin of ${this.#databaseId}`).digest();
      const code = Array.from(bytes.subarray(0, CODE_LENGTH), (byte) => ALPHABET[byte % ALPHABET.length]).join("");
      return (code.match(/.{4}/g) ?? []).join("-");
    });
  }

  /**
   * A session token contains no dot, so neither is accepted as the other.
   *
   * @throws ChatError `invite_needed`
   */
  #verifyInvite(token: string): { id: number; expiresAt: number } {
    const signed = verify(token, this.#secrets)?.token ?? "";
    const [, id, seconds] = /^(\d{1,15})\.(\d{1,12})$/.exec(signed) ?? [];
    if (id === undefined) throw new ChatError("invite_needed");
    return { id: Number(id), expiresAt: Number(seconds) * 1_000 };
  }
}

/** Accepts a code as typed: lower case, spaces, the letter O for zero. */
function normalizeCode(typed: string): string {
  return typed.slice(0, 100).toUpperCase().replace(/[\s-]/g, "").replaceAll("O", "0").replace(/[IL]/g, "1");
}
