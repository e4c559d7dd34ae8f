/** One line per event, as text on a terminal and JSON otherwise. Never given message texts, passwords, cookies or tokens. */

export type LogLevel = "debug" | "info" | "warn" | "error";
export type Fields = Record<string, string | number | boolean | null | undefined>;

const ORDER: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Where events go. `write` gets whole lines, newline included. */
export class Log {
  #least: number;
  #format: "text" | "json";
  #write: (line: string) => void;

  constructor(options: { level: LogLevel; format: "text" | "json"; write: (line: string) => void }) {
    this.#least = ORDER[options.level];
    this.#format = options.format;
    this.#write = options.write;
  }

  debug(event: string, fields: Fields = {}): void {
    this.#line("debug", event, fields);
  }

  info(event: string, fields: Fields = {}): void {
    this.#line("info", event, fields);
  }

  warn(event: string, fields: Fields = {}): void {
    this.#line("warn", event, fields);
  }

  /** `error`'s stack is kept when given: whatever lands here is a bug or a broken surrounding. */
  error(event: string, error?: unknown, fields: Fields = {}): void {
    this.#line("error", event, error === undefined ? fields : { ...fields, error: errorTrace(error) });
  }

  #line(level: LogLevel, event: string, fields: Fields): void {
    if (ORDER[level] < this.#least) return;
    const at = new Date().toISOString();
    if (this.#format === "json") return this.#write(`${JSON.stringify({ at, level, event, ...fields })}\n`);
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    const rest = given.map(([key, value]) => ` ${key}=${text(value)}`);
    this.#write(`${at.slice(11, 19)} ${level === "info" ? "" : `${level} `}${event}${rest.join("")}\n`);
  }
}

/** Quoted where a reader could stumble. Further lines, as of a stack, are indented: none can pass for an event of its own. */
function text(value: Fields[string]): string {
  if (typeof value !== "string") return String(value);
  const lines = value.split(/\r\n|[\n\r\u2028\u2029]/).map((line) => line.replace(/\p{Cc}/gu, " "));
  if (lines.length > 1) return lines.join("\n    ");
  return /[\s"=\p{Cc}]/u.test(value) ? JSON.stringify(value) : value;
}

/** An error with its stack and code. */
export function errorTrace(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${withoutQuotes(error, error.stack ?? `${error.name}: ${error.message}`)}${codeOf(error)}`;
}

/** An error in one line, for a surrounding that is known to break. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${withoutQuotes(error, `${error.name}: ${error.message}`)}${codeOf(error)}`;
}

function codeOf(error: Error): string {
  return "code" in error ? ` [${String(error.code)}]` : "";
}

/** Codes of errors that quote a value: PostgreSQL's data exceptions (`invalid input syntax for type bigint: "…"`), and checks of arguments. */
const QUOTING = /^ \[(22...\]|ERR_INVALID_)/;

/** Leaves out the message of errors that quote what they met, as parsers do too. Never logged: `detail`, in which PostgreSQL puts whole rows. */
function withoutQuotes(error: Error, words: string): string {
  const quotes = error instanceof SyntaxError || QUOTING.test(codeOf(error));
  return quotes && error.message !== "" ? words.replace(error.message, () => "(left out: it may quote)") : words;
}
