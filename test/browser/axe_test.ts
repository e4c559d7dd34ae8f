/**
 * Every page in every state that people meet, through axe: light and dark, in English and Greek, as narrow as a small phone and as wide
 * as a desk, with forced colours, where every control needs an edge, and with text of twice the size, of which nothing may be cut; then each is loaded again. One browser and one server for all of it.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";

import axe from "axe-core";
import type { Browser } from "playwright-core";

import { closeWindows, launch } from "../support/browser.ts";
import { clippedText, setTextSize } from "../support/clipped_text.ts";
import { complaints } from "../support/complaints.ts";
import { withoutEdges } from "../support/edges.ts";
import { Stage, STATES } from "../support/page_states.ts";

const LANGUAGES = ["en-GB", "el-GR"] as const;
const SCHEMES = ["light", "dark"] as const;
const WIDTHS = [320, 1_280] as const;

let browser: Browser;
let stage: Stage;

beforeAll(async () => {
  [browser, stage] = await Promise.all([launch(), Stage.set()]);
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await stage?.end();
});

afterEach(() => closeWindows(browser));

describe.each(STATES)("$name", (state) => {
  test.each(LANGUAGES)(
    "%s",
    async (locale) => {
      complaints.allow(/status of (403|404)/);
      const page = await stage.window(browser, state, { locale, viewport: { width: 1_280, height: 700 } });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 700 });
        if (width === WIDTHS[0] || state.act) {
          await stage.show(page, state);
          await page.evaluate(axe.source);
        }
        expect(await page.getAttribute("html", "lang")).toBe(locale.slice(0, 2));
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme });
          const seen = await page.evaluate(async () => {
            // oxlint-disable-next-line typescript/no-explicit-any
            const { violations } = await (globalThis as any).axe.run(document, {
              resultTypes: ["violations"],
              rules: { "target-size": { enabled: true } }, // WCAG 2.2, which axe leaves out by itself
            });
            return {
              wide: document.documentElement.scrollWidth,
              violations: violations.map(
                (v: { id: string; nodes: { html: string }[] }) => `${v.id}: ${v.nodes[0]?.html}`,
              ),
            };
          });
          expect({ width, colorScheme, ...seen }).toEqual({ width, colorScheme, wide: width, violations: [] });
        }
        await page.emulateMedia({ forcedColors: "active" });
        expect({ width, withoutEdges: await withoutEdges(page) }).toEqual({ width, withoutEdges: [] });
        await page.emulateMedia({ forcedColors: "none" });
        await setTextSize(page, 200);
        expect({ width, clipped: await clippedText(page) }).toEqual({ width, clipped: [] });
        await setTextSize(page, 100);
      }
      await page.context().setOffline(false);
      await page.unrouteAll({ behavior: "ignoreErrors" });
      await page.reload();
      await page.waitForSelector(state.stays ?? state.sees);
      await page.context().close();
    },
    60_000,
  );
});
