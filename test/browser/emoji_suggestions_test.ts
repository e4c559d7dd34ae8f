/** Emoji that the page suggests while a shortcode is typed. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { draft, fetchedOnDemandFiles, shows, texts, useBrowser } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();
const LIST = ".emoji-suggestions";
const FIELD = "message-composer textarea";

async function talk(first: string, second: string, options: Parameters<typeof chat.open>[2] = {}): Promise<Page> {
  const [ann] = (await chat.server.people(first, second)) as [Person, Person];
  const page = await chat.open(ann, `/#${second}`, options);
  await page.focus(FIELD);
  return page;
}

const closed = (page: Page) => page.waitForSelector(LIST, { state: "detached" });
/** Types until suggestions are shown: the first shortcode loads them. */
async function type(page: Page, text: string): Promise<void> {
  await page.keyboard.type(text);
  await page.waitForSelector(LIST);
}

/** The option to which `aria-activedescendant` points. */
const chosen = (page: Page) =>
  page.evaluate(() => {
    const field = document.activeElement;
    const option = document.getElementById(field?.getAttribute("aria-activedescendant") ?? "");
    return field?.tagName === "TEXTAREA" && option?.ariaSelected === "true"
      ? option.innerText.replace("\n", " ")
      : undefined;
  });

test("suggests up to eight emoji, and replaces the shortcode by the one chosen with the keyboard", async () => {
  const page = await talk("sk-ann", "sk-bob");
  await page.keyboard.type("so :f");
  expect(await page.locator(LIST).count()).toBe(0);
  await type(page, "ace");
  expect(await page.locator(`${LIST} [role=option]`).count()).toBe(8);
  const list = page.getByRole("listbox", { name: "Emoji suggestions" });
  expect(await list.getAttribute("id")).toBe((await page.getAttribute(FIELD, "aria-controls"))!);
  const first = await chosen(page);
  await page.keyboard.press("ArrowDown");
  const second = await chosen(page);
  expect(second).not.toBe(first!);
  await page.keyboard.press("ArrowUp");
  expect(await chosen(page)).toBe(first!);
  await page.keyboard.press("ArrowUp"); // wraps around
  expect(await list.getByRole("option").last().getAttribute("aria-selected")).toBe("true");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await closed(page);
  expect(await draft(page)).toBe(`so ${second?.split(" ")[0]} `);
  expect(await texts(page)).toEqual([]);
  expect(await page.getAttribute(FIELD, "aria-activedescendant")).toBeNull();

  await page.fill(FIELD, "");
  await type(page, ":octopus");
  await page.keyboard.press("Tab");
  expect(await draft(page)).toBe("🐙 ");
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("TEXTAREA");
  await page.keyboard.press("Enter"); // sends as usual
  await shows(page, "🐙");

  await page.fill(FIELD, "before after");
  for (let i = 0; i < "after".length; i++) await page.keyboard.press("ArrowLeft");
  await type(page, ":octopus");
  await page.locator(`${LIST} li`).first().click();
  expect(await draft(page)).toBe("before 🐙 after");
  await page.keyboard.press("Control+z");
  expect(await draft(page)).toBe("before :octopusafter");
});

test("Escape closes them until another shortcode begins, and leaves the conversation open", async () => {
  const page = await talk("sx-ann", "sx-bob");
  await type(page, ":heart");
  await page.keyboard.press("Escape");
  await closed(page);
  await page.keyboard.type("_ey");
  expect(await page.locator(LIST).count()).toBe(0);
  expect(await draft(page)).toBe(":heart_ey");
  expect(page.url()).toEndWith("#sx-bob");
  await page.keyboard.press("Enter");
  await shows(page, ":heart_ey");
  await type(page, ":he");
  await page.keyboard.type("zzz"); // nothing is found
  await closed(page);
});

test("suggests in Greek and in the chosen skin tone, and lists the emoji as recent", async () => {
  const page = await talk("sg-ann", "sg-bob", { locale: "el-GR" });
  await page.evaluate(() => localStorage.setItem("chatify.emoji.sg-ann", JSON.stringify({ tone: 3, recent: [] })));
  await type(page, ":σηκωμενος_αντ");
  expect(await chosen(page)).toBe("👍🏽 σηκωμένος αντίχειρας");
  await page.keyboard.press("Enter");
  expect(await draft(page)).toBe("👍🏽 ");
  await page.click(".emoji-button");
  await page.waitForSelector(".emoji-picker section button");
  expect(await page.locator(".emoji-picker section button").first().textContent()).toBe("👍🏽");
});

test("suggests nothing in addresses, times and code, and closes where the shortcode ends", async () => {
  const page = await talk("sn-ann", "sn-bob");
  await type(page, ":heart"); // loads
  for (const text of ["http://heart", "12:30", "at 9:heart", "`:heart"]) {
    await page.fill(FIELD, "");
    await page.keyboard.type(text);
    expect([text, await page.locator(LIST).count()]).toEqual([text, 0]);
  }
  await page.fill(FIELD, "");
  await type(page, ":heart");
  await page.keyboard.type(" ");
  await closed(page);
  await page.fill(FIELD, "");
  await type(page, ":heart");
  await page.keyboard.press("Home"); // moves the caret away
  await closed(page);
  await page.keyboard.press("End");
  await page.keyboard.type("s");
  await page.waitForSelector(LIST);
  await page.keyboard.press("Control+Enter"); // sends
  await shows(page, ":hearts");
  await closed(page);
});

test("works offline on first use", async () => {
  const page = await talk("so-ann", "so-bob");
  await fetchedOnDemandFiles(page);
  await page.context().setOffline(true);
  await type(page, ":octopus");
  await page.keyboard.press("Enter");
  expect(await draft(page)).toBe("🐙 ");
});

test("shows them above the field on a phone, with targets of 44 px", async () => {
  const page = await talk("sp-ann", "sp-bob", {
    hasTouch: true,
    isMobile: true,
    viewport: { width: 390, height: 400 },
  });
  await page.tap(FIELD);
  await type(page, ":face");
  const [list, field] = await Promise.all([page.locator(LIST).boundingBox(), page.locator(FIELD).boundingBox()]);
  expect(list!.y).toBeGreaterThan(0);
  expect(list!.y + list!.height).toBeLessThan(field!.y);
  const heights = await page.locator(`${LIST} li`).evaluateAll((all) => all.map((each) => each.clientHeight));
  expect(Math.min(...heights)).toBeGreaterThanOrEqual(44);
  await page.locator(`${LIST} li`).nth(1).tap();
  await until("it is taken", async () => /^\p{RGI_Emoji} $/v.test(await draft(page)));
});
