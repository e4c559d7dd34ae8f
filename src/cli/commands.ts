/**
 * The admin commands: invitations, accounts and files. Results go to standard output, messages to standard
 * error.
 */

import { inviteLink } from "../accounts/invitation.ts";
import * as sessions from "../db/sessions.ts";
import * as users from "../db/users.ts";
import type { Account, User } from "../db/users.ts";
import { ChatError } from "../errors.ts";
import { checkFiles } from "../files/file_check.ts";
import { moveFiles } from "../files/file_move.ts";
import { checkPassword, hashPassword } from "../util/password.ts";
import { checkName, keyOfReference, nameKey, searchKey } from "../util/text.ts";
import type { AdminContext } from "./admin_context.ts";
import type { Command } from "./arguments.ts";

/** A valid command was rejected: the user name is unknown or taken, the password is invalid, or files are damaged. */
export class RejectedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RejectedError";
  }
}

/** What commands need from the process. */
export interface Terminal {
  /** Writes a result; resolves once it is written. */
  print(text: string): Promise<void>;
  /** Writes a message. */
  say(line: string): void;
  /**
   * A password: typed twice on a terminal, or the first line of standard input; undefined if that
   * is empty.
   */
  readPassword(question: string): Promise<string | undefined>;
  /** The address at which users open the chat, guessed from the settings. */
  readonly origin: string;
}

const PAGE = 1_000;

/** @throws RejectedError */
export async function run(command: Command, context: AdminContext, terminal: Terminal): Promise<void> {
  switch (command.verb) {
    case "invite":
      return invite(command, context, terminal);
    case "list":
      return list(context, terminal);
    case "add":
      return add(command, context, terminal);
    case "passwd":
      return passwd(command.name, context, terminal);
    case "disable":
      return disable(command.name, context, terminal);
    case "enable":
      return enable(command.name, context, terminal);
    case "admin":
      return makeAdmin(command.name, context, terminal);
    case "checkFiles":
      return checkAllFiles(context, terminal);
    case "moveFiles":
      return moveAllFiles(context, terminal);
  }
}

async function invite(
  { days, uses, origin }: Extract<Command, { verb: "invite" }>,
  { signupPolicy }: AdminContext,
  { print, say, origin: guess }: Terminal,
): Promise<void> {
  const { token, expiresAt } = await signupPolicy.createInvite({ days, uses });
  await print(`${inviteLink(origin ?? guess, token)}\n`);
  say(`It can be used ${uses === 1 ? "once" : `${uses} times`}, until ${formatInstant(expiresAt)}.`);
  if (origin === undefined)
    say(`If users open this chat at an address other than ${guess}, pass that address with --url.`);
  if (signupPolicy.signup === "closed")
    say("SIGNUP=closed rejects all sign-ups, also with an invitation. Set SIGNUP=invite to accept invitations.");
}

async function list({ db }: AdminContext, { print, say }: Terminal): Promise<void> {
  for (let after = 0; ;) {
    const page = await users.accounts(db, { after, limit: PAGE });
    const last = page.at(-1);
    if (!last && after === 0) say("There are no accounts yet.");
    if (!last) return;
    const width = Math.max(...page.map(({ username }) => Bun.stringWidth(printable(username))));
    await print(page.map((account) => row(account, width)).join(""));
    after = last.id;
  }
}

function row({ username, createdAt, isOnline, lastSeenAt, isAdmin, isDisabled }: Account, width: number): string {
  const name = printable(username);
  const gap = " ".repeat(width - Bun.stringWidth(name));
  const seen = isOnline ? "online" : lastSeenAt ? `seen ${lastSeenAt.slice(0, 10)}` : "never seen";
  const marks = [isAdmin ? "admin" : "", isDisabled ? "disabled" : ""].filter(Boolean).join(", ");
  return `${`${name}${gap}  since ${createdAt.slice(0, 10)}  ${seen.padEnd(15)}  ${marks}`.trimEnd()}\n`;
}

/**
 * Replaces control characters, which names adopted from the original demo may contain: they could
 * move the cursor.
 */
function printable(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}]/gu, "\ufffd");
}

async function add(
  { name: typed, admin }: Extract<Command, { verb: "add" }>,
  { db }: AdminContext,
  terminal: Terminal,
): Promise<void> {
  const name = rejectIfInvalid(() => checkName(typed));
  if (await users.find(db, nameKey(name))) throw taken(name);
  const other = await users.findLookalike(db, name);
  if (other !== undefined) throw new RejectedError(`${name} looks like ${printable(other)}, which is taken.`);
  const password = await hashNewPassword(`Password for ${name}: `, terminal);
  const account = { username: name, nameKey: nameKey(name), searchKey: searchKey(name), password, admin };
  await users.create(db, account).catch((error: unknown) => {
    if (error instanceof ChatError && (error.code === "name_taken" || error.code === "name_similar")) throw taken(name);
    throw error;
  });
  terminal.say(`${name} can sign in now${admin ? ", and invite others" : ""}.`);
}

async function passwd(typed: string, context: AdminContext, terminal: Terminal): Promise<void> {
  const { id, username } = await find(typed, context);
  const password = await hashNewPassword(`New password for ${printable(username)}: `, terminal);
  await users.setPassword(context.db, id, password);
  await endSessions(id, username, context);
  terminal.say(`${printable(username)} has a new password and is signed out everywhere.`);
}

async function disable(typed: string, context: AdminContext, { say }: Terminal): Promise<void> {
  const user = await users.setDisabled(context.db, keyOf(typed), true);
  if (!user) throw unknownUser(typed);
  await endSessions(user.id, user.username, context);
  say(`${printable(user.username)} is disabled and signed out everywhere.`);
}

async function enable(typed: string, { db }: AdminContext, { say }: Terminal): Promise<void> {
  const user = await users.setDisabled(db, keyOf(typed), false);
  if (!user) throw unknownUser(typed);
  say(`${printable(user.username)} can sign in again.`);
}

async function makeAdmin(typed: string, { db }: AdminContext, { say }: Terminal): Promise<void> {
  const username = await users.makeAdmin(db, keyOf(typed));
  if (username === undefined) throw unknownUser(typed);
  say(`${printable(username)} is an admin, and can invite users from the menu after reloading the page.`);
}

/** Call after storing the change that prevents new sessions (`sessions.start`). */
async function endSessions(id: number, username: string, { db, notifyPods }: AdminContext): Promise<void> {
  const ended = await sessions.endAll(db, id);
  await notifyPods(ended.map((sessionId) => ({ kind: "end", nameKey: nameKey(username), sessionId })));
}

/** Prompts for a password and hashes it. */
async function hashNewPassword(question: string, { readPassword }: Terminal): Promise<string> {
  const given = await readPassword(question);
  if (given === undefined)
    throw new RejectedError("No password given: it is read from the first line of standard input.");
  rejectIfInvalid(() => checkPassword(given));
  return hashPassword(given);
}

async function find(typed: string, { db }: AdminContext): Promise<User> {
  const user = await users.find(db, keyOf(typed));
  if (!user || user.isDeleted) throw unknownUser(typed);
  return user;
}

function keyOf(typed: string): string {
  const key = keyOfReference(typed);
  if (key === undefined) throw unknownUser(typed);
  return key;
}

function unknownUser(typed: string): RejectedError {
  return new RejectedError(`There is no user ${typed}.`);
}

function taken(name: string): RejectedError {
  return new RejectedError(`The name ${name} is taken.`);
}

function rejectIfInvalid<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof ChatError ? new RejectedError(error.message.replace(/\.?$/, ".")) : error;
  }
}

/** @example formatInstant(new Date("2026-11-30T07:05:00Z")) // "2026-11-30 07:05 UTC" */
function formatInstant(instant: Date): string {
  return `${instant.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

async function checkAllFiles({ db, stores }: AdminContext, { print, say }: Terminal): Promise<void> {
  const { files, damaged, erased, orphans } = await checkFiles(db, stores, ({ id, owner }, fault) =>
    print(`${id} of ${printable(owner)}: ${fault}\n`),
  );
  say(`Files checked: ${files}. Bytes deleted: of ${erased} deleted files, and ${orphans} times without a file.`);
  if (damaged > 0) throw new RejectedError(`Files damaged: ${damaged}. Restore their bytes from a backup.`);
}

async function moveAllFiles({ db, stores }: AdminContext, { say }: Terminal): Promise<void> {
  const moved = await moveFiles(db, stores);
  say(`Files moved to ${stores.current.kind}: ${moved}. A running server deletes their old bytes later.`);
}
