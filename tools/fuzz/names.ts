/** Names as the server reads them. Independent of its own code, to check it. */

/** Trimmed of white space and zero-width characters, in NFKC. */
export function normalizeName(typed: string): string {
  return typed
    .normalize("NFKC")
    .replace(/^[\s\u0085\u180e\u200b-\u200d\u2060]+|[\s\u0085\u180e\u200b-\u200d\u2060]+$/gu, "");
}

/** The key by which names match, as far as names used here need it. */
export function keyOf(name: string): string {
  return normalizeName(name).toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

/** A message, by the names of its two users and its number. */
export function messageKey(one: string, other: string, seq: number): string {
  const [low = "", high = ""] = [keyOf(one), keyOf(other)].toSorted();
  return JSON.stringify([low, high, seq]);
}
