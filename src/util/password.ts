/** Passwords: what one may be, and how it is prepared (RFC 8265), hashed and verified. http/passwords.ts limits concurrency. */

import { ChatError } from "../errors.ts";

/** OWASP's least for argon2id: 19 MiB, two passes; p=1 is what Bun makes. About 25 ms each. */
const ARGON2 = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;

const HASHED_HERE = `$argon2id$v=19$m=${ARGON2.memoryCost},t=${ARGON2.timeCost},p=1$`;

/** Verified in place of a hash that is missing or that no password matches. Nobody knows a password for it. */
const DECOY = `${HASHED_HERE}${"A".repeat(43)}$${"A".repeat(43)}`;

/** `outdated`: right, but hashed as typed, before passwords were prepared, or by another program. */
export type Verdict = "right" | "outdated" | "wrong";

/**
 * The form that is counted and hashed, the same however a keyboard composes its letters: OpaqueString of RFC 8265 §4.2, non-ASCII
 * spaces to U+0020 and NFC. Controls are allowed all the same, since accounts have them.
 *
 * @example preparePassword("\u1f79") // "\u03cc"
 */
function preparePassword(password: string): string {
  return password.replace(/\p{Zs}/gu, " ").normalize("NFC");
}

/** @throws ChatError `bad_password`: not 8–128 code points once prepared. Never trimmed or cut. */
export function checkPassword(password: string): void {
  const { length } = [...preparePassword(password)];
  if (length < 8 || length > 128) throw new ChatError("bad_password");
}

/** @example await hashPassword("correct horse") // "$argon2id$v=19$m=19456,t=2,p=1$…" */
export function hashPassword(password: string): Promise<string> {
  return Bun.password.hash(preparePassword(password), ARGON2);
}

/**
 * Compares a password with a PHC string; any other string is `wrong`, and so is none. The time depends on the password alone: one that
 * preparing changes is always verified in both forms, and `DECOY` stands in, or the time would tell which accounts exist. Hashes of another
 * program, which the original's database may hold, take their own time until their users sign in.
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

/** Bun answers at once to an empty password and an empty hash, and refuses what is no hash, such as the `!` of a deleted account. */
async function matches(password: string, phc: string): Promise<boolean> {
  const given = password || " ";
  try {
    return await Bun.password.verify(given, phc || DECOY);
  } catch {
    await Bun.password.verify(given, DECOY);
    return false;
  }
}
