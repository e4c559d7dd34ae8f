/** A proxy between browser and server that forwards everything until a test replaces its answer. */

/** The proxy's own response; undefined forwards the request. An upgrade is a request too. */
export type Answer = (request: Request, isUpgrade: boolean) => Response | undefined;

interface Relay {
  readonly upstream: WebSocket;
  readonly early: (string | Buffer<ArrayBuffer>)[];
}

export class HttpProxy implements AsyncDisposable {
  /** May be replaced at any time. */
  answer: Answer = () => undefined;
  readonly #server: Bun.Server<Relay>;
  readonly #sockets = new Set<Bun.ServerWebSocket<Relay>>();

  constructor(port: number) {
    this.#server = Bun.serve<Relay>({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request, server) => this.#handle(request, server, port),
      websocket: {
        open: (socket) => {
          this.#sockets.add(socket);
          relay(socket);
        },
        message: ({ data: { upstream, early } }, frame) => {
          if (upstream.readyState === WebSocket.OPEN) upstream.send(frame);
          else early.push(frame);
        },
        close: (socket) => {
          this.#sockets.delete(socket);
          socket.data.upstream.close();
        },
      },
    });
  }

  get url(): string {
    return `http://localhost:${this.#server.port}`;
  }

  /** Cuts the forwarded sockets. */
  cut(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }

  async #handle(request: Request, server: Bun.Server<Relay>, port: number): Promise<Response | undefined> {
    const { pathname, search } = new URL(request.url);
    const isUpgrade = request.headers.get("upgrade") === "websocket";
    const own = this.answer(request, isUpgrade);
    if (own) return own;
    const cookie = request.headers.get("cookie") ?? "";
    if (isUpgrade) {
      // Bun's client accepts headers, unlike the DOM's types.
      const upstream = new WebSocket(`ws://127.0.0.1:${port}${pathname}`, { headers: { cookie } } as never);
      return server.upgrade(request, { data: { upstream, early: [] } }) ? undefined : new Response("", { status: 400 });
    }
    const { method, headers, body } = request;
    return fetch(`http://127.0.0.1:${port}${pathname}${search}`, {
      method,
      headers,
      redirect: "manual",
      decompress: false,
      ...(body && { body: await request.arrayBuffer() }),
    });
  }
}

function relay(socket: Bun.ServerWebSocket<Relay>): void {
  const { upstream, early } = socket.data;
  upstream.addEventListener("open", () => {
    for (const frame of early.splice(0)) upstream.send(frame);
  });
  upstream.addEventListener("message", ({ data }) => void socket.send(data));
  // Lower codes include those that no close frame carries.
  upstream.addEventListener("close", ({ code }) => (code >= 1_012 ? socket.close(code) : socket.terminate()));
}

/** An HTML page, such as a captive portal's. */
export const html = (text: string, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(`<!doctype html><title>${text}</title><p>${text}`, {
    status,
    headers: { "content-type": "text/html", ...headers },
  });
