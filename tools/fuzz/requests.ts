/** Hostile requests: valid ones for every route and method, then corrupted in path, query, headers, body and framing. */

import type { Random } from "../chaos/random.ts";
import { edgeCaseText, randomBytes } from "./edge_cases.ts";

/** Whose cookie a request carries. It may end a spare session. */
export type Identity = "anonymous" | "forged" | "me" | { readonly spare: number };

export interface HostileRequest {
  readonly bytes: Buffer;
  /** `GET /messages/:a/:b`; undefined for arbitrary bytes. */
  readonly route: string | undefined;
  readonly method: string;
  readonly identity: Identity;
  /** Whether HTTP requires an answer; if not, the server may close the connection or wait. */
  readonly wellFormed: boolean;
  /** Statuses that would reveal or change what is not the sender's. */
  readonly forbidden: readonly number[];
  /** The form it posts, as received. */
  readonly form: URLSearchParams | undefined;
}

/** Routes that need no session. */
const PUBLIC = new Set("/login /signup /logout /static/* /sw.js /test /healthz /readyz /version /metrics".split(" "));
const FORMS = new Set(["/login", "/signup", "/logout"]);
/** Valid bodies of routes that read JSON. They change nothing but the sender's profile and unsent files. */
const JSON_BODIES: Record<string, (peer: string) => object> = {
  "/me/settings": () => ({ hide_read: false }),
  "/me/profile": () => ({ display_name: "Fuzz Ζωή" }),
  "/me/photo/remove": () => ({}),
  "/me/password": () => ({ old: "not the password", new: "nor this one" }),
  "/me/delete": () => ({ password: "not the password" }),
  "/sessions/end_others": () => ({}),
  "/sessions/:id/end": () => ({}),
  "/blocks": (name) => ({ name, blocked: false }),
  "/mutes": (name) => ({ name, muted: false }),
  "/conversations": (name) => ({ name, muted: false }),
  "/files": (name) => ({ name, type: "image/png", size: 4 }),
  "/files/:id/copy": () => ({}),
  "/files/:id/remove": () => ({}),
};
/** A PNG of one pixel. */
export const PHOTO = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);
/** Of the upload of `TargetFiles`. */
export const CHUNK = Buffer.from("4444");
/** The share of forms that reach password hashing, which takes 25 ms of a core. */
const HASHING = 0.05;

/** Files of the sender. */
export interface TargetFiles {
  readonly picture: string;
  /** An upload, which its first chunk completes. */
  readonly upload: string;
  readonly removable: string;
}

export interface Target {
  /** Those of `src/http/router.ts`. */
  readonly routes: readonly string[];
  /** The hashed path of a static file. */
  readonly file: string;
  readonly files: TargetFiles;
  readonly host: string;
  readonly me: string;
  readonly peers: readonly string[];
  cookie(identity: Identity, random: Random): string;
  /** The number of sessions that may be ended. */
  readonly spareSessions: number;
  /** Users who can sign in, all with one password. */
  readonly members: readonly string[];
  readonly password: string;
}

const METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROPFIND get G\u00cbT".split(" ").concat("X".repeat(300));

export function hostileRequest(random: Random, target: Target): HostileRequest {
  if (random.next() < 0.02) return arbitraryBytes(random, target);
  const route = random.pick(target.routes);
  const valid = random.next() < 0.25; // corrupted in nothing
  const corrupts = (share: number) => !valid && random.next() < share;
  const isForm = FORMS.has(route);
  const hasBody = isForm || route === "/invites" || route === "/me/photo" || route in JSON_BODIES;
  let method = hasBody && random.next() < 0.7 ? "POST" : route === "/files/:id/:n" ? "PUT" : "GET";
  if (corrupts(0.15)) method = random.pick(METHODS);

  const identity = chooseIdentity(random, target, isForm, valid);
  const { path, isOwn } = validPath(route, random, target);
  let uri = path;
  if (corrupts(0.25)) uri = corruptPath(path, random);
  if (corrupts(0.35) || (valid && random.next() < 0.3)) uri += `?${hostileQuery(random, valid)}`;

  const headers: [string, string][] = [["Host", corrupts(0.05) ? edgeCaseHeader(random) : target.host]];
  const cookie = target.cookie(identity, random);
  if (cookie !== "") headers.push(["Cookie", cookie]);
  if (route === "/ws/:username" && !corrupts(0.2)) headers.push(...upgrade());
  const foreign = corrupts(0.1);
  if (foreign) headers.push(random.pick(FOREIGN));
  for (let more = corrupts(0.4) ? 1 + random.below(3) : 0; more > 0; more--) headers.push(hostileHeader(random));
  if (corrupts(0.01)) for (let i = 0; i < 150; i++) headers.push([`X-${i}`, "x"]);

  const body = method === "POST" || method === "PUT" ? hostileBody(route, random, target, valid) : undefined;
  if (body) {
    if (body.type !== "") headers.push(["Content-Type", body.type]);
    if (body.contentLength !== "") headers.push(["Content-Length", body.contentLength]);
  }
  const wellFormed =
    !headers.some(([name, value]) => !isWellFormedHeader(name, value)) &&
    isWellFormedRequestLine(method, uri) &&
    body?.wellFormed !== false;
  const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const bytes = Buffer.concat([
    Buffer.from(`${method} ${uri} HTTP/1.1\r\n${head}\r\n`),
    body?.bytes ?? Buffer.alloc(0),
  ]);
  const forbidden: number[] = [];
  const signedIn = identity === "me" || typeof identity === "object";
  if (!PUBLIC.has(route) && uri === path && (!signedIn || !isOwn))
    forbidden.push(101, 201, 204, ...(method === "HEAD" ? [] : [200, 206]));
  if (foreign && (method === "POST" || method === "PUT")) forbidden.push(200, 201, 204, 302);
  return {
    bytes,
    route: `${method} ${route}`,
    method,
    identity,
    wellFormed,
    forbidden,
    form: body && isForm ? body.form : undefined,
  };
}

function chooseIdentity(random: Random, target: Target, isForm: boolean, valid: boolean): Identity {
  const roll = random.next();
  if (isForm) return roll < 0.5 ? "anonymous" : roll < 0.6 ? "forged" : { spare: random.below(target.spareSessions) };
  return valid || roll < 0.7 ? "me" : roll < 0.85 ? "anonymous" : "forged";
}

/** A path of the route, and whether it is the sender's own. */
function validPath(route: string, random: Random, target: Target): { path: string; isOwn: boolean } {
  const other = () => (random.next() < 0.8 ? random.pick(target.peers) : edgeCaseText(random).toWellFormed());
  if (route === "/static/*") return { path: target.file, isOwn: true };
  if (route.startsWith("/files/")) {
    const { picture, upload, removable } = target.files;
    const id = route.endsWith("/remove") ? removable : /\/(status|:n)$/.test(route) ? upload : picture;
    return { path: route.replace(":id", id).replace(":n", "0"), isOwn: true };
  }
  const isOwn = random.next() < 0.7;
  const first = isOwn ? target.me : `${random.pick(target.peers)}x`;
  const values = random.next() < 0.5 || !isOwn ? [first, `${other()}x`] : [first, other()];
  if (isOwn && random.next() < 0.5) values.reverse();
  const path = route.replace(/:\w+/g, () => encodeURIComponent((route.includes(":b") ? values.shift() : first) ?? "x"));
  return { path, isOwn: isOwn || !route.includes(":") };
}

function corruptPath(path: string, random: Random): string {
  const at = 1 + random.below(path.length);
  const insert = (text: string) => path.slice(0, at) + text + path.slice(at);
  const others = ["*", "", "?", "//", "/..", "/.env", "/static/../src/main.ts"];
  return random.pick([
    () => insert(random.pick("%00 %2f %2e%2e%2f % %zz %ff %c0%af %ed%a0%80 %25 + ; '".split(" "))),
    () => insert(random.pick('/ // /./ \\ : * \u00e9 < " | ^ ` {}'.split(" "))),
    () => insert(random.pick(["\0", "\t", " ", "\r", "\x7f", "\u{1f600}"])),
    () => insert("x".repeat(random.pick([10, 300, 5_000, 14_000]))),
    () => `${path}/`,
    () => `/${path}`,
    () => path.slice(0, at),
    () => path.toUpperCase(),
    () => random.pick([`http://other.example${path}`, `${path}#x`, ...others]),
  ])();
}

function hostileQuery(random: Random, valid: boolean): string {
  if (valid) return `limit=${1 + random.below(200)}${random.next() < 0.3 ? "&peek=1" : ""}`;
  const names = "limit before after peek q cursor days uses invite code limit[] __proto__".split(" ");
  const value = () => (random.next() < 0.4 ? String(random.below(300) - 50) : edgeCaseText(random).toWellFormed());
  const parts = Array.from(
    { length: 1 + random.below(4) },
    () => `${random.pick(names)}=${encodeURIComponent(value())}`,
  );
  if (random.next() < 0.1)
    parts.push(random.pick(["%", "%u1234", "a=%ff", "limit=%00", "=".repeat(50), `q=${"x".repeat(8_000)}`]));
  return parts.join(random.pick(["&", "&&", ";"]));
}

function upgrade(): [string, string][] {
  return [
    ["Connection", "Upgrade"],
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="],
  ];
}

const FOREIGN: [string, string][] = [
  ["Origin", "https://evil.example"],
  ["Origin", "null"],
  ["Origin", "http://127.0.0.1:1"],
  ["Sec-Fetch-Site", "cross-site"],
];

const HEADERS: Record<string, readonly string[]> = {
  Accept: ["text/html", "*/*", "application/json;q=0"],
  "Accept-Encoding": ["br", "gzip;q=0", "zstd, br;q=1.0", "*", "identity;q=0", "br;q=nonsense", ",".repeat(500)],
  "Accept-Language": ["el", "x".repeat(500)],
  Authorization: ["Bearer x", "Basic Og==", "Bearer"],
  Expect: ["100-continue", "nonsense"],
  "If-None-Match": ["*", '"x"', "W/", '"'.repeat(500)],
  "If-Modified-Since": ["x", "Thu, 01 Jan 1970 00:00:00 GMT"],
  Range: ["bytes=0-0", "bytes=-1", "bytes=9999999-", "bytes=0-0,1-1,2-2"],
  Upgrade: ["websocket", "h2c", "WebSocket, x"],
  "Sec-WebSocket-Key": ["", "x", "AAAAAAAAAAAAAAAAAAAAAA=="],
  "Sec-WebSocket-Version": ["13", "8", "99", "x"],
  "Sec-WebSocket-Extensions": ["permessage-deflate; server_max_window_bits=1", "x"],
  "Sec-WebSocket-Protocol": ["chat", ","],
  "X-Forwarded-For": ["1.2.3.4", "::1", "x", "127.0.0.1, ".repeat(100)],
  "X-Forwarded-Proto": ["https", "x"],
  "X-Forwarded-Host": ["evil.example"],
  "X-HTTP-Method-Override": ["DELETE"],
  Cookie: [
    "=",
    ";",
    "chatify_session",
    "a=b; ".repeat(300),
    "chatify_session=%00; chatify_session=..",
    "__Host-chatify_session=x.y",
  ],
  "Transfer-Encoding": ["chunked", "gzip", "identity", "chunked, chunked"],
  "Content-Length": ["5", "-1", "x", "0"],
  Host: ["evil.example", "[::1", "a b"],
  "X-Weird": ["\u00e9", "\x01", "\0", "x\r\n y"],
  "Sec-Fetch-Site": ["same-origin", "none", "x"],
  Origin: ["", "x"],
};

function hostileHeader(random: Random): [string, string] {
  const name = random.pick(Object.keys(HEADERS));
  return [name, random.next() < 0.8 ? random.pick(HEADERS[name] as string[]) : edgeCaseHeader(random)];
}

function edgeCaseHeader(random: Random): string {
  return edgeCaseText(random)
    .toWellFormed()
    .replace(/[\r\n]/g, " ");
}

/** Whether a server must answer a request with this header, rather than close the connection. */
function isWellFormedHeader(name: string, value: string): boolean {
  if (
    ["Transfer-Encoding", "Content-Length", "Host", "Expect"].includes(name) &&
    (HEADERS[name]?.includes(value) ?? false)
  )
    return false;
  if (name === "Content-Length") return /^\d+$/.test(value);
  return /^[\t\x20-\x7e]*$/.test(value) && (name !== "Host" || /^[\w.:-]+$/.test(value)) && name !== "Upgrade";
}

function isWellFormedRequestLine(method: string, uri: string): boolean {
  return /^[A-Z]{1,10}$/.test(method) && /^\/(?!\/)[\x21-\x7e]{0,10000}$/.test(uri) && !/["<>\\^`{|}#]/.test(uri);
}

interface Body {
  readonly bytes: Buffer;
  readonly type: string;
  readonly contentLength: string;
  readonly form: URLSearchParams | undefined;
  readonly wellFormed: boolean;
}

const FORM = "application/x-www-form-urlencoded";

function hostileBody(route: string, random: Random, target: Target, valid: boolean): Body {
  const fields = new URLSearchParams();
  const hashes = random.next() < HASHING;
  const newName = () => `${random.pick(["fz", "Ζωή", "Алёна", "山"])}${random.below(1e9)}`;
  if (route === "/signup") {
    fields.set("username", hashes ? newName() : random.next() < 0.5 ? newName() : edgeCaseText(random).toWellFormed());
    fields.set("password", hashes ? target.password : random.pick(["", "short", "x".repeat(129)]));
  } else if (route === "/login") {
    fields.set("username", random.next() < 0.7 ? random.pick(target.members) : edgeCaseText(random).toWellFormed());
    fields.set("password", random.next() < 0.7 ? target.password : edgeCaseText(random).toWellFormed());
  }
  const whole = (text: string | Buffer, type = FORM, form?: URLSearchParams): Body => {
    const bytes = Buffer.from(text as string);
    return { bytes, type, contentLength: String(bytes.length), form, wellFormed: true };
  };
  const json = JSON_BODIES[route]?.(random.pick(target.members));
  if (json && (valid || random.next() < 0.4)) return whole(JSON.stringify(json), "application/json");
  if (route === "/me/photo" && (valid || random.next() < 0.4)) return whole(PHOTO, "image/png");
  if (route === "/files/:id/:n" && (valid || random.next() < 0.4)) return whole(CHUNK, "application/octet-stream");
  if (random.next() < 0.02) return whole(randomBytes(random, random.pick([16_385, 20_000])));
  if (route === "/login" && !hashes)
    return whole(
      fields.toString(),
      random.pick(["", "text/plain", "application/json", "multipart/form-data", "x", `${FORM}x`]),
    );
  if (valid || random.next() < 0.4)
    return whole(fields.toString(), random.pick([FORM, `${FORM}; charset=utf-8`, FORM.toUpperCase()]), fields);
  switch (random.below(6)) {
    case 0:
      return whole(JSON.stringify(Object.fromEntries(fields)), "application/json");
    case 1:
      return whole(
        `--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nann\r\n--x--\r\n`,
        "multipart/form-data; boundary=x",
      );
    case 2: {
      const text = random.pick([
        "%",
        "username",
        "&&==&",
        "username=%ff%fe&password=%00",
        "=".repeat(2_000),
        "username[]=a&password[]=b",
      ]);
      return whole(text, route === "/login" ? "text/plain" : FORM, new URLSearchParams(text));
    }
    case 3: // truncated
      return {
        ...whole(fields.toString()),
        contentLength: String(fields.toString().length + 1 + random.below(500)),
        wellFormed: false,
      };
    case 4: // request smuggling
      return { ...whole(`${"x=1&".repeat(3)}GET /logout HTTP/1.1\r\n\r\n`), contentLength: "12", wellFormed: false };
    default: // without a length
      return { ...whole("username=a&password=b"), contentLength: "", wellFormed: false };
  }
}

function arbitraryBytes(random: Random, target: Target): HostileRequest {
  const bytes = random.pick([
    () => randomBytes(random, 1 + random.below(500)),
    () => Buffer.from("\r\n".repeat(1 + random.below(50))),
    () => Buffer.from("GET / HTTP/9.9\r\n\r\n"),
    () => Buffer.from("GET /\r\n"),
    () => Buffer.from(`GET / HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(20_000)}\r\n\r\n`),
    () => Buffer.from(`GET /${"x".repeat(40_000)} HTTP/1.1\r\nHost: x\r\n\r\n`),
    () => Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    () => Buffer.from([0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3]), // a TLS hello
    () =>
      Buffer.from(
        `POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${random.pick(["zz\r\n", "-1\r\n\r\n", "ffffffffffffffff\r\n", "1\r\nab\r\n0\r\n"])}`,
      ),
    () => Buffer.from("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    () =>
      Buffer.from(
        "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      ),
    () => Buffer.from(`GET /me HTTP/1.1\r\nHost: ${target.host}\r\n Cookie: x\r\n\r\n`),
    () => Buffer.from("GET /test HTTP/1.1\nHost: x\n\n"),
    () => Buffer.from("GET /test HTTP/1.1\r\nHost x\r\n\r\n"),
  ])();
  return {
    bytes,
    route: undefined,
    method: "",
    identity: "anonymous",
    wellFormed: false,
    forbidden: [],
    form: undefined,
  };
}
