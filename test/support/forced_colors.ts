/** Controls that forced colors hide: without backgrounds and shadows, only a border shows them. */

import type { Page } from "playwright-core";

/** The visible controls and boxes without a border, on a page with forced colors. */
export function withoutBorders(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const hasBorder = (style: CSSStyleDeclaration) =>
      ["top", "right", "bottom", "left"].every(
        (side) =>
          Number.parseFloat(style.getPropertyValue(`border-${side}-width`)) >= 1 &&
          !["none", "hidden"].includes(style.getPropertyValue(`border-${side}-style`)) &&
          style.getPropertyValue(`border-${side}-color`) !== style.backgroundColor,
      );
    const faults: string[] = [];
    for (const element of document.querySelectorAll("button, input, textarea, select, dialog[open], :popover-open")) {
      if (!element.checkVisibility({ visibilityProperty: true }) || element.matches(".visually-hidden")) continue;
      const isDrawnByBrowser =
        element.matches("input[type=checkbox]") && getComputedStyle(element).appearance !== "none";
      const isSwitch = element.matches("button[role=switch]");
      const bordered =
        hasBorder(getComputedStyle(element)) && (!isSwitch || hasBorder(getComputedStyle(element, "::after")));
      if (!bordered && !isDrawnByBrowser) faults.push(`${element.localName}.${element.className}#${element.id}`);
    }
    return faults;
  });
}
