/** How the page tells the server's responses from those of a proxy. */

import { afterEach, expect, test } from "bun:test";

import { get, Intercepted, Limited, messages, Rejected, SignedOut } from "../../static/js/sync/api.js";

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

test("a deleted message is not one that its recipient has read", async () => {
  const row = { sender: "bob", receiver: "ann", content: "", timestamp: "2026-01-01T00:00:00.000000Z", id: 7, seq: 1 };
  const rows = [
    { ...row, read: true, deleted: true, revision: 2 },
    { ...row, read: true, content: "hello", ref: "of-bob-1", seq: 2, reply_to: 1, reactions: { ann: "👍" } },
  ];
  globalThis.fetch = (async () => Response.json(rows)) as unknown as typeof fetch;
  const at = Date.UTC(2026, 0, 1);
  expect(await messages("ann", "bob", { limit: 2 })).toEqual([
    { read: false, message: { seq: 1, id: 7, from: "bob", to: "ann", text: "", at, deleted: true, revision: 2 } },
    {
      read: true,
      message: { seq: 2, id: 7, from: "bob", to: "ann", text: "hello", at, replyTo: 1, reactions: { ann: "👍" } },
    },
  ]);
});
