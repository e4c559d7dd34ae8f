/**
 * The JSON routes of a user's own account: password, sessions, privacy, blocks and mutes, drafts,
 * export and deletion.
 */

import type { Server } from "bun";

import type { AccountPurge } from "../accounts/account_purge.ts";
import { deviceName } from "../accounts/device_name.ts";
import type { SignupPolicy } from "../accounts/signup_policy.ts";
import type { Memberships } from "../chat/memberships.ts";
import type { Profiles } from "../chat/profiles.ts";
import type { Relationships } from "../chat/relationships.ts";
import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/database.ts";
import * as drafts from "../db/drafts.ts";
import * as exportRows from "../db/export.ts";
import { pagesOf } from "../db/paging.ts";
import type { PrivacySettings } from "../db/relationships.ts";
import * as sessionRows from "../db/sessions.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { ChatError } from "../errors.ts";
import { checkPassword } from "../util/password.ts";
import { keyOfReference } from "../util/text.ts";
import { attachment, draftJson, exportOf } from "./export.ts";
import { CLEAR_SITE_DATA, type Login } from "./login.ts";
import { urlOf } from "./parameters.ts";
import type { Passwords } from "./passwords.ts";
import { profileJson, wantsProfiles, withProfiles } from "./profiles.ts";
import { json, JSON_HEADERS, readJson, type Request } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./stream.ts";
import { clientAddress, type Trust } from "./trust.ts";

export class Account {
  readonly #sessions: Sessions;
  readonly #login: Login;
  readonly #passwords: Passwords;
  readonly #profiles: Profiles;
  readonly #relationships: Relationships;
  readonly #memberships: Memberships;
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #purge: AccountPurge;
  readonly #signupPolicy: SignupPolicy;
  readonly #streams: Streams;
  readonly #trust: Trust;

  constructor(parts: {
    sessions: Sessions;
    login: Login;
    passwords: Passwords;
    profiles: Profiles;
    relationships: Relationships;
    memberships: Memberships;
    db: Database;
    delivery: Delivery;
    purge: AccountPurge;
    signupPolicy: SignupPolicy;
    streams: Streams;
    trust: Trust;
  }) {
    this.#sessions = parts.sessions;
    this.#login = parts.login;
    this.#passwords = parts.passwords;
    this.#profiles = parts.profiles;
    this.#relationships = parts.relationships;
    this.#memberships = parts.memberships;
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#purge = parts.purge;
    this.#signupPolicy = parts.signupPolicy;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
  }

  async me(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request);
    return this.#settingsOf(me, me);
  }

  async settings(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "account");
    const body = await readJson(request);
    const changes = { hidesRead: readFlag(body, "hide_read"), hidesLastSeen: readFlag(body, "hide_last_seen") };
    return this.#settingsOf(me, await this.#relationships.setPrivacy(me, changes));
  }

  async #settingsOf(me: Session, { hidesRead, hidesLastSeen }: PrivacySettings): Promise<Response> {
    const { username } = me;
    const admin = await users.isAdmin(this.#db, me.userId);
    const { signup } = this.#signupPolicy;
    return json({ username, admin, signup, ...profileJson(me), hide_read: hidesRead, hide_last_seen: hidesLastSeen });
  }

  /** Changes the password and ends all other sessions. */
  async password(request: Request): Promise<Response> {
    const address = clientAddress(request, this.#trust);
    const me = await this.#sessions.require(request, "account");
    const body = await readJson(request);
    const [old, next] = [readText(body, "old"), readText(body, "new")];
    checkPassword(next); // before the hash that confirms the old password
    await this.#passwords.confirm(me, old, address);
    const cookie = await this.#login.changePassword(request, me, { password: next, address });
    return json({}, { headers: { "Set-Cookie": cookie } });
  }

  async sessions(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "history");
    const rows = await sessionRows.list(this.#db, me.userId);
    return json(
      rows.map(({ id, agent, address, createdAt, lastUsedAt }) => ({
        id,
        device: deviceName(agent),
        address,
        created_at: createdAt,
        last_used_at: lastUsedAt,
        current: id === me.id,
      })),
    );
  }

  async endSession(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "account");
    const { id = "" } = request.params as { id?: string };
    if (!/^\d{1,15}$/.test(id) || !(await sessionRows.endOwn(this.#db, me.userId, Number(id)))) {
      throw new ChatError("not_found");
    }
    this.#delivery.endSession({ id: Number(id), nameKey: me.nameKey });
    return json({ ended: 1 });
  }

  async endOtherSessions(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "account");
    return json({ ended: await this.#sessions.endOthers(me) });
  }

  /** Deletes the account. Peers keep their conversations with it, and its name in them. */
  async remove(request: Request): Promise<Response> {
    const address = clientAddress(request, this.#trust);
    const me = await this.#sessions.require(request, "account");
    await this.#passwords.confirm(me, readText(await readJson(request), "password"), address);
    const open = await sessionRows.list(this.#db, me.userId);
    await this.#purge.deleteAccount({ id: me.userId, username: me.username });
    this.#relationships.stopHiding(me);
    this.#profiles.deleted(me);
    for (const { id } of open) this.#delivery.endSession({ id, nameKey: me.nameKey });
    return json(
      {},
      { headers: { "Set-Cookie": this.#sessions.clearCookie(request), "Clear-Site-Data": CLEAR_SITE_DATA } },
    );
  }

  async blocks(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#sessions.require(request, "history");
    const names = pagesOf<string>((...page) => this.#relationships.blockedPage(me, ...page));
    const asked = { kind: "blocks", request, server };
    if (!wantsProfiles(urlOf(request).searchParams)) {
      return this.#streams.list(names, { show: JSON.stringify }, asked, me.nameKey);
    }
    return this.#streams.list(withProfiles(this.#db, me, names), { show: JSON.stringify }, asked, me.nameKey);
  }

  async block(request: Request): Promise<Response> {
    const { me, peer, on } = await this.#readRelation(request, "blocked");
    if (peer.id === me.userId) throw new ChatError("bad_request", { message: "You cannot block yourself" });
    await this.#relationships.setBlock(me, peer.username, on);
    return json({ name: peer.username, blocked: on });
  }

  async mute(request: Request): Promise<Response> {
    const { me, peer, on } = await this.#readRelation(request, "muted");
    await this.#memberships.change(me, peer.username, { muted: on });
    return json({ name: peer.username, muted: on });
  }

  /** All data of the user, as a download. */
  async export(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#sessions.require(request, "account");
    const headers = {
      "Content-Disposition": attachment(me.username, new Date()),
      "Chatify-Messages": String(await exportRows.count(this.#db, me.username)),
    };
    if (request.method === "HEAD") return new Response(null, { headers: { ...JSON_HEADERS, ...headers } });
    const end = this.#streams.begin(`export\n${me.nameKey}`, 1);
    return this.#streams.text(exportOf(this.#db, me), { kind: "export", request, server, end, headers });
  }

  async drafts(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username, nameKey } = await this.#sessions.require(request, "history");
    const pages = drafts.pages(this.#db, username);
    return this.#streams.list(pages, { show: draftJson }, { kind: "drafts", request, server }, nameKey);
  }

  async #readRelation(request: Request, field: "blocked" | "muted") {
    const me = await this.#sessions.require(request, "account");
    const body = await readJson(request);
    const on = readFlag(body, field);
    const { name } = body;
    if (typeof name !== "string" || on === undefined) {
      throw new ChatError("bad_request", { message: `name must be a string and ${field} true or false` });
    }
    const key = keyOfReference(name);
    const peer = key === undefined ? undefined : await users.find(this.#db, key);
    if (!peer) throw new ChatError("no_such_user");
    return { me, peer, on };
  }
}

/** @throws ChatError `bad_request` */
function readText(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new ChatError("bad_request", { message: `${name} must be a string` });
}

/** Undefined when absent. @throws ChatError `bad_request` */
function readFlag(body: Record<string, unknown>, name: string): boolean | undefined {
  const value = body[name];
  if (value === undefined || typeof value === "boolean") return value;
  throw new ChatError("bad_request", { message: `${name} must be true or false` });
}
