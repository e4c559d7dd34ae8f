/** The people of the benchmark. Made by number, so that every process knows all their names and cookies without being told. */

import { COOKIE, sign } from "../../src/accounts/session_cookie.ts";

/** Signs the cookies of the benchmark's servers; their databases live as long as the run. Production takes it: no placeholder. */
export const SESSION_SECRET = "6f1d0c9be2a75843d94e07b1c3f8a265";

/** @example nameOf(7) // "p00007" */
export function nameOf(person: number): string {
  return `p${String(person).padStart(5, "0")}`;
}

/** The session cookie of a person, as a request carries it; `tokenOf` in SQL is `'token-' || username`. */
export function cookieOf(person: number): string {
  return `${COOKIE}=${sign(`token-${nameOf(person)}`, SESSION_SECRET)}`;
}

/** Two people who write to each other: 0 and 1, 2 and 3, … */
export type Pair = readonly [number, number];

export function pairs(count: number, first = 0): Pair[] {
  return Array.from({ length: count }, (_, i) => [first + 2 * i, first + 2 * i + 1] as const);
}

/** Where refs begin that people make while it is measured: after those of the filled tables. */
const FIRST_REF = 0x40000000;

/**
 * The `ref` of a person's n-th send: 32 digits that rise with n, then differ at random, as the page makes them from the time. Their
 * order is what the index over them pays for.
 */
export function refOf(salt: string, n: number): string {
  return hex(FIRST_REF + n) + hex(Math.imul(n, 0x9e3779b1) >>> 0) + salt;
}

/** Which send a ref belongs to. */
export function numberOfRef(ref: string): number {
  return Number.parseInt(ref.slice(0, 8), 16) - FIRST_REF;
}

/** The second half of a person's refs: different in each run of the generator. */
export function newSalt(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
}

/** 64 bytes, different for every message, so that a wrong text shows. */
export function textOf(ref: string): string {
  return `${ref}, then as many bytes of padding.`;
}

function hex(number: number): string {
  return number.toString(16).padStart(8, "0");
}
