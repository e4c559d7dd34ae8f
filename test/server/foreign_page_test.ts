/** Pages of other sites and origins cannot act through a signed-in browser, whichever header reveals their origin. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Person, startApp, type TestApp } from "../support/harness.ts";

let app: TestApp;
let ann: Person;
let bob: Person;

const ALLOWED = "https://intranet.example";

beforeAll(async () => {
  app = await startApp({ env: { ALLOWED_ORIGINS: ALLOWED } });
  [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
});
afterAll(() => app.stop());

const own = (path = "") => `http://127.0.0.1:${app.port}${path}`;

const FOREIGN: readonly [string, () => Record<string, string>][] = [
  ["cross-site", () => ({ "sec-fetch-site": "cross-site" })],
  ["same-site", () => ({ "sec-fetch-site": "same-site" })],
  ["same-site in capitals", () => ({ "sec-fetch-site": "Same-Site" })],
  ["same-site beside a better word", () => ({ "sec-fetch-site": "same-origin, same-site" })],
  ["same-site with our Referer", () => ({ "sec-fetch-site": "same-site", referer: own("/") })],
  ["same-site with our Origin", () => ({ "sec-fetch-site": "same-site", origin: own() })],
  ["a foreign Origin", () => ({ origin: "http://evil.example" })],
  ["a foreign Origin, whatever else is said", () => ({ origin: "http://evil.example", referer: own("/") })],
  ["an opaque Origin", () => ({ origin: "null" })],
  ["our Origin but for the port", () => ({ origin: "http://127.0.0.1:1" })],
  ["a foreign Referer", () => ({ referer: "http://evil.example/page" })],
  ["a foreign Referer beside an unknown word", () => ({ "sec-fetch-site": "x", referer: "http://evil.example/" })],
  ["a Referer that only begins like ours", () => ({ referer: `${own()}.evil.example/` })],
  ["a Referer that names us in its path", () => ({ referer: `http://evil.example/${own("/")}` })],
  ["a Referer that names us as its user", () => ({ referer: `http://127.0.0.1:${app.port}@evil.example/` })],
  ["a Referer of an app", () => ({ referer: "android-app://com.example/" })],
  ["a Referer that cannot be read", () => ({ referer: "nonsense" })],
];

const OURS: readonly [string, () => Record<string, string>][] = [
  ["no header at all, as of a program", () => ({})],
  ["an address that was typed", () => ({ "sec-fetch-site": "none" })],
  ["our page", () => ({ "sec-fetch-site": "same-origin", referer: own("/") })],
  ["our page over http", () => ({ referer: own("/#bob") })],
  ["our page over http, which says its Origin", () => ({ origin: own(), referer: own("/") })],
  ["an empty Referer", () => ({ referer: "" })],
  ["a page that is allowed", () => ({ "sec-fetch-site": "same-site", referer: `${ALLOWED}/links` })],
  ["a page that is allowed, and says its Origin", () => ({ "sec-fetch-site": "cross-site", origin: ALLOWED })],
];

describe("GET /logout from", () => {
  test.each(FOREIGN)("%s is rejected, and the session continues", async (_, headers) => {
    const answer = await ann.get("/logout", headers());
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain('"foreign_origin"');
    for (const header of ["set-cookie", "clear-site-data"]) expect(answer.headers.has(header)).toBeFalse();
    expect((await ann.get("/me")).status).toBe(200);
  });

  test.each(OURS)("%s ends the session", async (_, headers) => {
    const person = await ann.logIn();
    expect((await person.get("/logout", headers())).status).toBe(302);
    expect((await person.get("/me")).status).toBe(401);
  });
});

describe("POST from", () => {
  test.each(FOREIGN)("%s is refused, and nothing changes", async (_, headers) => {
    expect((await ann.post("/blocks", { name: "bob", blocked: true }, headers())).status).toBe(403);
    expect((await ann.post("/logout", {}, headers())).status).toBe(403);
    expect(await ann.json<string[]>("/blocks")).toEqual([]);
  });
});

describe("GET /messages from", () => {
  /** Bob's page: what of his messages Ann has on a device, and has read. */
  const marks = async () => {
    const [row] = await bob.json<{ peer_delivered_seq: number; peer_read_seq: number }[]>("/conversations?peer=ann");
    return [row?.peer_delivered_seq ?? 0, row?.peer_read_seq ?? 0];
  };

  test("a foreign page marks nothing, neither read nor delivered", async () => {
    const tab = await bob.open();
    const { seq } = await tab.send("ann", "have you seen this?");
    const before = await marks();
    for (const [name, headers] of FOREIGN) {
      for (const query of ["", "?limit=5", "?after=0", "?peek=1"]) {
        const rows = await ann.json<{ seq: number; read: boolean }[]>(`/messages/ann/bob${query}`, headers());
        expect([name, query, rows.find((row) => row.seq === seq)?.read]).toEqual([name, query, false]);
      }
    }
    await tab.hearsNo("delivered", 600); // which are gathered for half a second
    await tab.hearsNo("read", 0);
    expect(await marks()).toEqual(before);
    await tab.close();
  });

  test.each(OURS)("%s marks its messages as read", async (_, headers) => {
    const tab = await bob.open();
    const { seq } = await tab.send("ann", "and this?");
    await ann.json("/messages/ann/bob?limit=5", headers());
    await tab.next("read");
    expect(await marks()).toEqual([seq, seq]);
    await tab.close();
  });
});
