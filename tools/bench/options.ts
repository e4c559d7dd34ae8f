/** The benchmark's command line. */

import { namesOf, OptionsError, parseOptions } from "../support/options.ts";

export const PARTS = {
  send: "messages stored and delivered per second, compared with PostgreSQL driven directly",
  pods: "the same with two and four pods on one database, each pair of users split over two of them",
  quiet: "the latency of one message while nothing else happens, compared with a bare insert",
  idle: "memory and frames of 10,000 idle sockets",
  presence: "the traffic of presence while 5,000 users connect and disconnect",
  history: "pages, counts and lists in tables of ten thousand, a hundred thousand and a million messages",
  search: "searches among a hundred thousand messages of a user, and what they cost sends",
  stream: "memory while a million messages are sent in one response",
  files: "uploads and downloads of large files, their memory, and what they cost sends; previews",
  page: "pages and their files, compared with the smallest static server; the size of a first visit",
  start: "time from the command to the first answer",
} as const;

export type PartName = keyof typeof PARTS;

export interface Options {
  readonly parts: readonly PartName[];
  readonly json: boolean;
  /** Also tables of ten million messages, and eight pods. */
  readonly big: boolean;
  /** Everything smaller and shorter: under a minute. */
  readonly short: boolean;
  /** Fail if a figure is more than twice as bad as required. */
  readonly check: boolean;
  /** Where servers write CPU profiles. */
  readonly profile: string | undefined;
}

/**
 * @returns undefined when help was asked for
 * @throws OptionsError
 * @example readOptions(["--only", "send,quiet"])?.parts // ["send", "quiet"]
 */
export function readOptions(args: readonly string[]): Options | undefined {
  const boolean = { type: "boolean", default: false } as const;
  const string = { type: "string" } as const;
  const flags = { json: boolean, big: boolean, short: boolean, check: boolean };
  const values = parseOptions(args, { ...flags, only: string, profile: string });
  if (!values) return undefined;
  const { only, json, big, short, check, profile } = values;
  if (big && short) throw new OptionsError("--big and --short are mutually exclusive");
  const all = Object.keys(PARTS) as PartName[];
  const chosen = only === undefined ? all : namesOf("part", only, all);
  return { json, big, short, check, profile, parts: all.filter((name) => chosen.includes(name)) };
}

export function help(): string {
  const parts = Object.entries(PARTS).map(([name, about]) => `  ${name.padEnd(9)} ${about}`);
  return `chatify's benchmark: a server and PostgreSQL of its own in a temporary directory, five minutes at most

Usage
  bun run bench                     all parts
  bun run bench --only send,quiet   some parts

Parts
${parts.join("\n")}

Options
  --only NAME[,NAME]   these parts
  --short              smaller and shorter, under a minute
  --check              exit with 1 if a figure is more than twice as bad as required
  --big                also ten million messages in history and stream, eight pods in pods
  --json               print one JSON object instead of the table
  --profile DIR        write the servers' CPU profiles to DIR
  --help               this page

Exit codes
  0 done   1 a wrong answer, or with --check a bad figure   2 invalid arguments   3 packages missing   4 the machine lacks something
`;
}
