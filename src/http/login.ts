/** Signing up, in and out, and who a request is from: one look-up for pages, routes and the upgrade. */

import type { Limits } from "../accounts/limits.ts";
import type { Attempt } from "../accounts/login_limits.ts";
import { isReserved } from "../accounts/reserved_names.ts";
import type { SessionRenewals } from "../accounts/session_renewals.ts";
import type { SignupCredentials, SignupPolicy } from "../accounts/signup_policy.ts";
import type { LimitedAction } from "../config.ts";
import type { Database } from "../db/client.ts";
import * as sessions from "../db/sessions.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError, type ErrorCode } from "../errors.ts";
import type { Count } from "../metrics.ts";
import { countedBy } from "../util/address.ts";
import { Batcher } from "../util/batcher.ts";
import { FairQueue } from "../util/fair_queue.ts";
import { checkPassword, hashPassword, verifyPassword } from "../util/password.ts";
import { checkName, keyOfReference, nameKey, searchKey } from "../util/text.ts";
import { hashToken, newToken } from "../util/token.ts";
import { Cookies } from "./cookies.ts";
import type { Pages } from "./pages.ts";
import {
  addressOf,
  checkOrigin,
  clientAddress,
  failure,
  HEADERS,
  readBody,
  type Request,
  type Trust,
} from "./request.ts";

/** 128 waiting hashes take 3 s on two cores; a client that waits for 8 s without an answer is cut. */
const HASHES = { atOnce: 2, waiting: 128, client: { keys: 4, waiting: 32 } };
/** The next login ends the session that was used least recently. */
const SESSIONS_MAX = 50;
/** Everything but cookies. Browsers heed it over https and from localhost only (W3C Clear Site Data §3.2). */
export const CLEAR_SITE_DATA = '"cache", "storage"';
/**
 * Tells the login page that a person signed out, so that it erases unsent texts too where browsers ignore `Clear-Site-Data`, and in tabs that
 * went on writing. Other ends of a session let unsent texts wait.
 */
const SIGNED_OUT_COOKIE = "chatify_signed_out=1; Path=/; SameSite=Lax; Max-Age=86400";
/** More of a `User-Agent` tells nobody anything. */
const AGENT_MAX = 200;
/** What a login shows that is there because a session has ended. */
const ENDED = { ended: "true" } as const;
/** After these no form would help. */
const NO_SIGNUP: ReadonlySet<string> = new Set(["signup_closed", "invite_needed", "invite_used"] satisfies ErrorCode[]);
/** Raised by the insert: another sign-up took the name during hashing. */
const NAME_LOST: ReadonlySet<string> = new Set(["name_taken", "name_similar"] satisfies ErrorCode[]);

export class Auth {
  readonly #db: Database;
  readonly #door: SignupPolicy;
  readonly #pages: Pages;
  readonly #cookies: Cookies;
  readonly #trust: Trust;
  readonly #limits: Limits;
  readonly #failures: Count;
  readonly #signedUp: (username: string) => void;
  readonly #ended: (session: Pick<Session, "id" | "nameKey">) => void;
  readonly #hashing = new FairQueue(HASHES);
  /** Reconnecting people by the thousand cost a query per batch, not per person. */
  readonly #lookups: Batcher<string, Session | undefined>;

  /** @param parts.failures of logins @param parts.signedUp told of a new account @param parts.ended told of a session that ended here */
  constructor(parts: {
    db: Database;
    door: SignupPolicy;
    pages: Pages;
    secrets: readonly string[];
    trust: Trust;
    limits: Limits;
    failures: Count;
    signedUp: (username: string) => void;
    ended: (session: Pick<Session, "id" | "nameKey">) => void;
    renewals: SessionRenewals;
  }) {
    this.#db = parts.db;
    this.#door = parts.door;
    this.#pages = parts.pages;
    this.#cookies = new Cookies(parts);
    this.#trust = parts.trust;
    this.#limits = parts.limits;
    this.#failures = parts.failures;
    this.#signedUp = parts.signedUp;
    this.#ended = parts.ended;
    this.#lookups = new Batcher((hashes) => this.#lookUp(hashes, parts.renewals), { max: 200 });
  }

  /** The session of a request, undefined without a good cookie. */
  async find(request: Request): Promise<Session | undefined> {
    const signed = this.#cookies.session(request);
    return signed ? this.#lookups.add(hashToken(signed.token)) : undefined;
  }

  /** The session of a request. @param action what is limited @throws ChatError `no_session`, `rate_limited` */
  async who(request: Request, action?: LimitedAction): Promise<Session> {
    const session = await this.find(request);
    if (!session) throw new ChatError("no_session");
    if (action) this.#limits.spend(action, session.nameKey);
    return session;
  }

  /** A page of somebody signed in, or the way to the login. A cookie that an older secret signed is signed anew, so that the secret can be dropped one day; the page is `no-store`, so no cache hands it to others. */
  async page(request: Request, name: "chat" | "account"): Promise<Response> {
    const session = await this.find(request);
    if (!session) return redirect("/login");
    const page = this.#pages.page(request, name);
    const signed = this.#cookies.session(request);
    if (!signed || signed.isCurrent) return page;
    const headers = new Headers(page.headers); // all answers share the page's own
    headers.set("Set-Cookie", this.#cookies.setSession(request, signed.token));
    return new Response(page.body, { status: page.status, headers });
  }

  /** The form to sign in by, which says so when it is there because a session has ended. */
  async loginPage(request: Request): Promise<Response> {
    const ended = await this.#hasEnded(request);
    return ended ? this.#pages.form("login", ENDED) : this.#pages.page(request, "login");
  }

  /** The form for an account, or why there is none. */
  async signUpPage(request: Request): Promise<Response> {
    const query = request.url.includes("?") ? addressOf(request).searchParams : undefined;
    const brought = { invite: query?.get("invite") ?? "", code: query?.get("code") ?? "" };
    if (brought.code !== "") return this.#pages.form("signup", brought); // whether it is right is said when it is used
    if (brought.invite === "" || this.#door.signup !== "invite") return this.#pages.page(request, "signup");
    try {
      await this.#door.grantFor(brought);
      return this.#pages.form("signup", brought);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      return this.#pages.form("no_signup", {}, { field: "why", error }, 200);
    }
  }

  async signUp(request: Request): Promise<Response> {
    const address = clientAddress(request, this.#trust); // now: whoever has left meanwhile has none
    const form = await readForm(request);
    const { username, password } = form;
    try {
      const right = await this.#door.grantFor(form);
      const name = checkName(username);
      checkPassword(password);
      const user = await this.#create(name, password, { address, right });
      this.#signedUp(user.username);
      return await this.#enter(request, user, address);
    } catch (error) {
      if (error instanceof ChatError && isForScript(request)) return failure(error);
      return this.#again("signup", form, error);
    }
  }

  async logIn(request: Request): Promise<Response> {
    const address = clientAddress(request, this.#trust);
    const form = await readForm(request);
    const { username, password } = form;
    try {
      const nameKey = keyOfReference(username) ?? "";
      const attempt = { nameKey, address, device: await this.#deviceOf(request, nameKey) };
      this.#limits.checkSignIns(attempt);
      const user = await this.#try(attempt, password);
      if (!user) throw new ChatError("wrong_login");
      this.#limits.signIn(attempt);
      return await this.#enter(request, user, address);
    } catch (error) {
      return this.#again("login", (await this.#hasEnded(request)) ? { ...form, ...ENDED } : form, error);
    }
  }

  /** Where a request comes from; to be asked before anything is waited for, since whoever has left meanwhile has no address. */
  addressOf(request: Request): string {
    return clientAddress(request, this.#trust);
  }

  /** Whether somebody signed in knows their password, too. @throws ChatError `wrong_password`, which counts as a login that failed; `rate_limited` */
  async confirm(me: Session, password: string, address: string): Promise<void> {
    const attempt = { nameKey: me.nameKey, address, device: `session ${me.id}` };
    if (!(await this.#try(attempt, password))) throw new ChatError("wrong_password");
  }

  /**
   * Gives an account another password, one that may be one, and ends its other sessions, everywhere. No device but this is known any more.
   *
   * @returns a `Set-Cookie` for this one
   */
  async changePassword(
    request: Request,
    me: Session,
    { password, address }: { password: string; address: string },
  ): Promise<string> {
    const phc = await this.#hashing.pass(turnOf("known", address, me.nameKey), () => hashPassword(password));
    await users.setPassword(this.#db, me.userId, phc);
    await this.endOthers(me);
    return this.#cookies.setDevice(request, { nameKey: me.nameKey, password: phc });
  }

  /** Ends all sessions of somebody but theirs, everywhere. @returns how many */
  async endOthers(me: Session): Promise<number> {
    const known = await sessions.list(this.#db, me.userId); // an end that was lost with its answer is told all the same
    const ended = await sessions.endOthers(this.#db, me.userId, me.id);
    const ids = new Set([...known.map(({ id }) => id), ...ended]);
    ids.delete(me.id);
    for (const id of ids) this.#ended({ id, nameKey: me.nameKey });
    return ids.size;
  }

  /** Tells everywhere that a session has ended. */
  ended(session: Pick<Session, "id" | "nameKey">): void {
    this.#ended(session);
  }

  /** Takes the session's cookie back. @returns a `Set-Cookie` */
  noCookie(request: Request): string {
    return this.#cookies.clearSession(request);
  }

  /** Ends the session of the request, everywhere, and has the browser forget what it keeps; `HEAD` only asks what the answer would be. */
  async logOut(request: Request): Promise<Response> {
    checkOrigin(request, this.#trust); // of a GET too: another site's link must sign nobody out
    if (request.method === "HEAD") return redirect("/login");
    const session = await this.find(request);
    if (session) {
      await sessions.end(this.#db, session.id);
      this.#ended(session);
    }
    const answer = redirect("/login", this.noCookie(request));
    answer.headers.set("Clear-Site-Data", CLEAR_SITE_DATA);
    if (request.headers.get("accept")?.includes("text/html")) answer.headers.append("Set-Cookie", SIGNED_OUT_COOKIE);
    return answer;
  }

  /** Only a name that is free costs a hash, and is a sign-up that counts. */
  async #create(
    name: string,
    password: string,
    { address, right }: { address: string; right: users.SignupGrant },
  ): Promise<users.User> {
    const key = nameKey(name);
    if (right !== "first admin" && isReserved(name)) throw new ChatError("name_reserved");
    const isFree = this.#limits.beginNaming(address);
    if (await users.find(this.#db, key)) throw new ChatError("name_taken");
    if (await users.findLookalike(this.#db, name)) throw new ChatError("name_similar");
    isFree();
    const giveBack = this.#limits.beginSignUp(address);
    try {
      const phc = await this.#hashing.pass(turnOf("unknown", address, key), () => hashPassword(password));
      const account = { username: name, nameKey: key, searchKey: searchKey(name), password: phc };
      return await users.create(this.#db, account, right);
    } catch (error) {
      if (!(error instanceof ChatError && NAME_LOST.has(error.code))) giveBack();
      throw error;
    }
  }

  /** As `#verify`, as often as the limits allow: only a failure costs. @throws ChatError `rate_limited`, `busy` */
  async #try(attempt: Attempt, password: string): Promise<users.User | undefined> {
    const giveBack = this.#limits.beginLogin(attempt);
    const user = await this.#verify(attempt, password).catch((error: unknown) => {
      giveBack();
      throw error;
    });
    if (user) giveBack();
    return user;
  }

  /** Whose name and password these are, undefined when nobody's, or nobody's any more. */
  async #verify({ nameKey, address, device }: Attempt, password: string): Promise<users.User | undefined> {
    const turn = turnOf(device === undefined ? "unknown" : "known", address, nameKey);
    // The look-up too: whoever is told that it is too busy has cost PostgreSQL nothing.
    const user = await this.#hashing.pass(turn, async () => {
      for (;;) {
        const user = nameKey === "" ? undefined : await users.find(this.#db, nameKey);
        const verdict = await verifyPassword(password, user?.password);
        if (verdict === "wrong" || !user || user.disabled) return undefined;
        if (verdict === "right") return user;
        const renewed = await hashPassword(password);
        if (await users.renewHash(this.#db, user, renewed)) return { ...user, password: renewed };
        // else another login renewed it first
      }
    });
    if (!user) this.#failures.add();
    return user;
  }

  /** A new session, with a new token: one given before the login dies with it. @throws ChatError `wrong_login` */
  async #enter(request: Request, user: users.User, address: string): Promise<Response> {
    const before = await this.find(request);
    const token = newToken();
    const agent = request.headers.get("user-agent")?.toWellFormed().replaceAll("\0", "").slice(0, AGENT_MAX) ?? null;
    if (!(await sessions.start(this.#db, user, hashToken(token), { agent, address })))
      throw new ChatError("wrong_login");
    // mutation: no fixation
    if (before) await sessions.end(this.#db, before.id);
    // A statement of its own, after the commit: of many logins at once the last one sees all sessions.
    const key = nameKey(user.username);
    for (const id of await sessions.endSurplus(this.#db, user.id, SESSIONS_MAX)) this.#ended({ id, nameKey: key });
    if (before) this.#ended(before); // last: its page asks who is signed in, and is to have the new cookie by then
    const device = this.#cookies.setDevice(request, { nameKey: key, password: user.password });
    return redirect("/", this.#cookies.setSession(request, token), device);
  }

  /** The device by which an account knows the browser, undefined when it does not. Only a cookie that we signed for the account costs a query. */
  async #deviceOf(request: Request, nameKey: string): Promise<string | undefined> {
    const device = this.#cookies.device(request, nameKey);
    if (!device) return undefined;
    const user = await users.find(this.#db, nameKey);
    return user && device.fits(user.password) ? device.id : undefined;
  }

  /** Finds sessions, and has noted that they are used. */
  async #lookUp(tokenHashes: readonly string[], renewals: SessionRenewals): Promise<(Session | undefined)[]> {
    const found = await sessions.findMany(this.#db, tokenHashes);
    for (const one of found) if (one?.isDue) renewals.note(one.session.id);
    return found.map((one) => one?.session);
  }

  /** Whether a request brings a session that is no more: signing out takes the cookie away, ending it from elsewhere cannot. */
  async #hasEnded(request: Request): Promise<boolean> {
    if (!this.#cookies.session(request)) return false;
    return this.find(request).then(
      (session) => session === undefined,
      () => false, // the form needs no database
    );
  }

  #again(name: "login" | "signup", form: FormValues, error: unknown): Response {
    if (!(error instanceof ChatError)) throw error;
    if (NO_SIGNUP.has(error.code)) return this.#pages.form("no_signup", {}, { field: "why", error });
    const fields: Partial<Record<string, "username" | "password">> = {
      bad_name: "username",
      name_taken: "username",
      name_similar: "username",
      name_reserved: "username",
      bad_password: "password",
    };
    const { password: _, ...values } = form; // never sent back
    return this.#pages.form(name, values, { field: fields[error.code] ?? "form", error });
  }
}

/**
 * The path on which a hash waits (`FairQueue`): whoever has a /32, as hosting companies do, has 65,536 of the /48. Devices that the account knows have every second turn, however many strangers come. The name
 * last: behind a proxy that is not trusted everybody has one address.
 */
function turnOf(who: "known" | "unknown", address: string, nameKey: string): readonly string[] {
  return [who, ...[32, 48, 56].map((bits) => countedBy(address, bits)), nameKey];
}

/** Whether a page's script asks, which shows an error itself, and not a browser that shows the answer. */
function isForScript(request: Request): boolean {
  const accept = request.headers.get("accept") ?? "";
  return accept.includes("application/json") && !accept.includes("text/html");
}

interface FormValues extends SignupCredentials {
  readonly username: string;
  readonly password: string;
}

/** @throws ChatError `unsupported_type`, `too_large` */
async function readForm(request: Request): Promise<FormValues> {
  const form = new URLSearchParams(await readBody(request, "application/x-www-form-urlencoded"));
  const value = (name: string) => form.get(name) ?? "";
  return { username: value("username"), password: value("password"), invite: value("invite"), code: value("code") };
}

export function redirect(to: string, ...cookies: string[]): Response {
  const headers = new Headers({ ...HEADERS, Location: to, "Cache-Control": "no-store" });
  for (const cookie of cookies) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 302, headers });
}
