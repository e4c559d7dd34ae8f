/** Parses the arguments of the admin commands, which commands.ts runs. */

import { INVITE_LIMITS } from "../accounts/invitation.ts";

export type Command =
  | { readonly verb: "invite"; readonly days: number; readonly uses: number; readonly origin: string | undefined }
  | { readonly verb: "list" | "checkFiles" | "moveFiles" }
  | { readonly verb: "add"; readonly name: string; readonly admin: boolean }
  | { readonly verb: "passwd" | "disable" | "enable" | "admin"; readonly name: string };

/** The arguments are invalid. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

export const COMMANDS_HELP = `\
  bun run chatify invite                    print an invitation link for one new user
      --days 7 --uses 1                     how long it is valid, and for how many users
      --url https://chat.example.org        the address at which users open this chat
  bun run chatify user list                 list all users: name, creation date, last seen, admin, disabled
  bun run chatify user add NAME [--admin]   create an account; prompts for its password, or reads it from standard input
  bun run chatify user passwd NAME          set a new password and sign NAME out everywhere
  bun run chatify user disable NAME         disable the account and sign NAME out everywhere
  bun run chatify user enable NAME          enable the account again
  bun run chatify user admin NAME           let NAME invite users from the page
  bun run chatify files check               check that the bytes of all files are there, and delete those that no file has
  bun run chatify files move                move the bytes of all files to where FILES says, while pods are serving
`;

const VERBS = ["list", "add", "passwd", "disable", "enable", "admin"] as const;

/**
 * Parses arguments that begin with `invite`, `user` or `files`.
 *
 * @returns undefined when they ask for help
 * @throws UsageError
 * @example readCommand(["user", "passwd", "ann"]) // { verb: "passwd", name: "ann" }
 */
export function readCommand([first, ...args]: readonly string[]): Command | undefined {
  if (args.some((arg) => arg === "--help" || arg === "-h")) return undefined;
  if (first === "files") return readFiles(args);
  return first === "invite" ? readInvite(args) : readUser(args);
}

function readFiles([verb, ...more]: readonly string[]): Command | undefined {
  if (verb === undefined) return undefined;
  if (verb !== "check" && verb !== "move") throw new UsageError(`Unknown command: chatify files "${verb}"`);
  if (more[0] !== undefined) throw new UsageError(`chatify files ${verb} accepts no argument, got "${more[0]}"`);
  return { verb: verb === "check" ? "checkFiles" : "moveFiles" };
}

function readUser([first, ...args]: readonly string[]): Command | undefined {
  if (first === undefined) return undefined;
  const verb = VERBS.find((verb) => verb === first);
  if (verb === undefined) throw new UsageError(`Unknown command: chatify user "${first}"`);
  const options = args.filter((arg) => arg.startsWith("--"));
  const [name, ...more] = args.filter((arg) => !arg.startsWith("--"));
  const unknown = options.find((option) => !(verb === "add" && option === "--admin"));
  if (unknown !== undefined) throw new UsageError(`Unknown option for chatify user ${verb}: "${unknown}"`);
  if (verb === "list") {
    if (name !== undefined) throw new UsageError(`chatify user list accepts no name, got "${name}"`);
    return { verb };
  }
  if (name === undefined) throw new UsageError(`chatify user ${verb} needs a name`);
  if (more.length > 0 && (verb === "add" || verb === "passwd")) {
    throw new UsageError(
      "Do not pass a password on the command line, where other programs and the shell history can read it. " +
        "Leave it out, and chatify prompts for it",
    );
  }
  if (more.length > 0) throw new UsageError(`chatify user ${verb} accepts only one name`);
  return verb === "add" ? { verb, name, admin: options.length > 0 } : { verb, name };
}

function readInvite(args: readonly string[]): Command {
  const command = { verb: "invite", days: INVITE_LIMITS.days, uses: INVITE_LIMITS.uses, origin: undefined } as {
    -readonly [key in keyof Extract<Command, { verb: "invite" }>]: Extract<Command, { verb: "invite" }>[key];
  };
  const left = args.flatMap((arg) => (arg.startsWith("--") ? arg.split(/=(.*)/s, 2) : [arg]));
  while (left.length > 0) {
    const [option = "", value = ""] = left.splice(0, 2);
    if (option === "--days") command.days = wholeNumber(option, value, INVITE_LIMITS.daysMax);
    else if (option === "--uses") command.uses = wholeNumber(option, value, INVITE_LIMITS.usesMax);
    else if (option === "--url") command.origin = origin(value);
    else throw new UsageError(`Unknown option for chatify invite: "${option}"`);
  }
  return command;
}

function wholeNumber(option: string, value: string, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : 0;
  if (number >= 1 && number <= most) return number;
  throw new UsageError(`${option} needs a number from 1 to ${most}, got "${value}"`);
}

function origin(value: string): string {
  const url = URL.parse(value);
  if (url && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search === "") return url.origin;
  throw new UsageError(`--url needs an address such as https://chat.example.org, got "${value}"`);
}
