import { describe, expect, test } from "bun:test";

import { startApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const app = await sharedApp();
const [ann, bob] = [await app.person("Ann"), await app.person("bob")];

describe("a frame with", () => {
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
  test("with 4401 when its session ends, and only that session's", async () => {
    const other = await ann.logIn();
    const [here, there] = [await ann.open(), await other.open()];
    await other.get("/logout");
    expect(await there.closed).toMatchObject({ code: 4401 });
    expect(await here.send("bob", "still here")).toMatchObject({ duplicate: false });
    await here.close();
  });

  test("with 1012 when the server stops, after the acks of accepted sends", async () => {
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
