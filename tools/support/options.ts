/** The command line of the benchmark: read, checked, explained. */

export const PARTS = {
  send: "messages stored and delivered each second, against what PostgreSQL takes when driven directly",
  pods: "the same with two and four processes on one database, every pair split over two of them",
  quiet: "how long one message takes when nothing else happens, against a bare insert",
  idle: "memory and frames of 10,000 sockets that say nothing",
  presence: "what presence costs while 5,000 people come and go",
  history: "pages, counts and lists in tables of ten thousand, a hundred thousand and a million messages",
  stream: "memory while a million messages leave in one answer",
  page: "pages and their files, against the smallest static server; what a browser downloads",
  start: "from the command to the first answer",
} as const;

export type PartName = keyof typeof PARTS;

export interface Options {
  readonly parts: readonly PartName[];
  readonly json: boolean;
  /** Tables of ten million messages too, and eight pods. */
  readonly big: boolean;
  /** Everything smaller and shorter: under a minute. */
  readonly short: boolean;
  /** A figure that misses twice what is asked of it fails the run. */
  readonly check: boolean;
  /** Where the servers leave CPU profiles. */
  readonly profile: string | undefined;
}

/** The command line cannot be followed; the message says why. */
export class OptionsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "OptionsError";
  }
}

/**
 * @returns undefined when help was asked for
 * @throws OptionsError
 * @example readOptions(["--only", "send,quiet"])?.parts // ["send", "quiet"]
 */
export function readOptions(words: readonly string[]): Options | undefined {
  const all = Object.keys(PARTS) as PartName[];
  const given = { json: false, big: false, short: false, check: false };
  let parts: readonly PartName[] = all;
  let profile: string | undefined;
  for (let i = 0; i < words.length; i++) {
    const [word = "", inline] = splitOnce(words[i] ?? "");
    const value = (): string => {
      const text = inline ?? words[++i];
      if (text === undefined || text === "") throw new OptionsError(`${word} needs a value`);
      return text;
    };
    if (word === "--help" || word === "-h") return undefined;
    if (word === "--only") parts = chosen(value(), all);
    else if (word === "--profile") profile = value();
    else if (word === "--json" || word === "--big" || word === "--short" || word === "--check") {
      if (inline !== undefined) throw new OptionsError(`${word} takes no value`);
      given[word.slice(2) as keyof typeof given] = true;
    } else throw new OptionsError(`The benchmark does not know "${words[i]}"; --help lists what it takes`);
  }
  if (given.big && given.short) throw new OptionsError("--big and --short exclude each other");
  return { ...given, parts, profile };
}

export function help(): string {
  const parts = Object.entries(PARTS).map(([name, about]) => `  ${name.padEnd(9)} ${about}`);
  return `chatify's benchmark: a server and a PostgreSQL of its own in a temporary directory, five minutes at most

Usage
  bun run bench                     everything
  bun run bench --only send,quiet   some parts

Parts
${parts.join("\n")}

Options
  --only NAME[,NAME]   these parts
  --short              smaller and shorter, under a minute
  --check              end with 1 when a figure misses twice what is asked of it
  --big                history and stream over ten million messages too, pods with eight processes
  --json               one JSON object on the standard output instead of the table
  --profile DIR        servers leave CPU profiles in DIR
  --help               this page

Exit codes
  0 done   1 an answer was wrong, or with --check a figure too bad   2 bad command line   3 packages missing   4 the machine is in the way
`;
}

function chosen(list: string, all: readonly PartName[]): PartName[] {
  const names = list.split(",").map((name) => name.trim());
  for (const name of names) {
    if (!(name in PARTS)) throw new OptionsError(`There is no part "${name}"; there are ${all.join(", ")}`);
  }
  return all.filter((name) => names.includes(name));
}

/** @example splitOnce("--only=send") // ["--only", "send"] */
export function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf("=");
  return word.startsWith("--") && at > 0 ? [word.slice(0, at), word.slice(at + 1)] : [word, undefined];
}
