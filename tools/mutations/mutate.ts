/** Finds the place of a mutation by a symbol or a marker comment, and changes a source there. */

/** A guarantee, the code without which it is broken, and the test that must notice. */
export interface Mutation {
  /** What holds as long as the code is there, as `docs/security-tests.md` says it. */
  readonly guarantee: string;
  /** From the root of the repository. */
  readonly file: string;
  /** A function or method: it begins with `code`. */
  readonly symbol?: string;
  /** The name in a comment `mutation: name`: `code` stands instead of the statement or line after it. */
  readonly marker?: string;
  readonly code: string;
  readonly test: string;
  /** The test's full name with those of its `describe` blocks, as `bun test` prints it but for the `>` between them. */
  readonly name: string;
}

/**
 * The source with one mutation in it.
 *
 * @throws Error when the symbol or marker is not there exactly once
 */
export function mutated(source: string, { symbol, marker, code }: Mutation): string {
  const lines = source.split("\n");
  const at = placeOf(
    lines,
    symbol === undefined ? markerPattern(marker ?? "") : symbolPattern(symbol),
    symbol ?? marker,
  );
  if (symbol === undefined) lines.splice(at + 1, lengthOf(lines, at + 1), code);
  else lines.splice(at + headLength(lines, at), 0, code);
  return lines.join("\n");
}

function placeOf(lines: readonly string[], pattern: RegExp, name: string | undefined): number {
  const places = lines.flatMap((line, i) => (pattern.test(line) ? [i] : []));
  if (places.length !== 1) throw new Error(`${name} is there ${places.length} times, not once`);
  return places[0]!;
}

const markerPattern = (name: string) => new RegExp(`(//|--) mutation: ${RegExp.escape(name)}$`);

/** A line that declares a function or method: it is indented as in a class or not at all, and calls nothing. */
const symbolPattern = (name: string) =>
  new RegExp(
    `^(export )?(static )?(async )?(function )?${RegExp.escape(name)}(<.*>)?\\(|^  (static )?(async )?${RegExp.escape(name)}(<.*>)?\\(`,
  );

/** How many lines a declaration has up to its opening brace. */
function headLength(lines: readonly string[], at: number): number {
  const end = lines.findIndex((line, i) => i >= at && line.endsWith("{") && depthOf(lines.slice(at, i + 1)) === 1);
  if (end < 0) throw new Error(`line ${at + 1} opens no body`);
  return end - at + 1;
}

/** How many lines the statement has that begins at a line: up to where its brackets are closed. */
function lengthOf(lines: readonly string[], at: number): number {
  let length = 1;
  while (depthOf(lines.slice(at, at + length)) > 0) length++;
  return length;
}

/** Open brackets at the end of some lines; brackets in texts count too, which the few places chosen have in pairs. */
function depthOf(lines: readonly string[]): number {
  const text = lines.join("\n");
  return [...text].reduce(
    (depth, character) => depth + (/[([{]/.test(character) ? 1 : /[)\]}]/.test(character) ? -1 : 0),
    0,
  );
}
