/** Asks a chatify on this machine how it is, as Docker's HEALTHCHECK wants to know; a few milliseconds, no package. */

const WITHIN_MS = 3_000;
/** The status line is all that counts. */
const ANSWER_MAX = 4_096;

/** Addresses to listen at that are none to connect to. */
const ANY: Readonly<Record<string, string[]>> = {
  "0.0.0.0": ["127.0.0.1"],
  "::": ["::1", "127.0.0.1"], // the second where IPv6 is off
  "[::]": ["::1", "127.0.0.1"],
};

export interface Health {
  readonly well: boolean;
  /** What was found, for a person. */
  readonly words: string;
}

/**
 * @param alive only whether the process answers; otherwise whether it can serve, which takes its database
 * @example await healthOf({ host: "0.0.0.0", port: 8000 }) // { well: true, words: "chatify serves at 127.0.0.1:8000" }
 */
export async function healthOf({ host, port }: { host: string; port: number }, alive = false): Promise<Health> {
  let place = "";
  let status: number | string = "";
  for (const hostname of ANY[host] ?? [host]) {
    place = hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
    status = await ask({ hostname, port, place, path: alive ? "/healthz" : "/readyz" });
    if (typeof status === "number") break;
  }
  if (typeof status === "string") return { well: false, words: `Nobody answers at ${place}: ${status}` };
  if (status === 200) return { well: true, words: `chatify ${alive ? "is alive" : "serves"} at ${place}` };
  if (status === 503) {
    return { well: false, words: `chatify answers at ${place} and cannot serve: it starts, or has no database` };
  }
  return { well: false, words: `Something answers at ${place} with ${status}; chatify would with 200 or 503` };
}

/** Not by `fetch`: that would ask the proxy of HTTP_PROXY for a place on this machine. @returns the status, or why there is none */
function ask(to: { hostname: string; port: number; place: string; path: string }): Promise<number | string> {
  const { promise, resolve } = Promise.withResolvers<number | string>();
  const { hostname, port, place, path } = to;
  let answer = "";
  setTimeout(() => resolve(`no answer within ${WITHIN_MS / 1_000} s`), WITHIN_MS).unref();
  Bun.connect({
    hostname,
    port,
    socket: {
      open: (socket) => void socket.write(`GET ${path} HTTP/1.1\r\nHost: ${place}\r\nConnection: close\r\n\r\n`),
      data(socket, data) {
        answer += data.toString("latin1");
        const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(answer) ?? [];
        if (status === undefined && answer.length < ANSWER_MAX) return;
        resolve(status === undefined ? "that is not HTTP" : Number(status));
        socket.end();
      },
      close: () => resolve(answer === "" ? "it closed the connection" : "that is not HTTP"),
      error: (_socket, { message }) => resolve(message),
    },
  }).catch((error: unknown) => resolve(error instanceof Error && "code" in error ? String(error.code) : String(error)));
  return promise;
}
