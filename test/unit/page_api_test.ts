/** How the page tells the server's responses from those of a proxy. */

import { afterEach, expect, test } from "bun:test";

import { get, Intercepted, Limited, Rejected, SignedOut } from "../../static/js/sync/api.js";

const real = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = real;
});

test.each([
  ["an ended session", 401, { error: { code: "no_session" } }, SignedOut],
  ["a proxy that wants a login, in JSON", 401, { error: "unauthorized" }, Intercepted],
  ["a proxy's JSON without an error", 403, { message: "Forbidden" }, Intercepted],
  ["an error of the server", 403, { error: { code: "blocked" } }, Rejected],
  ["a gateway's own JSON", 502, { message: "Bad gateway" }, Rejected],
  ["a gateway's page", 503, "<html>", Rejected],
  ["a limit", 429, { error: { code: "rate_limited" } }, Limited],
  ["a proxy's limit", 429, "slow down", Limited],
  ["a captive portal", 200, "<html>", Intercepted],
])("%s", async (_, status, body, expected) => {
  const respond = async () =>
    typeof body === "string"
      ? new Response(body, { status, headers: { "content-type": "text/html" } })
      : Response.json(body, { status });
  globalThis.fetch = respond as unknown as typeof fetch;
  expect(await get("/me").catch((error: unknown) => error)).toBeInstanceOf(expected);
});
