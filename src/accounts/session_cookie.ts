/** The session cookie: `token.signature`. The signature is checked before any query, so a forged cookie costs nothing. */

import { equalsInConstantTime } from "../util/token.ts";

/** Over plain http; over https `SECURE_COOKIE`, whose prefix makes browsers keep other hosts out (RFC 6265bis §4.1.3.2). */
export const COOKIE = "chatify_session";
export const SECURE_COOKIE = "__Host-chatify_session";

/** What a good cookie holds. */
export interface SignedToken {
  readonly token: string;
  /** Whether the first of the secrets signed it, which signs new ones. */
  readonly isCurrent: boolean;
}

/** @example verify(sign("abc", secret), [secret]) // { token: "abc", isCurrent: true } */
export function sign(token: string, secret: string): string {
  return `${token}.${signature(token, secret)}`;
}

/** The token of a cookie value, undefined when none of `secrets` signed it. */
export function verify(value: string, secrets: readonly string[]): SignedToken | undefined {
  const dot = value.lastIndexOf(".");
  if (dot < 1) return undefined;
  const token = value.slice(0, dot);
  const given = value.slice(dot + 1);
  for (const [i, secret] of secrets.entries()) {
    if (equalsInConstantTime(given, signature(token, secret))) return { token, isCurrent: i === 0 };
  }
  return undefined;
}

function signature(token: string, secret: string): string {
  return new Bun.CryptoHasher("sha256", secret).update(token).digest("base64url");
}
