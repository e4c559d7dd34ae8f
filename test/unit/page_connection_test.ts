import { describe, expect, test } from "bun:test";

import { Connection, type Frame, type State } from "../../static/js/sync/connection.js";
import { until } from "../support/until.ts";

/** A real server that greets, answers pings unless told to be `silent`, and does as it is told. */
function serve({ greets = true } = {}) {
  const sockets = new Set<Bun.ServerWebSocket<undefined>>();
  const heard: Frame[] = [];
  const state = { silent: false, opened: 0 };
  const server = Bun.serve({
    port: 0,
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("no", { status: 426 })),
    websocket: {
      open(socket) {
        sockets.add(socket);
        state.opened++;
        if (greets) socket.send('{"type":"hello","username":"ann","epoch":"1"}');
      },
      message(socket, data) {
        const frame = JSON.parse(String(data));
        heard.push(frame);
        if (frame.type === "ping" && !state.silent) socket.send('{"type":"pong"}');
      },
      close: (socket) => void sockets.delete(socket),
    },
  });
  return {
    state,
    heard,
    sockets,
    url: `ws://localhost:${server.port}/`,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** The clock runs a hundred times faster than the one on the wall. */
const hurried = {
  setTimeout: (run: () => void, ms: number) => setTimeout(run, ms / 100),
  clearTimeout: (id: ReturnType<typeof setTimeout>) => clearTimeout(id),
  random: () => 0.5,
};

function connect(url: string) {
  const waits: number[] = [];
  const setTimeout = (run: () => void, ms: number) => (waits.push(ms), hurried.setTimeout(run, ms));
  const connection = new Connection(url, { ...hurried, setTimeout });
  const frames: Frame[] = [];
  const states: State[] = [];
  connection.on("frame", (frame) => void frames.push(frame));
  connection.on("state", (state) => void states.push(state));
  connection.connect();
  return { connection, frames, states, waits, [Symbol.dispose]: () => connection.end() };
}

const soon = (what: string, holds: () => boolean) => until(what, holds, 3_000);

describe("the connection", () => {
  test("is open after hello, and carries frames in both directions", async () => {
    await using server = serve();
    using page = connect(server.url);
    expect(page.connection.send({ type: "typing", peer: "bob" })).toBe(false);
    await soon("the connection is open", () => page.connection.state === "open");
    expect(page.connection.send({ type: "typing", peer: "bob" })).toBe(true);
    await soon("the server heard something", () => server.heard.length > 0);
    for (const socket of server.sockets) socket.send("not JSON");
    for (const socket of server.sockets) socket.send('{"type":"sync"}');
    await soon("two frames came", () => page.frames.length === 2);
    expect(page.frames.map(({ type }) => type)).toEqual(["hello", "sync"]);
    expect(server.heard).toContainEqual({ type: "typing", peer: "bob" });
  });

  test("reconnects after a restart", async () => {
    await using server = serve();
    using page = connect(server.url);
    await soon("the connection is open", () => page.connection.state === "open");
    for (const socket of server.sockets) socket.close(1012);
    await soon("a second connection is open", () => server.state.opened === 2 && page.connection.state === "open");
    expect(page.states).toEqual(["open", "connecting", "open"]);
  });

  test("does not reconnect after the session ended", async () => {
    await using server = serve();
    using page = connect(server.url);
    await soon("the connection is open", () => page.connection.state === "open");
    for (const socket of server.sockets) socket.close(4401);
    await soon("the connection ended", () => page.connection.state === "ended");
    page.connection.connect();
    await Bun.sleep(50);
    expect(server.state.opened).toBe(1);
  });

  test("pings a silent server, and closes without a pong", async () => {
    await using server = serve();
    using page = connect(server.url);
    await soon("two pings came", () => server.heard.filter(({ type }) => type === "ping").length >= 2);
    expect(page.connection.state).toBe("open");
    server.state.silent = true;
    await soon("a second connection was made", () => server.state.opened === 2);
    expect(page.frames.filter(({ type }) => type === "pong")).toEqual([]);
  });

  test("finds out sooner after the device slept", async () => {
    await using server = serve();
    using page = connect(server.url);
    await soon("the connection is open", () => page.connection.state === "open");
    server.state.silent = true;
    page.connection.probe();
    expect(page.waits.at(-1)).toBe(3_000); // and not thirty-five seconds
    await soon("the connection is made anew", () => page.connection.state === "connecting");
  });

  test("stays away for a while when it was sent away for too much, whatever the device does", async () => {
    await using server = serve();
    using page = connect(server.url);
    await soon("the connection is open", () => page.connection.state === "open");
    const sentAwayAt = Date.now();
    for (const socket of server.sockets) socket.close(1008);
    await soon("the connection is made anew", () => page.connection.state === "connecting");
    for (let i = 0; i < 10; i++) {
      page.connection.probe(); // the person changes tabs
      await Bun.sleep(5);
    }
    await soon("the connection is open", () => page.connection.state === "open");
    expect(Date.now() - sentAwayAt).toBeGreaterThanOrEqual(150); // fifteen hurried seconds
    expect(server.state.opened).toBe(2);
  });

  test("closes without a hello, and checks the reason", async () => {
    await using server = serve({ greets: false });
    using page = connect(server.url);
    let refused = 0;
    page.connection.on("refused", () => refused++);
    await soon("two were refused", () => refused === 2);
    expect(page.connection.state).toBe("connecting");
  });

  test("keeps trying while the server is unreachable", async () => {
    const gone = serve();
    const { url } = gone;
    await gone[Symbol.asyncDispose]();
    using page = connect(url);
    let refused = 0;
    page.connection.on("refused", () => refused++);
    await soon("three were refused", () => refused >= 3);
    expect(page.states).toEqual([]);
  });
});
