/** The emoji picker: in the message field and for reactions. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Locator, Page } from "playwright-core";

import { draft, fetchedOnDemandFiles, fillForm, shows, useBrowser, write } from "../support/browser.ts";
import { PASSWORD, type Person } from "../support/harness.ts";
import { choose, MENU, openMenu, row } from "../support/message_menu.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();
const PICKER = ".emoji-picker";
const SEARCH = `${PICKER} input[type=search]`;
/** The emoji that are shown. */
const CELLS = `${PICKER} section:not([hidden]) .cells button`;

async function talk(first: string, second: string, options: Parameters<typeof chat.open>[2] = {}) {
  const people = (await chat.server.people(first, second)) as [Person, Person];
  return [await chat.open(people[0], `/#${second}`, options), ...people] as const;
}

async function open(page: Page): Promise<void> {
  await page.click(".emoji-button");
  await page.waitForSelector(CELLS);
}

const closed = (page: Page) => page.waitForSelector(PICKER, { state: "detached" });
const cell = (page: Page, name: string): Locator => page.locator(CELLS).and(page.getByLabel(name, { exact: true }));
const found = (page: Page) => page.locator(CELLS).allTextContents();
const focusedLabel = (page: Page) => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
const press = async (page: Page, ...keys: string[]) => {
  for (const key of keys) await page.keyboard.press(key);
};

test("inserts at the caret, and lists the emoji as recent", async () => {
  const [page] = await talk("ep-ann", "ep-bob");
  await page.fill("textarea", "goodday");
  for (let i = 0; i < 3; i++) await page.press("textarea", "ArrowLeft");
  await open(page);
  expect(await page.locator(SEARCH).evaluate((each) => each === document.activeElement)).toBe(true);
  await cell(page, "grinning face").first().click();
  await closed(page);
  expect(await draft(page)).toBe("good😀day");
  await page.keyboard.type("!");
  expect(await draft(page)).toBe("good😀!day");
  await press(page, "Control+z", "Control+z");
  expect(await draft(page)).toBe("goodday");

  await open(page);
  expect(await page.locator(`${PICKER} section`).first().getAttribute("aria-label")).toBe("Recent");
  expect((await found(page))[0]).toBe("😀");
  await page.locator(`${PICKER} .tabs`).getByLabel("Flags").click();
  await until("the flags are shown", async () =>
    cell(page, "flag: Greece").evaluate((each) => {
      const { top, bottom } = each.closest(".grid")!.getBoundingClientRect();
      const section = each.closest("section")!.getBoundingClientRect();
      return section.top < bottom && section.bottom > top;
    }),
  );
  expect(await page.locator(`${PICKER} .tabs [aria-current=true]`).getAttribute("aria-label")).toBe("Flags");
  await page.mouse.click(5, 5); // outside
  await closed(page);
  expect(await draft(page)).toBe("goodday");
});

test("is used by keyboard alone, and Escape returns the focus", async () => {
  const [page] = await talk("ek-ann", "ek-bob");
  await page.focus("textarea");
  await press(page, "Tab", "Enter");
  await page.waitForSelector(CELLS);
  await press(page, "ArrowDown", "ArrowRight", "ArrowRight");
  expect(await focusedLabel(page)).toBe((await page.locator(CELLS).nth(2).getAttribute("aria-label"))!);
  const columns = await page.locator(CELLS).evaluateAll((all) => {
    const { top } = all[0]!.getBoundingClientRect();
    return all.findIndex((each) => each.getBoundingClientRect().top !== top);
  });
  await press(page, "ArrowDown", "ArrowLeft");
  expect(await focusedLabel(page)).toBe(
    (await page
      .locator(CELLS)
      .nth(columns + 1)
      .getAttribute("aria-label"))!,
  );
  await press(page, "Tab", "Shift+Tab"); // the emoji are one stop
  expect(await focusedLabel(page)).toBe(
    (await page
      .locator(CELLS)
      .nth(columns + 1)
      .getAttribute("aria-label"))!,
  );
  await press(page, "End");
  expect(await focusedLabel(page)).toBe((await page.locator(CELLS).last().getAttribute("aria-label"))!);
  await press(page, "Home", "ArrowUp");
  expect(await focusedLabel(page)).toBe("Search emoji");
  await page.waitForSelector(`${PICKER} .tabs [aria-current="true"]:first-child`); // after the scroll event
  await press(page, "Tab", "ArrowRight", "ArrowRight");
  expect(await focusedLabel(page)).toBe("Animals and nature");
  await press(page, "Enter", "ArrowDown");
  expect(await focusedLabel(page)).toBe("monkey face");
  await page.keyboard.type("octopus"); // moves to the search
  await until("it is found", async () => (await found(page)).join() === "🐙");
  expect(await page.locator(`${PICKER} [role=status]`).innerText()).toBe("1 emoji");
  await press(page, "Enter");
  await closed(page);
  expect(await draft(page)).toBe("🐙");
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("TEXTAREA");

  await press(page, "Tab", "Enter");
  await page.waitForSelector(CELLS);
  await press(page, "ArrowDown", "Escape");
  await closed(page);
  expect(await focusedLabel(page)).toBe("Emoji");
  expect(page.url()).toEndWith("#ek-bob");
});

test("searches in English and Greek, without regard to accents and case", async () => {
  const [page] = await talk("es-ann", "es-bob", { locale: "el-GR" });
  await open(page);
  expect(await page.locator(SEARCH).getAttribute("placeholder")).toBe("Αναζήτηση emoji");
  for (const query of ["ΚΟΚΚΙΝΗ ΚΑΡΔΙΑ", "κόκκινη καρδιά", "red heart"]) {
    await page.fill(SEARCH, query);
    await until(`“${query}” is found`, async () => (await found(page))[0] === "❤️");
    expect(await page.locator(CELLS).first().getAttribute("aria-label")).toBe("κόκκινη καρδιά");
  }
  await page.fill(SEARCH, "ξψξψ");
  await until("nothing is found", async () => (await found(page)).length === 0);
  expect(await page.locator(`${PICKER} [role=status]`).innerText()).toBe("Δεν βρέθηκε emoji");
  await page.fill(SEARCH, "");
  await until("all are shown again", async () => (await found(page)).length > 1_800);
});

test("keeps the skin tone until sign-out, even when the session ends elsewhere", async () => {
  const [page, ann] = await talk("et-ann", "et-bob");
  await open(page);
  await page.getByLabel("Medium-dark").check({ force: true });
  expect(await cell(page, "thumbs up").textContent()).toBe("👍🏾");
  expect(await cell(page, "red heart").textContent()).toBe("❤️");
  await cell(page, "thumbs up").click();
  await closed(page);
  expect(await draft(page)).toBe("👍🏾");
  await page.reload();
  await open(page);
  expect(await page.getByLabel("Medium-dark").isChecked()).toBe(true);
  expect((await found(page))[0]).toBe("👍🏾"); // recent
  await page.keyboard.press("Escape");
  await ann.get("/logout");
  await page.waitForURL("**/login");
  await fillForm(page, { username: ann.name, password: PASSWORD });
  await page.waitForSelector("textarea:visible");
  await open(page);
  expect(await page.getByLabel("Medium-dark").isChecked()).toBe(true);
  await page.getByLabel("Default").check({ force: true });
  expect((await found(page))[0]).toBe("👍");
  await page.keyboard.press("Escape");
  const stored = () => page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes("emoji")));
  expect(await stored()).toEqual([`chatify.emoji.${ann.name}`]);
  await page.click("conversation-list .me");
  await page.click("#menu .sign-out button:enabled");
  await page.waitForURL("**/login");
  expect(await stored()).toEqual([]);
});

test("reacts with any emoji, counting it with the same quick reaction", async () => {
  const [page, , bob] = await talk("er-ann", "er-bob");
  await write(page, "dinner?");
  await shows(page, "dinner?");
  const chips = () => row(page, "dinner").locator(".reaction").allTextContents();
  await choose(page, "dinner", /^$/); // "More emoji" has an icon only
  await page.waitForSelector(CELLS);
  await page.fill(SEARCH, "octopus");
  await page.keyboard.press("Enter");
  await until("the reaction is shown", async () => (await chips()).join() === "🐙");
  await until("the message is focused", () => row(page, "dinner").evaluate((each) => each === document.activeElement));

  const bobTab = await bob.open({ watch: [] });
  for (const [emoji, name] of [
    ["👍", "thumbs up"],
    ["❤️", "red heart"],
  ] as const) {
    bobTab.say({ type: "react", peer: "er-ann", seq: 1, emoji, ref: `er-${name}`.replace(" ", "-") });
    await openMenu(page, "dinner");
    await page.getByLabel("More emoji").click();
    await page.waitForSelector(CELLS);
    await cell(page, name).first().click();
    await until("they count together", async () => (await chips()).join() === `${emoji} 2`);
    await openMenu(page, "dinner");
    expect(await page.locator(`${MENU} [aria-checked=true]`).allTextContents()).toEqual([emoji]);
    await page.keyboard.press("Escape");
  }
  await openMenu(page, "dinner");
  await page.getByLabel("More emoji").click();
  await page.waitForSelector(CELLS);
  await cell(page, "red heart").first().click(); // the same again removes it
  await until("it is removed", async () => (await chips()).join() === "❤️");
});

test("closes when another conversation is opened, and inserts nothing there", async () => {
  const [page] = await talk("ec-ann", "ec-bob");
  await open(page);
  await page.evaluate(() => (location.hash = "ec-ann"));
  await closed(page);
  expect(await draft(page)).toBe("");
});

test("shows an error when the emoji cannot be loaded, and retries", async () => {
  const [ann] = (await chat.server.people("eo-ann", "eo-bob")) as [Person];
  const context = await chat.context(ann, { serviceWorkers: "block" });
  await context.route("**/emoji.json", (route) => route.abort());
  const page = await chat.open(context, "/#eo-bob");
  await page.click(".emoji-button");
  await page.waitForSelector(`${PICKER} .retry:visible`);
  expect(await page.locator(`${PICKER} [role=status]`).innerText()).toBe(
    "The emoji could not be loaded. Check your connection.",
  );
  await page.click(`${PICKER} .retry`);
  await page.waitForSelector(`${PICKER} .retry:visible`);
  await context.unroute("**/emoji.json");
  await page.fill(SEARCH, "octopus");
  await page.click(`${PICKER} .retry`);
  await until("the text typed meanwhile is searched", async () => (await found(page)).join() === "🐙");
  expect(await page.isVisible(`${PICKER} .retry`)).toBe(false);
  expect(await page.locator(SEARCH).evaluate((each) => each === document.activeElement)).toBe(true);
});

test("shows an error when the picker itself cannot be loaded", async () => {
  const [ann] = (await chat.server.people("ex-ann", "ex-bob")) as [Person];
  const context = await chat.context(ann, { serviceWorkers: "block" });
  await context.route("**/emoji_picker.js*", (route) => route.abort());
  const page = await chat.open(context, "/#ex-bob");
  await page.click(".emoji-button");
  await page.waitForSelector('.problem[data-error="no_connection"]');
  await context.unroute("**/emoji_picker.js*");
  await open(page);
  expect(await page.locator(".problem").innerText()).toBe("");
});

test.each(["allow", "block"] as const)("opens offline on first use (service workers: %s)", async (workers) => {
  const [page] = await talk(`ei-ann-${workers}`, `ei-bob-${workers}`, { serviceWorkers: workers });
  await fetchedOnDemandFiles(page);
  await page.context().setOffline(true);
  await open(page);
  await cell(page, "octopus").first().click();
  expect(await draft(page)).toBe("🐙");
});

test("is a sheet on phones, above the keyboard, with targets of 44 px", async () => {
  const [page] = await talk("em-ann", "em-bob", {
    hasTouch: true,
    isMobile: true,
    viewport: { width: 390, height: 760 },
  });
  await page.tap(".emoji-button");
  await page.waitForSelector(CELLS);
  expect(await page.locator(SEARCH).evaluate((each) => each === document.activeElement)).toBe(false);
  const sizes = await page
    .locator(`${PICKER} :is(button, label):visible`)
    .evaluateAll((all) => all.map((each) => Math.min(each.clientHeight, each.clientWidth)).filter((size) => size > 0));
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(40); // two less each side for the border
  await page.setViewportSize({ width: 390, height: 380 }); // the keyboard
  const box = (await page.locator(PICKER).boundingBox())!;
  expect(box.y).toBeGreaterThanOrEqual(0);
  expect(box.y + box.height).toBe(380);
  expect((await page.locator(`${PICKER} .grid`).boundingBox())!.height).toBeGreaterThan(100);
  await page.tap(`${PICKER} .close`);
  await closed(page);
});
