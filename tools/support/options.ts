/** Command lines of the tools. */

import { parseArgs, type ParseArgsConfig } from "node:util";

/** An invalid command line; the message says why. */
export class OptionsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "OptionsError";
  }
}

type Spec = NonNullable<ParseArgsConfig["options"]>;
type Values<Options extends Spec> = ReturnType<typeof parseArgs<{ options: Options }>>["values"];

/** @returns the options given; undefined for `--help` @throws OptionsError */
export function parseOptions<const Options extends Spec>(
  args: readonly string[],
  options: Options,
): Values<Options> | undefined {
  try {
    const help = { help: { type: "boolean", short: "h" } } as const;
    const { values } = parseArgs({ args: [...args], options: { ...options, ...help } });
    return (values as { help?: boolean }).help ? undefined : (values as Values<Options>);
  } catch (error) {
    const [reason = ""] = (error as Error).message.split("\n");
    throw new OptionsError(`${reason.replace(/\.$/, "")}; --help lists the options`);
  }
}

/** @throws OptionsError */
export function wholeNumber(option: string, text: string, { min, max }: { min: number; max: number }): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new OptionsError(`${option} must be a whole number from ${min} to ${max}, not "${text}"`);
}

/** The names of a comma-separated list. @throws OptionsError for one that is not `known` */
export function namesOf<Name extends string>(kind: string, list: string, known: readonly Name[]): Name[] {
  const names = list.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !known.includes(name as Name));
  if (unknown === undefined) return names as Name[];
  throw new OptionsError(`There is no ${kind} "${unknown}"; there are ${known.join(", ")}`);
}

export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}
