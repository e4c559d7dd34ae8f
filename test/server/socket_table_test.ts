/**
 * What `/ws/{username}` answers to what should not come, row by row: the input, the status or close code. Rows that need more
 * stand elsewhere: ended sessions, leaving and what arrives unharmed in `socket_test.ts`, a full pod in `pods_test.ts`, cursors
 * and pages in `history_test.ts` and `paging_test.ts`, limits in `limits_test.ts`.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { cookieOf, PASSWORD, type Person, post, raw, startApp, Tab, type TestApp } from "../support/harness.ts";
import { closeCode, frame, type FrameOptions, framesOf, handshake, OPCODE, RawSocket } from "../support/raw.ts";

let app: TestApp;
let ann: Person;
let bob: Person;
let mallory: Person;
/** Open throughout: whatever others do, it must go on. */
let bystander: Tab;

beforeAll(async () => {
  app = await startApp();
  [ann, bob, mallory] = [await app.person("Ann"), await app.person("bob"), await app.person("Mallory")];
  bystander = await bob.open({ watch: [] });
});
afterAll(async () => {
  expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  await app.stop();
});

const stored = async () => (await app.sql<{ content: string }[]>`select content from messages order by id`).length;

describe("the handshake", () => {
  const KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const knock = (path: string, headers: string) =>
    raw(app.port, handshake(path, `${headers}`).replace("Connection: Upgrade", "Connection: Upgrade, close"));
  const mine = (headers = "") => `Cookie: ${ann.cookie}\r\n${headers}`;

  test("accepts a session and its user's name in any case, from its own origin or none", async () => {
    for (const path of ["/ws/Ann", "/ws/aNN"]) {
      for (const origin of [undefined, app.url]) {
        const headers = { cookie: ann.cookie, ...(origin ? { origin } : {}) };
        const tab = new Tab(app.url.replace("http", "ws") + path, headers, "Ann");
        expect(await tab.next("hello")).toMatchObject({ type: "hello", username: "Ann" });
        await tab.close();
      }
    }
  });

  test("accepts an upgrade that Traefik forwards with X-Forwarded-Proto: wss", async () => {
    await using proxied = await startApp({ env: { TRUST_PROXY: "on" } });
    const https = { "x-forwarded-host": "chat.example.org", origin: "https://chat.example.org" };
    const form = { username: "Ann", password: PASSWORD };
    const answer = await post(`${proxied.url}/signup`, form, { ...https, "x-forwarded-proto": "https" });
    const headers = { ...https, "x-forwarded-proto": "wss", cookie: cookieOf(answer) };
    const tab = new Tab(`${proxied.url.replace("http", "ws")}/ws/Ann`, headers, "Ann");
    await tab.next("hello");
    await tab.close();
  });

  test.each([
    ["no cookie", () => ""],
    ["a cookie of nothing", () => "Cookie: chatify_session=\r\n"],
    ["a forged signature", () => `Cookie: ${ann.cookie.split(".")[0]}.AAAA\r\n`],
    ["no signature", () => `Cookie: ${ann.cookie.split(".")[0]}\r\n`],
    [
      "a bit turned",
      () => `Cookie: ${ann.cookie.slice(0, -5)}${ann.cookie.at(-5) === "A" ? "B" : "A"}${ann.cookie.slice(-4)}\r\n`,
    ],
  ])("answers 401 to %s", async (_, headers) => {
    expect((await knock("/ws/Ann", headers())).status).toBe(401);
    expect((await knock("/ws/bob", headers())).status).toBe(401); // for any name
  });

  test.each(["/ws/bob", "/ws/BOB", "/ws/nobody", "/ws/%zz", "/ws/%00", `/ws/${"x".repeat(5_000)}`])(
    "answers 403 to another's name: %s",
    async (path) => {
      const answer = await knock(path, mine());
      expect(answer.status).toBe(403);
      expect(answer.body).toContain('"not_yours"');
    },
  );

  test.each(["https://evil.example", "null", "", "x", "http://127.0.0.1:1", "http://x.evil.example", "file://"])(
    "answers 403 to the origin %j, and names the values received and the setting",
    async (origin) => {
      const answer = await knock("/ws/Ann", mine(`Origin: ${origin}\r\n`));
      expect(answer.status).toBe(403);
      const { error } = JSON.parse(answer.body) as { error: { code: string; message: string } };
      expect(error.code).toBe("foreign_origin");
      for (const word of [`Origin ${origin}`, "Host x", "ALLOWED_ORIGINS"]) expect(error.message).toContain(word);
    },
  );

  test("answers 403 to a page of another site without an origin", async () => {
    expect((await knock("/ws/Ann", mine("Sec-Fetch-Site: cross-site\r\n"))).status).toBe(403);
  });

  test.each([
    ["a plain GET", "GET", "", 426],
    ["an upgrade to something else", "GET", `Upgrade: h2c\r\nSec-WebSocket-Version: 13\r\n${KEY}`, 426],
    ["version 8", "GET", `Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\n${KEY}`, 426], // Bun's own, as the next
    ["no version", "GET", `Upgrade: websocket\r\n${KEY}`, 426],
    ["no key", "GET", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", 400],
    ["a short key", "GET", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n", 400],
    ["a long key", "GET", `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${KEY.replace("==", "AAAA==")}`, 400],
    [
      "a key of other signs",
      "GET",
      `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${"!".repeat(24)}\r\n`,
      400,
    ],
    ["two keys", "GET", `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${KEY}${KEY}`, 400],
    ["HEAD", "HEAD", `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${KEY}`, 400],
    ["POST", "POST", `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${KEY}`, 405],
    ["PUT", "PUT", "", 405],
  ])("answers a request that is no handshake: %s by %s", async (_, method, headers, status) => {
    const request = `${method} /ws/Ann HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n${mine(headers)}\r\n`;
    const answer = await raw(app.port, request);
    expect(answer.status).toBe(status);
    if (status === 426 && !headers.includes("websocket")) expect(answer.headers.get("upgrade")).toBe("websocket");
  });

  test("negotiates no compression", async () => {
    const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    const socket = await RawSocket.connect(app.port);
    socket.write(handshake("/ws/Ann", mine(offer)));
    const heard = await socket.until((bytes) => bytes.includes('"hello"'));
    socket.end();
    expect(heard.toString()).toStartWith("HTTP/1.1 101 ");
    expect(heard.toString().toLowerCase()).not.toContain("sec-websocket-extensions");
  });
});

/** Frames that are refused, each with its error code. */
const REFUSED: [string, string | object, string][] = [
  ["broken JSON", '{"to":"bob"', "bad_request"],
  ["two objects", "{}{}", "bad_request"],
  ["a list", "[]", "bad_request"],
  ["null", "null", "bad_request"],
  ["a number", "5", "bad_request"],
  ["a string", '"bob"', "bad_request"],
  ["nothing", "", "bad_request"],
  ["an empty object", {}, "bad_request"],
  ["10,000 lists in each other", "[".repeat(10_000) + "]".repeat(10_000), "bad_request"],
  ["10,000 objects in each other", `{"to":${'{"a":'.repeat(5_000)}1${"}".repeat(5_001)}`, "bad_request"],
  ["a prototype", '{"__proto__":{"to":"bob","message":"x"}}', "bad_request"],
  ["a number as receiver", { to: 5 }, "bad_request"],
  ["a number as receiver of a text", { to: 5, message: "x" }, "bad_request"],
  ["a list as receiver", { to: ["bob"], message: "x" }, "bad_request"],
  ["no text", { to: "bob" }, "bad_request"],
  ["an object as text", { to: "bob", message: {} }, "bad_request"],
  ["an unknown type", { type: "shout", to: "bob", message: "x" }, "bad_request"],
  ["a type of ours", { type: "ack", to: "bob", message: "x" }, "bad_request"],
  ["a number as type", { type: 7, to: "bob", message: "x" }, "bad_request"],
  ["null as type", { type: null, to: "bob", message: "x" }, "bad_request"],
  ["a short ref", { to: "bob", message: "x", ref: "1234567" }, "bad_request"],
  ["a long ref", { to: "bob", message: "x", ref: "r".repeat(65) }, "bad_request"],
  ["a ref of other signs", { to: "bob", message: "x", ref: "~~~~~~~~~~" }, "bad_request"],
  ["a ref with a line's end", { to: "bob", message: "x", ref: "12345678\n" }, "bad_request"],
  ["a number as ref", { to: "bob", message: "x", ref: 12_345_678 }, "bad_request"],
  ["an empty text", { to: "bob", message: "" }, "invalid_text"],
  ["a blank text", { to: "bob", message: " \n\t\u00a0\u200b" }, "invalid_text"],
  ["a blank Braille pattern", { to: "bob", message: "\u2800" }, "invalid_text"],
  ["a Hangul filler", { to: "bob", message: "\u3164" }, "invalid_text"],
  ["a mark without a base", { to: "bob", message: " \u0301\n" }, "invalid_text"],
  ["a NUL", { to: "bob", message: "a\u0000b" }, "invalid_text"],
  ["an escaped NUL", '{"to":"bob","message":"a\\u0000b"}', "invalid_text"],
  ["a lone surrogate", '{"to":"bob","message":"a\\ud800b"}', "invalid_text"],
  ["surrogates in the wrong order", '{"to":"bob","message":"a\\ude00\\ud83db"}', "invalid_text"],
  ["4,001 characters", { to: "bob", message: "x".repeat(4_001) }, "invalid_text"],
  ["4,001 code points beyond the BMP", { to: "bob", message: "😀".repeat(4_001) }, "invalid_text"],
  ["an unknown receiver", { to: "nobody", message: "x" }, "no_such_user"],
  ["a receiver no account can have", { to: "no\u0000body", message: "x" }, "no_such_user"],
  ["a receiver of half a character", '{"to":"\\ud800","message":"x"}', "no_such_user"],
  ["an empty receiver", { to: "", message: "x" }, "no_such_user"],
  ["a receiver without end", { to: "x".repeat(5_000), message: "x" }, "no_such_user"],
  ["a read without number", { type: "read", peer: "bob" }, "bad_request"],
  ["a read below zero", { type: "read", peer: "bob", seq: -1 }, "bad_request"],
  ["a read of half a message", { type: "read", peer: "bob", seq: 0.5 }, "bad_request"],
  ["a read of text", { type: "read", peer: "bob", seq: "1" }, "bad_request"],
  ["a read beyond all numbers", '{"type":"read","peer":"bob","seq":1e999}', "bad_request"],
  ["a read of nobody", { type: "read", seq: 1 }, "bad_request"],
  ["typing to nobody", { type: "typing" }, "bad_request"],
  ["typing to many", { type: "typing", peer: ["bob"] }, "bad_request"],
  ["a watch of nobody", { type: "watch" }, "bad_request"],
  ["a watch of numbers", { type: "watch", users: [1] }, "bad_request"],
  ["a watch of text", { type: "watch", users: "bob" }, "bad_request"],
  ["a watch of too many", { type: "watch", users: Array.from({ length: 201 }, (_, i) => `u${i}`) }, "bad_request"],
];

describe("a frame with", () => {
  test.each(REFUSED)("%s is rejected, and the others of the batch are not", async (_, frame, code) => {
    const a = await ann.open();
    const before = await stored();
    a.say({ to: "bob", message: "before", ref: "before-the-bad-one".concat(crypto.randomUUID()) });
    a.say(frame);
    bystander.say({ to: "ann", message: "beside" });
    a.say({ to: "bob", message: "after" });
    expect(await a.next("error")).toMatchObject({ type: "error", code, message: expect.any(String) });
    await Promise.all([a.next("ack"), bystander.next("ack")]);
    await a.next("ack");
    expect(await stored()).toBe(before + 3);
    await a.close();
  });

  test.each([
    ["above the last message", '{"type":"read","peer":"bob","seq":1000000}'],
    ["of 2^53", '{"type":"read","peer":"bob","seq":9007199254740992}'],
    ["of 2^63", '{"type":"read","peer":"bob","seq":9223372036854775808}'],
    ["of 1e300", '{"type":"read","peer":"bob","seq":1e300}'],
  ])("a read mark %s is cut to the end", async (_, mark) => {
    const a = await ann.open();
    const { seq } = await bystander.send("Ann", "to be read");
    await a.next("message");
    a.say(mark);
    expect(await a.next("read")).toEqual({ type: "read", reader: "Ann", peer: "bob", seq });
    await a.close();
  });

  test("a read mark cannot mark other users' conversations", async () => {
    const before = await app.sql`select low, low_read_seq, high_read_seq from conversations`;
    const m = await mallory.open();
    for (const peer of ["Ann", "bob", "nobody", "\u0000"]) m.say({ type: "read", peer, seq: 1_000 });
    m.say({ type: "ping" });
    await m.next("pong");
    await m.hearsNo("read", 100);
    await m.close();
    expect(await app.sql`select low, low_read_seq, high_read_seq from conversations`).toEqual(before);
  });
});

const M = '{"to":"bob","message":"must not be stored"}';
const { text, continuation, binary, close, ping, pong } = OPCODE;

function closing(code: number, reason: string | Uint8Array = "", options: FrameOptions = {}): Buffer {
  const body = Buffer.alloc(2);
  body.writeUInt16BE(code);
  return frame(close, Buffer.concat([body, Buffer.from(reason as string)]), options);
}

/**
 * Frames that break RFC 6455 or our limits, and the code in the close frame that comes back. 1002, 1007 and 1009 are Bun's own;
 * chatify sets the limit.
 */
const VIOLATIONS: [what: string, bytes: Uint8Array, code: number][] = [
  ["no mask", frame(text, M, { masked: false }), 1002],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1002],
  ["RSV1, compressed without leave", frame(text, M, { reserved: 4 }), 1002],
  ["RSV2", frame(text, M, { reserved: 2 }), 1002],
  ["RSV3", frame(text, M, { reserved: 1 }), 1002],
  ["RSV1 on a ping", frame(ping, "", { reserved: 4 }), 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, Buffer, number] => [
    `the reserved opcode ${opcode}`,
    frame(opcode, M),
    1002,
  ]),
  ["a ping of 126 bytes", frame(ping, "x".repeat(126)), 1002],
  ["a pong of 126 bytes", frame(pong, "x".repeat(126)), 1002],
  ["a close of 126 bytes", closing(1000, "x".repeat(124)), 1002],
  ["a ping in fragments", frame(ping, "x", { fin: false }), 1002],
  ["a close in fragments", closing(1000, "", { fin: false }), 1002],
  ["a close of 1 byte", frame(close, "x"), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map((code): [string, Buffer, number] => [
    `the close code ${code}`,
    closing(code),
    1002,
  ]),
  ["a continuation of nothing", frame(continuation, M), 1002],
  ["a continuation that goes on, of nothing", frame(continuation, M, { fin: false }), 1002],
  ["a text amid a fragmented one", Buffer.concat([frame(text, "{", { fin: false }), frame(text, M)]), 1002],
  ["a binary frame amid a fragmented text", Buffer.concat([frame(text, "{", { fin: false }), frame(binary, M)]), 1002],
  ["a byte that is no UTF-8", frame(text, Buffer.from([0x22, 0xff, 0x22])), 1007],
  ["overlong UTF-8", frame(text, Buffer.from([0xc0, 0xaf])), 1007],
  ["a surrogate in UTF-8", frame(text, Buffer.from([0xed, 0xa0, 0x80])), 1007],
  ["UTF-8 beyond Unicode", frame(text, Buffer.from([0xf4, 0x90, 0x80, 0x80])), 1007],
  ["UTF-8 that ends too soon", frame(text, Buffer.from([0xe2, 0x82])), 1007],
  [
    "UTF-8 broken between fragments",
    Buffer.concat([frame(text, Buffer.from([0xe2, 0x82]), { fin: false }), frame(continuation, "A")]),
    1007,
  ],
  ["a reason for closing that is no UTF-8", closing(1000, Buffer.from([0xff])), 1007],
  ["binary", frame(binary, M), 1003],
  ["binary of nothing", frame(binary), 1003],
  ["binary in fragments", Buffer.concat([frame(binary, "{", { fin: false }), frame(continuation, "}")]), 1003],
  ["a text of 32 KiB and a byte", frame(text, M.padEnd(32 * 1024 + 1)), 1009],
  [
    "fragments of more than 32 KiB together",
    Buffer.concat([frame(text, M.padEnd(20_000), { fin: false }), frame(continuation, " ".repeat(20_000))]),
    1009,
  ],
  [
    "40,000 fragments of a byte",
    Buffer.concat([frame(text, "x", { fin: false }), ...Array(40_000).fill(frame(continuation, "x", { fin: false }))]),
    1009,
  ],
  ["4 GiB announced", frame(text, M, { lengthBytes: 8, length: 1n << 32n }), 1009],
  ["a length of 2^63 - 1", frame(text, M, { lengthBytes: 8, length: (1n << 63n) - 1n }), 1009],
  ["a length with the top bit", frame(text, M, { lengthBytes: 8, length: 1n << 63n }), 1009],
];

describe("a socket that sends", () => {
  test.each(VIOLATIONS)("%s is closed, nothing is stored, and other sockets continue", async (_, bytes, code) => {
    const before = await stored();
    const socket = await RawSocket.upgraded(app.port, mallory);
    socket.write(bytes);
    socket.write(frame(text, M)); // what comes behind is not read
    await socket.until(() => false);
    expect(closeCode(socket.heard)).toBe(code);
    bystander.say({ type: "ping" });
    await bystander.next("pong");
    expect(await stored()).toBe(before);
  });

  test("a valid close is answered with its code, and nothing after it is read", async () => {
    for (const code of [1000, 1001, 3000, 4999]) {
      const before = await stored();
      const socket = await RawSocket.upgraded(app.port, mallory);
      socket.write(Buffer.concat([closing(code), frame(text, M)]));
      await socket.until(() => false);
      expect(closeCode(socket.heard)).toBe(code);
      expect(await stored()).toBe(before);
    }
  });

  // Bun's own: a length told in more bytes than it needs, which RFC 6455 §5.2 forbids and no server we know refuses.
  test.each([
    ["a text, its length in more bytes than needed", frame(text, '{"type":"ping"}', { lengthBytes: 8 })],
    ["a text of 32 KiB", frame(text, '{"type":"ping"}'.padEnd(32 * 1024))],
    [
      "a text in fragments, a ping between them",
      Buffer.concat([frame(text, '{"type":', { fin: false }), frame(ping, "x"), frame(continuation, '"ping"}')]),
    ],
    [
      "a text in a thousand empty fragments",
      Buffer.concat([
        frame(text, "", { fin: false }),
        ...Array(1_000).fill(frame(continuation, "", { fin: false })),
        frame(continuation, '{"type":"ping"}'),
      ]),
    ],
  ])("%s is answered", async (_, bytes) => {
    const socket = await RawSocket.upgraded(app.port, mallory);
    socket.write(bytes);
    const heard = await socket.until((bytes) => framesOf(bytes).some(({ payload }) => payload.includes('"pong"')));
    expect(closeCode(heard)).toBeUndefined();
    socket.end();
  });

  test("half a frame and disconnects leaves no user online", async () => {
    const socket = await RawSocket.upgraded(app.port, mallory);
    socket.write(frame(text, M).subarray(0, 20));
    expect(await bob.json<string[]>("/online")).toContain("Mallory");
    await Bun.sleep(50);
    socket.end();
    const goneBy = performance.now() + 15_000; // five seconds, on a busy machine too
    while ((await bob.json<string[]>("/online")).includes("Mallory")) {
      expect(performance.now()).toBeLessThan(goneBy);
      await Bun.sleep(100);
    }
    expect(await app.sql`select from messages where sender = 'Mallory'`).toHaveLength(0);
  });
});
