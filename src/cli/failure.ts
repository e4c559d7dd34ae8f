/** Exit codes, and the message and code for each error that ends the process. */

import { errorTrace } from "../log.ts";
import { COMMANDS_HELP } from "./arguments.ts";

export const EXIT = {
  ok: 0,
  bug: 1,
  usage: 2,
  packages: 3,
  database: 4,
  port: 5,
  rejected: 6,
  interrupted: 130,
} as const;

/** By name, since the modules that define these errors may not be loaded: they need packages. */
const CODES: Readonly<Record<string, number>> = {
  PackagesError: EXIT.packages,
  PortError: EXIT.port,
  DatabaseError: EXIT.database,
  EmbeddedError: EXIT.database,
  ChatError: EXIT.database,
  UsageError: EXIT.usage,
  RejectedError: EXIT.rejected,
  InterruptedError: EXIT.interrupted,
};

/**
 * What to print and how to exit. Unexpected errors keep their stack.
 *
 * @param port the configured port
 */
export function describeFailure(error: unknown, port: number): { text: string; code: number } {
  const name = error instanceof Error ? error.name : "";
  const code = CODES[name];
  const message = error instanceof Error ? error.message : String(error);
  if (code === undefined) {
    return { text: `chatify failed with an unexpected error:\n${errorTrace(error)}`, code: EXIT.bug };
  }
  if (name === "PortError") return { text: `${message}\n${portAdvice(error, port)}`, code };
  if (name === "UsageError") return { text: `${message}.\n\nCommands\n${COMMANDS_HELP}`, code };
  if (name === "ChatError") return { text: "PostgreSQL stopped responding. The command may have taken effect", code };
  return { text: message, code };
}

function portAdvice(error: unknown, port: number): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : "";
  if (code === "EADDRINUSE") {
    const other = port === 65_535 ? 8080 : port + 1;
    return `Another program, or another chatify, is using it. Stop that one, or choose another port: PORT=${other}`;
  }
  if (code === "EACCES") return "Ports below 1024 need root. Choose another: PORT=8000";
  return "HOST must be an address of this machine: 0.0.0.0 for all of them (:: with IPv6), 127.0.0.1 for local clients only";
}
