/**
 * Checks that log lines contain no secrets or messages: tests note secrets as they use them, every logged line is kept, and all
 * lines are searched for all secrets when a server stops and at the end of a file.
 *
 * A secret is searched by its first 24 characters, since a log may truncate it, in the line and in its decoded JSON. Secrets of
 * fewer than 8 characters and messages of one plain word are skipped, since they occur by chance. A message matches at word
 * boundaries only.
 */

import { Log } from "../../src/log.ts";
import { hashToken } from "../../src/util/token.ts";

const LEAST = 8;
const MOST = 24;
const TOLD_MAX = 5;

type Kind = "message" | "password" | "cookie" | "secret";

export class LogSearch {
  /** Secrets in the searched form, by their first characters. */
  readonly #byStart = new Map<string, Map<string, Kind>>();
  readonly #lines: string[] = [];
  #searched = 0;

  /** @example search.note("password", "correct horse battery") */
  note(kind: Kind, text: string): void {
    if (kind === "message" && /^\p{L}*$/u.test(text)) return;
    const forms =
      kind === "message"
        ? [text]
        : [text, encodeURIComponent(text.toWellFormed()), `${new URLSearchParams({ "": text })}`.slice(1)];
    for (const form of forms.map(calm)) {
      if (form.length < LEAST) continue;
      const start = form.slice(0, LEAST);
      let whole = this.#byStart.get(start);
      if (!whole) this.#byStart.set(start, (whole = new Map()));
      whole.set(form.slice(0, MOST), kind);
    }
  }

  /** A session cookie, as `name=token.signature` or its value: no part may appear, nor its hash in the table. */
  noteCookie(cookie: string): void {
    const [token = "", signature = ""] = cookie.slice(cookie.indexOf("=") + 1).split(".");
    for (const part of [token, signature, token && hashToken(token)]) this.note("cookie", part);
  }

  /** A setting such as `SESSION_SECRET`, or an address with a password in it. */
  noteSetting(name: string, value: string): void {
    if (/_SECRET$|_TOKEN$/.test(name)) for (const one of value.split(/[\s,]+/)) this.note("secret", one);
    const { password = "" } = URL.parse(value) ?? {};
    this.note("password", password);
    if (!/%(?![\da-f]{2})/i.test(password)) this.note("password", decodeURIComponent(password));
  }

  /** Keeps lines that a server logged. */
  hear(logged: string): void {
    for (const line of logged.split("\n")) if (line.trim() !== "") this.#lines.push(line);
  }

  /** Searches the lines since the last search. @param options.again all lines @throws Error with the lines that contain a secret, censored */
  check(options: { again?: boolean } = {}): void {
    const from = options.again ? 0 : this.#searched;
    this.#searched = this.#lines.length;
    const found = this.#lines.slice(from).flatMap((line) => this.#censored(line) ?? []);
    if (found.length === 0) return;
    const told = found.slice(0, TOLD_MAX).join("\n  ");
    throw new Error(`${found.length} log lines contain secrets:\n  ${told}`);
  }

  /** The line with its secrets censored, or undefined if it has none. */
  #censored(line: string): string | undefined {
    for (const text of [calm(line), calm(decoded(line))]) {
      let rest = "";
      let at = 0;
      for (let i = 0; i + LEAST <= text.length; i++) {
        for (const [secret, kind] of this.#byStart.get(text.slice(i, i + LEAST)) ?? []) {
          if (i < at || !text.startsWith(secret, i) || (kind === "message" && !standsAlone(text, i, secret))) continue;
          rest += `${text.slice(at, i)}‹${kind}›`;
          at = i + secret.length;
        }
      }
      if (at > 0) return rest + (text.length > at ? "…" : ""); // what follows may be the rest of a secret
    }
    return undefined;
  }
}

/** White space as one space: a log may break lines. */
function calm(text: string): string {
  return text.replace(/\s+/g, " ");
}

/** The texts of a JSON line, as they were before they became JSON. */
function decoded(line: string): string {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? Object.values(value).map(String).join("\n") : "";
  } catch {
    return "";
  }
}

/** Whether no letter or digit adjoins the part, except after a truncated one. */
function standsAlone(text: string, at: number, part: string): boolean {
  const isWord = (character: string) => /[\p{L}\p{N}_]/u.test(character);
  if (isWord(text.charAt(at - 1)) && isWord(part)) return false;
  return part.length === MOST || !isWord(text.charAt(at + part.length));
}

/** Of the whole run. */
export const logs = new LogSearch();

/** Records every line of every `Log` of this process, of any level. */
export function hearLogs(): void {
  const recorder = new Log({ level: "debug", format: "json", write: (line) => logs.hear(line) });
  const { debug, info, warn, error } = Log.prototype;
  for (const [name, own] of Object.entries({ debug, info, warn, error })) {
    Object.assign(Log.prototype, {
      [name](this: Log, ...event: unknown[]): void {
        Reflect.apply(own, this, event);
        Reflect.apply(own, recorder, event);
      },
    });
  }
}
