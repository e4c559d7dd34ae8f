/** Sizes as people write them: `50MB`, `1.5 GiB`, `4096`. */

const UNITS: Record<string, number> = { k: 1, m: 2, g: 3, t: 4 };

/** Bytes of a size; undefined if the text is not a size. @example readSize("50MB") // 50_000_000 */
export function readSize(text: string): number | undefined {
  const [, count = "", unit = "", binary] = /^(\d{1,15}(?:\.\d{1,3})?) ?(?:([kmgt])(i)?)?b?$/i.exec(text) ?? [];
  if (count === "") return undefined;
  return Math.floor(Number(count) * (binary ? 1_024 : 1_000) ** (UNITS[unit.toLowerCase()] ?? 0));
}
