/** The words behind `chatify`, read: which command, on whom, with what. What the commands do is commands.ts's. */

import { INVITE_LIMITS } from "../accounts/invitation.ts";

export type Command =
  | { readonly verb: "invite"; readonly days: number; readonly uses: number; readonly origin: string | undefined }
  | { readonly verb: "list" }
  | { readonly verb: "add"; readonly name: string; readonly admin: boolean }
  | { readonly verb: "passwd" | "disable" | "enable" | "admin"; readonly name: string };

/** The words are no command. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

export const COMMANDS_HELP = `\
  bun run chatify invite                    a link by which one more person can sign up
      --days 7 --uses 1                     how long it works, and for how many
      --url https://chat.example.org        where people open this chat
  bun run chatify user list                 everybody: name, since when, seen last, admin, disabled
  bun run chatify user add NAME [--admin]   an account; its password is asked for, or is the first line that comes in
  bun run chatify user passwd NAME          another password, and whoever is signed in with the old one no longer is
  bun run chatify user disable NAME         nobody can sign in as NAME, and whoever is signed in no longer is
  bun run chatify user enable NAME          undoes that
  bun run chatify user admin NAME           lets NAME invite others from the page
`;

const VERBS = ["list", "add", "passwd", "disable", "enable", "admin"] as const;

/**
 * Reads a command line that begins with `invite` or `user`.
 *
 * @returns undefined when it asks for an explanation
 * @throws UsageError
 * @example readCommand(["user", "passwd", "ann"]) // { verb: "passwd", name: "ann" }
 */
export function readCommand([word, ...words]: readonly string[]): Command | undefined {
  if (words.some((word) => word === "--help" || word === "-h")) return undefined;
  return word === "invite" ? readInvite(words) : readUser(words);
}

function readUser([asked, ...words]: readonly string[]): Command | undefined {
  if (asked === undefined) return undefined;
  const verb = VERBS.find((verb) => verb === asked);
  if (verb === undefined) throw new UsageError(`chatify user does not know "${asked}"`);
  const options = words.filter((word) => word.startsWith("--"));
  const [name, ...more] = words.filter((word) => !word.startsWith("--"));
  const stranger = options.find((option) => !(verb === "add" && option === "--admin"));
  if (stranger !== undefined) throw new UsageError(`chatify user ${verb} does not know "${stranger}"`);
  if (verb === "list") {
    if (name !== undefined) throw new UsageError(`chatify user list takes no name, got "${name}"`);
    return { verb };
  }
  if (name === undefined) throw new UsageError(`chatify user ${verb} needs a name`);
  if (more.length > 0 && (verb === "add" || verb === "passwd")) {
    throw new UsageError(
      "A password does not belong on the command line, where other programs and the shell's history see it. " +
        "Leave it out, and it is asked for",
    );
  }
  if (more.length > 0) throw new UsageError(`chatify user ${verb} takes one name at a time`);
  return verb === "add" ? { verb, name, admin: options.length > 0 } : { verb, name };
}

function readInvite(words: readonly string[]): Command {
  const command = { verb: "invite", days: INVITE_LIMITS.days, uses: INVITE_LIMITS.uses, origin: undefined } as {
    -readonly [key in keyof Extract<Command, { verb: "invite" }>]: Extract<Command, { verb: "invite" }>[key];
  };
  const left = words.flatMap((word) => (word.startsWith("--") ? word.split(/=(.*)/s, 2) : [word]));
  while (left.length > 0) {
    const [option = "", value = ""] = left.splice(0, 2);
    if (option === "--days") command.days = wholeNumber(option, value, INVITE_LIMITS.daysMax);
    else if (option === "--uses") command.uses = wholeNumber(option, value, INVITE_LIMITS.usesMax);
    else if (option === "--url") command.origin = address(value);
    else throw new UsageError(`chatify invite does not know "${option}"`);
  }
  return command;
}

function wholeNumber(option: string, value: string, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : 0;
  if (number >= 1 && number <= most) return number;
  throw new UsageError(`${option} needs a number from 1 to ${most}, got "${value}"`);
}

function address(value: string): string {
  const url = URL.parse(value);
  if (url && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search === "") return url.origin;
  throw new UsageError(`--url needs an address such as https://chat.example.org, got "${value}"`);
}
