/**
 * One line per event, as text or JSON. Callers never pass message texts, passwords, cookies or
 * tokens.
 */

export type LogLevel = "debug" | "info" | "warn" | "error";
export type Fields = Record<string, string | number | boolean | null | undefined>;

const ORDER: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export class Log {
  #least: number;
  #format: "text" | "json";
  #write: (line: string) => void;

  /** @param options.write receives whole lines with their newline */
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

  /** For bugs and a broken environment. Logs the stack of `error`. */
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

/**
 * Quotes ambiguous values and indents further lines, as of a stack, so that none can pass for an
 * event.
 */
function text(value: Fields[string]): string {
  if (typeof value !== "string") return String(value);
  const lines = value.split(/\r\n|[\n\r\u2028\u2029]/).map((line) => line.replace(/\p{Cc}/gu, " "));
  if (lines.length > 1) return lines.join("\n    ");
  return /[\s"=\p{Cc}]/u.test(value) ? JSON.stringify(value) : value;
}

/** An error with its stack and code. */
export function errorTrace(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${withoutQuotes(error, error.stack ?? `${error.name}: ${error.message}`)}${codeSuffix(error)}`;
}

/** An error in one line, for expected failures of the environment. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${withoutQuotes(error, `${error.name}: ${error.message}`)}${codeSuffix(error)}`;
}

function codeSuffix(error: Error): string {
  return "code" in error ? ` [${String(error.code)}]` : "";
}

/**
 * Codes of errors that quote a value: PostgreSQL data exceptions
 * (`invalid input syntax for type bigint: "…"`) and argument checks.
 */
const QUOTING = /^ \[(22...\]|ERR_INVALID_)/;

/**
 * Omits messages that quote their input, as those of parsers do. `detail`, where PostgreSQL quotes
 * whole rows, is never logged.
 */
function withoutQuotes(error: Error, text: string): string {
  const quotes = error instanceof SyntaxError || QUOTING.test(codeSuffix(error));
  return quotes && error.message !== "" ? text.replace(error.message, () => "(omitted: may quote input)") : text;
}
