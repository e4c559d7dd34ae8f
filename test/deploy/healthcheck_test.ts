/** `healthcheck`, as a container runs it: its result, message and exit code. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { freePort, ROOT, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

/** A proxy that is none: what is asked of this machine is not asked of it. */
const PROXY = { HTTP_PROXY: "http://127.0.0.1:9", http_proxy: "http://127.0.0.1:9" };

async function healthcheck(env: Record<string, string>, ...words: string[]) {
  const { PATH = "", HOME = "" } = Bun.env;
  const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), "healthcheck", ...words], {
    cwd: ROOT,
    env: { PATH, HOME, ...PROXY, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

test("healthcheck exits with 0 if chatify is ready, bypassing any proxy", async () => {
  const { port } = new URL(app.url);
  const serves = { code: 0, out: `chatify is ready at 127.0.0.1:${port}\n`, err: "" };
  expect(await healthcheck({ PORT: port })).toEqual(serves);
  expect(await healthcheck({ PORT: port, HOST: "127.0.0.1" })).toEqual(serves);
  expect(await healthcheck({ PORT: port }, "--alive")).toMatchObject({ code: 0 });
});

test("healthcheck exits with 1 if chatify has no database, but --alive with 0", async () => {
  const port = `${freePort()}`;
  const { PATH = "", HOME = "" } = Bun.env;
  // A PostgreSQL that takes connections and says nothing.
  const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const server = Bun.spawn([process.execPath, join(ROOT, "src/main.ts")], {
    cwd: ROOT,
    env: { PATH, HOME, PORT: port, DATABASE_URL: `postgres://x@127.0.0.1:${silent.port}/x` },
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    await until("it listens", async () => !!(await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined)));
    // Together: after five seconds without a database the server ends.
    const [alive, whole] = await Promise.all([healthcheck({ PORT: port }, "--alive"), healthcheck({ PORT: port })]);
    expect(alive).toMatchObject({ code: 0, err: "" });
    expect(whole).toEqual({
      code: 1,
      out: "",
      err: `chatify at 127.0.0.1:${port} is not ready: it is starting, or has no database\n`,
    });
  } finally {
    server.kill("SIGKILL");
    await server.exited;
    silent.stop(true);
  }
});

test("healthcheck exits with 1 and a reason if chatify is not running or the port belongs to another program", async () => {
  const port = `${freePort()}`;
  const nobody = { code: 1, out: "", err: `No response from 127.0.0.1:${port}: ECONNREFUSED\n` };
  expect(await healthcheck({ PORT: port })).toEqual(nobody);
  using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("", { status: 404 }) });
  expect((await healthcheck({ PORT: `${other.port}` })).err).toContain("returned 404");
  const rude = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (socket) => void socket.end("220 hi\r\n") },
  });
  expect((await healthcheck({ PORT: `${rude.port}` })).err).toContain("not an HTTP response");
  rude.stop(true);
  const mute = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  expect((await healthcheck({ PORT: `${mute.port}` })).err).toContain("no response within 3 s");
  mute.stop(true);
});

test("healthcheck exits with 1 for invalid settings or arguments", async () => {
  expect(await healthcheck({ PORT: "high" })).toMatchObject({ code: 1, out: "" });
  expect(await healthcheck({}, "--alive", "--kicking")).toMatchObject({ code: 1, out: "" });
});
