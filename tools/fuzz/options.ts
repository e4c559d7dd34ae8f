/** The command line of the fuzz run: read, checked, explained. */

import { OptionsError, splitOnce } from "../support/options.ts";

export interface Options {
  readonly seed: number;
  readonly frames: number;
  readonly requests: number;
}

const FRAMES = 200_000;
const REQUESTS = 50_000;

/**
 * @returns undefined when help was asked for
 * @throws OptionsError
 * @example readOptions(["--seed", "7"])?.seed // 7
 */
export function readOptions(words: readonly string[]): Options | undefined {
  const options = { seed: crypto.getRandomValues(new Uint32Array(1))[0] as number, frames: FRAMES, requests: REQUESTS };
  for (let i = 0; i < words.length; i++) {
    const [word = "", inline] = splitOnce(words[i] ?? "");
    if (word === "--help" || word === "-h") return undefined;
    const name = word.slice(2);
    if (!word.startsWith("--") || !Object.hasOwn(options, name))
      throw new OptionsError(`The fuzz run does not know "${words[i]}"; --help lists what it takes`);
    const text = inline ?? words[++i] ?? "";
    const most = name === "seed" ? 2 ** 32 - 1 : 100_000_000;
    const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number <= most)) throw new OptionsError(`${word} takes a whole number from 0 to ${most}, got "${text}"`);
    options[name as keyof Options] = number;
  }
  return options;
}

export function help(): string {
  return `chatify's fuzz run: hostile frames and requests at a server of its own, while canary people write to each other. Every answer is
held against what must become of its frame or request, every row of the database against what somebody was told.

Usage
  bun run fuzz                              200,000 frames and 50,000 requests, about a minute
  bun run fuzz --frames 5000 --requests 0   fewer

Options
  --seed N        makes the same frames and requests again
  --frames N      so many hostile frames (${FRAMES})
  --requests N    so many hostile requests (${REQUESTS})
  --help          this page

Exit codes
  0 nothing is wrong   1 something is   2 bad command line   3 packages missing   4 the machine is in the way
`;
}
