/** Taking the port, before there is anything to serve. */

import type { SocketData } from "../chat/socket.ts";
import type { Config } from "../config.ts";
import { ChatError } from "../errors.ts";
import { failure, json } from "./request.ts";

const BODY_MAX_BYTES = 16 * 1024;
/** Whoever sends nothing and reads nothing, or a body byte by byte, goes: Bun counts in steps of 4 s, so after 8–12 s. Headers have 12 s whatever this is. */
const IDLE_SECONDS = 10;

/** The port is somebody else's. */
export class PortError extends Error {
  constructor(port: number, host: string, cause: unknown) {
    super(`Port ${port} on ${host} cannot be used: ${cause instanceof Error ? cause.message : cause}`, { cause });
    this.name = "PortError";
  }
}

/** Options of the server that stay when it begins to serve. */
export const SERVER_OPTIONS = {
  development: false,
  idleTimeout: IDLE_SECONDS,
  maxRequestBodySize: BODY_MAX_BYTES,
  error: () => failure(new ChatError("internal")),
} as const;

/** Takes the port. Until the database is there, everything but `/healthz` has to wait. */
export function listen(config: Config): Bun.Server<SocketData> {
  try {
    return Bun.serve<SocketData>({
      ...SERVER_OPTIONS,
      reusePort: false, // Bun's default without `development` is true: a second start would silently share the port
      port: config.port,
      hostname: config.host,
      fetch: (request) =>
        URL.parse(request.url)?.pathname === "/healthz" ? json({ status: "ok" }) : failure(new ChatError("not_ready")),
      websocket: { message() {} },
    });
  } catch (error) {
    throw new PortError(config.port, config.host, error);
  }
}

/** A host as part of an address that a browser on this machine opens. */
export function shownHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}
