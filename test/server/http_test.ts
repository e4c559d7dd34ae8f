import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";

import { connect } from "../../src/db/client.ts";
import { Pages } from "../../src/http/pages.ts";
import { migratedDatabase, post, raw, ROOT, startApp } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const app = await sharedApp();
const ann = await app.person("Ann");
await app.person("bob");

const JSON_ROUTES = [
  "/me",
  "/messages/Ann/bob",
  "/messages/Ann/bob?limit=5",
  "/unread_counts/Ann",
  "/conversations",
  "/search?q=hello",
  "/online",
  "/get_users",
];
const OPEN_ROUTES = ["/test", "/healthz", "/readyz", "/version"];
const PAGES = ["/", "/login", "/signup"];

/** Like fetch, but does not decode the body. */
function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Response> {
  return fetch(app.url + path, {
    method,
    headers: { cookie: ann.cookie, "accept-encoding": "identity", ...headers },
    redirect: "manual",
    decompress: false,
  });
}

async function codeOf(answer: Response): Promise<string> {
  expect(answer.headers.get("content-type")).toBe("application/json");
  const body = (await answer.json()) as { error: { code: string; message: string } };
  expect(body).toEqual({ error: { code: expect.any(String), message: expect.any(String) } });
  return body.error.code;
}

/** The current version in the URLs of the page files. */
async function hash(): Promise<string> {
  return /"\/static\/([\w-]{11})\//.exec(await (await ask("/login")).text())?.[1] ?? "";
}

describe("a page", () => {
  test("is the chat for signed-in users, and redirects others to the login", async () => {
    const chat = await ask("/");
    expect(chat.status).toBe(200);
    expect(await chat.text()).toContain("chat-thread");
    for (const cookie of ["", "chatify_session=forged.cookie"]) {
      const answer = await ask("/", { cookie });
      expect(answer.status).toBe(302);
      expect(answer.headers.get("location")).toBe("/login");
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(await answer.text()).toBe("");
    }
  });

  test.each(["/login", "/signup"])("%s has a form that works without script", async (path) => {
    const answer = await ask(path, { cookie: "" });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const html = await answer.text();
    expect(html).toContain(`<form method="post" action="${path}">`);
    expect(html).toMatch(/<input[^>]*name="username"/);
    expect(html).toMatch(/<input[^>]*name="password"[^>]*type="password"/);
    expect(html).not.toContain("{{");
  });

  test.each(PAGES)("%s loads nothing from other origins", async (path) => {
    const { headers } = await ask(path);
    const policy = (headers.get("content-security-policy") ?? "").split("; ");
    for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
      expect(policy).toContain(rule);
    }
    for (const rule of ["form-action 'self'", "base-uri 'none'", "require-trusted-types-for 'script'"]) {
      expect(policy).toContain(rule);
    }
    expect(policy.join()).not.toContain("unsafe");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("referrer-policy")).toBe("same-origin");
  });

  test("with an error has the same policy and is not cached", async () => {
    const answer = await post(`${app.url}/signup`, { username: "x", password: "y" });
    expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });
});

describe("pages and their files", () => {
  const decode: Record<string, (bytes: Uint8Array) => Buffer> = {
    br: brotliDecompressSync,
    zstd: zstdDecompressSync,
    gzip: gunzipSync,
    identity: Buffer.from,
  };

  /** An answer in an encoding: they are made in the background after the start. */
  async function encoded(path: string, encoding: string): Promise<Response> {
    for (;;) {
      const answer = await ask(path, { "accept-encoding": encoding });
      if (encoding === "identity" || answer.headers.has("content-encoding")) return answer;
      await Bun.sleep(20);
    }
  }

  test("have a strong ETag for each encoding, and return 304 if the client has it", async () => {
    for (const path of [...PAGES, `/static/${await hash()}/css/base.css`]) {
      const plain = await (await ask(path)).text();
      const etags = new Set<string>();
      for (const [encoding, undo] of Object.entries(decode)) {
        const answer = await encoded(path, encoding);
        expect(answer.headers.get("content-encoding")).toBe(encoding === "identity" ? null : encoding);
        expect(answer.headers.get("vary")).toBe("Accept-Encoding");
        expect(undo(await answer.bytes()).toString()).toBe(plain);
        const etag = answer.headers.get("etag") ?? "";
        expect(etag).toMatch(/^"[^"]+"$/);
        etags.add(etag);

        for (const known of [etag, `W/${etag}`, `"another", ${etag}`, "*"]) {
          const again = await ask(path, { "accept-encoding": encoding, "if-none-match": known });
          expect(again.status).toBe(304);
          expect(again.headers.get("etag")).toBe(etag);
          expect(again.headers.get("vary")).toBe("Accept-Encoding");
          expect(again.headers.get("cache-control")).toBe(answer.headers.get("cache-control"));
          expect(await again.text()).toBe("");
        }
        const other = await ask(path, { "accept-encoding": encoding, "if-none-match": '"another"' });
        expect(other.status).toBe(200);
      }
      expect(etags.size).toBe(4);
    }
  });

  test("use the best encoding that the client accepts", async () => {
    await encoded("/login", "br");
    const chosen = async (accept: string) =>
      (await ask("/login", { "accept-encoding": accept })).headers.get("content-encoding");
    expect(await chosen("gzip, deflate, br, zstd")).toBe("br");
    expect(await chosen("gzip, br;q=0")).toBe("gzip");
    expect(await chosen("GZIP;Q=0.5")).toBe("gzip");
    expect(await chosen("br; q=0.0, zstd ; q=0.1")).toBe("zstd");
    expect(await chosen("deflate")).toBeNull();
    expect(await chosen("")).toBeNull();
    expect(await chosen("brotli, xgzip")).toBeNull();
  });

  test("respond to HEAD as to GET, without the body, with the same length", async () => {
    for (const path of [...PAGES, `/static/${await hash()}/css/base.css`]) {
      const [get, head] = [await ask(path), await ask(path, {}, "HEAD")];
      expect(head.status).toBe(200);
      for (const name of ["content-type", "etag", "cache-control", "content-security-policy", "vary"]) {
        expect(head.headers.get(name)).toBe(get.headers.get(name));
      }
      expect(head.headers.get("content-length")).toBe(String((await get.bytes()).length));
      const request = `HEAD ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\nConnection: close\r\n\r\n`;
      expect((await raw(app.port, request)).body).toBe("");
    }
    const known = (await ask("/login")).headers.get("etag") ?? "";
    expect((await ask("/login", { "if-none-match": known }, "HEAD")).status).toBe(304);
  });

  test("are immutable under the current version; under an unknown one styles are no-store, scripts missing", async () => {
    const current = await hash();
    const file = await ask(`/static/${current}/css/base.css`);
    expect(file.status).toBe(200);
    expect(file.headers.get("content-type")).toBe("text/css; charset=utf-8");
    expect(file.headers.get("cache-control")).toBe("max-age=31536000, immutable");
    expect(file.headers.get("x-content-type-options")).toBe("nosniff");
    const old = await ask("/static/AAAAAAAAAAAAAAAA/css/base.css");
    expect(old.status).toBe(200);
    expect(old.headers.get("cache-control")).toBe("no-store");
    expect(await old.text()).toBe(await file.text());
    expect((await ask(`/static/${current}/js/chat.js`)).status).toBe(200);
    expect((await ask("/static/AAAAAAAAAAAAAAAA/js/chat.js")).status).toBe(404);
    expect((await ask("/login")).headers.get("cache-control")).toBe("no-cache");
  });

  test("are served with their content types, without a session", async () => {
    const current = await hash();
    const types: Record<string, string> = {
      css: "text/css; charset=utf-8",
      js: "text/javascript",
      svg: "image/svg+xml",
    };
    const pages = await Pages.load(join(ROOT, "static"), "open");
    expect(pages.version).toBe(current);
    const html = new Bun.Glob("*.html").scanSync(join(ROOT, "static"));
    for (const path of [...pages.files.keys(), ...html]) {
      const answer = await ask(`/static/${current}/${path}`, { cookie: "" });
      const type = types[path.split(".").at(-1) ?? ""];
      if (path.endsWith(".html"))
        expect(answer.status).toBe(404); // pages have addresses of their own
      else expect({ path, status: answer.status }).toEqual({ path, status: 200 });
      if (type) expect(answer.headers.get("content-type")).toBe(type);
    }
  });

  test("include minified styles with the same classes and variables", async () => {
    const current = await hash();
    const files = [...new Bun.Glob("css/*.css").scanSync(join(ROOT, "static"))];
    expect(files.length).toBeGreaterThan(3);
    const names = (style: string) => new Set(style.replace(/\/\*[^]*?\*\//g, "").match(/\.[a-z][\w-]*|--[\w-]+/gi));
    for (const path of files) {
      const written = await Bun.file(join(ROOT, "static", path)).text();
      const served = await (await ask(`/static/${current}/${path}`, { cookie: "" })).text();
      expect({ path, lost: [...names(written).difference(names(served))] }).toEqual({ path, lost: [] });
      expect(served.length, path).toBeLessThan(0.9 * written.length);
    }
  });

  test("bundle a page's scripts into one, which loads others only on demand, under their own paths", async () => {
    const current = await hash();
    const transpiler = new Bun.Transpiler({ loader: "js" });
    for (const page of ["chat", "account", "form", "signup"]) {
      const path = `/static/${current}/js/${page}.js`;
      const script = await (await ask(path, { cookie: "" })).text();
      const imports = transpiler.scanImports(script);
      expect(new Set(imports.map(({ kind }) => kind))).toEqual(new Set(["dynamic-import"]));
      expect(imports.map((each) => each.path)).toContain("./translations/el.js");
      for (const each of imports) {
        const loaded = await ask(new URL(each.path, `http://here${path}`).pathname, { cookie: "" });
        expect({ path: each.path, status: loaded.status }).toEqual({ path: each.path, status: 200 });
        // What it shares with the page is the page's, or it would exist twice.
        for (const { path: own, kind } of transpiler.scanImports(await loaded.text())) {
          if (kind === "import-statement") expect(own).toMatch(/^\.\.\/chat\b/);
          else expect((await ask(new URL(own, loaded.url).pathname, { cookie: "" })).status).toBe(200);
        }
      }
      expect(script).not.toContain("/**");
    }
  });

  test("do not expose other files", async () => {
    const current = await hash();
    const elsewhere = [
      "/static/",
      "/static/css/base.css",
      `/static/${current}`,
      `/static/${current}/`,
      `/static/${current}/css`,
      `/static/${current}/css/`,
      `/static/${current}/login.html`,
      `/static/${current}/nothing.js`,
      `/static/${current}/../package.json`,
      `/static/${current}/../../package.json`,
      `/static/${current}/..%2f..%2fpackage.json`,
      `/static/${current}/%2e%2e/%2e%2e/package.json`,
      `/static/${current}/..\\..\\package.json`,
      `/static/${current}//etc/passwd`,
      `/static/${current}/css/base.css%00.js`,
      `/static/${current}/%zz`,
      "/static/../../../../etc/passwd",
      "/../package.json",
    ];
    for (const path of elsewhere) {
      const answer = await raw(app.port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(`${path} ${answer.status}`).toBe(`${path} 404`);
      expect(answer.body).not.toContain("chatify");
      expect(answer.body).not.toContain("root:");
    }
  });
});

describe("a route", () => {
  test("/test answers as in the original demo", async () => {
    const answer = await fetch(`${app.url}/test`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ message: "ok" });
  });

  test("/healthz, /readyz and /version need no session", async () => {
    for (const [path, body] of [
      ["/healthz", { status: "ok" }],
      ["/readyz", { status: "ready" }],
      ["/version", { name: "chatify", version: "0.0.0-test" }],
    ] as const) {
      const answer = await fetch(app.url + path);
      expect(answer.status).toBe(200);
      expect(await answer.json()).toEqual(body);
    }
  });

  test("/metrics is text for Prometheus, for this machine only unless a token is set", async () => {
    const answer = await fetch(`${app.url}/metrics`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    const text = await answer.text();
    expect(text).toMatch(/^chatify_\w+(\{.*\})? \d/m);
    expect(text).toMatch(/^chatify_bus_packets_sent_total \d+$/m);

    await using guarded = await startApp({ env: { METRICS_TOKEN: "a-token-for-prometheus" } });
    const metrics = (authorization: string) => fetch(`${guarded.url}/metrics`, { headers: { authorization } });
    expect((await metrics("")).status).toBe(403);
    expect((await metrics("Bearer another")).status).toBe(403);
    expect((await metrics("Bearer a-token-for-prometheus")).status).toBe(200);
  });

  test.each([
    ["x-forwarded-for", "203.0.113.7"],
    ["X-Forwarded-Proto", "https"],
    ["x-forwarded-host", "chat.example.org"],
    ["x-forwarded-server", "proxy"],
    ["forwarded", "for=203.0.113.7"],
    ["x-real-ip", "203.0.113.7"],
    ["cf-connecting-ip", "203.0.113.7"],
    ["true-client-ip", "203.0.113.7"],
    ["via", "1.1 proxy"],
    ["forwarded-for", "203.0.113.7"],
    ["client-ip", "203.0.113.7"],
    ["x-remote-addr", "203.0.113.7"],
    ["x-originating-ip", "203.0.113.7"],
    ["x-azure-clientip", "203.0.113.7"],
    ["x-appengine-user-ip", "203.0.113.7"],
    ["x-envoy-expected-rq-timeout-ms", "15000"],
    ["cdn-loop", "cloudflare"],
    ["x-scheme", "https"],
    ["host", "chat.example.org"],
    ["host", "127.0.0.1.evil.example"],
    ["host", "evil.example:8000"],
    ["host", "10.0.0.7"],
    ["host", "[2001:db8::7]:8000"],
  ])("/metrics is refused to a request with %s: %s", async (name, value) => {
    expect((await fetch(`${app.url}/metrics`, { headers: { [name]: value } })).status).toBe(403);
  });

  test.each(["localhost", "LOCALHOST:8000", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8000"])(
    "/metrics answers this machine by the name %s",
    async (host) => {
      expect((await fetch(`${app.url}/metrics`, { headers: { host } })).status).toBe(200);
    },
  );

  test.each(JSON_ROUTES)("%s answers 401 without a session, and is not cached", async (path) => {
    const refused = await ask(path, { cookie: "" });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("cache-control")).toBe("no-store");
    expect(await codeOf(refused)).toBe("no_session");
    const answer = await ask(path);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  });

  test.each([...JSON_ROUTES, ...OPEN_ROUTES])("%s answers HEAD as GET, without the body", async (path) => {
    const head = await ask(path, {}, "HEAD");
    expect(head.status).toBe(200);
    expect(head.headers.get("content-type")).toBe("application/json");
    const request = `HEAD ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\nConnection: close\r\n\r\n`;
    expect((await raw(app.port, request)).body).toBe("");
  });
});

describe("an unknown path", () => {
  test.each([
    ["en-GB,en;q=0.9,el;q=0.8", "", '<html lang="en" data-theme=""'],
    ["fr,el-GR;q=0.9,en;q=0.8", "", '<html lang="el" data-theme=""'],
    ["fr", "", '<html lang="en" data-theme=""'],
    ["en", "a=b; chatify_language=el; chatify_theme=dark", '<html lang="el" data-theme="dark"'],
  ])("shows a browser a page in its language: %s, cookies %s", async (language, cookie, root) => {
    const accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    const answer = await ask("/nothing", { accept, "accept-language": language, cookie });
    expect(answer.status).toBe(404);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("content-security-policy")).toContain("script-src 'self'");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const html = await answer.text();
    expect(html).toContain(root);
    expect(html).toContain('href="/"');
    expect(html).not.toContain("<script");
  });

  test("answers a program with JSON", async () => {
    const answer = await ask("/nothing", { accept: "application/json" });
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(await codeOf(answer)).toBe("not_found");
  });
});

describe("an internal error", () => {
  test("answers 500 with a fixed message and a request id, under which the log has the error", async () => {
    await using broken = await startApp();
    const bob = await broken.person("bob");
    await broken.sql`alter table users rename column search_key to gone`;
    for (const path of ["/get_users", "/get_users?q=secret-prefix"]) {
      const answer = await bob.get(path);
      expect(answer.status).toBe(500);
      expect(answer.headers.get("cache-control")).toBe("no-store");
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect(error.code).toBe("internal");
      const [, id] = /^Something went wrong on our side\. Request id: ([\da-f-]{36})$/.exec(error.message) ?? [];
      const line = broken.log.find((line) => line.includes(`"id":"${id}"`)) ?? "";
      expect(JSON.parse(line)).toMatchObject({ level: "error", event: "request failed" });
      expect(line).toContain("search_key"); // PostgreSQL's words, for us only
      expect(line).not.toContain(bob.cookie);
    }
    // a form too, and no account is created
    const answer = await post(`${broken.url}/signup`, { username: "carol", password: "correct horse" });
    expect(answer.status).toBe(500);
    expect(answer.headers.has("set-cookie")).toBe(false);
    expect(broken.log.join("")).not.toContain("correct horse");
    expect(await broken.sql`select from users`).toHaveLength(1);
    expect((await bob.get("/me")).status).toBe(200); // everything else still works
  });

  test("to reach the database returns 503 with Retry-After at /readyz, 200 at /healthz, and heals by itself", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const bob = await app.person("bob");
    const address = new URL(database);
    const name = address.pathname.slice(1);
    address.pathname = "/postgres"; // from where to disturb
    const admin = connect(address.href, { name: "test-admin" });
    await admin.unsafe(`alter database ${name} allow_connections false`);
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`;
    const ready = await fetch(`${app.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(Number(ready.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await codeOf(ready)).toBe("not_ready");
    expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${app.url}/login`)).status).toBe(200);
    await admin.unsafe(`alter database ${name} allow_connections true`);
    await admin.end();
    for (let i = 0; i < 50 && (await fetch(`${app.url}/readyz`)).status === 503; i++) await Bun.sleep(50);
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
    expect((await bob.get("/me")).status).toBe(200);
  });
});
