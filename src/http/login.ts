/**
 * Login, sign-up, logout and password change. Sessions are in sessions.ts, hashing and its limits
 * in passwords.ts.
 */

import type { LoginLimits } from "../accounts/login_limits.ts";
import { isReserved } from "../accounts/reserved_names.ts";
import type { SignupCredentials, SignupPolicy } from "../accounts/signup_policy.ts";
import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError, type ErrorCode } from "../errors.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import { checkPassword } from "../util/password.ts";
import { checkName, keyOfReference, nameKey, searchKey } from "../util/text.ts";
import type { Cookies } from "./cookies.ts";
import type { Pages } from "./pages.ts";
import { urlOf } from "./parameters.ts";
import type { Passwords } from "./passwords.ts";
import { errorResponse, readBody, redirect, type Request } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import { checkOrigin, clientAddress, type Trust } from "./trust.ts";

/** Everything but cookies. Browsers honor it in secure contexts only (`isSecureContext`). */
export const CLEAR_SITE_DATA = '"cache", "storage"';
/**
 * Makes the login page erase unsent texts after a logout, also in browsers that ignore
 * `Clear-Site-Data` and in tabs that were still open. When a session ends in any other way, unsent
 * texts are kept.
 */
const SIGNED_OUT_COOKIE = "chatify_signed_out=1; Path=/; SameSite=Lax; Max-Age=86400";
/** Makes the login form say that the session has ended. */
const SESSION_ENDED = { ended: "true" } as const;
/** Rejections after which submitting the form again cannot help. */
const NO_SIGNUP: ReadonlySet<string> = new Set(["signup_closed", "invite_needed", "invite_used"] satisfies ErrorCode[]);
/** Raised for a name that is not free, also by the insert if a concurrent sign-up took it meanwhile. */
const NAME_LOST: ReadonlySet<string> = new Set(["name_taken", "name_similar"] satisfies ErrorCode[]);
/** The form field beside which an error is shown; all others belong to the form as a whole. */
const FIELDS: Partial<Record<string, "username" | "password">> = {
  bad_name: "username",
  name_taken: "username",
  name_similar: "username",
  name_reserved: "username",
  bad_password: "password",
};

export class Login {
  readonly #db: Database;
  readonly #sessions: Sessions;
  readonly #passwords: Passwords;
  readonly #cookies: Cookies;
  readonly #pages: Pages;
  readonly #signupPolicy: SignupPolicy;
  readonly #trust: Trust;
  readonly #limits: LoginLimits | undefined;
  readonly #presence: PresenceSubscriptions;
  readonly #bus: Bus;

  constructor(parts: {
    db: Database;
    sessions: Sessions;
    passwords: Passwords;
    cookies: Cookies;
    pages: Pages;
    signupPolicy: SignupPolicy;
    trust: Trust;
    limits: LoginLimits | undefined;
    presence: PresenceSubscriptions;
    bus: Bus;
  }) {
    this.#db = parts.db;
    this.#sessions = parts.sessions;
    this.#passwords = parts.passwords;
    this.#cookies = parts.cookies;
    this.#pages = parts.pages;
    this.#signupPolicy = parts.signupPolicy;
    this.#trust = parts.trust;
    this.#limits = parts.limits;
    this.#presence = parts.presence;
    this.#bus = parts.bus;
  }

  async loginPage(request: Request): Promise<Response> {
    const ended = await this.#sessions.hasEnded(request);
    return ended ? this.#pages.form("login", SESSION_ENDED) : this.#pages.page(request, "login");
  }

  /** The sign-up form, or why this visitor cannot sign up. */
  async signUpPage(request: Request): Promise<Response> {
    const query = request.url.includes("?") ? urlOf(request).searchParams : undefined;
    const credentials = { invite: query?.get("invite") ?? "", code: query?.get("code") ?? "" };
    // The code is checked on submit.
    if (credentials.code !== "") return this.#pages.form("signup", credentials);
    if (credentials.invite === "" || this.#signupPolicy.signup !== "invite") return this.#pages.page(request, "signup");
    try {
      await this.#signupPolicy.grantFor(credentials);
      return this.#pages.form("signup", credentials);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      return this.#pages.form("no_signup", {}, { field: "why", error }, 200);
    }
  }

  async signUp(request: Request): Promise<Response> {
    // Before any await: a closed connection has no address.
    const address = clientAddress(request, this.#trust);
    const form = await readForm(request);
    const { username, password } = form;
    try {
      const grant = await this.#signupPolicy.grantFor(form);
      const name = checkName(username);
      checkPassword(password);
      const user = await this.#create(name, password, { address, grant });
      this.#presence.announceSignup(user.username);
      this.#bus.publish([{ kind: "user", username: user.username }]);
      return await this.#enter(request, user, address);
    } catch (error) {
      if (error instanceof ChatError && isForScript(request)) return errorResponse(error);
      return this.#formAgain("signup", form, error);
    }
  }

  async logIn(request: Request): Promise<Response> {
    const address = clientAddress(request, this.#trust);
    const form = await readForm(request);
    const { username, password } = form;
    try {
      const nameKey = keyOfReference(username) ?? "";
      const attempt = { nameKey, address, device: await this.#knownDevice(request, nameKey) };
      this.#limits?.checkSuccessfulLogins(attempt);
      const user = await this.#passwords.authenticate(attempt, password);
      if (!user) throw new ChatError("wrong_login");
      this.#limits?.chargeSuccessfulLogin(attempt);
      return await this.#enter(request, user, address);
    } catch (error) {
      return this.#formAgain(
        "login",
        (await this.#sessions.hasEnded(request)) ? { ...form, ...SESSION_ENDED } : form,
        error,
      );
    }
  }

  /**
   * Ends the session of the request on every pod and clears what the browser stores for this site.
   * `HEAD` changes nothing.
   */
  async logOut(request: Request): Promise<Response> {
    checkOrigin(request, this.#trust); // GET too: a link on another site must not log users out
    if (request.method === "HEAD") return redirect("/login");
    const session = await this.#sessions.find(request);
    if (session) await this.#sessions.end(session);
    const response = redirect("/login", this.#sessions.clearCookie(request));
    response.headers.set("Clear-Site-Data", CLEAR_SITE_DATA);
    if (request.headers.get("accept")?.includes("text/html")) response.headers.append("Set-Cookie", SIGNED_OUT_COOKIE);
    return response;
  }

  /**
   * Stores a new password, ends the user's other sessions and forgets all other known devices.
   *
   * @param options.password one that `checkPassword` accepts
   * @returns a `Set-Cookie` that makes this browser a known device
   */
  async changePassword(
    request: Request,
    me: Session,
    { password, address }: { password: string; address: string },
  ): Promise<string> {
    const phc = await this.#passwords.hash(password, { device: "known", address, nameKey: me.nameKey });
    await users.setPassword(this.#db, me.userId, phc);
    await this.#sessions.endOthers(me);
    return this.#cookies.setDevice(request, { nameKey: me.nameKey, password: phc });
  }

  /** Only a sign-up under a free name is hashed and counted. */
  async #create(
    name: string,
    password: string,
    { address, grant }: { address: string; grant: users.SignupGrant },
  ): Promise<users.User> {
    const key = nameKey(name);
    if (grant !== "firstAdmin" && isReserved(name)) throw new ChatError("name_reserved");
    const refundName = this.#limits?.beginNameCheck(address);
    await this.#checkFree(name).catch((error: unknown) => {
      if (!isNameLost(error)) refundName?.();
      throw error;
    });
    refundName?.();
    const refund = this.#limits?.beginSignUp(address);
    try {
      const phc = await this.#passwords.hash(password, { device: "unknown", address, nameKey: key });
      const account = { username: name, nameKey: key, searchKey: searchKey(name), password: phc };
      return await users.create(this.#db, account, grant);
    } catch (error) {
      if (!isNameLost(error)) refund?.();
      throw error;
    }
  }

  /** @throws ChatError `name_taken`, `name_similar` */
  async #checkFree(name: string): Promise<void> {
    if (await users.find(this.#db, nameKey(name))) throw new ChatError("name_taken");
    if (await users.findLookalike(this.#db, name)) throw new ChatError("name_similar");
  }

  async #enter(request: Request, user: users.User, address: string): Promise<Response> {
    const session = await this.#sessions.start(request, user, address);
    const device = this.#cookies.setDevice(request, { nameKey: nameKey(user.username), password: user.password });
    return redirect("/", session, device);
  }

  /**
   * Id of the browser if the account knows it. Only a cookie that we signed for this account costs
   * a query.
   */
  async #knownDevice(request: Request, nameKey: string): Promise<string | undefined> {
    const device = this.#cookies.device(request, nameKey);
    if (!device) return undefined;
    const user = await users.find(this.#db, nameKey);
    return user && device.matchesPassword(user.password) ? device.id : undefined;
  }

  #formAgain(name: "login" | "signup", form: FormValues, error: unknown): Response {
    if (!(error instanceof ChatError)) throw error;
    if (NO_SIGNUP.has(error.code)) return this.#pages.form("no_signup", {}, { field: "why", error });
    const { password: _, ...values } = form; // never sent back
    return this.#pages.form(name, values, { field: FIELDS[error.code] ?? "form", error });
  }
}

/**
 * Whether the page's script sent the form and shows errors itself, instead of the browser showing
 * the response.
 */
function isForScript(request: Request): boolean {
  const accept = request.headers.get("accept") ?? "";
  return accept.includes("application/json") && !accept.includes("text/html");
}

function isNameLost(error: unknown): boolean {
  return error instanceof ChatError && NAME_LOST.has(error.code);
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
