/**
 * Reads and writes the two cookies: the session and the known device. Over https they are `Secure`
 * and have other names.
 */

import {
  DEVICE_COOKIE,
  DEVICE_COOKIE_DAYS,
  type KnownDevice,
  KnownDevices,
  SECURE_DEVICE_COOKIE,
} from "../accounts/known_devices.ts";
import { COOKIE, SECURE_COOKIE, sign, type SignedToken, verify } from "../accounts/session_cookie.ts";
import type { Request } from "./request.ts";
import { isSecure, type Trust } from "./trust.ts";

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

  /** The session token, or undefined without a validly signed cookie. */
  session(request: Request): SignedToken | undefined {
    const value = this.#read(request, COOKIE, SECURE_COOKIE);
    return value === null ? undefined : verify(value, this.#secrets);
  }

  /** @returns a `Set-Cookie` */
  setSession(request: Request, token: string): string {
    const value = sign(token, this.#secrets[0] as string);
    return this.#write(request, this.#isSecure(request) ? SECURE_COOKIE : COOKIE, value, SESSION_DAYS);
  }

  /** Deletes the session cookie. @returns a `Set-Cookie` */
  clearSession(request: Request): string {
    return this.#write(request, this.#isSecure(request) ? SECURE_COOKIE : COOKIE, "", 0);
  }

  /** The browser's signed claim to be a device known to this account, or undefined. */
  device(request: Request, nameKey: string): KnownDevice | undefined {
    return this.#devices.find(this.#read(request, DEVICE_COOKIE, SECURE_DEVICE_COOKIE), nameKey);
  }

  /**
   * Makes the browser a known device of an account.
   *
   * @param account.password the PHC string
   * @returns a `Set-Cookie`
   */
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
