/**
 * Pictures: `bun run screenshots` makes the README's, `bun run screenshots --all DIRECTORY [STATE]` those of every state of the pages,
 * or of those whose name contains STATE: on a phone and on a desk, light and dark, in English and Greek, with large text, in forced
 * colors, 320 px and 2,560 px wide, and an `index.html` to look at them side by side.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import type { BrowserContextOptions, Page } from "playwright-core";

import { launch } from "./chromium.ts";
import { setTextSize } from "./clipped_text.ts";
import { endHarness, ROOT, startApp } from "./harness.ts";
import { STATES } from "./page_states.ts";
import { takePictures } from "./readme_pictures.ts";
import { Stage, type State } from "./states/stage.ts";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const DESK = { viewport: { width: 1_280, height: 760 } };
/** The looks of each state. `next` reuses the page, which is much faster than loading another. */
const LOOKS: readonly Look[] = [
  {
    look: "phone light",
    options: { ...PHONE, colorScheme: "light", locale: "en-GB" },
    next: [{ look: "320 px", change: (page) => page.setViewportSize({ width: 320, height: 640 }) }],
  },
  { look: "phone dark Greek", options: { ...PHONE, colorScheme: "dark", locale: "el-GR" } },
  { look: "200 % text Greek", options: { ...PHONE, colorScheme: "light", locale: "el-GR" }, textSize: 200 },
  { look: "desk light Greek", options: { ...DESK, colorScheme: "light", locale: "el-GR" } },
  {
    look: "desk dark",
    options: { ...DESK, colorScheme: "dark", locale: "en-GB" },
    next: [
      {
        look: "forced colors",
        change: async (page) => {
          await page.emulateMedia({ forcedColors: "active" });
        },
      },
      {
        look: "2,560 px",
        change: async (page) => {
          await page.emulateMedia({ forcedColors: "none" });
          await page.setViewportSize({ width: 2_560, height: 1_300 });
        },
      },
    ],
  },
];

interface Look {
  readonly look: string;
  readonly options: BrowserContextOptions;
  readonly textSize?: number;
  readonly next?: readonly { readonly look: string; readonly change: (page: Page) => Promise<unknown> }[];
}

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
process.exit();

async function pictures(docs: string): Promise<void> {
  const app = await startApp();
  ends.unshift(app.stop);
  await takePictures(browser, app, docs);
}

async function states(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const stage = await Stage.start();
  ends.unshift(() => stage.stop());
  const rows: string[] = [];
  for (const [number, state] of STATES.entries()) {
    if (!state.name.includes(part)) continue;
    const cells: string[] = [];
    const picture = async (page: Page, look: string) => {
      const file = `${number + 1} ${state.name}, ${look}.png`.replaceAll("%", "percent").replaceAll(" ", "_");
      await page.screenshot({ path: join(directory, file) });
      cells.push(`<td><img src="${encodeURI(file)}" alt="${look}" height="400"></td>`);
    };
    for (const look of LOOKS) {
      if (state.needsMouse && look.options.hasTouch) continue;
      const page = await stage.page(browser, state, look.options);
      await showLook(stage, page, { state, look, picture }).catch((error) => {
        console.error(`${state.name}, ${look.look}: ${error}`);
        process.exitCode = 1;
      });
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

/** Takes the pictures of one look and of its `next` ones. */
async function showLook(
  stage: Stage,
  page: Page,
  options: { state: State; look: Look; picture: (page: Page, look: string) => Promise<void> },
): Promise<void> {
  const { state, look, picture } = options;
  if (look.textSize) await setTextSize(page, look.textSize, { isKept: true });
  await stage.show(page, state);
  const settle = async (ms: number) => {
    if (look.options.hasTouch) await page.mouse.move(0, 0); // phones have no hover
    await Bun.sleep(ms);
    // Late responses and resizing close some menus.
    if (!(await page.isVisible(state.shows))) await stage.show(page, state);
  };
  await settle(state.lacksScript ? 2_200 : 400); // presence; untranslated forms appear after 2 s
  await picture(page, look.look);
  for (const { look: next, change } of look.next ?? []) {
    await change(page);
    await settle(200);
    await picture(page, next);
  }
}
