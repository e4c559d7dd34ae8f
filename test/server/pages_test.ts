/** Security headers: content policies, https only, no caching of personal data. */

import { describe, expect, test } from "bun:test";
import { appendFileSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Pages } from "../../src/http/pages.ts";
import { post, ROOT } from "../support/harness.ts";
import { sharedApp } from "../support/shared_app.ts";

const app = await sharedApp({ env: { TRUST_PROXY: "on" } });
const ann = await app.person("Ann");
await app.person("bob");

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "media-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "worker-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types service-worker",
];
const DATA_POLICY = "default-src 'none'; frame-ancestors 'none'";
const FORM = { username: "x", password: "y" };

/** Every kind of response, by name. */
async function answers(headers: Record<string, string> = {}): Promise<Map<string, Response>> {
  const from = { ...headers, cookie: ann.cookie };
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(app.url + path, { headers: from, redirect: "manual", ...init });
  const login = await ask("/login");
  const file = /"(\/static\/[\w-]{11}\/css\/base\.css)"/.exec(await login.clone().text())?.[1] ?? "";
  const etag = (await ask(file)).headers.get("etag") ?? "";
  return new Map([
    ["the chat", await ask("/")],
    ["the account", await ask("/account")],
    ["login", login],
    ["sign-up", await ask("/signup")],
    ["login refused", await post(`${app.url}/login`, FORM, headers)],
    ["sign-up refused", await post(`${app.url}/signup`, FORM, headers)],
    ["the way to sign in", await ask("/", { headers })],
    ["the way to sign in, from the account", await ask("/account", { headers })],
    ["a file", await ask(file)],
    ["a file that is known", await ask(file, { headers: { ...from, "if-none-match": etag } })],
    ["a picture", await ask(file.replace("css/base.css", "favicon.svg"))],
    ["no file", await ask(`${file}x`)],
    ["a list", await ask("/conversations")],
    ["a conversation", await ask("/messages/Ann/bob?limit=5")],
    ["a whole conversation", await ask("/messages/Ann/bob")],
    ["no session", await ask("/me", { headers })],
    ["another's", await ask("/messages/bob/Eve")],
    ["a wrong method", await ask("/me", { method: "DELETE" })],
    ["no path", await ask("/nothing")],
    ["no path, for people", await ask("/nothing", { headers: { ...headers, accept: "text/html" } })],
    ["no socket", await ask("/ws/Ann")],
    ["figures", await ask("/metrics", { headers })],
    ["health", await ask("/healthz")],
  ]);
}

const PAGES = new Set([
  "the chat",
  "the account",
  "login",
  "sign-up",
  "login refused",
  "sign-up refused",
  "no path, for people",
]);

describe("a page", () => {
  test("allows only the sources it names, also with an error", async () => {
    for (const [name, { headers }] of await answers()) {
      if (!PAGES.has(name)) continue;
      expect([name, headers.get("content-security-policy")?.split("; ")]).toEqual([name, POLICY]);
      expect([name, headers.get("x-dns-prefetch-control")]).toEqual([name, "off"]);
    }
  });

  test("loads its files from the version that hello names, which changes with any of them", async () => {
    const tab = await ann.open();
    const { version } = tab.heard[0]!;
    const html = await (await ann.get("/")).text();
    expect(new Set([...html.matchAll(/"\/static\/([^/"]+)\//g)].map(([, directory]) => directory))).toEqual(
      new Set([version]),
    );
    await tab.close();
    const copy = mkdtempSync(join(tmpdir(), "chatify-static-"));
    try {
      cpSync(join(ROOT, "static"), copy, { recursive: true });
      const load = async () => (await Pages.load(copy, "open")).version;
      expect(await load()).toBe(version);
      const additions = {
        "js/chat.js": "globalThis.more = 1;",
        "css/chat.css": ":root{--more:1}",
        "chat.html": "more",
      };
      for (const [name, more] of Object.entries(additions)) {
        const before = await load();
        appendFileSync(join(copy, name), more);
        expect(await load()).not.toBe(before);
      }
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});

describe("any answer", () => {
  test("that is no page runs, loads and frames nothing, if a browser shows it", async () => {
    for (const [name, { headers, status }] of await answers()) {
      // Of scripts and styles the page's own policy decides; a redirect shows nothing.
      if (PAGES.has(name) || name.startsWith("a file") || status === 302) continue;
      expect([name, headers.get("content-security-policy")]).toEqual([name, DATA_POLICY]);
    }
  });

  test("has its declared type, and reveals nothing to other sites", async () => {
    for (const [name, { headers }] of await answers({ origin: app.url })) {
      const told = (header: string) => `${name}: ${headers.get(header)}`;
      expect(told("x-content-type-options")).toBe(`${name}: nosniff`);
      expect(told("cross-origin-resource-policy")).toBe(`${name}: same-origin`);
      expect([...headers.keys()].filter((header) => header.startsWith("access-control-"))).toEqual([]);
      if (name.startsWith("a file")) continue; // which no browser shows by itself
      expect(told("referrer-policy")).toBe(`${name}: same-origin`);
      expect(told("cross-origin-opener-policy")).toBe(`${name}: same-origin`);
      expect(told("permissions-policy")).toBe(`${name}: camera=(), microphone=(), geolocation=()`);
    }
  });

  test("over https asks for https from now on, and over http does not", async () => {
    const first = await answers();
    const secure = await answers({ "x-forwarded-proto": "https", "x-forwarded-host": new URL(app.url).host });
    for (const [name, { headers }] of secure) {
      expect(`${name}: ${headers.get("strict-transport-security")}`).toBe(`${name}: max-age=31536000`);
    }
    // Cached headers are not stained by those who came by https.
    for (const plain of [first, await answers()]) {
      for (const [name, { headers }] of plain) {
        expect([name, headers.get("strict-transport-security")]).toEqual([name, null]);
      }
    }
  });

  test("that is personal is kept nowhere", async () => {
    const personal = [
      "the chat",
      "the account",
      "a list",
      "a conversation",
      "a whole conversation",
      "no session",
      "another's",
    ];
    const all = await answers();
    for (const name of [...personal, "login refused", "sign-up refused", "the way to sign in"]) {
      expect([name, all.get(name)?.headers.get("cache-control")]).toEqual([name, "no-store"]);
    }
  });
});
