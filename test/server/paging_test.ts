/** Parameters of paged routes: any text in `limit`, `before`, `after` and `cursor` gives a page or an error, never a 500. */

import { afterAll, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { type Person } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const COUNT = 12;
const app = await sharedApp();
const [ann] = (await app.people("ann", "bob", "cid")) as [Person, Person, Person];
const tab = await ann.open({ watch: [] });
for (let i = 1; i <= COUNT; i++) await tab.send("bob", `message ${i}`);
await tab.send("cid", "another");
await tab.close();
afterAll(() => expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]));

/** Numbers as people, programs and attackers write them. */
const number = fc.oneof(
  fc.integer({ min: -3, max: 205 }).map(String),
  fc.constantFrom("", "0", "-0", "+1", "1.5", "1e2", "0x10", "NaN", "Infinity", "١٢", "1_0", " 1", "1 ", "null", "[1]"),
  fc.constantFrom("9007199254740991", "9007199254740992", "99999999999999999999", "9".repeat(1_000), "1'or'1'='1"),
  fc.string({ unit: "binary", maxLength: 6 }),
);

/** Half a surrogate pair cannot be written in a query at all. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function query(fields: Record<string, string | undefined>): string {
  return Object.entries(fields)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encode(value)}`]))
    .join("&");
}

const maybe = (value: fc.Arbitrary<string>) => fc.option(value, { nil: undefined });
const isWhole = (text: string, least: number, most: number) =>
  /^\d{1,16}$/.test(text) && Number(text) >= least && Number(text) <= most;

describe("pages of messages", () => {
  test("accept whole numbers in range, and reject others with a reason", async () => {
    const asked = fc.record({ limit: maybe(number), before: maybe(number), after: maybe(number) });
    await fc.assert(
      fc.asyncProperty(asked, async ({ limit, before, after }) => {
        const answer = await ann.get(`/messages/ann/bob?${query({ limit, before, after, peek: "1" })}`);
        const good =
          (limit === undefined || isWhole(limit, 1, 200)) &&
          (before === undefined || isWhole(before, 1, Number.MAX_SAFE_INTEGER)) &&
          (after === undefined || isWhole(after, 0, Number.MAX_SAFE_INTEGER)) &&
          (before === undefined || after === undefined);
        expect(answer.status).toBe(good ? 200 : 400);
        const body = (await answer.json()) as { seq: number }[] & { error?: { code: string } };
        if (!good) return expect(body.error?.code).toBe("bad_request");
        const all = Array.from({ length: COUNT }, (_, i) => i + 1);
        const most = limit === undefined ? 200 : Number(limit);
        const expected =
          after === undefined
            ? all.filter((seq) => before === undefined || seq < Number(before)).slice(-most)
            : all.filter((seq) => seq > Number(after)).slice(0, most);
        expect(body.map(({ seq }) => seq)).toEqual(expected);
      }),
      { numRuns: 400 },
    );
  });
});

describe("pages of conversations", () => {
  test("continue after a cursor of the server, and reject others with a reason", async () => {
    const [first] = await ann.json<{ peer: string; cursor: string }[]>("/conversations?limit=1");
    const cursor = first!.cursor;
    expect(await ann.json(`/conversations?before=${cursor}`)).toMatchObject([{ peer: "bob" }]);
    const [instant, id] = Buffer.from(cursor, "base64url").toString().split("|") as [string, string];
    const part = fc.constantFrom(
      instant,
      id,
      "",
      "|",
      "0",
      "-1",
      "NaN",
      "infinity",
      "now",
      "0000-01-01T00:00:00Z",
      "9999-12-31T23:59:59.999999Z",

      "2026-02-30T00:00:00Z",
      "2026-13-01T00:00:00Z",
      "2026-01-01T24:00:00Z",
      "2026-01-01T23:59:60Z",
      "-2026-01-01T00:00:00Z",

      "+275760-09-13T00:00:00Z",
      "1".repeat(15),
      "1".repeat(16),
      "1e3",
      "\0",
      "\u0661",
      "'",
      "1\n",
      "0001-01-01T00:00:00Z",
    );
    const made = fc.oneof(
      fc.tuple(part, part).map((parts) => Buffer.from(parts.join("|")).toString("base64url")),
      fc.tuple(fc.nat(cursor.length), fc.string({ unit: "binary", maxLength: 2 })).map(([at, text]) => {
        return cursor.slice(0, at) + text + cursor.slice(at + 1);
      }),
      fc.string({ unit: "binary" }),
      fc.constant("A".repeat(5_000)),
    );
    const statuses = new Set<number>();
    await fc.assert(
      fc.asyncProperty(made, maybe(number), async (before, limit) => {
        const answer = await ann.get(`/conversations?${query({ before, limit })}`);
        statuses.add(answer.status);
        expect([200, 400]).toContain(answer.status);
        if (limit !== undefined && !isWhole(limit, 1, 200)) expect(answer.status).toBe(400);
        const body = (await answer.json()) as { error?: { code: string } };
        expect(Array.isArray(body) ? "a page" : body.error?.code).toBe(
          answer.status === 200 ? "a page" : "bad_request",
        );
      }),
      { numRuns: 600 },
    );
    expect([...statuses].toSorted()).toEqual([200, 400]);
  });
});

describe("lists of people", () => {
  test("are searched for with any text", async () => {
    const prefix = fc.oneof(
      fc.string({ unit: "binary", maxLength: 5 }).map(encode),
      fc.constantFrom("%00", "%ff", "%", "%ud800", "a&q=b", "x".repeat(5_000)),
    );
    await fc.assert(
      fc.asyncProperty(prefix, maybe(number), async (q, limit) => {
        const answer = await ann.get(`/get_users?q=${q}&${query({ limit })}`);
        expect(answer.status).toBe(limit === undefined || isWhole(limit, 1, 1_000) ? 200 : 400);
        await answer.arrayBuffer();
      }),
      { numRuns: 300 },
    );
  });
});
