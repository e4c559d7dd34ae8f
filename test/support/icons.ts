/** Makes the icons of the installed chat from `static/favicon.svg`: `bun test/support/icons.ts`. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { launch } from "./chromium.ts";
import { ROOT } from "./harness.ts";

const BLUE = "#4a6cf0";
const folder = join(ROOT, "static", "icons");
const svg = await Bun.file(join(ROOT, "static", "favicon.svg")).text();
const picture = `data:image/svg+xml,${encodeURIComponent(svg)}`;
// Maskable icons are cut to the system's shape, so only the middle 80 % is safe. Bubble and background swap colors.
const swapped = svg.replaceAll(BLUE, "?").replaceAll("#fff", BLUE).replaceAll("?", "#fff");
const masked = `data:image/svg+xml,${encodeURIComponent(swapped)}`;

mkdirSync(folder, { recursive: true });
const browser = await launch();
const page = await browser.newPage();
for (const size of [192, 512]) {
  await page.setViewportSize({ width: size, height: size });
  for (const [name, source, width, background] of [
    ["", picture, 1, "transparent"],
    ["maskable_", masked, 0.74, BLUE],
  ] as const) {
    const edge = Math.round(size * width);
    await page.setContent(
      `<body style="margin:0;display:grid;place-items:center;block-size:${size}px;background:${background}"><img src="${source}" width="${edge}" height="${edge}">`,
    );
    await page.screenshot({ path: join(folder, `${name}${size}.png`), omitBackground: true });
  }
}
await browser.close();
process.exit(0);
