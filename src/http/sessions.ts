/**
 * The session of a request: finds, requires, starts and ends it, and serves the pages of signed-in
 * users.
 */

import type { Limits } from "../accounts/limits.ts";
import type { SessionRenewals } from "../accounts/session_renewals.ts";
import type { LimitedAction } from "../config.ts";
import type { Database } from "../db/database.ts";
import * as rows from "../db/sessions.ts";
import type { Session } from "../db/sessions.ts";
import type { User } from "../db/users.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { ChatError } from "../errors.ts";
import { Batcher } from "../util/batcher.ts";
import { nameKey } from "../util/text.ts";
import { hashToken, newToken } from "../util/token.ts";
import type { Cookies } from "./cookies.ts";
import type { Pages } from "./pages.ts";
import { redirect, type Request } from "./request.ts";

/** The next login ends the least recently used session. */
const SESSIONS_MAX = 50;
/** Characters of a `User-Agent` that are stored; the rest identifies no device. */
const AGENT_MAX = 200;

export class Sessions {
  readonly #db: Database;
  readonly #cookies: Cookies;
  readonly #pages: Pages;
  readonly #limits: Limits;
  readonly #delivery: Delivery;
  /** Batched: thousands of clients reconnecting at once cost one query per batch, not one each. */
  readonly #lookups: Batcher<string, Session | undefined>;

  constructor(parts: {
    db: Database;
    cookies: Cookies;
    pages: Pages;
    limits: Limits;
    renewals: SessionRenewals;
    delivery: Delivery;
  }) {
    this.#db = parts.db;
    this.#cookies = parts.cookies;
    this.#pages = parts.pages;
    this.#limits = parts.limits;
    this.#delivery = parts.delivery;
    this.#lookups = new Batcher((hashes) => this.#findMany(hashes, parts.renewals), { max: 200 });
  }

  /** The session of a request, or undefined without a valid cookie. */
  async find(request: Request): Promise<Session | undefined> {
    const signed = this.#cookies.session(request);
    return signed ? this.#lookups.add(hashToken(signed.token)) : undefined;
  }

  /**
   * The session of a request that must have one.
   *
   * @param action charged to the user's rate limit
   * @throws ChatError `no_session`, `rate_limited`
   */
  async require(request: Request, action?: LimitedAction): Promise<Session> {
    const session = await this.find(request);
    if (!session) throw new ChatError("no_session");
    if (action) this.#limits.charge(action, session.nameKey);
    return session;
  }

  /**
   * A page for signed-in users; others are redirected to the login. A cookie signed with an older
   * secret is signed again, so that the admin can drop that secret one day. The page is `no-store`,
   * so no cache serves the cookie to another user.
   */
  async page(request: Request, name: "chat" | "account"): Promise<Response> {
    const session = await this.find(request);
    if (!session) return redirect("/login");
    const page = this.#pages.page(request, name);
    const signed = this.#cookies.session(request);
    if (!signed || signed.isCurrent) return page;
    const headers = new Headers(page.headers); // a copy: all responses share the page's headers
    headers.set("Set-Cookie", this.#cookies.setSession(request, signed.token));
    return new Response(page.body, { status: page.status, headers });
  }

  /**
   * Whether the request's cookie belongs to a session that has ended: only logging out in this
   * browser deletes the cookie.
   */
  async hasEnded(request: Request): Promise<boolean> {
    if (!this.#cookies.session(request)) return false;
    return this.find(request).then(
      (session) => session === undefined,
      () => false, // the login form works without the database
    );
  }

  /**
   * Starts a session with a new token and ends the one that the request carried, so that a planted
   * cookie is worthless after login.
   *
   * @returns a `Set-Cookie`
   * @throws ChatError `wrong_login` when the password changed or the account was disabled meanwhile
   */
  async start(request: Request, user: User, address: string): Promise<string> {
    const previous = await this.find(request);
    const token = newToken();
    const agent = request.headers.get("user-agent")?.toWellFormed().replaceAll("\0", "").slice(0, AGENT_MAX) ?? null;
    if (!(await rows.start(this.#db, user, hashToken(token), { agent, address }))) throw new ChatError("wrong_login");
    // mutation: no fixation
    if (previous) await rows.end(this.#db, previous.id);
    // A separate statement after the commit: among concurrent logins the last one sees all
    // sessions.
    const key = nameKey(user.username);
    for (const id of await rows.endSurplus(this.#db, user.id, SESSIONS_MAX))
      this.#delivery.endSession({ id, nameKey: key });
    // Last: its page reloads the session, and should find the new cookie by then.
    if (previous) this.#delivery.endSession(previous);
    return this.#cookies.setSession(request, token);
  }

  /** Ends a session on every pod. */
  async end(session: Session): Promise<void> {
    await rows.end(this.#db, session.id);
    this.#delivery.endSession(session);
  }

  /** Ends all other sessions of a user, on every pod. @returns how many */
  async endOthers(me: Session): Promise<number> {
    const ids = await rows.endOthers(this.#db, me.userId, me.id);
    for (const id of ids) this.#delivery.endSession({ id, nameKey: me.nameKey });
    return ids.length;
  }

  /** Deletes the session's cookie. @returns a `Set-Cookie` */
  clearCookie(request: Request): string {
    return this.#cookies.clearSession(request);
  }

  /** Also records that the sessions are in use. */
  async #findMany(tokenHashes: readonly string[], renewals: SessionRenewals): Promise<(Session | undefined)[]> {
    const found = await rows.findMany(this.#db, tokenHashes);
    for (const one of found) if (one?.isDue) renewals.note(one.session.id);
    return found.map((one) => one?.session);
  }
}
