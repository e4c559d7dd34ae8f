/** The README's pictures: Ann's conversations, with display names, photos, replies and reactions. */

import { join } from "node:path";

import type { Browser } from "playwright-core";

import { localhost } from "./browser.ts";
import { type Person, type Tab, type TestApp } from "./harness.ts";
import { type Color, png } from "./images.ts";
import { setTimes } from "./message_times.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** Author, minutes ago, and text. */
const LINES: readonly (readonly ["Ann" | "Bob", number, string])[] = [
  ["Ann", 42, "Good morning! Did the boat leave on time?"],
  ["Bob", 40, "Ten minutes late, as ever."],
  ["Bob", 39, "We are past the lighthouse now. The sea is like **glass**."],
  ["Ann", 35, "Then you will be here for lunch. I booked the table by the window for two."],
  ["Bob", 31, "Perfect. Shall I bring anything from the island?"],
  ["Ann", 30, "Some of that thyme honey, if the shop is open. And yourself!"],
  ["Bob", 12, "Already in the bag!"],
  ["Bob", 11, "Gate B, 12:40. I will find you."],
  ["Ann", 2, "See you there 👋"],
];
const [HONEY, GATE] = [6, 8];

/** Name, display name, days ago, text, whether Ann wrote it, and Ann's settings. */
const OTHERS: readonly (readonly [string, string, number, string, boolean, object])[] = [
  ["zoe", "Ζωή Καραγιάννη", 0.2, "Τα λέμε το βράδυ; 🌅", false, {}],
  ["jonas", "Jonas Lindqvist", 1, "Thanks, got it!", false, {}],
  ["sailing", "Sailing course", 2, "The boats leave at ten on Saturday", false, { muted: true }],
  ["marco", "Marco Bellini", 3, "All 214 photos are on their way", true, {}],
  ["petros", "Πέτρος", 9, "See you on Thursday then", true, {}],
];
const UNREAD: ReadonlySet<string> = new Set(["zoe", "sailing"]);

const PICTURES = [
  { file: "chat.png", colorScheme: "light", viewport: { width: 1_280, height: 760 } },
  { file: "chat-dark.png", colorScheme: "dark", viewport: { width: 1_280, height: 760 } },
  { file: "chat-phone.png", colorScheme: "light", viewport: { width: 390, height: 844 } },
] as const;

/** Takes the pictures. @param docs the directory to write to */
export async function takePictures(browser: Browser, app: TestApp, docs: string): Promise<void> {
  const ann = await populate(app);
  const url = localhost(app.url);
  const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
  for (const { file, ...options } of PICTURES) {
    const context = await browser.newContext({ locale: "en-GB", ...options });
    await context.addCookies([{ name, value, url }]);
    const page = await context.newPage();
    await page.goto(`${url}/#Bob`);
    await page.waitForSelector("chat-thread .message");
    await Bun.sleep(2_000); // presence and read marks
    await page.screenshot({ path: join(docs, file) });
    await context.close();
  }
}

async function populate(app: TestApp): Promise<Person> {
  const [ann, bob, ...others] = await app.people("Ann", "Bob", ...OTHERS.map(([name]) => name));
  const tabs: Record<"Ann" | "Bob", Tab> = { Ann: await ann!.open(), Bob: await bob!.open() };
  for (const [index, [name, shown, daysAgo, text, isMine, settings]] of OTHERS.entries()) {
    const tab = await others[index]!.open();
    await others[index]!.post("/me/profile", { display_name: shown });
    await (isMine ? tabs.Ann.send(name, text) : tab.send("Ann", text));
    if (isMine) tab.say({ type: "read", peer: "Ann", seq: 1 });
    else if (!UNREAD.has(name)) tabs.Ann.say({ type: "read", peer: name, seq: 1 });
    await setTimes(app, ["Ann", name], [Date.now() - daysAgo * DAY_MS]);
    if (Object.keys(settings).length > 0) await ann!.post("/conversations", { name, ...settings });
  }
  for (const [index, [from, , text]] of LINES.entries()) {
    const tab = tabs[from];
    const reply = index + 1 === GATE - 1 ? { reply_to: HONEY } : {};
    tab.say({ to: from === "Ann" ? "Bob" : "Ann", message: text, ref: tab.newRef(), ...reply });
    await tab.next("ack");
  }
  await setTimes(
    app,
    ["Ann", "Bob"],
    LINES.map(([, minutesAgo]) => Date.now() - minutesAgo * MINUTE_MS),
  );
  tabs.Ann.say({ type: "react", peer: "Bob", seq: 3, emoji: "😍", ref: tabs.Ann.newRef() });
  tabs.Bob.say({ type: "react", peer: "Ann", seq: HONEY, emoji: "❤️", ref: tabs.Bob.newRef() });
  await bob!.post("/me/profile", { display_name: "Bob Okafor" });
  await ann!.post("/conversations", { name: "Bob", pinned: true });
  await givePhoto(app, ann!, DUSK);
  await givePhoto(app, bob!, NOON);
  await givePhoto(app, others[0]!, MORNING);
  for (const [reader, peer] of [
    ["Ann", "Bob"],
    ["Bob", "Ann"],
  ] as const)
    tabs[reader].say({ type: "read", peer, seq: LINES.length });
  return ann!;
}

interface Light {
  readonly top: Color;
  readonly horizon: Color;
  readonly sun: Color;
  readonly sea: Color;
  readonly sunAt: readonly [x: number, y: number];
}

const DUSK: Light = {
  top: [92, 58, 122],
  horizon: [246, 150, 110],
  sun: [255, 228, 170],
  sea: [62, 58, 110],
  sunAt: [0.5, 0.56],
};
const NOON: Light = {
  top: [70, 150, 220],
  horizon: [196, 230, 246],
  sun: [255, 250, 214],
  sea: [20, 110, 150],
  sunAt: [0.68, 0.28],
};
const MORNING: Light = {
  top: [150, 190, 210],
  horizon: [252, 220, 190],
  sun: [255, 244, 220],
  sea: [96, 140, 140],
  sunAt: [0.36, 0.44],
};

/** Gives a user a photo of the sun over the sea. */
async function givePhoto(app: TestApp, { cookie }: Person, { top, horizon, sun, sea, sunAt }: Light): Promise<void> {
  const mixed = (one: Color, other: Color, part: number): Color => {
    return one.map((value, channel) => Math.round(value + (other[channel]! - value) * part)) as unknown as Color;
  };
  const body = png(192, 192, (x, y) => {
    if (y > 0.62) return mixed(sea, horizon, Math.abs(x - sunAt[0]) < 0.05 + (y - 0.62) / 4 ? 0.45 : 0.08);
    if (Math.hypot(x - sunAt[0], y - sunAt[1]) < 0.13) return sun;
    return mixed(top, horizon, y / 0.62);
  }) as Uint8Array<ArrayBuffer>;
  await fetch(`${app.url}/me/photo`, { method: "POST", headers: { cookie, "content-type": "image/png" }, body });
}
