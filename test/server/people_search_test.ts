/** The search for users by any part of their name, among all and among one's conversations. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Person, startApp, type TestApp } from "../support/harness.ts";

let app: TestApp;
let ann: Person;

beforeAll(async () => {
  app = await startApp();
  const names = [
    "rossi",
    "mario_rossi",
    "rossana",
    "Ανδρέας-Ζωγράφος",
    "hans.müller",
    "山田太郎",
    "a100b",
    "gone_rossi",
    "shut_rossi",
  ];
  [ann] = (await app.people("Ann", ...names)) as [Person];
  await app.sql`update users set disabled_at = now() where username = 'shut_rossi'`;
  await app.sql`update users set deleted_at = now() where username = 'gone_rossi'`;
});

afterAll(() => app.stop());

const names = (part: string, more = "") => ann.json<string[]>(`/get_users?part=${encodeURIComponent(part)}${more}`);

describe("any part of a name", () => {
  test.each([
    ["rossi", ["rossi", "mario_rossi"]], // what begins like it comes first
    ["ross", ["rossana", "rossi", "mario_rossi"]],
    ["OSSI", ["mario_rossi", "rossi"]],
    ["o_r", ["mario_rossi"]],
    ["ζωγραφ", ["Ανδρέας-Ζωγράφος"]],
    ["ΡΈΑΣ", ["Ανδρέας-Ζωγράφος"]],
    ["muller", ["hans.müller"]],
    ["ÜLL", ["hans.müller"]],
    ["田太", ["山田太郎"]],
    [" rossana ", ["rossana"]],
    ["100", ["a100b"]],
    ["1%0", []],
    ["r_s", []], // letters, no wildcards
    ["ann", []], // oneself
    ["r", ["rossana", "rossi"]], // a single character: only what begins with it
    ["\0", []],
    ["x".repeat(500), []],
    ["", []],
  ] as const)("%j", async (part, expected) => {
    expect(await names(part)).toEqual([...expected]);
  });

  test("returns at most `limit` names, and only with sensible parameters", async () => {
    expect(await names("ross", "&limit=2")).toEqual(["rossana", "rossi"]);
    for (const query of ["part=a&q=b", "part=a&limit=0", "part=a&limit=21"])
      expect((await ann.get(`/get_users?${query}`)).status).toBe(400);
    for (const query of ["part=a&peer=rossi", "part=a&before=x"])
      expect((await ann.get(`/conversations?${query}`)).status).toBe(400);
    expect((await fetch(`${app.url}/conversations?part=a`)).status).toBe(401);
  });
});

test("finds conversations by any part of the peer's name, the newest first, also of deleted accounts, not of blocked ones", async () => {
  const tab = await ann.open();
  for (const name of ["rossi", "mario_rossi", "rossana", "hans.müller"]) await tab.send(name, `hello ${name}`);
  await app.sql`update users set deleted_at = now() where username = 'mario_rossi'`;
  const found = async (part: string) => {
    const rows = await ann.json<{ peer: string; last: { content: string } }[]>(`/conversations?part=${part}`);
    return rows.map(({ peer, last }) => [peer, last.content]);
  };
  expect(await found("ROSS")).toEqual([
    ["rossana", "hello rossana"],
    ["mario_rossi", "hello mario_rossi"],
    ["rossi", "hello rossi"],
  ]);
  await ann.post("/blocks", { name: "rossana", blocked: true });
  expect((await found("ross")).map(([peer]) => peer)).toEqual(["mario_rossi", "rossi"]);
  expect(await found("nobody")).toEqual([]);
});

test("counts as a search", async () => {
  await using limited = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SEARCHES: "1/s burst 4" } });
  const tina = await limited.person("Tina");
  const paths = ["/get_users?part=an", "/conversations?part=an"];
  const answers = await Promise.all([...paths, ...paths, ...paths].map((path) => tina.get(path)));
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 200, 429, 429]);
});
