/** Makes the README's picture: `bun test/screenshots.ts`. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { launch, signUp } from "./browser.ts";
import { endHarness, Person, ROOT, startApp } from "./harness.ts";

const LINES: [string, string][] = [
  ["Eleni", "Good morning! Did the boat leave on time?"],
  ["Iris", "Ten minutes late, as ever 🙂"],
  ["Iris", "We are past the lighthouse now. The sea is like glass."],
  ["Eleni", "Then you will be here for lunch. I booked the table by the window for two."],
  ["Iris", "Perfect. Shall I bring anything from the island?"],
  ["Eleni", "Some of that thyme honey, if the shop is open. And yourself!"],
  ["Iris", "Already in the bag 🍯"],
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
  ["Petros", "See you on Thursday then"],
  ["Κώστας", "Τα λέμε το βράδυ;"],
  ["Jonas", "Thanks, got it!"],
  ["Iris", "…"],
] as const) {
  const tab = await (await app.person(name)).open();
  tabs.set(name, tab);
  if (name !== "Iris") await tab.send("Eleni", text);
}
for (const [from, text] of LINES) await tabs.get(from)?.send(from === "Eleni" ? "Iris" : "Eleni", text);
await page.goto(`${url}/#Iris`);
await page.waitForSelector("chat-thread .message");
await Bun.sleep(1_500);
await page.screenshot({ path: join(docs, "chat.png") });

await browser.close();
await app.stop();
await endHarness();
process.exit(0);
