/** Binds the port before the database is open. */

import type { SocketData } from "../chat/socket.ts";
import type { Config } from "../config.ts";
import { ChatError } from "../errors.ts";
import { UPLOAD_MAX_BYTES } from "./profiles.ts";
import { errorResponse, json } from "./request.ts";

/**
 * Disconnects clients that stall while sending or reading. Bun counts in steps of 4 s, so after
 * 8–12 s; headers always get 12 s.
 */
const IDLE_SECONDS = 10;

/** The port cannot be bound. */
export class PortError extends Error {
  constructor(port: number, host: string, cause: unknown) {
    super(`Port ${port} on ${host} cannot be used: ${cause instanceof Error ? cause.message : cause}`, { cause });
    this.name = "PortError";
  }
}

/** Options before and after the server is ready. */
export const SERVER_OPTIONS = {
  development: false,
  idleTimeout: IDLE_SECONDS,
  // of the longest body of any route; `guard` enforces that of each
  maxRequestBodySize: UPLOAD_MAX_BYTES,
  error: () => errorResponse(new ChatError("internal")),
} as const;

/**
 * Binds the port. Until the app is ready, every route except `/healthz` returns `not_ready`.
 *
 * @throws PortError
 */
export function listen(config: Config): Bun.Server<SocketData> {
  try {
    return Bun.serve<SocketData>({
      ...SERVER_OPTIONS,
      // Bun's default without `development` is true: a second start would silently share the port.
      reusePort: false,
      port: config.port,
      hostname: config.host,
      fetch: (request) =>
        URL.parse(request.url)?.pathname === "/healthz"
          ? json({ status: "ok" })
          : errorResponse(new ChatError("not_ready")),
      websocket: { message() {} },
    });
  } catch (error) {
    throw new PortError(config.port, config.host, error);
  }
}

/** The host part of a URL that a browser on this machine can open. */
export function displayHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}
