/**
 * Generates `src/unicode/` from Unicode's own files: `bun test/support/unicode_data.ts DIRECTORY`, where DIRECTORY holds `confusables.txt` and
 * `IdentifierStatus.txt` of https://www.unicode.org/Public/<version>/security/. Comments and character names are dropped.
 * New data needs a new file in `sql/` that empties `name_skeletons` and sets `users.has_skeletons` to false.
 */

import { join } from "node:path";

const SOURCE = { confusables: "confusables.txt", identifier_status: "IdentifierStatus.txt" } as const;
export type Kind = keyof typeof SOURCE;
export const KINDS = Object.keys(SOURCE) as Kind[];

export const fileOf = (kind: Kind) => join(import.meta.dir, "..", "..", "src", "util", "unicode", `${kind}.txt`);

/** Reduces one of Unicode's files to what chatify needs, in the same syntax. */
export function compact(kind: Kind, text: string): string {
  const version = /^# (?:Version: |Unicode )(\d+\.\d+\.\d+)/m.exec(text)?.[1];
  if (version === undefined) throw new RangeError(`${SOURCE[kind]} names no version`);
  const rows = text
    .split("\n")
    .map((line) =>
      line
        .replace(/#.*/, "")
        .split(";")
        .map((field) => field.trim()),
    )
    .filter(([, second]) => second !== undefined);
  const lines =
    kind === "confusables" ? rows.map(([from, to]) => `${from} ; ${to}`).toSorted(byCodePoint) : ranges(rows);
  return `# Unicode ${version}, ${SOURCE[kind]} of UTS #39, made by test/support/unicode_data.ts\n# © Unicode, Inc., Unicode License V3: https://www.unicode.org/license.txt\n${lines.join("\n")}\n`;
}

const codeOf = (line: string) => Number.parseInt(line, 16);
const byCodePoint = (one: string, other: string) => codeOf(one) - codeOf(other);

/** Ranges of allowed code points, adjacent ones joined. */
function ranges(rows: readonly (readonly string[])[]): string[] {
  const joined: { first: string; last: string }[] = [];
  const allowed = rows.filter(([, status]) => status === "Allowed").map(([codes]) => codes!.split(".."));
  for (const [first, last = first] of allowed.toSorted(([one], [other]) => byCodePoint(one!, other!))) {
    const before = joined.at(-1);
    if (before && codeOf(before.last) + 1 === codeOf(first!)) before.last = last!;
    else joined.push({ first: first!, last: last! });
  }
  return joined.map(({ first, last }) => `${first === last ? first : `${first}..${last}`} ; Allowed`);
}

if (import.meta.main) {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) throw new RangeError("Name the directory with confusables.txt and IdentifierStatus.txt");
  for (const kind of KINDS) {
    await Bun.write(fileOf(kind), compact(kind, await Bun.file(join(directory, SOURCE[kind])).text()));
  }
}
