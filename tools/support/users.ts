/** Test users by number, so that every process knows their names and cookies. */

import { COOKIE, sign } from "../../src/accounts/session_cookie.ts";

/** Signs the cookies of the tools' servers. Not a placeholder, which a server in production would reject. */
export const SESSION_SECRET = "6f1d0c9be2a75843d94e07b1c3f8a265";

/** @example nameOf(7) // "p00007" */
export function nameOf(user: number): string {
  return `p${String(user).padStart(5, "0")}`;
}

/** A user's session cookie for a request's header; the database has the session of the token `'token-' || username`. */
export function cookieOf(user: number): string {
  return `${COOKIE}=${sign(`token-${nameOf(user)}`, SESSION_SECRET)}`;
}

/** Two users who write to each other: 0 and 1, 2 and 3, … */
export type Pair = readonly [number, number];

export function pairs(count: number, first = 0): Pair[] {
  return Array.from({ length: count }, (_, i) => [first + 2 * i, first + 2 * i + 1] as const);
}

/** The refs of a measurement start after those of filled tables. */
const FIRST_REF = 0x40000000;

/**
 * The `ref` of a user's n-th send: 32 digits that rise with n, then random ones, as the page derives them from the
 * time. Their order determines the cost of their index.
 */
export function refOf(salt: string, n: number): string {
  return hex(FIRST_REF + n) + hex(Math.imul(n, 0x9e3779b1) >>> 0) + salt;
}

/** The number of a ref's send. */
export function numberOfRef(ref: string): number {
  return Number.parseInt(ref.slice(0, 8), 16) - FIRST_REF;
}

/** The second half of a user's refs, different in each run. */
export function newSalt(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
}

/** 64 bytes, different for every message. */
export function textOf(ref: string): string {
  return `${ref}, then as many bytes of padding.`;
}

function hex(number: number): string {
  return number.toString(16).padStart(8, "0");
}
