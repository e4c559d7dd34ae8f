/**
 * The session cookie: `token.signature`. Verified before any query, so that a forged cookie costs
 * none.
 */

import { equalsInConstantTime } from "../util/token.ts";

/**
 * Used over http. Over https it is `SECURE_COOKIE`: no other host can set a `__Host-` cookie (RFC
 * 6265bis §4.1.3.2).
 */
export const COOKIE = "chatify_session";
export const SECURE_COOKIE = "__Host-chatify_session";

/** The content of a valid cookie. */
export interface SignedToken {
  readonly token: string;
  /** Whether the first secret signed it, the one that signs new cookies. */
  readonly isCurrent: boolean;
}

/** @example verify(sign("abc", secret), [secret]) // { token: "abc", isCurrent: true } */
export function sign(token: string, secret: string): string {
  return `${token}.${signature(token, secret)}`;
}

/** The token of a cookie value, or undefined when none of `secrets` signed it. */
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
