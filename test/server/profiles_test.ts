/** Display names and photos: which are accepted, what is stored, who sees them, on two pods. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import {
  cookieOf,
  migratedDatabase,
  PASSWORD,
  type Person,
  post,
  raw,
  startApp,
  type Tab,
} from "../support/harness.ts";
import { bands, BLUE, bomb, type Color, GREEN, noise, phoneJpeg, png, RED, webpChunks } from "../support/images.ts";
import { sharedPods } from "../support/shared_app.ts";

setDefaultTimeout(30_000);

const { one, two } = await sharedPods();

interface Profile {
  readonly display_name: string | null;
  readonly photo: string | null;
}
type Row = { peer: string; username: string; display_name?: string; photo?: string };

const setName = (who: Person, display_name: unknown) => who.post("/me/profile", { display_name });
const upload = (who: Person, image: Uint8Array | string, type = "image/png", url = one.url) =>
  fetch(`${url}/me/photo`, {
    method: "POST",
    body: image as Uint8Array<ArrayBuffer>,
    headers: { cookie: who.cookie, "content-type": type },
  });
async function givePhoto(who: Person, image: Uint8Array = png(40, 40), url = one.url): Promise<string> {
  const answer = await upload(who, image, "image/png", url);
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { photo: string }).photo;
}
const photoOf = (viewer: Person, name: string, version = "") =>
  viewer.get(`/photos/${encodeURIComponent(name)}${version && `?v=${version}`}`);
const rowOf = async (viewer: Person, peer: string, pod = one) =>
  (await viewer.at(pod).json<Row[]>("/conversations?blocked=1")).find((row) => row.peer === peer)!;
const profile = ({ display_name, photo }: Partial<Profile> | Row) => ({ display_name, photo });

let people = 0;
const newPerson = () => one.person(`p${++people}_${crypto.randomUUID().slice(0, 6)}`);
const newPeople = () => Promise.all([newPerson(), newPerson(), newPerson()]);

describe("a display name", () => {
  const ann = newPerson();

  test.each([
    ["Ann", "Ann"],
    ["  Ann \t\n Smith\u00a0", "Ann Smith"],
    ["Ζωή Παπαδοπούλου", "Ζωή Παπαδοπούλου"],
    ["山田 太郎", "山田 太郎"],
    ["آنا اسمیت", "آنا اسمیت"],
    ["Ann (mixed Анна) ☀️", "Ann (mixed Анна) ☀️"],
    ["👩‍👩‍👧 ❤️‍🔥 👍🏽", "👩‍👩‍👧 ❤️‍🔥 👍🏽"],
    ["می‌خواهم", "می‌خواهم"], // with a ZERO WIDTH NON-JOINER
    ["Zoe\u0308", "Zoë"], // NFC
    ["Ann\u202eneB", "AnnneB"], // RIGHT-TO-LEFT OVERRIDE
    ["\u2066Ann\u2069\u200f\u061c", "Ann"],
    ["A\u0000n\u0007n\u001b[31m", "Ann[31m"],
    ["A\u00adn\u200bn\ufeff\u2060\u115f\u3164\u{e0041}", "Ann"],
    ["Ann\ue000\u{f0000}\u{ffffe}", "Ann"], // private use, no characters
    ["Ann\u2028Bob\u2029Carol", "Ann Bob Carol"],
    ["\u0301\u200d\ufe0fAnn\u200d", "Ann"],
    [`Z\u0337${"\u0300".repeat(40)}algo`, `Z\u0337${"\u0300".repeat(3)}algo`],
    ["<b>Ann</b> &amp; \"'`", "<b>Ann</b> &amp; \"'`"],
    ["x".repeat(50), "x".repeat(50)],
    ["😀".repeat(50), "😀".repeat(50)],
  ])("%j is stored as %j", async (given, stored) => {
    const answer = await setName(await ann, given);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ display_name: stored, photo: null });
    expect(await (await ann).json<Row>("/me")).toMatchObject({ display_name: stored });
  });

  test.each([
    [" "],
    ["\u00a0\u3000\t"],
    ["\u200b\u202e\u2066"],
    ["\0\u0007"],
    ["\u2800"], // a blank Braille cell
    ["\u0301\u0301"],
    ["\u200d\ufe0f"],
    ["x".repeat(51)],
    ["😀".repeat(51)],
    ["Ann".padEnd(1_001)],
    ["\ud800Ann"],
    ["@ann"],
    ["Bob · @bob"],
    ["Bob ＠bob"],
    ["admin"],
    ["Chatify Support"],
    ["аdmin"], // with a Cyrillic а
  ])("%j is refused in words, and changes nothing", async (given) => {
    await setName(await ann, "Ann");
    const answer = await setName(await ann, given);
    expect(answer.status).toBeOneOf([409, 422]);
    expect(((await answer.json()) as { error: { code: string } }).error.code).toBeOneOf([
      "bad_display_name",
      "name_reserved",
    ]);
    expect(await (await ann).json<Row>("/me")).toMatchObject({ display_name: "Ann" });
  });

  test.each([[undefined], [null], [7], [["Ann"]], [{ name: "Ann" }]])("%j is no string: 400", async (given) => {
    expect((await setName(await ann, given)).status).toBe(400);
  });

  test("an empty one removes it", async () => {
    await setName(await ann, "Ann");
    expect(await (await setName(await ann, "")).json()).toEqual({ display_name: null, photo: null });
    expect(await (await ann).json<object>("/me")).not.toHaveProperty("display_name");
  });
});

const image = noise(100, 80);
const jpeg = Buffer.from(await new Bun.Image(image).jpeg().bytes());
const webp = Buffer.from(await new Bun.Image(image).webp().bytes());
const fromPhone = await phoneJpeg(image, 1);

describe("a photo", () => {
  const near = (color: Color | undefined, expected: Color) => {
    for (const [i, value] of expected.entries()) expect(Math.abs((color?.[i] ?? 999) - value)).toBeLessThan(30);
  };

  test.each([
    ["wide", png(600, 200, (x) => (x < 1 / 3 ? RED : x < 2 / 3 ? GREEN : BLUE)), "across"],
    ["tall", png(200, 600, (_, y) => (y < 1 / 3 ? RED : y < 2 / 3 ? GREEN : BLUE)), "down"],
  ] as const)("%s is cropped to a square from its center", async (_, image, direction) => {
    const ann = await newPerson();
    const version = await givePhoto(ann, image);
    const bytes = await (await photoOf(ann, ann.name, version)).bytes();
    expect(await new Bun.Image(bytes).metadata()).toEqual({ width: 192, height: 192, format: "webp" });
    for (const color of (await bands(bytes, 8, direction)).slice(1, -1)) near(color, GREEN);
  });

  test.each([
    [1, "across", RED, BLUE],
    [3, "across", BLUE, RED],
    [6, "down", RED, BLUE],
    [8, "down", BLUE, RED],
  ] as const)("with the orientation %d in its Exif data is upright, and without its place", async (...row) => {
    const [orientation, direction, first, last] = row;
    const ann = await newPerson();
    const jpeg = await phoneJpeg(
      png(400, 200, (x) => (x < 0.5 ? RED : BLUE)),
      orientation,
    );
    for (const secret of ["Exif", "GPSLatitude", "taken at home"]) expect(jpeg.includes(secret)).toBe(true);
    const version = await givePhoto(ann, jpeg);
    const bytes = await (await photoOf(ann, ann.name, version)).bytes();
    // opposite corners show the order also where the resize smears the edge
    const colors = await bands(bytes, 4, direction);
    near(colors[0], first);
    near(colors[3], last);
    expect(webpChunks(bytes).every((chunk) => ["VP8 ", "VP8L", "VP8X", "ALPH"].includes(chunk))).toBe(true);
    for (const secret of ["Exif", "GPS", "taken at home"]) expect(Buffer.from(bytes).includes(secret)).toBe(false);
  });

  test.each([
    ["noise", noise(500, 400)],
    ["one pixel", png(1, 1)],
    ["8 times as long as wide", png(80, 10)],
    ["21 million pixels", png(7_000, 3_000)],
  ])("of %s has at most 20 KiB", async (_, image) => {
    const ann = await newPerson();
    const version = await givePhoto(ann, image);
    expect((await (await photoOf(ann, ann.name, version)).bytes()).length).toBeLessThanOrEqual(20 * 1024);
  });

  const cut = (bytes: Buffer, part: number) => bytes.subarray(0, Math.floor(bytes.length * part));
  const damaged = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 60), Buffer.alloc(bytes.length - 60, 0x5a)]);
  const withWrongByte = (bytes: Buffer) => bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1);
  test.each([
    ["nothing", Buffer.alloc(0), 422],
    ["text", "Just a text", 422],
    ["HTML", "<!doctype html><img src=x onerror=alert(1)>", 422],
    ["SVG", '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 422],
    ["a GIF", Buffer.from("R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=", "base64"), 422],
    ["a BMP", `BM${"\0".repeat(100)}`, 422],
    ["a PNG's first bytes", "\x89PNG\r\n\x1a\n", 422],
    ["a truncated PNG", cut(image, 0.7), 422],
    ["a truncated JPEG", cut(jpeg, 0.7), 422],
    ["a JPEG without its end", jpeg.subarray(0, -2), 422],
    ["a truncated JPEG with metadata", cut(fromPhone, 0.7), 422],
    ["a JPEG's header", jpeg.subarray(0, 20), 422],
    ["a truncated WebP", cut(webp, 0.7), 422],
    ["a WebP's header", webp.subarray(0, 16), 422],
    ["a damaged PNG", damaged(image), 422],
    ["a PNG with a wrong byte", withWrongByte(noise(40, 40)), 422],
    ["a PNG that claims 60,000 × 60,000 pixels", bomb(60_000, 60_000), 422],
    ["a PNG that claims 2^31 pixels in a row", bomb(2 ** 31 - 1, 1), 422],
    ["a PNG that claims none", bomb(0, 0), 422],
    ["a strip", png(500, 10), 422],
    ["more than 5 MiB", Buffer.alloc(5 * 1024 * 1024 + 1, jpeg), 413],
  ])("of %s is refused in words, and the old one stays", async (_, bytes, status) => {
    const ann = await newPerson();
    const version = await givePhoto(ann);
    const answer = await upload(ann, bytes);
    expect(answer.status).toBe(status);
    if (answer.headers.get("content-type") === "application/json") {
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect(error.code).toBe(status === 413 ? "too_large" : "bad_photo");
      expect(error.message).not.toBe("");
    }
    expect(await ann.json<Row>("/me")).toMatchObject({ photo: version });
  });

  test.each(["text/plain", "application/json", "multipart/form-data; boundary=x", ""])(
    "sent as %j is refused: 415",
    async (type) => {
      const ann = await newPerson();
      expect((await upload(ann, png(10, 10), type)).status).toBe(415);
    },
  );

  test("of more than 5 MiB in chunks is cut off", async () => {
    const ann = await newPerson();
    const head = `POST /me/photo HTTP/1.1\r\nHost: x\r\nCookie: ${ann.cookie}\r\nContent-Type: image/png\r\n`;
    const chunk = "x".repeat(1024 * 1024);
    const body = `${chunk.length.toString(16)}\r\n${chunk}\r\n`.repeat(6);
    expect((await raw(one.port, `${head}Transfer-Encoding: chunked\r\n\r\n${body}0\r\n\r\n`)).status).toBe(413);
  });

  test("other routes accept no more than 16 KiB", async () => {
    const ann = await newPerson();
    const long = JSON.stringify({ display_name: "x".repeat(16 * 1024) });
    expect((await ann.post("/me/profile", long)).status).toBe(413);
  });

  test("of ten uploads by one user, one is made at a time and the rest come back later", async () => {
    const ann = await newPerson();
    const image = png(2_000, 2_000);
    const answers = await Promise.all(Array.from({ length: 10 }, () => upload(ann, image)));
    const busy = answers.filter(({ status }) => status === 503);
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    expect(busy.length).toBeGreaterThan(0);
    for (const answer of answers) expect(answer.status).toBeOneOf([200, 503]);
    for (const answer of busy) expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  test("can be removed", async () => {
    const ann = await newPerson();
    const version = await givePhoto(ann);
    expect(await (await ann.post("/me/photo/remove")).json()).toEqual({ display_name: null, photo: null });
    expect((await photoOf(ann, ann.name, version)).status).toBe(404);
    expect(await ann.json<object>("/me")).not.toHaveProperty("photo");
  });
});

describe("the photo's route", () => {
  test("answers with headers that allow nothing but showing it, and caching it by version", async () => {
    const [ann, bob] = await newPeople();
    const version = await givePhoto(ann);
    const answer = await photoOf(bob, ann.name, version);
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "image/webp",
      "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "private, max-age=31536000, immutable",
      etag: `"${version}"`,
    });
    for (const path of [`/photos/${ann.name}`, `/photos/${ann.name}?v=other`]) {
      const current = await bob.get(path);
      expect([current.status, current.headers.get("cache-control")]).toEqual([200, "private, no-cache"]);
    }
    const known = await bob.get(`/photos/${ann.name.toUpperCase()}`, { "if-none-match": `W/"x", "${version}"` });
    expect([known.status, await known.text(), known.headers.get("etag")]).toEqual([304, "", `"${version}"`]);
    const head = await fetch(`${one.url}/photos/${ann.name}`, { method: "HEAD", headers: { cookie: bob.cookie } });
    expect([head.status, head.headers.get("etag")]).toEqual([200, `"${version}"`]);
  });

  test("lets browsers store photos only where sign-out can remove them: over https and on this machine", async () => {
    await using proxied = await startApp({ env: { TRUST_PROXY: "on" } });
    const [ann, bob] = (await proxied.people("ann", "bob")) as [Person, Person];
    const version = await givePhoto(ann, undefined, proxied.url);
    const login = { username: "bob", password: PASSWORD };
    const secure = cookieOf(await post(`${proxied.url}/login`, login, { "x-forwarded-proto": "https" }));
    for (const [host, protocol, cache] of [
      ["chat.lan:8000", "http", "no-store"],
      ["localhost.lan", "", "no-store"],
      ["chat.example", "https", "private, max-age=31536000, immutable"],
      ["localhost:8000", "", "private, max-age=31536000, immutable"],
      ["[::1]:8000", "", "private, max-age=31536000, immutable"],
    ] as const) {
      const cookie = protocol === "https" ? secure : bob.cookie;
      const headers = { host, cookie, ...(protocol && { "x-forwarded-proto": protocol }) };
      const answer = await bob.get(`/photos/ann?v=${version}`, headers);
      expect([host, answer.status, answer.headers.get("cache-control")]).toEqual([host, 200, cache]);
    }
  });

  test.each([
    ["signed out", 401],
    ["another user", 200],
    ["a user without a photo", 404],
    ["an unknown name", 404],
    ["an invalid name", 404],
    ["a deleted account", 404],
    ["set before a block, to the blocked", 200],
    ["set before a block, to the blocker", 200],
    ["set after a block, to the blocked", 404],
    ["set after a block, to the blocker", 404],
    ["set after a block that has ended", 200],
  ] as const)("%s: %d", async (who, status) => {
    const [ann, bob, carol] = await newPeople();
    const viewer = bob;
    let { name } = ann;
    if (who.includes("after")) await givePhoto(ann, noise(30, 30));
    if (who.startsWith("set")) {
      const blocker = who.endsWith("the blocker") ? bob : ann;
      const other = blocker === ann ? bob : ann;
      if (!who.includes("after")) await givePhoto(ann);
      await blocker.post("/blocks", { name: other.name, blocked: true });
      if (who.includes("after")) await givePhoto(ann);
      if (who.includes("ended")) await blocker.post("/blocks", { name: other.name, blocked: false });
    } else await givePhoto(ann);
    if (who === "a user without a photo") ({ name } = carol);
    if (who === "an unknown name") name = "unknown";
    if (who === "an invalid name") name = "%00";
    if (who === "a deleted account") await ann.post("/me/delete", { password: PASSWORD });
    const cookie = who === "signed out" ? "" : viewer.cookie;
    const answer = await fetch(`${one.url}/photos/${name}`, { headers: { cookie } });
    expect(answer.status).toBe(status);
    if (status !== 200) expect(answer.headers.get("content-type")).toBe("application/json");
  });

  test.each([
    ["POST", "/me/profile"],
    ["POST", "/me/photo"],
    ["POST", "/me/photo/remove"],
    ["GET", "/photos/ann"],
  ])("%s %s without a session answers 401", async (method, path) => {
    const headers = { "content-type": path === "/me/photo" ? "image/png" : "application/json" };
    expect((await fetch(one.url + path, { method, headers, ...(method === "POST" && { body: "{}" }) })).status).toBe(
      401,
    );
  });

  test.each(["/me/profile", "/me/photo", "/me/photo/remove"])("a foreign page cannot use %s: 403", async (path) => {
    const ann = await newPerson();
    const answer = await ann.post(path, "{}", { origin: "https://evil.example", "content-type": "image/png" });
    expect(answer.status).toBe(403);
  });
});

describe("everything that lists people", () => {
  test("shows display name and photo, on every pod", async () => {
    const [ann, bob, carol] = await newPeople();
    const [a] = [await ann.open()];
    await a.send(bob.name, "hello");
    await setName(ann, "Ann Smith");
    const photo = await givePhoto(ann);
    const shown = { display_name: "Ann Smith", photo };
    for (const pod of [one, two]) {
      expect(profile(await rowOf(bob, ann.name, pod))).toEqual(shown);
      expect(profile(await rowOf(ann, bob.name, pod))).toEqual({ display_name: undefined, photo: undefined });
      const at = bob.at(pod);
      const [found] = await at.json<Row[]>(`/get_users?part=${ann.name.slice(0, -1)}&profiles=1`);
      expect(found).toEqual({ username: ann.name, ...shown } as Row);
      const [first] = await at.json<Row[]>(`/get_users?q=${ann.name}&profiles=1&limit=5`);
      expect(first).toEqual({ username: ann.name, ...shown } as Row);
      expect(await at.json<Row[]>(`/get_users?q=${ann.name}`)).toEqual([ann.name as never]);
      const [row] = await at.json<Row[]>(`/conversations?part=${encodeURIComponent("smith")}`);
      expect(row?.peer).toBe(ann.name);
      expect(profile(await ann.at(pod).json<Row>("/me"))).toEqual(shown);
    }
    await carol.post("/blocks", { name: ann.name, blocked: true });
    expect(await carol.json<unknown>("/blocks")).toEqual([ann.name]);
    expect(await carol.json<unknown>("/blocks?profiles=1")).toEqual([{ username: ann.name, ...shown }]);
    const exported = await ann.json<{ display_name: string; photo: string }>("/export");
    expect(exported.display_name).toBe("Ann Smith");
    const bytes = await (await photoOf(ann, ann.name)).bytes();
    expect(exported.photo).toBe(`data:image/webp;base64,${Buffer.from(bytes).toString("base64")}`);
    expect(await carol.json<Profile>("/export")).toMatchObject({ display_name: null, photo: null });
  });

  test("finds any part of a display name, without regard to case and accents", async () => {
    await using app = await startApp();
    const names = ["ann", "rossi", "bob", "carol", "dave", "eve", "frank"];
    const [ann, rossi, bob, carol, dave, eve, frank] = (await app.people(...names)) as [Person, ...Person[]] as [
      Person,
      Person,
      Person,
      Person,
      Person,
      Person,
      Person,
    ];
    await setName(rossi, "Mario Draghi");
    await setName(bob, "Ζωή Παπαδοπούλου");
    await setName(carol, "Rossana Müller");
    await setName(dave, "Dave Rossini");
    await setName(eve, "Eve Hidden");
    await setName(frank, "Frank Gone");
    await eve.post("/blocks", { name: "ann", blocked: true });
    await setName(eve, "Rossella");
    await frank.post("/me/delete", { password: PASSWORD });
    const find = async (part: string) =>
      (await ann.json<Row[]>(`/get_users?part=${encodeURIComponent(part)}&profiles=1`)).map(({ username }) => username);
    for (const [part, expected] of [
      ["ross", ["carol", "rossi", "dave"]],
      ["DRAGHI", ["rossi"]],
      ["παπαδ", ["bob"]],
      ["ΖΩΗ", ["bob"]],
      ["ulle", ["carol"]],
      ["e ro", ["dave"]],
      ["r", ["carol", "rossi"]],
      ["rossella", []],
      ["frank", []],
      ["%", []],
    ] as const)
      expect([part, await find(part)]).toEqual([part, expected as unknown as string[]]);
    // Without profiles, a client would not see why it was found.
    expect(await ann.json<string[]>("/get_users?part=draghi")).toEqual([]);
    expect(await ann.json<string[]>("/get_users?part=ross&profiles=1&limit=1")).toHaveLength(1);
  });

  test("across a block shows what was set before it, and nothing later", async () => {
    const [ann, bob] = await newPeople();
    await (await ann.open()).send(bob.name, "hello");
    await (await bob.open()).send(ann.name, "hello");
    await setName(ann, "Before");
    await setName(bob, "Before");
    await ann.post("/blocks", { name: bob.name, blocked: true });
    expect((await rowOf(ann, bob.name)).display_name).toBe("Before");
    expect((await rowOf(bob, ann.name)).display_name).toBe("Before");
    await setName(ann, "After");
    await setName(bob, "After");
    expect(await rowOf(ann, bob.name)).not.toHaveProperty("display_name");
    expect(await rowOf(bob, ann.name)).not.toHaveProperty("display_name");
    expect(await ann.json<unknown>("/blocks?profiles=1")).toEqual([{ username: bob.name }]);
    await ann.post("/blocks", { name: bob.name, blocked: false });
    expect((await rowOf(ann, bob.name)).display_name).toBe("After");
    expect((await rowOf(bob, ann.name)).display_name).toBe("After");
  });
});

describe("a change", () => {
  const frame = async (tab: Tab) => {
    const { type: _, ...rest } = await tab.next("profile", 3_000);
    return rest;
  };

  test("reaches the user's devices and those who watch the user on every pod, but not across a block", async () => {
    const [ann, bob, carol] = await newPeople();
    await carol.post("/blocks", { name: ann.name, blocked: true });
    const own = [await ann.open(), await ann.at(two).open()];
    const watching = [await bob.open({ watch: [ann.name] }), await bob.at(two).open({ watch: [ann.name] })];
    const others = [await bob.open({ watch: [carol.name] }), await carol.at(two).open({ watch: [ann.name] })];
    await setName(ann, "Ann Smith");
    for (const tab of [...own, ...watching]) {
      expect(await frame(tab)).toEqual({ user: ann.name, display_name: "Ann Smith", photo: null });
    }
    const photo = await givePhoto(ann);
    for (const tab of [...own, ...watching]) {
      expect(await frame(tab)).toEqual({ user: ann.name, display_name: "Ann Smith", photo });
    }
    await ann.post("/me/delete", { password: PASSWORD });
    for (const tab of watching) expect(await frame(tab)).toEqual({ user: ann.name, display_name: null, photo: null });
    for (const tab of others) await tab.hearsNo("profile", 300);
  });

  test("just before a client watches the user, or connects, reaches it then", async () => {
    const [ann, bob] = await newPeople();
    const tabs = [await bob.open(), await bob.at(two).open()];
    await setName(ann, "Ann Smith");
    const shown = { user: ann.name, display_name: "Ann Smith", photo: null };
    expect(await frame(await ann.open())).toEqual(shown);
    for (const tab of tabs) {
      await tab.hearsNo("profile", 100);
      tab.say({ type: "watch", users: [ann.name] });
      expect(await frame(tab)).toEqual(shown);
    }
  });

  test("that another pod missed arrives once the pod notices the loss", async () => {
    const database = await migratedDatabase();
    await using here = await startApp({ database });
    const [, bob] = (await here.people("ann", "bob")) as [Person, Person];
    const tab = await bob.open({ watch: ["ann"] });
    // as by a pod whose events are lost
    await here.sql`
      insert into profiles (user_id, display_name, display_key, named_at, changed_at)
      select id, 'Ann Smith', 'ann smith', now(), now() from users where username = 'ann'
    `;
    await here.sql`
      select pg_terminate_backend(pid)
      from pg_stat_activity
      where datname = current_database() and query like 'listen %' and application_name like 'chatify%'
    `;
    expect(await frame(tab)).toEqual({ user: "ann", display_name: "Ann Smith", photo: null });
  });
});

test("deleting the account erases the profile, also one that is being stored meanwhile", async () => {
  const ann = await newPerson();
  await setName(ann, "Ann");
  await givePhoto(ann);
  const image = png(3_000, 3_000);
  const late = upload(ann, image);
  await ann.post("/me/delete", { password: PASSWORD });
  await late;
  const rows = () => one.sql`select from profiles p join users u on u.id = p.user_id where u.username = ${ann.name}`;
  expect(await rows()).toHaveLength(0);
});

test("too many changes and too many photos answer 429", async () => {
  await using app = await startApp({ env: { RATE_LIMIT: "on", LIMIT_PROFILE: "2/h", LIMIT_PHOTOS: "3/h" } });
  const ann = await app.person("ann");
  const answers = [
    await setName(ann, "A"),
    await upload(ann, png(9, 9), "image/png", app.url),
    await setName(ann, "B"),
  ];
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
  expect(Number(answers[2]?.headers.get("retry-after"))).toBeGreaterThan(0);
  const photos = [];
  for (let i = 0; i < 4; i++) photos.push((await ann.get("/photos/ann")).status);
  expect(photos).toEqual([200, 200, 200, 429]);
});
