/** The JSON routes about other users: the list, the search, presence and invitations. */

import type { Server } from "bun";

import { INVITE_LIMITS, inviteLink } from "../accounts/invitation.ts";
import type { SignupPolicy } from "../accounts/signup_policy.ts";
import type { Relationships } from "../chat/relationships.ts";
import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/database.ts";
import { findNames, findPeople, namePages } from "../db/name_search.ts";
import { lastPage, NAMES_MAX } from "../db/paging.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError } from "../errors.ts";
import type { PresenceRegistry } from "../presence/registry.ts";
import { keyOfReference, searchKey } from "../util/text.ts";
import { namePart, urlOf, wholeNumber } from "./parameters.ts";
import { wantsProfiles, withProfiles } from "./profiles.ts";
import { json, type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./stream.ts";
import { originOf, type Trust } from "./trust.ts";

/** Results of a search by part of a name. */
export const FOUND_MAX = 20;

export class Users {
  readonly #sessions: Sessions;
  readonly #db: Database;
  readonly #registry: PresenceRegistry;
  readonly #relationships: Relationships;
  readonly #signupPolicy: SignupPolicy;
  readonly #streams: Streams;
  readonly #trust: Trust;

  constructor(parts: {
    sessions: Sessions;
    db: Database;
    registry: PresenceRegistry;
    relationships: Relationships;
    signupPolicy: SignupPolicy;
    streams: Streams;
    trust: Trust;
  }) {
    this.#sessions = parts.sessions;
    this.#db = parts.db;
    this.#registry = parts.registry;
    this.#relationships = parts.relationships;
    this.#signupPolicy = parts.signupPolicy;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
  }

  async list(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#sessions.require(request, "searches");
    const { searchParams } = urlOf(request);
    const withProfile = wantsProfiles(searchParams);
    const asked = { kind: "users", id: requestId(request, this.#trust), request, server };
    const part = namePart(searchParams, ["q"]);
    if (part !== undefined) {
      const limit = wholeNumber(searchParams, "limit", 1, FOUND_MAX) ?? FOUND_MAX;
      if (part === "") return json([]);
      if (!withProfile) return json(await findNames(this.#db, { part, me: me.username, limit }));
      const found = await findPeople(this.#db, { part, me: me.username, limit });
      return this.#streams.list(withProfiles(this.#db, me, lastPage(found)), { show: JSON.stringify }, asked);
    }
    const q = searchParams.get("q") ?? "";
    const most = wholeNumber(searchParams, "limit", 1, NAMES_MAX);
    if (q !== "" && keyOfReference(q) === undefined) return json([]);
    const limit = most ?? Number.POSITIVE_INFINITY;
    const names = namePages(this.#db, { prefix: searchKey(q), except: me.username, limit });
    if (!withProfile) return this.#streams.list(names, { show: (some) => some }, asked);
    const people = withProfiles(this.#db, me, names, (page) => JSON.parse(`[${page.join()}]`) as string[]);
    return this.#streams.list(people, { show: JSON.stringify }, asked, me.nameKey);
  }

  async online(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username } = await this.#sessions.require(request, "searches");
    const without = await this.#relationships.blockedEitherWay(username);
    const names = this.#registry.onlinePages(NAMES_MAX, { without });
    const id = requestId(request, this.#trust);
    return this.#streams.list(names, { show: JSON.stringify }, { kind: "online", id, request, server });
  }

  /** Creates an invitation link; for admins only. */
  async invite(request: Request): Promise<Response> {
    const { userId } = await this.#sessions.require(request, "account");
    if (!(await users.isAdmin(this.#db, userId))) throw new ChatError("not_admin");
    if (this.#signupPolicy.signup === "closed") throw new ChatError("signup_closed");
    const { searchParams } = urlOf(request);
    const days = wholeNumber(searchParams, "days", 1, INVITE_LIMITS.daysMax) ?? INVITE_LIMITS.days;
    const uses = wholeNumber(searchParams, "uses", 1, INVITE_LIMITS.usesMax) ?? INVITE_LIMITS.uses;
    const { token, expiresAt } = await this.#signupPolicy.createInvite({ days, uses, by: userId });
    return json({ url: inviteLink(originOf(request, this.#trust), token), expires_at: expiresAt.toISOString(), uses });
  }
}

/**
 * The user called `name`, or undefined. The user's own name is found without a query, and hides
 * nothing in notes to oneself.
 */
export async function findPeer(
  db: Database,
  me: Session,
  name: string,
): Promise<Pick<users.User, "username" | "hidesRead"> | undefined> {
  const key = keyOfReference(name);
  if (key === me.nameKey) return { username: me.username, hidesRead: false };
  return key === undefined ? undefined : users.find(db, key);
}
