/** How passwords are kept: argon2id, as a PHC string. What one may be is text.ts's business, how many at a time http/auth.ts's. */

/** OWASP's least for argon2id: 19 MiB, two passes; p=1 is what Bun makes. About 25 ms each. */
const ARGON2 = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;

/** @example await hashPassword("correct horse") // "$argon2id$v=19$m=19456,t=2,p=1$…" */
export function hashPassword(password: string): Promise<string> {
  return Bun.password.hash(password, ARGON2);
}
