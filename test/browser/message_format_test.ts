/** Formatted messages in the page: quotes, lists, code, emphasis, and the direction of each line. */

import { expect, setDefaultTimeout, test } from "bun:test";

import axe from "axe-core";
import type { Page } from "playwright-core";

import { texts, useBrowser, write } from "../support/browser.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();

/** The last message's HTML, without what differs between visits. */
const html = (page: Page) =>
  page
    .locator("chat-thread .message .text")
    .last()
    .evaluate((text) => {
      const copy = text.cloneNode(true) as Element;
      for (const each of copy.querySelectorAll("button")) each.remove();
      return copy.innerHTML.replaceAll(/ (?:dir|tabindex|class|target|rel)="[^"]*"/g, "");
    });

test("shows formats with elements, sends and copies the text as typed, and previews it without marks", async () => {
  const [ann, bob] = await chat.server.people("Mf-ann", "Mf-bob");
  const page = await chat.open(ann!, "/#Mf-bob", { permissions: ["clipboard-read", "clipboard-write"] });
  const peer = await bob!.open();
  const typed = "**Bold** _it_ ~~no~~ `x`\n> said\n1. one\n2. two";
  await page.fill("textarea", typed);
  await page.press("textarea", "Enter");
  expect((await peer.next("message")).message).toBe(typed);
  await page.waitForSelector(".message strong");
  expect(await html(page)).toBe(
    '<strong>Bold</strong> <em>it</em> <s>no</s> <code>x</code>\n<blockquote>said\n</blockquote><ol><li value="1">one\n</li><li value="2">two</li></ol>',
  );
  expect(await texts(page)).toEqual(["Bold it no x\nsaid\none\ntwo"]);
  await until("the list shows no marks", async () =>
    (await page.locator("conversation-list .preview").allInnerTexts())
      .join()
      .includes("Bold it no x said 1. one 2. two"),
  );
  await page.locator(".message .text strong").hover();
  await page.waitForSelector(".message-bar");
  await page.locator(".message .text strong").click({ button: "right" });
  await page.locator(".message-menu button", { hasText: /^Copy$/ }).click();
  await page.waitForSelector(".toast");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(typed);

  await peer.send("Mf-ann", "**see** _https://example.org/a_b_ <b>x</b>");
  await page.waitForSelector(".message em a");
  expect(await html(page)).toBe(
    '<strong>see</strong> <em><a href="https://example.org/a_b">https://example.org/a_b</a></em> &lt;b&gt;x&lt;/b&gt;',
  );
  const announced = await page.locator(".announcer p").last().innerText();
  expect(announced.replace(/[\u2068\u2069]/g, "")).toBe("Mf-bob: see https://example.org/a_b <b>x</b>");
});

test("scrolls code sideways, and copies it by mouse and keyboard", async () => {
  const [ann] = await chat.server.people("Mf-cat", "Mf-dan");
  const page = await chat.open(ann!, "/#Mf-dan", {
    permissions: ["clipboard-read", "clipboard-write"],
    viewport: { width: 390, height: 700 },
  });
  const line = `let a = "${"x".repeat(200)}";`;
  await write(page, `\`\`\`ts\n${line}\nlet b;\n\`\`\``);
  const copy = page.locator(".copy-code");
  await copy.waitFor();
  const box = await page.locator("pre").evaluate(({ scrollWidth, clientWidth }) => ({ scrollWidth, clientWidth }));
  expect(box.scrollWidth).toBeGreaterThan(box.clientWidth);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  expect(await copy.getAttribute("aria-label")).toBe("Copy code");
  await copy.click();
  await page.waitForSelector('.toast[role=status]:has-text("Copied")');
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${line}\nlet b;`);

  await page.evaluate(() => navigator.clipboard.writeText(""));
  await page.locator("pre").focus();
  await page.keyboard.press("ArrowRight");
  await until("the code scrolls", async () => (await page.locator("pre").evaluate((pre) => pre.scrollLeft)) > 0);
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.className)).toBe("copy-code");
  await page.keyboard.press("Enter");
  await until(
    "the code is copied",
    async () => (await page.evaluate(() => navigator.clipboard.readText())) === `${line}\nlet b;`,
  );
});

test("gives each line its own direction", async () => {
  const [ann] = await chat.server.people("Mf-eve", "Mf-fay");
  const page = await chat.open(ann!, "/#Mf-fay");
  await write(page, "a first line that makes the bubble wide\nשלום\n- ένα\n> مرحبا");
  await page.waitForSelector(".message blockquote");
  const places = await page.evaluate(() => {
    const text = document.querySelector(".message .text")!;
    const bubble = document.querySelector(".message .bubble")!.getBoundingClientRect();
    const range = document.createRange();
    const sides: Record<string, string> = {};
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.textContent?.trim() === "") continue;
      range.selectNodeContents(node);
      const { left, right } = range.getBoundingClientRect();
      sides[node.textContent!.trim()] = left - bubble.left < bubble.right - right ? "left" : "right";
    }
    return sides;
  });
  expect(places).toMatchObject({ שלום: "right", ένα: "left", مرحبا: "right" });
});

test("passes axe, light and dark", async () => {
  const [ann] = await chat.server.people("Mf-gil", "Mf-hal");
  const page = await chat.open(ann!, "/#Mf-hal");
  await write(
    page,
    `**b** *i* ~~s~~ \`c\`\n> quote https://example.org\n- one\n  - two\n\`\`\`ts\n${"code ".repeat(60)}\n\`\`\``,
  );
  await page.waitForSelector(".copy-code");
  await page.evaluate(axe.source);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    // oxlint-disable-next-line typescript/no-explicit-any
    const found = await page.evaluate(async () => (await (globalThis as any).axe.run("chat-thread")).violations);
    expect(found.map(({ id, nodes }: { id: string; nodes: { html: string }[] }) => `${id}: ${nodes[0]?.html}`)).toEqual(
      [],
    );
  }
});
