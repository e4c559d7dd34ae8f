/** The fuzz run's command line. */

import { parseOptions, randomSeed, wholeNumber } from "../support/options.ts";

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
export function readOptions(args: readonly string[]): Options | undefined {
  const string = { type: "string" } as const;
  const values = parseOptions(args, { seed: string, frames: string, requests: string });
  if (!values) return undefined;
  const { seed = String(randomSeed()), frames = String(FRAMES), requests = String(REQUESTS) } = values;
  return {
    seed: wholeNumber("--seed", seed, { min: 0, max: 2 ** 32 - 1 }),
    frames: wholeNumber("--frames", frames, { min: 0, max: 100_000_000 }),
    requests: wholeNumber("--requests", requests, { min: 0, max: 100_000_000 }),
  };
}

export function help(): string {
  return `chatify's fuzz run: sends hostile frames and requests to a server of its own while canary users write to each other. Every
answer is compared with what the protocol prescribes, every row of the database with what was acknowledged.

Usage
  bun run fuzz                              200,000 frames and 50,000 requests, about a minute
  bun run fuzz --frames 5000 --requests 0   fewer

Options
  --seed N        repeats a run's frames and requests
  --frames N      number of hostile frames (${FRAMES})
  --requests N    number of hostile requests (${REQUESTS})
  --help          this page

Exit codes
  0 nothing wrong   1 a check failed   2 invalid arguments   3 packages missing   4 the machine lacks something
`;
}
