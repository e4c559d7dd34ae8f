/** Makes the README's pictures: `bun run screenshots`. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { launch } from "./browser.ts";
import { endHarness, ROOT, startApp, type Tab } from "./harness.ts";

const LINES: [string, string][] = [
  ["Ann", "Good morning! Did the boat leave on time?"],
  ["Bob", "Ten minutes late, as ever."],
  ["Bob", "We are past the lighthouse now. The sea is like glass."],
  ["Ann", "Then you will be here for lunch. I booked the table by the window for two."],
  ["Bob", "Perfect. Shall I bring anything from the island?"],
  ["Ann", "Some of that thyme honey, if the shop is open. And yourself!"],
  ["Bob", "Already in the bag!"],
  ["Bob", "Gate B, 12:40. I will find you."],
  ["Ann", "See you there!"],
];
const PICTURES = [
  { file: "chat.png", colorScheme: "light", viewport: { width: 1_280, height: 760 } },
  { file: "chat-dark.png", colorScheme: "dark", viewport: { width: 1_280, height: 760 } },
  { file: "chat-phone.png", colorScheme: "light", viewport: { width: 390, height: 844 } },
] as const;

const docs = join(ROOT, "docs");
mkdirSync(docs, { recursive: true });
const app = await startApp();
const browser = await launch();
const url = app.url.replace("127.0.0.1", "localhost");

const ann = await app.person("Ann");
const tabs = new Map<string, Tab>([["Ann", await ann.open()]]);
for (const [name, text] of [
  ["Petros", "See you on Thursday then"],
  ["Κώστας", "Τα λέμε το βράδυ;"],
  ["Jonas", "Thanks, got it!"],
  ["Ζωή", "Did you see the photos from Sunday?"],
  ["Bob", ""],
] as const) {
  const tab = await (await app.person(name)).open();
  tabs.set(name, tab);
  if (text) await tab.send("Ann", text);
}
for (const [from, text] of LINES) await tabs.get(from)?.send(from === "Ann" ? "Bob" : "Ann", text);
for (const [reader, peer] of [
  ["Ann", "Bob"],
  ["Bob", "Ann"],
] as const)
  tabs.get(reader)?.say({ type: "read", peer, seq: LINES.length });

const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
for (const { file, ...options } of PICTURES) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(`${url}/#Bob`);
  await page.waitForSelector("chat-thread .message");
  await Bun.sleep(2_000); // who is here, what was read
  await page.screenshot({ path: join(docs, file) });
  await context.close();
}

await browser.close();
await app.stop();
await endHarness();
process.exit(0);
