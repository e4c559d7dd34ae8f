/**
 * The cookie by which a browser that signed in to an account is known again, so that strangers who fail at the name do not lock it out.
 * It signs nobody in.
 */

import { equalsInConstantTime, newToken } from "../util/token.ts";

export const DEVICE_COOKIE = "chatify_device";
export const SECURE_DEVICE_COOKIE = "__Host-chatify_device";
/** As long as browsers keep a cookie (RFC 6265bis §5.5). */
export const DEVICE_COOKIE_DAYS = 400;
/** Accounts that one browser is known to: those that signed in last. */
const ACCOUNTS_MAX = 4;

/** An entry of the cookie that we signed for an account. */
export interface KnownDevice {
  readonly id: string;
  /** Whether the account's password is still the one that signed in. */
  matchesPassword(phc: string): boolean;
}

export class KnownDevices {
  /** Of the session secrets, so that they rotate together, but none that signs anything else. */
  readonly #keys: readonly Buffer[];

  /** @param secrets the first signs, all verify */
  constructor(secrets: readonly string[]) {
    this.#keys = secrets.map((secret) => hmac(secret, "chatify known device, version 1"));
  }

  /** @param cookie the value, undefined without one @returns undefined when no entry of it was signed for the account; costs no query */
  find(cookie: string | null, nameKey: string): KnownDevice | undefined {
    for (const entry of entriesOf(cookie)) {
      const [id = "", tag = "", signature = ""] = entry.split(".");
      const key = this.#keys.find((key) => equalsInConstantTime(signature, sign(key, { nameKey, id, tag })));
      if (key) return { id, matchesPassword: (phc) => equalsInConstantTime(tag, tagOf(key, phc)) };
    }
    return undefined;
  }

  /** The value that makes the browser known to an account besides those that it holds. @param account.password the PHC string */
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

/** Differs for each password that was ever set, since the salt does. */
function tagOf(key: Buffer, phc: string): string {
  return hmac(key, `password\n${phc}`).toString("base64url");
}

function sign(key: Buffer, { nameKey, id, tag }: { nameKey: string; id: string; tag: string }): string {
  return hmac(key, `device\n${nameKey}\n${id}\n${tag}`).toString("base64url");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return new Bun.CryptoHasher("sha256", key).update(text).digest();
}
