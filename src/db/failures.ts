/** Classifies failures of statements and connections by SQLSTATE, severity and the driver's own codes. */

import { ConnectionError } from "./tls.ts";

/** The driver's codes (`CONNECT…`), ours for a missed deadline, and 25006: the former primary is read-only now, so the address leads elsewhere. */
const LOST = /^(CONNECT|DEADLINE|08|25006)/;

/**
 * PostgreSQL accepts no new connection: too many (53), a changed password (28), a missing database or privilege (3D, 42). The pool's open
 * connections still work; replacing it would request all of its connections at once, again for every query (measured: 700 attempts a second
 * from one pod, all of them refused).
 */
const REFUSED = /^(53|28|3D|42)/;
/** A lock (4 s) or the work itself (5 s) took too long; nothing was stored. */
const HELD_UP: Readonly<Record<string, string>> = {
  "55P03": "database: a lock was waited for in vain",
  "57014": "database: a statement took too long",
};

/** A right was revoked. */
const NO_RIGHT = "42501";

/** True when the connection is gone or the server cannot take one now: nothing is known of what was under way. */
export function isLost(error: unknown): boolean {
  return error instanceof ConnectionError || isFatal(error) || LOST.test(codeOf(error));
}

/** Whether PostgreSQL ended the session or refused to start one. */
export function isFatal(error: unknown): boolean {
  return error instanceof Error && "severity" in error && /^(FATAL|PANIC)$/.test(String(error.severity));
}

/** Whether PostgreSQL gave a statement up because of a lock, or of its time. Trying again may help. */
export function isHeldUp(error: unknown): boolean {
  return codeOf(error) in HELD_UP;
}

/** Log event for a failure that the statement did not cause; undefined for any other. Nothing was stored. */
export function hindranceOf(error: unknown): string | undefined {
  const code = codeOf(error);
  if (code === NO_RIGHT) return "database: the role lacks a right";
  return HELD_UP[code] ?? (/^5[38]/.test(code) ? "database: out of disk, memory or another resource" : undefined);
}

/** The SQLSTATE or system error code of a failure, "" when it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Two pods in each other's way (deadlock, serialization): neither stored anything, so trying again is right. */
export function isConflict(error: unknown): boolean {
  return codeOf(error) === "40P01" || codeOf(error) === "40001";
}

/** Whether PostgreSQL accepts no new connection although open ones may still work. */
export function isRefused(error: unknown): boolean {
  return isFatal(error) && REFUSED.test(codeOf(error));
}
