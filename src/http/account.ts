/** The JSON routes by which people arrange their account: password and sessions, what they show of themselves, whom they block or mute, and its end. */

import type { Server } from "bun";

import type { AccountPurge } from "../accounts/account_purge.ts";
import { deviceOf } from "../accounts/device_name.ts";
import type { Relationships } from "../chat/relationships.ts";
import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/client.ts";
import * as drafts from "../db/drafts.ts";
import * as everything from "../db/export.ts";
import { pagesOf } from "../db/pages.ts";
import type { PrivacySettings, Relation } from "../db/relationships.ts";
import * as sessions from "../db/sessions.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError } from "../errors.ts";
import { checkPassword } from "../util/password.ts";
import { keyOfReference } from "../util/text.ts";
import { attachment, exported, showDraft } from "./export.ts";
import { type Auth, CLEAR_SITE_DATA } from "./login.ts";
import { json, JSON_HEADERS, readJson, type Request } from "./request.ts";
import type { Streams } from "./stream.ts";

export class Account {
  readonly #auth: Auth;
  readonly #choices: Relationships;
  readonly #db: Database;
  readonly #erasure: AccountPurge;
  readonly #streams: Streams;

  constructor(parts: { auth: Auth; choices: Relationships; db: Database; erasure: AccountPurge; streams: Streams }) {
    this.#auth = parts.auth;
    this.#choices = parts.choices;
    this.#db = parts.db;
    this.#erasure = parts.erasure;
    this.#streams = parts.streams;
  }

  async me(request: Request): Promise<Response> {
    const me = await this.#auth.who(request);
    return this.#told(me, me);
  }

  async settings(request: Request): Promise<Response> {
    const me = await this.#auth.who(request, "account");
    const body = await readJson(request);
    const changes = { hidesRead: readFlag(body, "hide_read"), hidesLastSeen: readFlag(body, "hide_last_seen") };
    return this.#told(me, await this.#choices.setPrivacy(me, changes));
  }

  async #told({ userId, username }: Session, { hidesRead, hidesLastSeen }: PrivacySettings): Promise<Response> {
    const admin = await users.isAdmin(this.#db, userId);
    return json({ username, admin, hide_read: hidesRead, hide_last_seen: hidesLastSeen });
  }

  /** Another password; all other sessions end. */
  async password(request: Request): Promise<Response> {
    const address = this.#auth.addressOf(request);
    const me = await this.#auth.who(request, "account");
    const body = await readJson(request);
    const [old, next] = [readText(body, "old"), readText(body, "new")];
    checkPassword(next); // first: it costs no hash
    await this.#auth.confirm(me, old, address);
    const cookie = await this.#auth.changePassword(request, me, { password: next, address });
    return json({}, { headers: { "Set-Cookie": cookie } });
  }

  async sessions(request: Request): Promise<Response> {
    const me = await this.#auth.who(request, "history");
    const rows = await sessions.list(this.#db, me.userId);
    return json(
      rows.map(({ id, agent, address, createdAt, lastUsedAt }) => ({
        id,
        device: deviceOf(agent),
        address,
        created_at: createdAt,
        last_used_at: lastUsedAt,
        current: id === me.id,
      })),
    );
  }

  async endSession(request: Request): Promise<Response> {
    const me = await this.#auth.who(request, "account");
    const { id = "" } = request.params as { id?: string };
    if (!/^\d{1,15}$/.test(id) || !(await sessions.endOwn(this.#db, me.userId, Number(id)))) {
      throw new ChatError("not_found");
    }
    this.#auth.ended({ id: Number(id), nameKey: me.nameKey });
    return json({ ended: 1 });
  }

  async endOtherSessions(request: Request): Promise<Response> {
    const me = await this.#auth.who(request, "account");
    return json({ ended: await this.#auth.endOthers(me) });
  }

  /** Takes the account away. The others keep what was said with them, and the name. */
  async remove(request: Request): Promise<Response> {
    const address = this.#auth.addressOf(request);
    const me = await this.#auth.who(request, "account");
    await this.#auth.confirm(me, readText(await readJson(request), "password"), address);
    const known = await sessions.list(this.#db, me.userId);
    await this.#erasure.bury({ id: me.userId, username: me.username });
    this.#choices.stopHiding(me);
    for (const { id } of known) this.#auth.ended({ id, nameKey: me.nameKey });
    return json({}, { headers: { "Set-Cookie": this.#auth.noCookie(request), "Clear-Site-Data": CLEAR_SITE_DATA } });
  }

  async blocks(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#auth.who(request, "history");
    const names = pagesOf<string>((...page) => this.#choices.blocked(me, ...page));
    return this.#streams.list(names, { show: JSON.stringify }, { kind: "blocks", request, server }, me.nameKey);
  }

  block(request: Request): Promise<Response> {
    return this.#choose(request, "blocks", "blocked");
  }

  mute(request: Request): Promise<Response> {
    return this.#choose(request, "muted", "muted");
  }

  /** Everything of a person, to keep. */
  async export(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#auth.who(request, "account");
    const headers = {
      "Content-Disposition": attachment(me.username, new Date()),
      "Chatify-Messages": String(await everything.count(this.#db, me.username)),
    };
    if (request.method === "HEAD") return new Response(null, { headers: { ...JSON_HEADERS, ...headers } });
    const end = this.#streams.begin(`export\n${me.nameKey}`, 1);
    return this.#streams.text(exported(this.#db, me), { kind: "export", request, server, end, headers });
  }

  async drafts(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username, nameKey } = await this.#auth.who(request, "history");
    const pages = drafts.pages(this.#db, username);
    return this.#streams.list(pages, { show: showDraft }, { kind: "drafts", request, server }, nameKey);
  }

  async #choose(request: Request, choice: Relation, field: "blocked" | "muted"): Promise<Response> {
    const me = await this.#auth.who(request, "account");
    const body = await readJson(request);
    const on = readFlag(body, field);
    const { name } = body;
    if (typeof name !== "string" || on === undefined) {
      throw new ChatError("bad_request", { words: `name must be a text and ${field} true or false` });
    }
    const key = keyOfReference(name);
    const peer = key === undefined ? undefined : await users.find(this.#db, key);
    if (!peer) throw new ChatError("no_such_user");
    if (choice === "blocks" && peer.id === me.userId) {
      throw new ChatError("bad_request", { words: "Nobody can block themselves" });
    }
    await this.#choices.set(choice, me, peer.username, on);
    return json({ name: peer.username, [field]: on });
  }
}

/** @throws ChatError `bad_request` */
function readText(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new ChatError("bad_request", { words: `${name} must be a text` });
}

/** Undefined when absent. @throws ChatError `bad_request` */
function readFlag(body: Record<string, unknown>, name: string): boolean | undefined {
  const value = body[name];
  if (value === undefined || typeof value === "boolean") return value;
  throw new ChatError("bad_request", { words: `${name} must be true or false` });
}
