/**
 * Writes the icons that the pages use into them, and those of `action_parts.js` into `icons/actions.svg`, from Lucide: `bun run icons`.
 * An icon's id is `icon-` and its name at lucide.dev.
 */

import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const LUCIDE = join(ROOT, "node_modules", "lucide-static", "icons");
/** The element that holds a page's icons. */
const SPRITE = /<svg hidden id="icons">.*?<\/svg>/s;

/** The pages with icons. */
export const PAGES = ["account.html", "chat.html"].map((name) => join(ROOT, "static", name));

/** The page with exactly the icons that it uses, ordered by name. */
export async function withIcons(html: string): Promise<string> {
  const names = new Set([...html.matchAll(/href="#icon-([\w-]+)"/g)].map(([, name]) => name!));
  const symbols = await Promise.all([...names].toSorted().map(symbol));
  return html.replace(SPRITE, `<svg hidden id="icons">\n${symbols.join("\n")}\n</svg>`);
}

/** The file with the icons of `action_parts.js`, whose type lists them. */
export const ACTION_ICONS = join(ROOT, "static", "icons", "actions.svg");

/** What that file should contain. */
export async function actionIcons(): Promise<string> {
  const script = await Bun.file(join(ROOT, "static", "js", "elements", "action_parts.js")).text();
  const names = /@param \{([^}]*)\} name at lucide\.dev/.exec(script)?.[1]?.match(/[a-z][\w-]*/g) ?? [];
  const symbols = await Promise.all(names.toSorted().map(symbol));
  return `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>\n`;
}

async function symbol(name: string): Promise<string> {
  const svg = await Bun.file(join(LUCIDE, `${name}.svg`)).text();
  const shapes = svg.replace(/^.*?<svg[^>]*>|<\/svg>\s*$/gs, "").replace(/\s*\n\s*/g, "");
  return `<symbol id="icon-${name}" viewBox="0 0 24 24">${shapes}</symbol>`;
}

if (import.meta.main) {
  for (const page of PAGES) await Bun.write(page, await withIcons(await Bun.file(page).text()));
  await Bun.write(ACTION_ICONS, await actionIcons());
}
