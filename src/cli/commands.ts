/**
 * What whoever hosts chatify does from a terminal besides starting it: invite, and look after accounts. Only what was asked for goes
 * to the output; what was done, or why not, is said beside it. The words are read in command_line.ts, the terminal is main.ts's.
 */

import { inviteLink } from "../accounts/invitation.ts";
import type { AdminContext } from "../app.ts";
import * as sessions from "../db/sessions.ts";
import * as users from "../db/users.ts";
import type { Account, User } from "../db/users.ts";
import { ChatError } from "../errors.ts";
import { checkPassword, hashPassword } from "../util/password.ts";
import { checkName, keyOfReference, nameKey, searchKey } from "../util/text.ts";
import type { Command } from "./arguments.ts";

/** The command makes sense and was not done: nobody has that name, or somebody has it already, or a password is none. */
export class RefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RefusedError";
  }
}

/** What a command may ask of the process. */
export interface Terminal {
  /** What was asked for. Resolves when it left. */
  print(text: string): Promise<void>;
  /** All else. */
  say(line: string): void;
  /** A password: typed twice at a terminal, or the first line of what comes in; undefined when nothing does. */
  password(question: string): Promise<string | undefined>;
  /** Where people open the chat, as far as the settings tell. */
  readonly origin: string;
}

const PAGE = 1_000;

/** @throws RefusedError */
export async function run(command: Command, office: AdminContext, terminal: Terminal): Promise<void> {
  switch (command.verb) {
    case "invite":
      return invite(command, office, terminal);
    case "list":
      return list(office, terminal);
    case "add":
      return add(command, office, terminal);
    case "passwd":
      return passwd(command.name, office, terminal);
    case "disable":
      return disable(command.name, office, terminal);
    case "enable":
      return enable(command.name, office, terminal);
    case "admin":
      return makeAdmin(command.name, office, terminal);
  }
}

async function invite(
  { days, uses, origin }: Extract<Command, { verb: "invite" }>,
  { door }: AdminContext,
  { print, say, origin: guess }: Terminal,
): Promise<void> {
  const { token, expiresAt } = await door.createInvite({ days, uses });
  await print(`${inviteLink(origin ?? guess, token)}\n`);
  say(`It works ${uses === 1 ? "once" : `${uses} times`}, until ${shown(expiresAt)}.`);
  if (origin === undefined)
    say(`If people open the chat at another address than ${guess}, add --url and that address.`);
  if (door.signup === "closed") say("SIGNUP=closed lets nobody in, with an invitation or without: SIGNUP=invite does.");
}

/** Page by page: there may be many. */
async function list({ db }: AdminContext, { print, say }: Terminal): Promise<void> {
  for (let after = 0; ;) {
    const page = await users.accounts(db, { after, limit: PAGE });
    const last = page.at(-1);
    if (!last && after === 0) say("Nobody has an account yet.");
    if (!last) return;
    const width = Math.max(...page.map(({ username }) => Bun.stringWidth(harmless(username))));
    await print(page.map((account) => row(account, width)).join(""));
    after = last.id;
  }
}

function row({ username, createdAt, isOnline, lastSeenAt, isAdmin, disabled }: Account, width: number): string {
  const name = harmless(username);
  const gap = " ".repeat(width - Bun.stringWidth(name));
  const seen = isOnline ? "online" : lastSeenAt ? `seen ${lastSeenAt.slice(0, 10)}` : "never seen";
  const marks = [isAdmin ? "admin" : "", disabled ? "disabled" : ""].filter(Boolean).join(", ");
  return `${`${name}${gap}  since ${createdAt.slice(0, 10)}  ${seen.padEnd(15)}  ${marks}`.trimEnd()}\n`;
}

/** A database of the original may hold names that would move a terminal's cursor. */
function harmless(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}]/gu, "\ufffd");
}

async function add(
  { name: typed, admin }: Extract<Command, { verb: "add" }>,
  { db }: AdminContext,
  terminal: Terminal,
): Promise<void> {
  const name = orRefuse(() => checkName(typed));
  if (await users.find(db, nameKey(name))) throw taken(name);
  const other = await users.findLookalike(db, name);
  if (other !== undefined) throw new RefusedError(`${name} looks like ${harmless(other)}, which is taken.`);
  const password = await newPassword(`Password for ${name}: `, terminal);
  const account = { username: name, nameKey: nameKey(name), searchKey: searchKey(name), password, admin };
  await users.create(db, account).catch((error: unknown) => {
    if (error instanceof ChatError && (error.code === "name_taken" || error.code === "name_similar")) throw taken(name);
    throw error;
  });
  terminal.say(`${name} can sign in now${admin ? ", and invite others" : ""}.`);
}

async function passwd(typed: string, office: AdminContext, terminal: Terminal): Promise<void> {
  const { id, username } = await find(typed, office);
  const password = await newPassword(`New password for ${harmless(username)}: `, terminal);
  await users.setPassword(office.db, id, password);
  await endSessions(id, username, office);
  terminal.say(`${harmless(username)} has a new password, and is signed in nowhere any more.`);
}

async function disable(typed: string, office: AdminContext, { say }: Terminal): Promise<void> {
  const user = await users.setDisabled(office.db, keyOf(typed), true);
  if (!user) throw nobody(typed);
  await endSessions(user.id, user.username, office);
  say(`Nobody can sign in as ${harmless(user.username)} any more.`);
}

async function enable(typed: string, { db }: AdminContext, { say }: Terminal): Promise<void> {
  const user = await users.setDisabled(db, keyOf(typed), false);
  if (!user) throw nobody(typed);
  say(`${harmless(user.username)} can sign in again.`);
}

async function makeAdmin(typed: string, { db }: AdminContext, { say }: Terminal): Promise<void> {
  const username = await users.makeAdmin(db, keyOf(typed));
  if (username === undefined) throw nobody(typed);
  say(`${harmless(username)} can invite others: the menu has it once the page is loaded again.`);
}

/** To be called when the change that keeps others from beginning is stored (`sessions.start`). */
async function endSessions(id: number, username: string, { db, tell }: AdminContext): Promise<void> {
  const ended = await sessions.endAll(db, id);
  await tell(ended.map((sessionId) => ({ kind: "end", nameKey: nameKey(username), sessionId })));
}

/** The hash of a password that was asked for. */
async function newPassword(question: string, { password }: Terminal): Promise<string> {
  const given = await password(question);
  if (given === undefined) throw new RefusedError("No password came in: it is the first line of standard input.");
  orRefuse(() => checkPassword(given));
  return hashPassword(given);
}

async function find(typed: string, { db }: AdminContext): Promise<User> {
  const user = await users.find(db, keyOf(typed));
  if (!user || user.isDeleted) throw nobody(typed);
  return user;
}

function keyOf(typed: string): string {
  const key = keyOfReference(typed);
  if (key === undefined) throw nobody(typed);
  return key;
}

function nobody(typed: string): RefusedError {
  return new RefusedError(`Nobody is called ${typed}.`);
}

function taken(name: string): RefusedError {
  return new RefusedError(`Somebody is called ${name} already.`);
}

function orRefuse<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof ChatError ? new RefusedError(error.message.replace(/\.?$/, ".")) : error;
  }
}

/** @example shown(new Date("2026-11-30T07:05:00Z")) // "2026-11-30 07:05 UTC" */
function shown(instant: Date): string {
  return `${instant.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
