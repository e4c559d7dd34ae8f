/** The two cookies of a browser, of its session and of its being known to accounts: read, and written as the way to the browser asks. */

import {
  DEVICE_COOKIE,
  DEVICE_COOKIE_DAYS,
  type KnownDevice,
  KnownDevices,
  SECURE_DEVICE_COOKIE,
} from "../accounts/known_devices.ts";
import { COOKIE, SECURE_COOKIE, sign, type SignedToken, verify } from "../accounts/session_cookie.ts";
import { isSecure, type Request, type Trust } from "./request.ts";

const SESSION_DAYS = 30;
const DAY_SECONDS = 86_400;

export class Cookies {
  readonly #secrets: readonly string[];
  readonly #trust: Trust;
  readonly #devices: KnownDevices;

  /** @param parts.secrets the first signs, all verify */
  constructor({ secrets, trust }: { secrets: readonly string[]; trust: Trust }) {
    this.#secrets = secrets;
    this.#trust = trust;
    this.#devices = new KnownDevices(secrets);
  }

  /** The session's token, undefined without a cookie that we signed. */
  session(request: Request): SignedToken | undefined {
    const value = this.#read(request, COOKIE, SECURE_COOKIE);
    return value === null ? undefined : verify(value, this.#secrets);
  }

  /** Gives the browser a session. @returns a `Set-Cookie` */
  setSession(request: Request, token: string): string {
    const value = sign(token, this.#secrets[0] as string);
    return this.#write(request, this.#isSecure(request) ? SECURE_COOKIE : COOKIE, value, SESSION_DAYS);
  }

  /** Takes the session's cookie back. @returns a `Set-Cookie` */
  clearSession(request: Request): string {
    return this.#write(request, this.#isSecure(request) ? SECURE_COOKIE : COOKIE, "", 0);
  }

  /** What says that an account may know the browser, undefined when nothing does. */
  device(request: Request, nameKey: string): KnownDevice | undefined {
    return this.#devices.find(this.#read(request, DEVICE_COOKIE, SECURE_DEVICE_COOKIE), nameKey);
  }

  /** Makes the browser known to an account. @param account.password the PHC string @returns a `Set-Cookie` */
  setDevice(request: Request, account: { nameKey: string; password: string }): string {
    const value = this.#devices.add(this.#read(request, DEVICE_COOKIE, SECURE_DEVICE_COOKIE), account);
    const name = this.#isSecure(request) ? SECURE_DEVICE_COOKIE : DEVICE_COOKIE;
    return this.#write(request, name, value, DEVICE_COOKIE_DAYS);
  }

  #read(request: Request, name: string, secureName: string): string | null {
    return request.cookies.get(this.#isSecure(request) ? secureName : name);
  }

  #write(request: Request, name: string, value: string, days: number): string {
    const secure = this.#isSecure(request) ? "; Secure" : "";
    return `${name}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${days * DAY_SECONDS}${secure}`;
  }

  #isSecure(request: Request): boolean {
    return isSecure(request, this.#trust);
  }
}
