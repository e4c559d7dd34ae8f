/**
 * The cookie that identifies a browser that has signed in to an account before, so that failed
 * logins by others do not lock its user out. It signs no one in.
 */

import { equalsInConstantTime, newToken } from "../util/token.ts";

export const DEVICE_COOKIE = "chatify_device";
export const SECURE_DEVICE_COOKIE = "__Host-chatify_device";
/** The longest that browsers keep a cookie (RFC 6265bis §5.5). */
export const DEVICE_COOKIE_DAYS = 400;
/** Accounts per browser: those that signed in last. */
const ACCOUNTS_MAX = 4;

/** A cookie entry that this server signed for an account. */
export interface KnownDevice {
  readonly id: string;
  /**
   * Whether the password is still the one used at that sign-in.
   *
   * @param phc the stored PHC string
   */
  matchesPassword(phc: string): boolean;
}

export class KnownDevices {
  /** Derived from the session secrets, so that they rotate together; used for nothing else. */
  readonly #keys: readonly Buffer[];

  /** @param secrets the first signs, all verify */
  constructor(secrets: readonly string[]) {
    this.#keys = secrets.map((secret) => hmac(secret, "chatify known device, version 1"));
  }

  /**
   * The entry signed for an account, or undefined. Needs no query.
   *
   * @param cookie its value, or null
   */
  find(cookie: string | null, nameKey: string): KnownDevice | undefined {
    for (const entry of entriesOf(cookie)) {
      const [id = "", tag = "", signature = ""] = entry.split(".");
      const key = this.#keys.find((key) => equalsInConstantTime(signature, sign(key, { nameKey, id, tag })));
      if (key) return { id, matchesPassword: (phc) => equalsInConstantTime(tag, tagOf(key, phc)) };
    }
    return undefined;
  }

  /**
   * The cookie value with an entry for this account added.
   *
   * @param account.password the PHC string
   */
  add(cookie: string | null, { nameKey, password }: { nameKey: string; password: string }): string {
    const others = entriesOf(cookie).filter((entry) => !this.find(entry, nameKey));
    const key = this.#keys[0] as Buffer;
    const [id, tag] = [newToken(), tagOf(key, password)];
    return [`${id}.${tag}.${sign(key, { nameKey, id, tag })}`, ...others].slice(0, ACCOUNTS_MAX).join("~");
  }
}

function entriesOf(cookie: string | null): string[] {
  return cookie?.split("~", ACCOUNTS_MAX) ?? [];
}

/** Different for every password ever set, since each has its own salt. */
function tagOf(key: Buffer, phc: string): string {
  return hmac(key, `password\n${phc}`).toString("base64url");
}

function sign(key: Buffer, { nameKey, id, tag }: { nameKey: string; id: string; tag: string }): string {
  return hmac(key, `device\n${nameKey}\n${id}\n${tag}`).toString("base64url");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return new Bun.CryptoHasher("sha256", key).update(text).digest();
}
