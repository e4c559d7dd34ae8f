import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Person, post, startApp, Tab, type TestApp } from "./harness.ts";

let app: TestApp;
let ann: Person;
let bob: Person;

beforeAll(async () => {
  app = await startApp();
  [ann, bob] = [await app.person("Ann"), await app.person("bob")];
});
afterAll(() => app.stop());

const stored = async () => (await app.sql<{ content: string }[]>`select content from messages order by id`).length;

/** What the door answers to an upgrade, as a browser would ask. */
function knock(path: string, headers: Record<string, string> = {}): Promise<Response> {
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  return fetch(app.url + path, { headers: { ...upgrade, ...headers } });
}

describe("the door of /ws/{username}", () => {
  test("answers 401 without a session, or with a forged one", async () => {
    expect((await knock("/ws/Ann")).status).toBe(401);
    const [token] = ann.cookie.split(".");
    expect((await knock("/ws/Ann", { cookie: `${token}.AAAA` })).status).toBe(401);
    expect((await knock("/ws/Ann", { cookie: token ?? "" })).status).toBe(401);
  });

  test("answers 403 to another person's name, however it is written", async () => {
    for (const path of ["/ws/bob", "/ws/BOB", "/ws/nobody", "/ws/%zz", "/ws/%00"]) {
      expect((await knock(path, { cookie: ann.cookie })).status).toBe(403);
    }
  });

  test("takes one's own name without regard to case", async () => {
    const tab = new Tab(`${app.url.replace("http", "ws")}/ws/aNN`, { cookie: ann.cookie }, "ann");
    expect(await tab.next("hello")).toEqual({ type: "hello", username: "Ann", epoch: expect.any(String) });
    await tab.close();
  });

  test("answers 403 to a foreign or null origin, and says what it saw and what to set", async () => {
    for (const origin of ["https://evil.example", "null", "http://127.0.0.1:1"]) {
      const answer = await knock("/ws/Ann", { cookie: ann.cookie, origin });
      expect(answer.status).toBe(403);
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect(error.code).toBe("foreign_origin");
      expect(error.message).toContain(origin);
      expect(error.message).toContain(`127.0.0.1:${app.port}`);
      expect(error.message).toContain("ALLOWED_ORIGINS");
    }
  });

  test("takes its own origin, and none", async () => {
    const tab = await ann.open({ headers: { origin: app.url } });
    await tab.close();
    await (await ann.open()).close();
  });

  test("answers 426 to what is no upgrade, and 405 to another method", async () => {
    const plain = await ann.get("/ws/Ann");
    expect(plain.status).toBe(426);
    expect(plain.headers.get("upgrade")).toBe("websocket");
    const posted = await post(`${app.url}/ws/Ann`, {}, { cookie: ann.cookie });
    expect(posted.status).toBe(405);
  });
});

/** Frames that are refused, each with the code that says so. */
const REFUSED: [string, string | object, string][] = [
  ["broken JSON", '{"to":"bob"', "bad_request"],
  ["a list", "[]", "bad_request"],
  ["null", "null", "bad_request"],
  ["a number", "5", "bad_request"],
  ["nothing", "", "bad_request"],
  ["an empty object", {}, "bad_request"],
  ["a number as receiver", { to: 5 }, "bad_request"],
  ["a number as receiver of a text", { to: 5, message: "x" }, "bad_request"],
  ["no text", { to: "bob" }, "bad_request"],
  ["an object as text", { to: "bob", message: {} }, "bad_request"],
  ["an unknown type", { type: "shout", to: "bob", message: "x" }, "bad_request"],
  ["a number as type", { type: 7, to: "bob", message: "x" }, "bad_request"],
  ["a short ref", { to: "bob", message: "x", ref: "1234567" }, "bad_request"],
  ["a long ref", { to: "bob", message: "x", ref: "r".repeat(65) }, "bad_request"],
  ["a ref of other signs", { to: "bob", message: "x", ref: "~~~~~~~~~~" }, "bad_request"],
  ["a number as ref", { to: "bob", message: "x", ref: 12_345_678 }, "bad_request"],
  ["an empty text", { to: "bob", message: "" }, "invalid_text"],
  ["a blank text", { to: "bob", message: " \n\t\u00a0\u200b" }, "invalid_text"],
  ["a NUL", { to: "bob", message: "a\u0000b" }, "invalid_text"],
  ["an escaped NUL", '{"to":"bob","message":"a\\u0000b"}', "invalid_text"],
  ["a lone surrogate", '{"to":"bob","message":"a\\ud800b"}', "invalid_text"],
  ["4,001 characters", { to: "bob", message: "x".repeat(4_001) }, "invalid_text"],
  ["4,001 code points beyond the BMP", { to: "bob", message: "😀".repeat(4_001) }, "invalid_text"],
  ["an unknown receiver", { to: "nobody", message: "x" }, "no_such_user"],
  ["a receiver no account can have", { to: "no\u0000body", message: "x" }, "no_such_user"],
  ["an empty receiver", { to: "", message: "x" }, "no_such_user"],
  ["a receiver without end", { to: "x".repeat(5_000), message: "x" }, "no_such_user"],
  ["a read without number", { type: "read", peer: "bob" }, "bad_request"],
  ["a read below zero", { type: "read", peer: "bob", seq: -1 }, "bad_request"],
  ["a read of half a message", { type: "read", peer: "bob", seq: 0.5 }, "bad_request"],
  ["a read of text", { type: "read", peer: "bob", seq: "1" }, "bad_request"],
  ["a read of nobody", { type: "read", seq: 1 }, "bad_request"],
  ["typing to nobody", { type: "typing" }, "bad_request"],
  ["a watch of nobody", { type: "watch" }, "bad_request"],
  ["a watch of numbers", { type: "watch", users: [1] }, "bad_request"],
  ["a watch of too many", { type: "watch", users: Array.from({ length: 201 }, (_, i) => `u${i}`) }, "bad_request"],
];

describe("a frame with", () => {
  test.each(REFUSED)("%s is refused, and the others of the batch are not", async (_, frame, code) => {
    const [a, b] = [await ann.open(), await bob.open()];
    const before = await stored();
    a.say({ to: "bob", message: "before", ref: "before-the-bad-one".concat(crypto.randomUUID()) });
    a.say(frame);
    b.say({ to: "ann", message: "beside" });
    a.say({ to: "bob", message: "after" });
    expect(await a.next("error")).toMatchObject({ type: "error", code, message: expect.any(String) });
    await Promise.all([a.next("ack"), b.next("ack")]);
    await a.next("ack");
    expect(await stored()).toBe(before + 3);
    await Promise.all([a.close(), b.close()]);
  });

  test("a refused send names its ref", async () => {
    const a = await ann.open();
    for (const [to, message, code] of [
      ["nobody", "x", "no_such_user"],
      ["bob", "", "invalid_text"],
    ]) {
      const ref = a.newRef();
      a.say({ to, message, ref });
      expect(await a.next("error")).toMatchObject({ code, ref });
    }
    await a.close();
  });

  test("4,000 code points of four bytes arrives byte for byte", async () => {
    const [a, b] = [await ann.open(), await bob.open()];
    const text = "𐍈".repeat(4_000);
    await a.send("bob", text);
    expect((await b.next("message"))["message"]).toBe(text);
    await Promise.all([a.close(), b.close()]);
  });

  test("unknown fields is taken as if they were not there", async () => {
    const a = await ann.open();
    a.say({ to: "bob", message: "x", colour: "red", type: "message" });
    await a.next("ack");
    await a.close();
  });

  test("ping is answered with pong", async () => {
    const a = await ann.open();
    a.say({ type: "ping" });
    expect(await a.next("pong")).toEqual({ type: "pong" });
    await a.close();
  });
});

describe("a socket closes", () => {
  test("with 1003 on a binary frame, and nothing is stored", async () => {
    const [a, before] = [await ann.open(), await stored()];
    a.socket.send(new TextEncoder().encode('{"to":"bob","message":"binary"}'));
    expect(await a.closed).toMatchObject({ code: 1003 });
    expect(await stored()).toBe(before);
  });

  test("with 1009 on a frame of 40 KiB, and nothing is stored", async () => {
    const [a, before] = [await ann.open(), await stored()];
    a.say({ to: "bob", message: "x".repeat(40 * 1024) });
    expect(await a.closed).toMatchObject({ code: 1009 });
    expect(await stored()).toBe(before);
  });

  test("with 4401 when its session ends, and only that session's", async () => {
    const other = await ann.logIn();
    const [here, there] = [await ann.open(), await other.open()];
    await other.get("/logout");
    expect(await there.closed).toMatchObject({ code: 4401 });
    expect(await here.send("bob", "still here")).toMatchObject({ duplicate: false });
    await here.close();
  });

  test("with 1012 when the server leaves, after the acks of what it accepted", async () => {
    await using leaving = await startApp();
    const [carol] = await leaving.people("carol", "dave");
    const tab = await carol!.open();
    for (let i = 0; i < 300; i++) tab.say({ to: "dave", message: `m${i}` });
    tab.say({ type: "ping" });
    await tab.next("pong"); // all of them were read
    await leaving.stop();
    expect(await tab.closed).toMatchObject({ code: 1012 });
    expect(tab.heard.filter(({ type }) => type === "ack")).toHaveLength(300);
  });
});

test("a message of hostile text arrives as it was written", async () => {
  const [a, b] = [await ann.open(), await bob.open()];
  const texts = [
    "<script>alert(1)</script>",
    `'; drop table messages; --`,
    `"quoted" \\ back\\\\slash {curly,braces} [1,2] null NULL \\N`,
    "👩‍👩‍👧‍👦 family",
    "שלום עולם \u202Ereversed\u202C",
    "e\u0301 is not é",
    "tab\tnewline\nreturn\r\u0001\u001f\u007f",
    "$1 ${x} %s {{username}}",
    "line\u2028and paragraph\u2029separators",
    "ﬁ ligature, Ⅷ, ㎏",
  ];
  for (const text of texts) {
    await a.send("bob", text);
    expect((await b.next("message"))["message"]).toBe(text);
  }
  const history = await bob.json<{ content: string }[]>(`/messages/ann/bob?peek=1&limit=${texts.length}`);
  expect(history.map(({ content }) => content)).toEqual(texts);
  await Promise.all([a.close(), b.close()]);
});
