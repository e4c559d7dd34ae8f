/** Makes the README's pictures: `bun test/screenshots.ts`. Two people, a conversation, wide and light, narrow and dark. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { launch, signUp } from "./browser.ts";
import { endHarness, Person, ROOT, startApp } from "./harness.ts";

const LINES: [string, string][] = [
  ["Eleni", "Good morning! Did the boat leave on time?"],
  ["Maria", "Ten minutes late, as ever 🙂"],
  ["Maria", "We are past the lighthouse now. The sea is like glass."],
  ["Eleni", "Then you will be here for lunch. I booked the table by the window for two."],
  ["Maria", "Perfect. Shall I bring anything from the island?"],
  ["Eleni", "Some of that thyme honey, if the shop is open. And yourself!"],
  ["Maria", "Already in the bag 🍯"],
];

const docs = join(ROOT, "docs");
mkdirSync(docs, { recursive: true });
const app = await startApp();
const browser = await launch();
const url = app.url.replace("127.0.0.1", "localhost");

const page = await (await browser.newContext({ locale: "en-GB", viewport: { width: 1_080, height: 680 } })).newPage();
await signUp(page, url, "Eleni");
const cookies = await page.context().cookies();
const eleni = await new Person(app.url, "Eleni", cookies.map(({ name, value }) => `${name}=${value}`).join()).open();
const tabs = new Map([["Eleni", eleni]]);
for (const [name, text] of [
  ["Nikos", "See you on Thursday then"],
  ["Σοφία", "Τα λέμε το βράδυ;"],
  ["Jonas", "Thanks, got it!"],
  ["Maria", "…"],
] as const) {
  const tab = await (await app.person(name)).open();
  tabs.set(name, tab);
  if (name !== "Maria") await tab.send("Eleni", text);
}
for (const [from, text] of LINES) await tabs.get(from)?.send(from === "Eleni" ? "Maria" : "Eleni", text);
await page.goto(`${url}/#Maria`);
await page.waitForSelector("chat-thread .message");
await Bun.sleep(1_500);
await page.screenshot({ path: join(docs, "chat.png") });

const phone = await browser.newContext({
  locale: "en-GB",
  colorScheme: "dark",
  viewport: { width: 390, height: 760 },
  deviceScaleFactor: 2,
  hasTouch: true,
});
await phone.addCookies(cookies);
const small = await phone.newPage();
await small.goto(`${url}/#Maria`);
await small.waitForSelector("chat-thread .message");
await Bun.sleep(1_000);
await small.screenshot({ path: join(docs, "phone.png") });

await browser.close();
await app.stop();
await endHarness();
process.exit(0);
