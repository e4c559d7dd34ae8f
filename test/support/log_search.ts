/**
 * Nothing personal in a log line: what is secret is noted as the tests use it, every line that one of their servers logs is kept, and every line is searched for
 * every secret, when a server stops and when all tests have run.
 *
 * A secret is looked for by its first 24 characters, since a log may cut it, in the line as it is and in its JSON read back. Of fewer than 8 characters it is
 * not looked for, a message not if it is one plain word either: such turn up by chance. A message counts only from the edge of a word.
 */

import { Log } from "../../src/log.ts";
import { hashToken } from "../../src/util/token.ts";

const LEAST = 8;
const MOST = 24;
const TOLD_MAX = 5;

type Kind = "message" | "password" | "cookie" | "secret";

export class LogSearch {
  /** Secrets as they are looked for, by their first characters. */
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

  /** A session cookie, as `name=token.signature` or its value: of no part anything may be told, nor what the table keeps of it. */
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

  /** Keeps what a server logged: a line or many. */
  hear(logged: string): void {
    for (const line of logged.split("\n")) if (line.trim() !== "") this.#lines.push(line);
  }

  /** Searches the lines that came since the last search. @param options.again all of them @throws Error that names lines with a secret, which it leaves out */
  check(options: { again?: boolean } = {}): void {
    const from = options.again ? 0 : this.#searched;
    this.#searched = this.#lines.length;
    const found = this.#lines.slice(from).flatMap((line) => this.#censored(line) ?? []);
    if (found.length === 0) return;
    const told = found.slice(0, TOLD_MAX).join("\n  ");
    throw new Error(`${found.length} lines of the log hold what nobody may read there:\n  ${told}`);
  }

  /** A line with its secrets left out, undefined when there is none. */
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

/** Whether neither a letter nor a digit touches a text; after one that was cut anything may. */
function standsAlone(text: string, at: number, part: string): boolean {
  const isWord = (character: string) => /[\p{L}\p{N}_]/u.test(character);
  if (isWord(text.charAt(at - 1)) && isWord(part)) return false;
  return part.length === MOST || !isWord(text.charAt(at + part.length));
}

/** Of the whole run. */
export const logs = new LogSearch();

/** Lets `logs` hear every line of every `Log` of this process, whatever its level. */
export function hearLogs(): void {
  const ear = new Log({ level: "debug", format: "json", write: (line) => logs.hear(line) });
  const { debug, info, warn, error } = Log.prototype;
  for (const [name, own] of Object.entries({ debug, info, warn, error })) {
    Object.assign(Log.prototype, {
      [name](this: Log, ...event: unknown[]): void {
        Reflect.apply(own, this, event);
        Reflect.apply(own, ear, event);
      },
    });
  }
}
