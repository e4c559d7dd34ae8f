/**
 * What HTTP answers to what should not come, row by row: the input, the status. Rows that need more than a status stand elsewhere:
 * logins, sign-ups and logout in `auth_test.ts`, marks in `history_test.ts`, failures of ours in `http_test.ts`, limits in
 * `limits_test.ts`, headers in `pages_test.ts`. Where no comment says otherwise a row is chatify's own; Bun's are marked, so that
 * a Bun that answers otherwise is noticed.
 */

import { afterAll, describe, expect, test } from "bun:test";

import { PASSWORD, post, raw } from "../support/harness.ts";
import { RawSocket, talk } from "../support/raw.ts";
import { sharedApp } from "../support/shared_app.ts";

const app = await sharedApp();
const ann = await app.person("Ann");
await app.person("bob");
const carol = await app.person("carol");
await (await ann.open()).send("bob", "between Ann and bob");
afterAll(() => expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]));

const JSON_ROUTES = [
  "/me",
  "/messages/Ann/bob",
  "/unread_counts/Ann",
  "/conversations",
  "/search?q=hello",
  "/online",
  "/get_users",
  "/me/files",
];
const OPEN_ROUTES = ["/test", "/healthz", "/readyz", "/version"];
const READ_ONLY = [
  ...JSON_ROUTES.filter((path) => path !== "/conversations"),
  ...OPEN_ROUTES,
  "/",
  "/metrics",
  "/ws/Ann",
  "/static/AAAAAAAAAAAAAAAA/css/base.css",
];
const FORM = "application/x-www-form-urlencoded";

function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Response> {
  return fetch(app.url + path, { method, headers: { cookie: ann.cookie, ...headers }, redirect: "manual" });
}

/** Whether an answer is an error in JSON, which no cache keeps; and which. */
async function codeOf(answer: Response): Promise<string> {
  expect(answer.headers.get("content-type")).toBe("application/json");
  expect(answer.headers.get("cache-control")).toBe("no-store");
  const body = (await answer.json()) as { error: { code: string; message: string } };
  expect(body).toEqual({ error: { code: expect.any(String), message: expect.any(String) } });
  return body.error.code;
}

/** Everything that a request could have changed. */
async function stored(): Promise<unknown> {
  const users = await app.sql`select id, username, name_key, password from users order by id`;
  const sessions = await app.sql`select id, user_id, token from sessions order by id`;
  const messages = await app.sql`select id, content, read from messages order by id`;
  return { users: [...users], sessions: [...sessions], messages: [...messages] };
}

describe("without a session", () => {
  const COOKIES = [
    "",
    "chatify_session=forged.cookie",
    "chatify_session=%zz",
    "chatify_session=%00.%00",
    "chatify_session",
    "=",
    ";;",
    `a=b; ${"x".repeat(4_000)}`,
  ];

  test.each(JSON_ROUTES)("%s answers 401", async (path) => {
    for (const cookie of COOKIES) {
      const answer = await ask(path, { cookie });
      expect(`${cookie} ${answer.status}`).toBe(`${cookie} 401`);
      expect(await codeOf(answer)).toBe("no_session");
    }
  });

  test("/ leads to /login with 302, and nothing of the chat", async () => {
    for (const cookie of COOKIES) {
      const answer = await ask("/", { cookie });
      expect(answer.status).toBe(302);
      expect(answer.headers.get("location")).toBe("/login");
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(await answer.text()).toBe("");
    }
  });
});

describe("of another user", () => {
  test.each([
    "/messages/Ann/bob",
    "/messages/bob/Ann?peek=1",
    "/messages/aNN/BOB?limit=5",
    "/messages/bob/bob",
    "/messages/nobody/noone", // whether they exist or not
    "/unread_counts/Ann",
    "/unread_counts/nobody",
    "/unread_counts/%00",
    "/unread_counts/%zz",
    "/unread_counts/John%20Smith",
  ])("%s answers 403", async (path) => {
    const answer = await carol.get(path);
    expect(answer.status).toBe(403);
    expect(await codeOf(answer)).toBe("not_yours");
  });
});

describe("with an impossible name", () => {
  test.each([
    "%00",
    "%zz",
    "%",
    "%ED%A0%80",
    "%ff",
    "%C0%AE%C0%AE",
    "a",
    "..%2f..",
    "b%2Fob",
    "John%20Smith",
    "bo%E2%80%8Bb",
    "x".repeat(51),
    "x".repeat(8_000),
  ])("/messages of %s answers 400", async (name) => {
    for (const path of [`/messages/Ann/${name}`, `/messages/${name}/Ann`, `/messages/bob/${name}`]) {
      const answer = await ask(path);
      expect(answer.status).toBe(400);
      expect(await codeOf(answer)).toBe("bad_request");
    }
  });
});

describe("a path that is not there", () => {
  test.each([
    "/nothing",
    "/test/",
    "/messages",
    "/messages/Ann",
    "/messages/a/b/c",
    "//evil.example",
    "/%zz",
    "/%00",
    "/me%00",
    "/me;x",
    "/me/",
    "/%6de",
    "/LOGIN",
    "/.env",
    "/.git/config",
    "/favicon.ico",
    `/${"x".repeat(10_000)}`,
  ])("%s answers 404, whatever the method", async (path) => {
    for (const method of ["GET", "POST", "DELETE"]) {
      const answer = await ask(path, {}, method);
      expect(`${method} ${answer.status}`).toBe(`${method} 404`);
      expect(await codeOf(answer)).toBe("not_found");
    }
  });
});

describe("a method that is not there", () => {
  test.each(READ_ONLY)("at %s answers 405, and which there are", async (path) => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]) {
      const request = `${method} ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\nConnection: close\r\n\r\n`;
      const answer = await raw(app.port, request);
      expect(`${method} ${answer.status}`).toBe(`${method} 405`);
      expect(answer.headers.get("allow")).toBe("GET, HEAD");
      expect(answer.body).toContain('"method_not_allowed"');
      expect(answer.body).not.toContain(ann.cookie); // TRACE would reveal the cookie to scripts
    }
  });

  test.each(["/login", "/signup", "/logout"])("at %s answers 405, and which there are", async (path) => {
    for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
      const answer = await ask(path, {}, method);
      expect(`${method} ${answer.status}`).toBe(`${method} 405`);
      expect(answer.headers.get("allow")).toBe("GET, HEAD, POST");
      expect(await codeOf(answer)).toBe("method_not_allowed");
    }
    expect((await ask("/me")).status).toBe(200); // DELETE /logout did nothing
  });
});

describe("a form from", () => {
  test("another site's page is refused: 403 names Origin, Host and the settings, and nothing changes", async () => {
    const before = await stored();
    for (const path of ["/signup", "/login"]) {
      const form = { username: path === "/signup" ? "Planted" : "Ann", password: PASSWORD };
      for (const origin of ["https://evil.example", "null", "http://127.0.0.1:1", `${app.url}.evil.example`, "", "x"]) {
        const answer = await post(app.url + path, form, { origin });
        expect(`${origin} ${answer.status}`).toBe(`${origin} 403`);
        expect(answer.headers.has("set-cookie")).toBe(false);
        const { error } = (await answer.json()) as { error: { code: string; message: string } };
        expect(error.code).toBe("foreign_origin");
        for (const word of [`Origin ${origin}`, `Host 127.0.0.1:${app.port}`, "ALLOWED_ORIGINS", "TRUST_PROXY=on"]) {
          expect(error.message).toContain(word);
        }
      }
      // Of a header that is there twice both values arrive.
      for (const site of ["cross-site", "cross-site, none", "same-origin, cross-site"]) {
        const cross = await post(app.url + path, form, { "sec-fetch-site": site });
        expect(cross.status).toBe(403);
        expect(await cross.text()).toContain("Origin (none)");
      }
      const both = await post(app.url + path, form, { "sec-fetch-site": "cross-site", origin: app.url });
      expect(both.status).toBe(403);
    }
    expect(await stored()).toEqual(before);
  });
});

describe("a form with", () => {
  const send = (path: string, body: RequestInit["body"], type?: string) =>
    fetch(app.url + path, {
      method: "POST",
      body: body ?? null,
      headers: type ? { "content-type": type } : {},
      redirect: "manual",
    });

  test.each(["/signup", "/login"])("another content type answers 415 at %s, and nothing is stored", async (path) => {
    const before = await stored();
    const fields = { username: "Json", password: PASSWORD };
    const multipart = new FormData();
    for (const [name, value] of Object.entries(fields)) multipart.set(name, value);
    for (const answer of [
      await send(path, JSON.stringify(fields), "application/json"),
      await send(path, multipart),
      await send(path, new URLSearchParams(fields).toString(), "text/plain"),
      await send(path, undefined),
    ]) {
      expect(answer.status).toBe(415);
      expect(await codeOf(answer)).toBe("unsupported_type");
    }
    expect(await stored()).toEqual(before);
  });

  test("a charset, or its type in capitals, is read", async () => {
    const body = new URLSearchParams({ username: "Charset", password: PASSWORD }).toString();
    expect((await send("/signup", body, `${FORM}; charset=UTF-8`)).status).toBe(302);
    expect((await send("/login", body, FORM.toUpperCase())).status).toBe(302);
  });

  test.each([undefined, "", "&&&", "username", "password=12345678", "username=%zz&password=12345678", "%00=%00"])(
    "the body %j is a form without a name: 422 at sign-up, 401 at login",
    async (body) => {
      const before = await stored();
      expect((await send("/signup", body, FORM)).status).toBe(422);
      expect((await send("/login", body, FORM)).status).toBe(401);
      expect(await stored()).toEqual(before);
    },
  );

  test("a body above 16 KiB answers 413, whole or in chunks, and nothing is stored", async () => {
    const before = await stored();
    const start = `username=Large&password=${PASSWORD}&x=`;
    for (const path of ["/signup", "/login"]) {
      for (const bytes of [16 * 1024 + 1, 1024 * 1024]) {
        const body = start + "x".repeat(bytes - start.length);
        const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ${FORM}\r\n`;
        const whole = await raw(app.port, `${head}Content-Length: ${bytes}\r\n\r\n${body}`);
        expect(whole.status).toBe(413);
        const chunk = `${bytes.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
        const chunked = await raw(app.port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`);
        expect(chunked.status).toBe(413);
      }
      expect((await send(path, "x".repeat(1024 * 1024), FORM)).status).toBe(413);
    }
    expect(await stored()).toEqual(before);
    const most = start + "x".repeat(16 * 1024 - start.length);
    expect((await send("/signup", most, FORM)).status).toBe(302);
  });
});

const HOST = "Host: x\r\n";
const BODY = "username=Raw&password=correct+horse+battery";
const get = (target: string, headers = HOST) => `GET ${target} HTTP/1.1\r\n${headers}`;
const form = (headers: string, body: string) =>
  `POST /signup HTTP/1.1\r\n${HOST}Content-Type: ${FORM}\r\n${headers}\r\n${body}`;
const chunks = (body: string) => form("Transfer-Encoding: chunked\r\n", body);

/** Whole requests, each to be followed by the blank line if it has none; `undefined`: the connection is closed without a word. */
const RAW: [what: string, request: string, status: number | undefined][] = [
  // Who is asked
  ["no Host", get("/me", ""), 400], // Bun's own
  ["two Hosts", get("/me", "Host: x\r\nHost: y\r\n"), 400],
  ["the same Host twice", get("/me", "Host: x\r\nHost: x\r\n"), 400],
  ["a list as Host", get("/me", "Host: x, y\r\n"), 400],
  // What is asked for; all Bun's own but for the paths
  ["a NUL in the target", get("/me\0"), 505],
  ["a space in the target", get("/me me"), 505],
  ["two spaces before the target", get(" /me"), 400],
  ["tabs around the target", `GET\t/me\tHTTP/1.1\r\n${HOST}`, 505],
  ["no slash before the target", get("me"), 400],
  ["a backslash before the target", get("\\me"), 400],
  ["an asterisk as target", get("*"), 400],
  ["a file as target", get("file:///etc/passwd"), 400],
  ["another site as target", get("http://evil.example/me"), 401], // the path counts, and it requires a session
  ["another site over https as target", get("https://evil.example/me"), 401],
  ["two slashes before the target", get("//me"), 404],
  ["a target with dots", get("/a/../me"), 404],
  ["a target with dots to the root", get("/../../etc/passwd"), 404],
  ["a target with encoded dots", get("/a/%2e%2e/me"), 404],
  ["a target with a dot", get("/./me"), 404],
  ["a target with a fragment", get("/me#there"), 404],
  ["a target of bytes that are no text", get("/\xff\xfe"), 404],
  ["a target of 20 KB", get(`/${"x".repeat(20_000)}`), 431],
  ["a target of 1 MB", get(`/${"x".repeat(1_000_000)}`), 431],
  // Methods
  ["TRACE of no path", `TRACE /nothing HTTP/1.1\r\n${HOST}`, 404],
  ["CONNECT to elsewhere", `CONNECT evil.example:80 HTTP/1.1\r\n${HOST}`, 404],
  ["OPTIONS of everything", `OPTIONS * HTTP/1.1\r\n${HOST}`, 400], // from here on Bun's own
  ["an unknown method", `FOO /me HTTP/1.1\r\n${HOST}`, undefined],
  ["a method in small letters", `get /me HTTP/1.1\r\n${HOST}`, undefined],
  ["a method in mixed letters", `Get /me HTTP/1.1\r\n${HOST}`, undefined],
  ["a method of other signs", `G@T /me HTTP/1.1\r\n${HOST}`, 400],
  ["a NUL in the method", `G\0T /me HTTP/1.1\r\n${HOST}`, 505],
  ["a method of 300 letters", `${"G".repeat(300)} /me HTTP/1.1\r\n${HOST}`, undefined],
  ["no method", ` /me HTTP/1.1\r\n${HOST}`, 400],
  // Versions and other protocols
  ["HTTP/0.9", "GET /me\r\n", 505],
  ["HTTP/1.2", `GET /me HTTP/1.2\r\n${HOST}`, 505],
  ["HTTP/2.0", `GET /me HTTP/2.0\r\n${HOST}`, 505],
  ["http in small letters", `GET /me http/1.1\r\n${HOST}`, 505],
  ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400],
  ["the greeting of TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400],
  ["the greeting of SSH", "SSH-2.0-OpenSSH_9.0\r\n", 400],
  ["noise", "\0\x01\x02\x03\r\n\r\n", 400],
  [
    "an upgrade to HTTP/2",
    `${get("/me")}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n`,
    401,
  ],
  // Headers
  ["bare LF throughout", "GET /me HTTP/1.1\nHost: x\n\n", 505],
  ["bare CR throughout", "GET /me HTTP/1.1\rHost: x\r\r", 505],
  ["a bare LF in a header", `${get("/me")}X: a\nY: b\r\n`, 400],
  ["a bare CR in a header", `${get("/me")}X: a\rb\r\n`, 400],
  ["a NUL in a header", `${get("/me")}X: a\0b\r\n`, 400],
  ["a NUL in a header's name", `${get("/me")}X\0: a\r\n`, 400],
  ["a folded header", `${get("/me")}X: a\r\n b\r\n`, 400],
  ["a space before the first header", `GET /me HTTP/1.1\r\n X: a\r\n${HOST}`, 400],
  ["a space before the colon", `${get("/me")}X : a\r\n`, 400],
  ["no colon", `${get("/me")}Xa\r\n`, 400],
  ["no name before the colon", `${get("/me")}: a\r\n`, 400],
  ["empty lines before", `\r\n\r\n${get("/me")}`, 400],
  ["a header of 17 KiB", `${get("/me")}X: ${"x".repeat(17 * 1_024)}\r\n`, 431],
  ["250 headers", `${get("/me")}${"X: y\r\n".repeat(250)}`, 431],
  ["10,000 headers", `${get("/me")}${"X: y\r\n".repeat(10_000)}`, 431],
  // Lengths: a server that reads two of them differently than the proxy in front answers a smuggled request
  ["two different lengths", form(`Content-Length: ${BODY.length}\r\nContent-Length: 5\r\n`, BODY), 400],
  ["a list of lengths", form(`Content-Length: ${BODY.length}, ${BODY.length}\r\n`, BODY), 400],
  ["a length and chunks", form("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400],
  ["chunks and a length", form("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400],
  ["a length below zero", form("Content-Length: -1\r\n", BODY), 400],
  ["a length with a plus", form(`Content-Length: +${BODY.length}\r\n`, BODY), 400],
  ["a length in hexadecimal", form("Content-Length: 0x2b\r\n", BODY), 400],
  ["a length with an exponent", form("Content-Length: 1e1\r\n", BODY), 400],
  ["a length with a space", form("Content-Length: 4 3\r\n", BODY), 400],
  ["a length in words", form("Content-Length: ten\r\n", BODY), 400],
  ["an empty length", form("Content-Length: \r\n", BODY), 400],
  ["a length beyond 64 bits", form("Content-Length: 99999999999999999999999\r\n", BODY), 400],
  ["a length beyond what numbers hold", form("Content-Length: 9007199254740993\r\n", BODY), 413],
  ["a gigabyte announced", form("Content-Length: 1000000000\r\n", ""), 413],
  ["an unknown coding", form("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400],
  ["identity as coding", form("Transfer-Encoding: identity\r\n", "0\r\n\r\n"), 400],
  ["chunks in gzip", form("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400],
  ["gzip in chunks", form("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), 400],
  ["chunks twice", form("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400],
  ["chunks with a space before the colon", form("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400],
  ["chunks after a vertical tab", form("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400],
  ["chunks in HTTP/1.0", chunks("0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"), 400],
  ["a chunk's size in other letters", chunks(`xx\r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["a chunk's size with 0x", chunks(`0x2b\r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["a chunk's size below zero", chunks(`-2b\r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["a chunk's size with a space", chunks(`2b \r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["no chunk's size", chunks(`\r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["a chunk's size beyond 64 bits", chunks(`ffffffffffffffffff\r\n${BODY}\r\n0\r\n\r\n`), 400],
  ["a chunk longer than its size", chunks(`2b\r\n${BODY}zz\r\n0\r\n\r\n`), 400],
  ["chunks with bare LF", chunks(`2b\n${BODY}\n0\n\n`), 400],
  ["a chunk's extension with bare LF", chunks(`2b;a\n${BODY}\r\n0\r\n\r\n`), 400],
];

describe("a request with", () => {
  test.each(RAW)("%s is rejected as in its row, and nothing is stored", async (_, request, status) => {
    const before = await stored();
    const bytes = request.includes("\r\n\r\n") ? request : `${request}Connection: close\r\n\r\n`;
    const { heard, closed } = await talk(app.port, bytes);
    const text = heard.toString("latin1");
    expect(text === "" ? undefined : Number(text.split(" ")[1])).toBe(status);
    expect(text.match(/HTTP\/1\.1 \d/g) ?? []).toHaveLength(status === undefined ? 0 : 1);
    expect(closed).toBe(true);
    expect(await stored()).toEqual(before);
    expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
  });

  // Bun's own: it takes two lengths that agree, as RFC 9110 §8.6 lets it; a proxy that adds them up is nowhere known.
  test("the same length twice is one request, not two", async () => {
    const length = `Content-Length: ${BODY.length}\r\n`;
    const { heard } = await talk(app.port, form(`${length}${length}Connection: close\r\n`, BODY));
    expect(heard.toString()).toStartWith("HTTP/1.1 302 ");
    expect(heard.toString().match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  });

  test("no Host, as HTTP/1.0 allows, is answered", async () => {
    const answer = await raw(app.port, `GET /me HTTP/1.0\r\nCookie: ${ann.cookie}\r\n\r\n`);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body)).toMatchObject({ username: "Ann" });
  });

  test("a Host that is none is answered, or refused as the client's mistake", async () => {
    const paths = ["/get_users", "/messages/Ann/bob", "/conversations", "/static/AAAAAAAAAAAAAAAA/css/base.css"];
    for (const path of [...paths, "http://%zz/get_users", "http://elsewhere.example/get_users"]) {
      for (const host of ["%zz", "a b", "[::", "x:99999", ""]) {
        const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nCookie: ${ann.cookie}\r\nConnection: close\r\n\r\n`;
        expect([200, 400]).toContain((await raw(app.port, request)).status);
      }
    }
  });
});

describe("half a request", () => {
  test.each([
    ["a line", "GET /me HT"],
    ["headers", `${get("/me")}Cook`],
    ["a body", form(`Content-Length: ${BODY.length}\r\n`, BODY.slice(0, -5))],
    ["a chunk", chunks("2b\r\nuser")],
  ])("that ends in %s is no request: nothing is stored", async (_, bytes) => {
    const before = await stored();
    const half = await RawSocket.connect(app.port);
    half.write(bytes);
    await Bun.sleep(100);
    expect(half.heard.toString()).toBe("");
    half.end();
    await Bun.sleep(50);
    expect(await stored()).toEqual(before);
    expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
  });
});

// Bun's own: each body is taken for the body, so that what stands in it is never answered as a request.
// (It takes a body for whole at the last chunk, and answers 400 to trailers although the request has been served by then.)
describe("a request hidden in", () => {
  const hidden = `GET /version HTTP/1.1\r\n${HOST}\r\n`;
  const sized = (request: string) => `${request}Content-Length: ${hidden.length}\r\n\r\n${hidden}`;
  test.each([
    ["the body of a GET", sized(get("/test")), 200],
    [
      "the chunks of a GET",
      `${get("/test")}Transfer-Encoding: chunked\r\n\r\n${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
      200,
    ],
    ["the body of a HEAD", sized(`HEAD /test HTTP/1.1\r\n${HOST}`), 200],
    ["a body that is refused with 405", sized(`PUT /test HTTP/1.1\r\n${HOST}`), 405],
    ["a body that is refused with 404", sized(`POST /nothing HTTP/1.1\r\n${HOST}`), 404],
    ["a body that is refused with 415", sized(`POST /login HTTP/1.1\r\n${HOST}`), 415],
    ["a body that is refused with 403", sized(`POST /login HTTP/1.1\r\n${HOST}Origin: null\r\n`), 403],
    ["a body that is refused with 413", form("Content-Length: 20000\r\n", hidden.padEnd(20_000)), 413],
    ["a body that is no form", sized(`POST /login HTTP/1.1\r\n${HOST}Content-Type: ${FORM}\r\n`), 401],
    ["a length and chunks", form("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${hidden}`), 400],
    [
      "the trailers of a body",
      `POST /nothing HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n${hidden}`,
      404,
    ],
    [
      "chunks and a shorter length",
      form("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", `2b\r\n${hidden}\r\n0\r\n\r\n`),
      400,
    ],
    [
      "chunks and an unknown coding",
      form("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", `0\r\n\r\n${hidden}`),
      400,
    ],
    ["the body of an upgrade", sized(`${get("/ws/Ann")}Connection: Upgrade\r\nUpgrade: websocket\r\n`), 401],
  ])("%s is not answered", async (_, request, status) => {
    const proxy = await RawSocket.connect(app.port);
    proxy.write(request);
    await proxy.until((heard) => heard.includes("HTTP/1.1 "));
    await Bun.sleep(100);
    proxy.end();
    const text = proxy.heard.toString();
    expect(Number(text.split(" ")[1])).toBe(status);
    const [, ...others] = text.match(/(?<=HTTP\/1\.1 )\d+/g) ?? [];
    expect(others.filter((other) => other !== "400")).toEqual([]);
    expect(text).not.toContain('"version"');
  });
});
