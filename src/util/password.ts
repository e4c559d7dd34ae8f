/** Validates, prepares (RFC 8265), hashes and verifies passwords. */

import { ChatError } from "../errors.ts";

/** OWASP's minimum for argon2id: 19 MiB, two passes; Bun uses p=1. About 25 ms each. */
const ARGON2 = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;

const HASHED_HERE = `$argon2id$v=19$m=${ARGON2.memoryCost},t=${ARGON2.timeCost},p=1$`;

/** Verified instead of a missing or unusable hash. No password is known for it. */
const DECOY = `${HASHED_HERE}${"A".repeat(43)}$${"A".repeat(43)}`;

/** `outdated`: right, but hashed without preparation or by another program. */
export type Verdict = "right" | "outdated" | "wrong";

/**
 * Makes a password independent of how a keyboard composes letters: OpaqueString of RFC 8265 §4.2,
 * except that control characters are allowed, because existing accounts have them.
 *
 * @example preparePassword("\u1f79") // "\u03cc"
 */
function preparePassword(password: string): string {
  return password.replace(/\p{Zs}/gu, " ").normalize("NFC");
}

/** @throws ChatError `bad_password`: not 8–128 code points once prepared */
export function checkPassword(password: string): void {
  const { length } = [...preparePassword(password)];
  if (length < 8 || length > 128) throw new ChatError("bad_password");
}

/** @example await hashPassword("correct horse") // "$argon2id$v=19$m=19456,t=2,p=1$…" */
export function hashPassword(password: string): Promise<string> {
  return Bun.password.hash(preparePassword(password), ARGON2);
}

/**
 * Verifies a password against a PHC string; any other string, or none, is `wrong`. The time must
 * not reveal which accounts exist: a password that preparation changes is always verified in both
 * forms, and `DECOY` replaces missing hashes. Only hashes of another program take a
 * different time.
 *
 * @param phc undefined: no account has the name
 */
export async function verifyPassword(password: string, phc: string | undefined): Promise<Verdict> {
  const prepared = preparePassword(password);
  const isRight = await matches(prepared, phc ?? "");
  const wasRight = prepared !== password && (await matches(password, phc ?? ""));
  if (isRight && phc?.startsWith(HASHED_HERE)) return "right";
  return isRight || wasRight ? "outdated" : "wrong";
}

/** Bun returns at once for an empty password or hash, and throws for an invalid hash such as `!`. */
async function matches(password: string, phc: string): Promise<boolean> {
  const given = password || " ";
  try {
    return await Bun.password.verify(given, phc || DECOY);
  } catch {
    await Bun.password.verify(given, DECOY);
    return false;
  }
}
