/** Classifies failures by SQLSTATE, severity and the driver's codes. */

import { ConnectionError } from "./tls.ts";

/**
 * The driver's codes, ours for a missed deadline, and 25006: a failover made a primary read-only.
 */
const LOST = /^(CONNECT|DEADLINE|08|25006)/;

/**
 * PostgreSQL accepts no new connection: too many (53), a changed password (28), a missing database
 * or privilege (3D, 42). Open connections still work; replacing the pool would reconnect all of it
 * for each query (measured: 700 refused attempts per second from one pod).
 */
const REFUSED = /^(53|28|3D|42)/;
/** A lock (4 s) or the work itself (5 s) took too long; nothing was stored. */
const TIMEOUT_CODES: Readonly<Record<string, string>> = {
  "55P03": "database: lock timeout",
  "57014": "database: statement timeout",
};

/** SQLSTATE insufficient_privilege. */
const INSUFFICIENT_PRIVILEGE = "42501";

/** Whether the connection was lost or refused; the outcome of the statement is unknown. */
export function isLost(error: unknown): boolean {
  return error instanceof ConnectionError || isFatal(error) || LOST.test(codeOf(error));
}

/** Whether PostgreSQL ended the session or rejected it. */
export function isFatal(error: unknown): boolean {
  return error instanceof Error && "severity" in error && /^(FATAL|PANIC)$/.test(String(error.severity));
}

/** Whether PostgreSQL canceled a statement at a lock or statement timeout. A retry may succeed. */
export function isTimeout(error: unknown): boolean {
  return codeOf(error) in TIMEOUT_CODES;
}

/** Log event for a failure that is not the statement's fault, after which nothing is stored. */
export function environmentFailureOf(error: unknown): string | undefined {
  const code = codeOf(error);
  if (code === INSUFFICIENT_PRIVILEGE) return "database: the role lacks a privilege";
  return TIMEOUT_CODES[code] ?? (/^5[38]/.test(code) ? "database: out of disk, memory or another resource" : undefined);
}

/** The SQLSTATE or system error code of a failure, "" when it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** A conflict between pods (deadlock, serialization failure). Nothing was stored. */
export function isConflict(error: unknown): boolean {
  return codeOf(error) === "40P01" || codeOf(error) === "40001";
}

/** Whether PostgreSQL accepts no new connection although open ones may still work. */
export function isRefused(error: unknown): boolean {
  return isFatal(error) && REFUSED.test(codeOf(error));
}
