/** What the eye needs: contrast in both color schemes, states that differ in shape, one grid, and the choice of colors. */

import { beforeAll, describe, expect, test } from "bun:test";

import type { Page } from "playwright-core";

import { ACTION_ICONS, actionIcons, PAGES, withIcons } from "../../tools/icons.ts";
import { localhost, useBrowser, write } from "../support/browser.ts";
import { migratedDatabase, type Person, startApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  const [bob, cleo] = await chat.server.people("Bob", "Cleo");
  ann = await chat.server.person("Ann");
  const [annTab, bobTab] = [await ann.open(), await bob!.open()];
  await bobTab.send("Ann", "hello, see https://example.org");
  for (const text of ["hello", "see https://example.org"]) await annTab.send("Bob", text);
  bobTab.say({ type: "read", peer: "Ann", seq: 3 });
  await (await cleo!.open()).send("Ann", "are you there?");
});

const LIST = "conversation-list";
const CANVAS = ".conversation";
const PANEL = "chat-header";
const MINE = ".mine .bubble";
const THEIRS = ".message:not(.mine) .bubble";
const CHOSEN = ".entry[aria-current=true]";
const UNREAD = ".entry.has-unread";

/** What is seen against what, as selectors; the color is a property of the first, the background that of the second. */
const PAIRS: [what: string, front: string, property: string, behind: string, least: number][] = [
  ["their text", `${THEIRS} .text`, "color", THEIRS, 4.5],
  ["their time", `${THEIRS} .meta`, "color", THEIRS, 4.5],
  ["their link", `${THEIRS} a`, "color", THEIRS, 4.5],
  ["my text", `${MINE} .text`, "color", MINE, 4.5],
  ["my time", `${MINE} .meta`, "color", MINE, 4.5],
  ["my link", `${MINE} a`, "color", MINE, 4.5],
  ["the read tick", `${MINE} .tick[data-state=read]`, "color", MINE, 3],
  ["a name", `${LIST} .name`, "color", LIST, 4.5],
  ["the open conversation's preview", `${CHOSEN} .preview`, "color", CHOSEN, 4.5],
  ["an unread conversation's preview", `${UNREAD} .preview`, "color", LIST, 10],
  ["an unread conversation's time", `${UNREAD} time`, "color", LIST, 4.5],
  ["an unread count", `${UNREAD} .badge`, "color", `${UNREAD} .badge`, 4.5],
  ["the online dot", ".dot:not([hidden])", "background-color", LIST, 3],
  ["the online dot of the open conversation", ".dot:not([hidden])", "background-color", CHOSEN, 3],
  ["the search's edge", ".search input", "border-top-color", LIST, 3],
  ["the composer's edge", "message-composer form", "border-top-color", "message-composer", 3],
  ["the send button's icon", ".send", "color", ".send", 3],
  ["the day", ".day", "color", ".day", 4.5],
  ["the menu's edge of a switch", ".menu", "--edge", ".menu", 3],
  ["a status", "chat-header .status", "color", PANEL, 4.5],
  // WCAG requires no ratio for surfaces, but they must be distinguishable.
  ["my bubbles", MINE, "background-color", CANVAS, 1.35],
  ["their bubbles", THEIRS, "background-color", CANVAS, 1.12],
  ["the panel", PANEL, "background-color", CANVAS, 1.06],
  ["the open conversation", CHOSEN, "background-color", LIST, 1.15],
];

/** The contrast of each pair as WCAG defines it. */
function contrasts(page: Page): Promise<number[]> {
  return page.evaluate((pairs) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true })!;
    const luminance = (color: string) => {
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
    };
    const colorOf = (selector: string, property: string) => {
      const element = document.querySelector<HTMLElement>(selector);
      if (!element) throw new Error(`Could not find ${selector}`);
      if (!property.startsWith("--")) return getComputedStyle(element).getPropertyValue(property);
      const sample = document.createElement("i");
      sample.style.color = `var(${property})`;
      element.append(sample);
      const { color } = getComputedStyle(sample);
      sample.remove();
      return color;
    };
    return pairs.map(([, front, property, behind]) => {
      const [a, b] = [luminance(colorOf(front, property)), luminance(colorOf(behind, "background-color"))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
  }, PAIRS);
}

async function openBob(options: Parameters<typeof chat.open>[2] = {}): Promise<Page> {
  const page = await chat.open(ann, "/#Bob", options);
  await page.waitForSelector(`${MINE} .tick[data-state=read]`);
  await page.waitForSelector(`${CHOSEN} .dot:not([hidden])`);
  await page.waitForSelector(UNREAD);
  return page;
}

test.each(["light", "dark"] as const)("has enough contrast between named pairs of colors: %s", async (colorScheme) => {
  const page = await openBob({ colorScheme });
  await page.click(".me"); // shows the menu, which has its own background
  const found = await contrasts(page);
  const table = PAIRS.map(([what], index) => `${what} ${found[index]!.toFixed(2)}`);
  process.stdout.write(`${colorScheme}: ${table.join(", ")}\n`);
  const tooLow = PAIRS.filter(([, , , , least], index) => found[index]! < least).map(([what]) => what);
  expect(tooLow).toEqual([]);
});

test("puts raised surfaces above the panel, and the panel above the canvas, in brightness", async () => {
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await openBob({ colorScheme });
    const levels = await page.evaluate(
      (selectors) =>
        selectors.map((selector) =>
          Number.parseFloat(getComputedStyle(document.querySelector(selector)!).backgroundColor.slice("oklch(".length)),
        ),
      [CANVAS, PANEL, "#menu"],
    );
    expect(levels, colorScheme).toEqual(levels.toSorted());
    expect(new Set(levels).size).toBe(3);
  }
});

test("gives each delivery state its own shape", async () => {
  const page = await openBob();
  const shapes = await page.evaluate(() =>
    ["sending", "sent", "delivered", "read", "failed"].map(
      (state) => document.querySelector(`#tick-${state}`)?.innerHTML,
    ),
  );
  expect(shapes).not.toContain(undefined);
  expect(new Set(shapes).size).toBe(5);
});

test("aligns the avatar, the search, the entries and their times on 16 px", async () => {
  const page = await openBob();
  const edges = await page.evaluate(() => {
    const { left, right } = document.querySelector("conversation-list")!.getBoundingClientRect();
    const box = (selector: string) => document.querySelector(selector)!.getBoundingClientRect();
    return {
      starts: [".me", "conversation-list .entry .avatar"].map((selector) => Math.round(box(selector).left - left)),
      ends: [".search", "conversation-list .entry time"].map((selector) => Math.round(right - 1 - box(selector).right)),
      heights: [box("conversation-list .entry").height, box("conversation-list .entry .avatar").height],
    };
  });
  expect(edges).toEqual({ starts: [16, 16], ends: [16, 16], heights: [72, 48] });
});

test.each([320, 390, 1_000, 2_560])("aligns the composer with the messages: %d px wide", async (width) => {
  const page = await openBob();
  await page.setViewportSize({ width, height: 700 });
  const edges = await page.evaluate(
    (selectors) =>
      selectors.map((selector) => {
        const { left, right } = document.querySelector(selector)!.getBoundingClientRect();
        return [left, right].map(Math.round);
      }),
    [THEIRS, MINE, "message-composer form"],
  );
  const [left, right, composer] = edges as [number[], number[], number[]];
  expect([left[0], right[1]]).toEqual([composer[0], composer[1]]);
  if (width < 720) expect(composer).toEqual([16, width - 16]);
});

test("has no text below 12 px", async () => {
  const page = await openBob();
  const smallest = await page.evaluate(() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const sizes: number[] = [];
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      if (node.textContent?.trim() && node.parentElement?.checkVisibility())
        sizes.push(Number.parseFloat(getComputedStyle(node.parentElement).fontSize));
    }
    return Math.min(...sizes);
  });
  expect(smallest).toBeGreaterThanOrEqual(12);
});

test.each(["/", "/#Bob"])("keeps everything in its place while it loads: %s", async (path) => {
  const page = await chat.open(ann, path);
  await page.waitForSelector(UNREAD);
  const shift = () =>
    page.evaluate(
      () =>
        new Promise<number>((resolve) => {
          let sum = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) sum += (entry as PerformanceEntry & { value: number }).value;
          }).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => resolve(sum), 1_000);
        }),
    );
  const loading = await shift();
  process.stdout.write(`${path}: layout shift ${loading.toFixed(4)}\n`);
  expect(loading).toBeLessThanOrEqual(0.02);
  await page.evaluate(() => document.querySelector<HTMLElement>(".scroll")!.style.setProperty("padding-top", "90px"));
  expect(await shift()).toBeGreaterThan(loading); // else this test measures nothing
});

test("shows the draft of a conversation that is not open", async () => {
  const page = await openBob();
  await page.fill("message-composer textarea", "almost done");
  await page.click('.entry[data-name="Cleo"]');
  const preview = page.locator('.entry[data-name="Bob"] .preview');
  await until("the list shows the draft", async () => (await preview.innerText()) === "almost done");
  expect(await preview.getAttribute("data-draft")).toBe("Draft:");
  await page.click('.entry[data-name="Bob"]');
  await until(
    "the open conversation shows its newest message",
    async () => !(await preview.getAttribute("data-draft")),
  );
  await write(page, "done");
  expect(await page.evaluate(() => document.activeElement?.localName)).toBe("textarea");
});

test("shows one day at the top of a long conversation, that of the messages below it", async () => {
  const [dan] = await chat.server.people("Dan");
  const tab = await dan!.open();
  for (let i = 1; i <= 60; i++) await tab.send("Ann", `message ${i}`);
  await chat.server.sql`
    update messages set timestamp = now() - (4 - (seq - 1) / 15) * interval '1 day'
    where conversation_id = (select conversation_id from messages where content = 'message 60')
  `;
  const page = await chat.open(ann, "/#Dan");
  await page.waitForSelector('.message:has-text("message 60")');
  await page.locator(".scroller").evaluate((scroller) => scroller.scrollTo(0, scroller.scrollHeight * 0.6));
  const stuck = () =>
    page.evaluate(() => {
      const edge = document.querySelector(".scroller")!.getBoundingClientRect().top;
      const days = [...document.querySelectorAll<HTMLElement>(".day:not(.new)")];
      return days
        .filter((day) => day.getBoundingClientRect().top < edge + 40 && getComputedStyle(day).opacity === "1")
        .map((day) => day.textContent);
    });
  await until("one day is left at the top", async () => (await stuck()).length === 1);
});

describe("the choice of colors", () => {
  const schemes = (page: Page) => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);

  test("is kept, applies before the page is painted, and ends with the system's", async () => {
    const context = await chat.context(ann, { colorScheme: "light", serviceWorkers: "block" });
    const page = await chat.open(context, "/account", { ready: "theme-choice [aria-pressed=true]" });
    expect(await schemes(page)).toBe("light dark");
    await page.click("theme-choice [value=dark]");
    expect(await schemes(page)).toBe("dark");
    await page.addInitScript(() => {
      const frames: string[] = [];
      Object.assign(globalThis, { frames_seen: frames });
      const look = () => {
        if (document.body) frames.push(getComputedStyle(document.documentElement).colorScheme);
        if (frames.length < 20) requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    // On a slow network, a page that did not wait would be painted before its colors are known.
    await page.route("**/js/start.js", async (route) => {
      await Bun.sleep(300);
      await route.continue();
    });
    for (const path of ["/", "/account"]) {
      await page.goto(chat.url + path);
      const seen = await page.waitForFunction(() => {
        const { frames_seen: frames } = globalThis as unknown as { frames_seen: string[] };
        return frames.length >= 20 && frames;
      });
      expect([...new Set((await seen.jsonValue()) as string[])]).toEqual(["dark"]);
      const colors = page.locator("meta[name=theme-color]");
      expect(await colors.evaluateAll((metas) => metas.map((meta) => (meta as HTMLMetaElement).media))).toEqual([
        "print",
        "all",
      ]);
    }
    const tab = await chat.open(context);
    expect(await schemes(tab)).toBe("dark");
    await page.click('theme-choice [value=""]');
    expect(await schemes(page)).toBe("light dark");
    await tab.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    expect(await schemes(tab)).toBe("light dark");
  });
});

test("welcomes the first account with an invitation to copy, and shows who signs up", async () => {
  await using app = await startApp();
  const host = await app.admin("Host");
  const url = app.url.replace("127.0.0.1", "localhost");
  const page = await chat.open(host, "/", { url, permissions: ["clipboard-read", "clipboard-write"] });
  await page.click("conversation-list .alone .ask");
  await until("the link is copied", async () => (await page.locator(".alone .copy").innerText()) === "Copied");
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toContain(`${new URL(link).origin}/signup`);
  await app.person("Guest");
  await page.waitForSelector('.found .entry[data-name="Guest"]');
  expect(await page.locator(".alone").isVisible()).toBe(false);
});

test.each(["open", "invite"])(
  "offers a first account without the admin's role the sign-up link: sign-up is %s",
  async (SIGNUP) => {
    const database = await migratedDatabase();
    await using before = await startApp({ database });
    const ann = await before.person("Ann");
    await using app = await startApp({ database, env: { SIGNUP } });
    const url = localhost(app.url);
    const page = await chat.open(ann.at(app), "/", { url, permissions: ["clipboard-read", "clipboard-write"] });
    await page.waitForSelector(".alone h2:visible");
    if (SIGNUP === "open") {
      await page.click(".alone .ask");
      await until("the link is copied", async () => (await page.locator(".alone .copy").innerText()) === "Copied");
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${url}/signup`);
    }
    await page.click(".me");
    await page.waitForSelector("#menu .sound:enabled");
    expect(await page.locator("invite-link:visible").count()).toBe(SIGNUP === "open" ? 1 : 0);
  },
);

test("has the icons of actions on messages, as Lucide draws them", async () => {
  expect(await actionIcons()).toContain('id="icon-trash-2"');
  expect(await Bun.file(ACTION_ICONS).text()).toBe(await actionIcons());
});

test.each(PAGES)("has the icons that it uses, as Lucide draws them: %s", async (file) => {
  const html = await Bun.file(file).text();
  const plain = (text: string) => text.replace(/\s+/g, " ").replaceAll("> <", "><").replaceAll('" />', '"/>');
  expect(plain(await withIcons(html))).toBe(plain(html));
});
