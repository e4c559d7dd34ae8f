/**
 * Pictures: `bun run screenshots` makes the README's, `bun run screenshots --all DIRECTORY [STATE]` one of every state of the pages, or
 * of those whose name contains STATE, on a phone and on a desk, light and dark, in English and Greek, and an `index.html` to look at
 * them side by side.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { localhost } from "./browser.ts";
import { launch } from "./chromium.ts";
import { endHarness, ROOT, startApp, type Tab } from "./harness.ts";
import { Stage, STATES } from "./page_states.ts";

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

const LOOKS = [
  { look: "phone light", colorScheme: "light", locale: "en-GB", viewport: { width: 390, height: 844 } },
  { look: "phone dark Greek", colorScheme: "dark", locale: "el-GR", viewport: { width: 390, height: 844 } },
  { look: "desk light Greek", colorScheme: "light", locale: "el-GR", viewport: { width: 1_280, height: 760 } },
  { look: "desk dark", colorScheme: "dark", locale: "en-GB", viewport: { width: 1_280, height: 760 } },
] as const;

const [word, directory, part = "", ...rest] = process.argv.slice(2);
if (word !== undefined && (word !== "--all" || directory === undefined || rest.length > 0)) {
  console.error(
    "bun run screenshots takes nothing, or --all, the directory that the pictures go to, and perhaps a part of the names of states",
  );
  process.exit(2);
}
const browser = await launch();
const ends = [() => browser.close(), endHarness];
try {
  if (directory === undefined) await pictures(join(ROOT, "docs"));
  else await states(resolve(directory));
} finally {
  for (const end of ends) await end();
}
process.exit(0);

async function pictures(docs: string): Promise<void> {
  mkdirSync(docs, { recursive: true });
  const app = await startApp();
  ends.unshift(app.stop);
  const url = localhost(app.url);

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
}

async function states(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const stage = await Stage.start();
  ends.unshift(() => stage.stop());
  const rows: string[] = [];
  for (const [number, state] of STATES.entries()) {
    if (!state.name.includes(part)) continue;
    const cells: string[] = [];
    for (const { look, ...options } of LOOKS) {
      const page = await stage.page(browser, state, options);
      await stage.show(page, state);
      await Bun.sleep(500); // who is here
      const file = `${number + 1} ${state.name}, ${look}.png`.replaceAll(" ", "_");
      await page.screenshot({ path: join(directory, file) });
      cells.push(`<td><img src="${encodeURI(file)}" alt="${look}" height="400"></td>`);
      await page.context().close();
    }
    rows.push(`<tr><th>${number + 1}. ${state.name}</th>${cells.join("")}</tr>`);
    console.log(`${number + 1} of ${STATES.length}: ${state.name}`);
  }
  writeFileSync(
    join(directory, "index.html"),
    `<!doctype html>\n<meta charset="utf-8">\n<table>${rows.join("\n")}</table>\n`,
  );
}
