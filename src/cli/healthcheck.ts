/**
 * Checks the chatify on this machine, for Docker's HEALTHCHECK. Takes a few milliseconds and needs
 * no package.
 */

const TIMEOUT_MS = 3_000;
/** Enough for the status line, the only part that is read. */
const RESPONSE_MAX = 4_096;

/** Where to connect for a wildcard address. */
const LOOPBACK: Readonly<Record<string, string[]>> = {
  "0.0.0.0": ["127.0.0.1"],
  "::": ["::1", "127.0.0.1"], // IPv4 where IPv6 is off
  "[::]": ["::1", "127.0.0.1"],
};

export interface Health {
  readonly isHealthy: boolean;
  readonly message: string;
}

/**
 * @param alive checks only whether the process responds; otherwise also whether it is ready, which
 *   needs its database
 * @example await checkHealth({ host: "0.0.0.0", port: 8000 }) // { isHealthy: true, message: … }
 */
export async function checkHealth({ host, port }: { host: string; port: number }, alive = false): Promise<Health> {
  let place = "";
  let status: number | string = "";
  for (const hostname of LOOPBACK[host] ?? [host]) {
    place = hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
    status = await request({ hostname, port, place, path: alive ? "/healthz" : "/readyz" });
    if (typeof status === "number") break;
  }
  if (typeof status === "string") return { isHealthy: false, message: `No response from ${place}: ${status}` };
  if (status === 200) return { isHealthy: true, message: `chatify is ${alive ? "alive" : "ready"} at ${place}` };
  if (status === 503) {
    return { isHealthy: false, message: `chatify at ${place} is not ready: it is starting, or has no database` };
  }
  return { isHealthy: false, message: `${place} returned ${status}; chatify would return 200 or 503` };
}

/**
 * Not with `fetch`, which would send the request to the proxy in HTTP_PROXY.
 *
 * @returns the status, or why there is none
 */
function request(to: { hostname: string; port: number; place: string; path: string }): Promise<number | string> {
  const { promise, resolve } = Promise.withResolvers<number | string>();
  const { hostname, port, place, path } = to;
  let response = "";
  setTimeout(() => resolve(`no response within ${TIMEOUT_MS / 1_000} s`), TIMEOUT_MS).unref();
  Bun.connect({
    hostname,
    port,
    socket: {
      open: (socket) => void socket.write(`GET ${path} HTTP/1.1\r\nHost: ${place}\r\nConnection: close\r\n\r\n`),
      data(socket, data) {
        response += data.toString("latin1");
        const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(response) ?? [];
        if (status === undefined && response.length < RESPONSE_MAX) return;
        resolve(status === undefined ? "not an HTTP response" : Number(status));
        socket.end();
      },
      close: () => resolve(response === "" ? "the connection was closed" : "not an HTTP response"),
      error: (_socket, { message }) => resolve(message),
    },
  }).catch((error: unknown) => resolve(error instanceof Error && "code" in error ? String(error.code) : String(error)));
  return promise;
}
