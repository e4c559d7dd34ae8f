/**
 * Who may make an account: anybody, who has an invitation, nobody, and whoever holds the code that a fresh install shows its host.
 * Invitations and the code are checked here, before any query; what they are good for is used up by `users.create`.
 */

import type { Signup } from "../config.ts";
import type { Database } from "../db/client.ts";
import * as invites from "../db/invites.ts";
import { isFresh, type SignupGrant } from "../db/users.ts";
import { ChatError } from "../errors.ts";
import { equalsInConstantTime } from "../util/token.ts";
import { sign, verify } from "./session_cookie.ts";

/** What somebody brings along, "" for nothing. */
export interface SignupCredentials {
  readonly invite: string;
  readonly code: string;
}

/** Crockford's: no letter that looks like a digit. 12 of them are 60 bits. */
const SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_SIGNS = 12;
const DAY_MS = 86_400_000;

export class SignupPolicy {
  readonly signup: Signup;
  readonly #db: Database;
  readonly #secrets: readonly string[];
  readonly #identity: string;

  /** @param parts.secrets the first signs, all verify @param parts.identity the database's: another one has another code */
  constructor(parts: { db: Database; signup: Signup; secrets: readonly string[]; identity: string }) {
    this.signup = parts.signup;
    this.#db = parts.db;
    this.#secrets = parts.secrets;
    this.#identity = parts.identity;
  }

  /**
   * What somebody may sign up by.
   *
   * @throws ChatError `bad_code`, `signup_closed`, `invite_needed`, `invite_used`
   */
  async grantFor({ invite, code }: SignupCredentials): Promise<SignupGrant> {
    if (code !== "") {
      if (this.#codes().some((good) => equalsInConstantTime(readCode(code), readCode(good)))) return "first admin";
      throw new ChatError("bad_code");
    }
    if (this.signup === "open") return "anybody";
    if (this.signup === "closed") throw new ChatError("signup_closed");
    const { id, expiresAt } = this.#read(invite);
    if (expiresAt < Date.now() || !(await invites.isGood(this.#db, id))) throw new ChatError("invite_used");
    return { invite: id };
  }

  /** Makes an invitation. @param options.by the account that invites; undefined: the command line */
  async createInvite(options: {
    days: number;
    uses: number;
    by?: number;
  }): Promise<{ token: string; expiresAt: Date }> {
    const expiresAt = new Date(Math.floor(Date.now() / 1_000) * 1_000 + options.days * DAY_MS);
    const id = await invites.add(this.#db, { uses: options.uses, expiresAt, by: options.by });
    return { token: sign(`${id}.${expiresAt.getTime() / 1_000}`, this.#secrets[0] as string), expiresAt };
  }

  /** The code that makes an admin, undefined when it is not the time to show it: there are accounts already. */
  async codeToShow(): Promise<string | undefined> {
    return (await isFresh(this.#db)) ? this.#codes()[0] : undefined;
  }

  /** For each secret, since pods may have the list in another order for a while. All compute the same, so nothing is stored. */
  #codes(): string[] {
    return this.#secrets.map((secret) => {
      const bytes = new Bun.CryptoHasher("sha256", secret).update(`admin of ${this.#identity}`).digest();
      const signs = Array.from(bytes.subarray(0, CODE_SIGNS), (byte) => SIGNS[byte % SIGNS.length]).join("");
      return (signs.match(/.{4}/g) ?? []).join("-");
    });
  }

  /** A session's token holds no dot, so neither passes for the other. @throws ChatError `invite_needed` */
  #read(token: string): { id: number; expiresAt: number } {
    const signed = verify(token, this.#secrets)?.token ?? "";
    const [, id, seconds] = /^(\d{1,15})\.(\d{1,12})$/.exec(signed) ?? [];
    if (id === undefined) throw new ChatError("invite_needed");
    return { id: Number(id), expiresAt: Number(seconds) * 1_000 };
  }
}

/** A code as people type it: small letters, spaces, an O for the zero. */
function readCode(typed: string): string {
  return typed.slice(0, 100).toUpperCase().replace(/[\s-]/g, "").replaceAll("O", "0").replace(/[IL]/g, "1");
}
