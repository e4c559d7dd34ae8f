/** Text that is clipped by a box, overflows one, or lies beyond the page, at any text size. */

import type { Page } from "playwright-core";

/** Sets the browser's text size; 100 is the default. @param options isKept: also for the pages that follow in the same tab */
export async function setTextSize(page: Page, percent: number, { isKept = false } = {}): Promise<void> {
  const browser = await page.context().newCDPSession(page);
  const [standard, fixed] = [(16 * percent) / 100, (13 * percent) / 100];
  await browser.send("Page.setFontSizes", { fontSizes: { standard, fixed } });
  if (!isKept) await browser.detach();
  await page.waitForFunction((size) => getComputedStyle(document.documentElement).fontSize === `${size}px`, standard);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** The clipped texts. A long name or preview may end in an ellipsis, on its last line; one of ten letters may not. */
export function clippedText(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const faults = new Set<string>();
    const what = (element: Element) => `${element.localName}.${[...element.classList].join(".")}`;
    const outside = (inner: DOMRect, box: DOMRect, by: number) => ({
      x: inner.left < box.left - by || inner.right > box.right + by,
      y: inner.top < box.top - by || inner.bottom > box.bottom + by,
    });
    const isCut = (overflow: string) => overflow === "hidden" || overflow === "clip";
    const isScrolled = (overflow: string) => overflow === "auto" || overflow === "scroll";

    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement;
      const text = node.textContent?.trim() ?? "";
      if (text === "" || !parent?.checkVisibility({ visibilityProperty: true })) continue;
      if (parent.closest(".visually-hidden, noscript, script, textarea")) continue;
      if (parent.matches(".emoji-picker .cells button")) continue; // without a font for emoji, joined ones fall apart
      const range = document.createRange();
      range.selectNodeContents(node);
      const rect = range.getBoundingClientRect();
      if (rect.width === 0 || rect.height === 0) continue;
      let [scrolledX, scrolledY] = [false, false];
      for (let box: Element | null = parent; box && box !== document.body; box = box.parentElement) {
        const { clipPath, display, overflowX, overflowY, textOverflow, webkitLineClamp, fontSize } =
          getComputedStyle(box);
        if (clipPath !== "none") break; // for screen readers
        // Lines may be a little lower than their letters.
        const out = outside(rect, box.getBoundingClientRect(), 0.15 * Number.parseFloat(fontSize) + 1);
        const dots = textOverflow === "ellipsis" && (text.length > 10 || box.scrollWidth <= box.clientWidth);
        const clamped = dots && webkitLineClamp !== "none";
        scrolledX ||= isScrolled(overflowX);
        scrolledY ||= isScrolled(overflowY);
        const isBox = display !== "inline" && display !== "contents";
        if (isBox && out.y && !scrolledY && !clamped)
          faults.add(`${what(box)} ${isCut(overflowY) ? "cuts" : "is too low for"} “${text}”`);
        if (isBox && out.x && !scrolledX && !dots) faults.add(`${what(box)} is too narrow for “${text}”`);
        if (dots) scrolledX = true; // what lies around it does not clip it further
        if (clamped) scrolledY = true;
        if (box.matches("dialog, [popover]")) break; // in the top layer
      }
    }
    for (const field of document.querySelectorAll<HTMLInputElement>("input")) {
      const { fontSize } = getComputedStyle(field);
      if (
        field.checkVisibility() &&
        field.clientHeight > 2 &&
        field.type !== "checkbox" &&
        field.clientHeight < 1.3 * Number.parseFloat(fontSize)
      )
        faults.add(`${what(field)} is too low for a line`);
    }
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth) faults.add(`the page is ${scrollWidth} wide`);
    return [...faults];
  });
}
