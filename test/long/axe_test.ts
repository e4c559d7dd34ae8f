/**
 * Every state of the pages passes axe, fits from 320 px to a desktop in both languages, has a border around each control with forced
 * colors, clips no text of twice the size, and recovers from a reload.
 */

import { expect, test } from "bun:test";

import axe from "axe-core";
import type { Page } from "playwright-core";

import { useBrowser } from "../support/browser.ts";
import { clippedText, setTextSize } from "../support/clipped_text.ts";
import { withoutBorders } from "../support/forced_colors.ts";
import { pageErrors } from "../support/page_errors.ts";
import { STATES } from "../support/page_states.ts";
import { release, Stage } from "../support/states/stage.ts";

const fixture = useBrowser(() => Stage.start());

const PHONE = { width: 320, height: 700 };
const DESKTOP = { width: 1_280, height: 700 };
/** A desktop shows all that a phone does and the list besides, so contrast is checked there only. */
const STRUCTURE = { "color-contrast": { enabled: false }, "target-size": { enabled: true } };
const ALL = { "target-size": { enabled: true } }; // WCAG 2.2, which axe leaves out by default

async function violations(page: Page, options: object): Promise<string[]> {
  await page.evaluate(axe.source);
  return page.evaluate(async (options) => {
    // oxlint-disable-next-line typescript/no-explicit-any
    const { violations } = await (globalThis as any).axe.run(document, { ...options, resultTypes: ["violations"] });
    return violations.map((v: { id: string; nodes: { html: string }[] }) => `${v.id}: ${v.nodes[0]?.html}`);
  }, options);
}

/** What text of the normal and of twice the size does not fit. */
async function misfits(page: Page): Promise<{ width: number; clipped: string[] }> {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  await setTextSize(page, 200);
  const clipped = await clippedText(page);
  await setTextSize(page, 100);
  return { width, clipped };
}

test.each(STATES)(
  "$name",
  async (state) => {
    pageErrors.allow(/status of (403|404)/);
    for (const locale of ["en-GB", "el-GR"]) {
      const page = await fixture.server.page(fixture.browser, state, { locale, viewport: PHONE });
      await fixture.server.show(page, state);
      expect(await page.getAttribute("html", "lang")).toBe(locale.slice(0, 2));
      for (const viewport of [PHONE, DESKTOP]) {
        await page.setViewportSize(viewport);
        if (!(await page.isVisible(state.shows))) await fixture.server.show(page, state);
        if (locale === "en-GB") {
          expect(await violations(page, { rules: viewport === PHONE ? STRUCTURE : ALL })).toEqual([]);
          await page.emulateMedia({ forcedColors: "active" });
          expect({ ...viewport, withoutBorders: await withoutBorders(page) }).toEqual({
            ...viewport,
            withoutBorders: [],
          });
          await page.emulateMedia({ forcedColors: "none" });
        }
        expect(await misfits(page)).toEqual({ width: viewport.width, clipped: [] });
      }
      if (locale === "en-GB") {
        await page.emulateMedia({ colorScheme: "dark" });
        expect(await violations(page, { runOnly: ["color-contrast"] })).toEqual([]);
        if (state.act ?? state.prepare) {
          await release(page);
          await page.reload();
          await page.waitForSelector(state.reloaded ?? state.shows);
        }
      }
      await page.context().close();
    }
  },
  60_000,
);
