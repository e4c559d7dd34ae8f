/** What people with colours of their own cannot see as a control: backgrounds and shadows are gone, only an edge is left. */

import type { Page } from "playwright-core";

/** Controls and boxes on screen that have no edge, as the page stands; for pages with forced colours. */
export function withoutEdges(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const hasEdge = (style: CSSStyleDeclaration) =>
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
      const edged = hasEdge(getComputedStyle(element)) && (!isSwitch || hasEdge(getComputedStyle(element, "::after")));
      if (!edged && !isDrawnByBrowser) faults.push(`${element.localName}.${element.className}#${element.id}`);
    }
    return faults;
  });
}
