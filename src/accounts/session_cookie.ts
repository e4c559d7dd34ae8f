/** The session cookie: `token.signature`. The signature is checked before any query, so a forged cookie costs nothing. */

import { timingSafeEqual } from "node:crypto";

/** Over plain http; over https `SECURE_COOKIE`, whose prefix makes browsers keep other hosts out (RFC 6265bis §4.1.3.2). */
export const COOKIE = "chatify_session";
export const SECURE_COOKIE = "__Host-chatify_session";

/** 256 random bits, base64url. */
export function newToken(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
}

/** What the table keeps of a token: its SHA-256, hex. */
export function hashToken(token: string): string {
  return new Bun.CryptoHasher("sha256").update(token).digest("hex");
}

/** What a good cookie holds. */
export interface Signed {
  readonly token: string;
  /** Whether the first of the secrets signed it, which signs new ones. */
  readonly isCurrent: boolean;
}

/** @example verify(sign("abc", secret), [secret]) // { token: "abc", isCurrent: true } */
export function sign(token: string, secret: string): string {
  return `${token}.${signature(token, secret)}`;
}

/** The token of a cookie value, undefined when none of `secrets` signed it. */
export function verify(value: string, secrets: readonly string[]): Signed | undefined {
  const dot = value.lastIndexOf(".");
  if (dot < 1) return undefined;
  const token = value.slice(0, dot);
  const given = value.slice(dot + 1);
  for (const [i, secret] of secrets.entries()) {
    if (isSame(given, signature(token, secret))) return { token, isCurrent: i === 0 };
  }
  return undefined;
}

/** Compares in a time that does not depend on where they differ. */
export function isSame(given: string, expected: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(expected)];
  return one.length === other.length && timingSafeEqual(one, other);
}

function signature(token: string, secret: string): string {
  return new Bun.CryptoHasher("sha256", secret).update(token).digest("base64url");
}
