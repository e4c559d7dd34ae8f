/** Applies a mutation to a source, at a symbol or a marker comment. */

/** A guarantee, the change that breaks it, and the test that must then fail. */
export interface Mutation {
  /** As worded in `docs/security-tests.md`. */
  readonly guarantee: string;
  /** From the root of the repository. */
  readonly file: string;
  /** A function or method; `code` is inserted at its start. */
  readonly symbol?: string;
  /** The name in a comment `mutation: name`; `code` replaces the statement or line after it. */
  readonly marker?: string;
  readonly code: string;
  readonly test: string;
  /** The test's full name, including its `describe` blocks, without the `>` that `bun test` prints between them. */
  readonly name: string;
}

/** @returns the source with the mutation @throws Error when the symbol or marker does not occur exactly once */
export function mutated(source: string, { symbol, marker, code }: Mutation): string {
  const lines = source.split("\n");
  const at = lineOf(
    lines,
    symbol === undefined ? markerPattern(marker ?? "") : symbolPattern(symbol),
    symbol ?? marker,
  );
  if (symbol === undefined) lines.splice(at + 1, lengthOf(lines, at + 1), code);
  else lines.splice(at + headLength(lines, at), 0, code);
  return lines.join("\n");
}

function lineOf(lines: readonly string[], pattern: RegExp, name: string | undefined): number {
  const places = lines.flatMap((line, i) => (pattern.test(line) ? [i] : []));
  if (places.length !== 1) throw new Error(`${name} occurs ${places.length} times, not once`);
  return places[0]!;
}

const markerPattern = (name: string) => new RegExp(`(//|--) mutation: ${RegExp.escape(name)}$`);

/** The declaration of a function, or of a method at a class's indentation. */
const symbolPattern = (name: string) =>
  new RegExp(
    `^(export )?(static )?(async )?(function )?${RegExp.escape(name)}(<.*>)?\\(|^  (static )?(async )?${RegExp.escape(name)}(<.*>)?\\(`,
  );

/** The number of lines of a declaration, up to its opening brace. */
function headLength(lines: readonly string[], at: number): number {
  const end = lines.findIndex((line, i) => i >= at && line.endsWith("{") && depthOf(lines.slice(at, i + 1)) === 1);
  if (end < 0) throw new Error(`line ${at + 1} has no body`);
  return end - at + 1;
}

/** The number of lines of a statement, up to its last closing bracket. */
function lengthOf(lines: readonly string[], at: number): number {
  let length = 1;
  while (depthOf(lines.slice(at, at + length)) > 0) length++;
  return length;
}

/** Open brackets after some lines. Brackets in strings count too; the mutated places have them in pairs. */
function depthOf(lines: readonly string[]): number {
  const text = lines.join("\n");
  return [...text].reduce(
    (depth, character) => depth + (/[([{]/.test(character) ? 1 : /[)\]}]/.test(character) ? -1 : 0),
    0,
  );
}
