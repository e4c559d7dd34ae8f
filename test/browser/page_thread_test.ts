/** Reading long conversations: the line above new messages, scroll position, code, and the keyboard. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { BrowserContextOptions, Page } from "playwright-core";

import { nameOf } from "../../tools/support/users.ts";
import { cachedTexts, drawn, goToPeer, peerOnScreen, shows, useBrowser, write } from "../support/browser.ts";
import { setTextSize } from "../support/clipped_text.ts";
import { startFilledApp } from "../support/filled_app.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

/** Peers of the user of these tests, `READER`. */
const LONG = nameOf(1);
const MANY_UNREAD = nameOf(2);
const FEW_UNREAD = nameOf(3);
const WRITER = 4;
const MISSED = nameOf(5);
const READER = nameOf(0);

const chat = useBrowser(() =>
  startFilledApp(async (database) => {
    const { sql } = database;
    await database.addUsers(320);
    await database.addConversations([[0, 1]], 600);
    await database.addConversations([[0, 2]], 400, 150);
    await database.addConversations([[0, 3]], 60, 2);
    await database.addConversations([[0, 5]], 60);
    await database.addConversations(
      Array.from({ length: 300 }, (_, index) => [0, 10 + index] as const),
      1,
    );
    await sql`update conversations set last_at = now() - interval '1 day' where high > ${nameOf(9)}`;
    await sql`
      update messages set timestamp = now() - interval '1 day' - conversation_id * interval '1 second'
      where receiver > ${nameOf(9)} or sender > ${nameOf(9)}
    `;
    await sql`
      update users set username = 'Μαρία', name_key = 'μαρία', search_key = 'μαρια' where username = ${nameOf(319)}
    `;
  }),
);

const enter = (peer?: string, options: BrowserContextOptions = {}): Promise<Page> =>
  peer === undefined
    ? chat.open(chat.server.user(0), "/", options)
    : chat.open(chat.server.user(0), `/#${peer}`, { ready: "chat-thread .message", ...options });

/** The line's distance from the top of the scroller, as a fraction of its height; undefined without a line. */
const line = (page: Page) =>
  page.evaluate(() => {
    const box = document.querySelector("chat-thread .scroller")?.getBoundingClientRect();
    const top = document.querySelector("chat-thread .day.new")?.getBoundingClientRect().top;
    return box && top !== undefined ? (top - box.top) / box.height : undefined;
  });
const bottom = (page: Page) =>
  page.evaluate(() => {
    const scroller = document.querySelector("chat-thread .scroller");
    return scroller ? scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight : -1;
  });

test("opens at the first of many unread messages, and marks only visible ones read", async () => {
  const page = await enter(MANY_UNREAD);
  const at = await line(page);
  expect(at).toBeGreaterThan(0.1);
  expect(at).toBeLessThan(0.5);
  const after = page.locator("chat-thread .day.new + .message");
  expect(await after.locator(".text").innerText()).toStartWith("Message 251 of");
  expect(await page.locator(".jump .count").innerText()).toMatch(/^1[34]\d new$/);
  await page.click(".jump");
  await until("the end is reached", async () => (await bottom(page)) < 5);
  expect(await page.locator(".jump").isHidden()).toBe(true);
  await until("all are read", () => page.locator(`conversation-list a[data-name="${MANY_UNREAD}"] .badge`).isHidden());

  // The line stays until the user opens another conversation.
  await page.evaluate(() => document.querySelector("chat-thread .scroller")?.scrollTo(0, 0));
  await until("the line is further up", async () => {
    await page.evaluate(() => document.querySelector("chat-thread .scroller")?.scrollBy(0, -1_500));
    return (await page.locator("chat-thread .day.new").count()) === 1;
  });
  for (const name of [LONG, MANY_UNREAD]) {
    await page.click(`conversation-list a[data-name="${name}"]`);
    await until("the conversation is on screen", async () => (await peerOnScreen(page)) === name);
    await page.waitForSelector("chat-thread .message");
  }
  expect(await line(page)).toBeUndefined();
  expect(await bottom(page)).toBeLessThan(5);
});

test("opens at the end when all unread messages fit on screen", async () => {
  const page = await enter(FEW_UNREAD);
  expect(await bottom(page)).toBeLessThan(5);
  const texts = await page.locator("chat-thread .day.new ~ .message .text").allInnerTexts();
  expect(texts.map((text) => text.slice(0, 10))).toEqual(["Message 59", "Message 60"]);
});

test("renders a window of a long conversation, and scrolls without jumps", async () => {
  const page = await enter(LONG);
  /** Scrolls until a message is reached. Returns how far the text being read jumped, and the most messages in the document. */
  const wheel = (by: number, goal: string) =>
    page.evaluate(
      async ([step, wanted]) => {
        const scroller = document.querySelector("chat-thread .scroller");
        if (!scroller) throw new Error("no scroller");
        let [moved, most] = [0, 0];
        for (let turns = 0; turns < 3_000; turns++) {
          const top = scroller.getBoundingClientRect().top;
          const all = [...scroller.querySelectorAll(".message")];
          most = Math.max(most, all.length);
          if (all.some((each) => each.querySelector(".text")?.textContent?.startsWith(wanted))) break;
          const read = all.find((each) => each.getBoundingClientRect().bottom > top + 200);
          const [before, from] = [read?.getBoundingClientRect().top ?? 0, scroller.scrollTop];
          const wanting = Math.min(Math.max(from + step, 0), scroller.scrollHeight - scroller.clientHeight);
          scroller.scrollTop = wanting;
          scroller.dispatchEvent(new Event("scroll")); // a wheel's event precedes layout, a script's follows it
          await new Promise(requestAnimationFrame); // the page has handled it by then
          const off = (read?.getBoundingClientRect().top ?? 0) - (before - (wanting - from));
          moved = Math.max(moved, Math.abs(off));
        }
        return { moved, most };
      },
      [by, goal] as const,
    );
  const up = await wheel(-800, "Message 1 ");
  expect(up.moved).toBeLessThan(3);
  expect(up.most).toBeLessThanOrEqual(200);
  const down = await wheel(800, "Message 600 ");
  expect(down.moved).toBeLessThan(3);
  expect(down.most).toBeLessThanOrEqual(200);
  expect(await page.locator("chat-thread .message").count()).toBeLessThanOrEqual(200);
});

/** Scrolls again until it holds: rendering what arrives may scroll back to the end before the scroll event. */
async function scrollUp(page: Page, by: number): Promise<void> {
  await until("the end is away", async () => {
    if (await page.locator(".jump").isVisible()) return true;
    await page.evaluate((by) => document.querySelector("chat-thread .scroller")?.scrollBy(0, -by), by);
    return page.locator(".jump").isVisible();
  });
}

test("fills a screen taller than the window", async () => {
  const page = await enter(LONG, { viewport: { width: 1_000, height: 12_000 } });
  await until("the screen is full", async () => (await page.locator("chat-thread .message").count()) > 160);
  expect(await bottom(page)).toBeLessThan(5);
  await scrollUp(page, 4_000);
  expect(await bottom(page)).toBeGreaterThan(100);
});

test("counts and announces once the messages that arrive while reading further up", async () => {
  const page = await enter();
  const bob = await chat.server.user(WRITER).open();
  for (let i = 1; i <= 40; i++) await bob.send(READER, `line ${i}`);
  await page.click(`conversation-list a[data-name="${nameOf(WRITER)}"]`);
  await page.click(".jump");
  await until("the end is reached", async () => (await bottom(page)) < 5);
  await scrollUp(page, 500);
  for (const text of ["same", "same", "```ts\nlet a = `x`;\n```", "try `ls` at www.example.org"])
    await bob.send(READER, text);
  await until("the button counts", async () => (await page.locator(".jump .count").innerText()) === "4 new");
  expect(await page.locator(".jump").getAttribute("aria-label")).toBe("4 new messages");
  const announced = await page.locator(".announcer p").allInnerTexts();
  expect(announced.filter((words) => words.includes("same")).length).toBe(2);
  expect(announced.join()).not.toContain("line 1"); // history is not announced
  await page.click(".jump");
  await until("the end is reached", async () => (await bottom(page)) < 5);
  expect(await page.locator(".message .text pre[data-language=ts] code").innerText()).toBe("let a = `x`;");
  expect(await page.locator(".message .text > code").innerText()).toBe("ls");
  expect(await page.locator(".message .text > a").getAttribute("href")).toBe("https://www.example.org/");
  expect(await page.locator(".day.new + .message .text").innerText()).toBe("same");
});

test("draws the line above messages that arrived while the page was closed or hidden", async () => {
  const page = await enter(MISSED);
  const other = await chat.server.user(5).open();
  await until("messages are stored", async () => (await cachedTexts(page, READER, MISSED)).length > 0);
  const context = page.context();
  await page.close();
  for (let i = 1; i <= 30; i++) await other.send(READER, `missed ${i}`);
  const again = await context.newPage();
  await again.goto(`${chat.url}/#${MISSED}`);
  const below = again.locator("chat-thread .day.new + .message .text");
  await until("missed messages are below the line", async () => (await below.textContent()) === "missed 1");
  expect(await line(again)).toBeGreaterThan(0);
  expect(await line(again)).toBeLessThan(0.5);

  await again.click(".jump");
  await until("the end is reached", async () => (await bottom(again)) < 5);
  const visible = (state: string) =>
    again.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { get: () => value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
  await other.send(READER, "seen");
  await again.locator("chat-thread .message .text", { hasText: /^seen$/ }).waitFor();
  await until("the message is read", () =>
    again.locator(`conversation-list a[data-name="${MISSED}"] .badge`).isHidden(),
  );
  await visible("hidden");
  for (let i = 1; i <= 30; i++) await other.send(READER, `behind ${i}`);
  await until("all are counted", async () => (await again.locator(".jump .count").textContent()) === "30 new");
  expect(await below.textContent()).toBe("behind 1");
  await visible("visible");
  expect(await line(again)).toBeGreaterThan(0);
  expect(await line(again)).toBeLessThan(0.5);
  await until("only visible messages are read", async () => {
    const count = await again.locator(".jump .count").textContent();
    return /^[12]\d new$/.test(count ?? "");
  });
});

/** The focused element: a row's name, the start of a message, or the element's kind. */
const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    if (!(element instanceof HTMLElement)) return "";
    if (element.matches(".message")) return element.querySelector(".text")?.textContent?.slice(0, 12);
    return element.dataset["name"] ?? (element.matches("input[type=search]") ? "search" : element.localName);
  });

test("works by keyboard, and returns the focus", async () => {
  const page = await enter(FEW_UNREAD);
  await until("the composer has the focus", async () => (await focused(page)) === "textarea");
  const press = (key: string) => page.keyboard.press(key);
  await press("Alt+ArrowUp");
  expect(await focused(page)).toStartWith("Message 60");
  const announced = await page.locator(".message:focus").getAttribute("aria-label");
  expect(announced).toMatch(/^p00003: Message 60 of .* \d?\d:\d\d$/);
  await press("ArrowUp");
  await press("ArrowUp");
  expect(await focused(page)).toStartWith("Message 58");
  expect(await page.locator(".message:focus").getAttribute("aria-label")).toMatch(/^You: Message 58 .* Read$/);
  expect(await page.locator(".message[aria-label]").count()).toBe(1);
  await press("ArrowDown");
  expect(await focused(page)).toStartWith("Message 59");
  await until("Home reaches the first message", async () => {
    await press("Home");
    return (await focused(page))?.startsWith("Message 1 ") === true;
  });
  await press("End");
  expect(await focused(page)).toStartWith("Message 60");

  await press("?");
  await page.waitForSelector(".keys-sheet");
  expect(await page.locator(".keys-sheet dd").first().innerText()).toBe("Search people and messages");
  await press("Escape");
  await until("the sheet is closed", async () => (await page.locator(".keys-sheet").count()) === 0);
  expect(await focused(page)).toStartWith("Message 60");
  await press("Escape");
  expect(await focused(page)).toBe("textarea");
  await page.keyboard.type("/?");
  expect(await page.inputValue("textarea")).toBe("/?"); // letters like any other in a field
  await press("Escape");
  expect(await focused(page)).toBe(FEW_UNREAD);
  await press("/");
  expect(await focused(page)).toBe("search");
  await page.keyboard.type("μαρι");
  await page.waitForSelector('.found a[data-name="Μαρία"]');
  await press("ArrowDown");
  await press("Enter");
  await until("the result is open", async () => (await peerOnScreen(page)) === "Μαρία");
  await press("Control+k");
  expect(await focused(page)).toBe("search");

  // Users of voice control can turn off single keys.
  await page.click("conversation-list .me");
  await page.click("#menu .keys");
  await page.uncheck(".keys-sheet input");
  await page.click(".keys-sheet .primary");
  await until("the sheet is closed", async () => (await page.locator(".keys-sheet").count()) === 0);
  await page.locator("conversation-list .me").focus();
  await press("?");
  await press("/");
  expect([await focused(page), await page.locator(".keys-sheet").count()]).toEqual(["button", 0]);
});

test("opens the search from a conversation on a phone, and returns to its line on Escape", async () => {
  const page = await enter(FEW_UNREAD, { viewport: { width: 320, height: 640 } });
  await until("the composer has the focus", async () => (await focused(page)) === "textarea");
  await page.keyboard.press("Control+k");
  await until("the search has the focus", async () => (await focused(page)) === "search");
  await page.click(`conversation-list a[data-name="${FEW_UNREAD}"]`);
  await until("the composer has the focus", async () => (await focused(page)) === "textarea");
  await page.keyboard.press("Escape");
  await until("the line has the focus", async () => (await focused(page)) === FEW_UNREAD);
});

test("renders a window of a long list, and reaches every row", async () => {
  const page = await enter();
  const rows = () => page.locator("conversation-list .conversations > li").count();
  const height = () => page.evaluate(() => document.querySelector("conversation-list .scroll")?.scrollHeight ?? 0);
  const last = page.locator("conversation-list .conversations > li").last();
  const place = async () => [await last.getAttribute("aria-posinset"), await last.getAttribute("aria-setsize")];
  await until("the last row is there", async () => {
    await page.evaluate(() => document.querySelector("conversation-list .scroll")?.scrollBy(0, 1_000_000));
    const [at, of] = await place();
    return at === of && Number(of) > 300;
  });
  expect(await rows()).toBeLessThan(100);
  expect(await height()).toBeGreaterThan(300 * 64);
  const name = await last.locator("a").getAttribute("data-name");
  await last.locator("a").click();
  await page.waitForSelector("chat-thread .message");
  await page.evaluate(() => document.querySelector("conversation-list .scroll")?.scrollTo(0, 0));
  await until("the first row is there", async () => (await page.locator('li[aria-posinset="1"]').count()) === 1);
  expect(await rows()).toBeLessThan(100);
  await page.focus("textarea");
  await page.keyboard.press("Escape"); // to its line, far below
  await until("the line has the focus", async () => (await focused(page)) === name);
  // A key held down on a busy machine: more presses than rendered rows, without a frame between.
  await page.evaluate(() => {
    for (let i = 0; i < 45; i++)
      document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true }));
  });
  expect(await focused(page)).toMatch(/^p\d{5}$/);
  expect(await page.locator("li:focus-within").getAttribute("aria-posinset")).toBe(
    String(Number(await page.locator("li:focus-within").getAttribute("aria-setsize")) - 45),
  );
});

test("grows the list's rows with the text in place, and reaches every row", async () => {
  const page = await enter();
  const scroll = (to: number) =>
    page.evaluate((to) => document.querySelector("conversation-list .scroll")?.scrollTo(0, to), to);
  const top = () =>
    page.evaluate(() => {
      const edge = document.querySelector("conversation-list .scroll")?.getBoundingClientRect().top ?? 0;
      const rows = [...document.querySelectorAll<HTMLElement>("conversation-list .entry")];
      const first = rows.find((row) => row.getBoundingClientRect().bottom > edge + 8);
      const { top = 1_000, height = 0 } = first?.getBoundingClientRect() ?? {};
      return { name: first?.dataset["name"], height, isDrawn: top < edge + 8 };
    });
  const last = page.locator("conversation-list .conversations > li").last();
  await until("the last row is there", async () => {
    await scroll(1_000_000);
    const count = await last.getAttribute("aria-setsize"); // absent while a short list is rendered whole
    return Number(count) > 300 && (await last.getAttribute("aria-posinset")) === count;
  });
  await scroll(150 * 64);
  await until("rows are drawn", async () => (await top()).isDrawn);
  const before = await top();
  await setTextSize(page, 200);
  await until("the same row is at the top, and higher", async () => {
    const now = await top();
    return now.name === before.name && now.height > 100;
  });
  await setTextSize(page, 100);
  await until("the row is as before", async () => JSON.stringify(await top()) === JSON.stringify(before));
  await setTextSize(page, 200);
  await until("the last row is reached", async () => {
    await scroll(1_000_000);
    const box = await last.boundingBox();
    return (
      (await last.getAttribute("aria-posinset")) === (await last.getAttribute("aria-setsize")) &&
      (box?.y ?? 700) + (box?.height ?? 1) <= 700
    );
  });
});

test("shows in place of the composer that the peer is deleted or blocked", async () => {
  const page = await enter(FEW_UNREAD);
  await page.route("**/conversations?*", async (route) => {
    const answer = await route.fetch();
    const all = (await answer.json()) as { peer: string; gone: boolean }[];
    for (const row of all) if (row.peer === FEW_UNREAD) row.gone = true;
    await route.fulfill({ response: answer, json: all });
  });
  await page.route("**/blocks", (route) => route.fulfill({ json: ["Μαρία"] }));
  await page.reload();
  await until("the page shows the deletion", async () =>
    /deleted their account/.test(await page.locator("message-composer .closed").innerText()),
  );
  expect(await page.locator("message-composer form").isHidden()).toBe(true);
  await goToPeer(page, "μαρια");
  await until("the page shows the block", async () =>
    /blocked/.test(await page.locator("message-composer .closed").innerText()),
  );
  expect(await page.locator("message-composer form").isHidden()).toBe(true);
  expect(await page.locator(".greeting").isHidden()).toBe(true);
  await goToPeer(page, LONG);
  await until("the composer has the focus", () => page.locator("textarea").isVisible());
});

test("greets the peer of an empty conversation with one click, and keeps the draft", async () => {
  const page = await enter();
  await goToPeer(page, nameOf(6));
  await page.fill("textarea", "unfinished");
  await page.click(".greeting .wave");
  await shows(page, "👋");
  expect(await page.locator(".greeting").isHidden()).toBe(true);
  expect(await page.inputValue("textarea")).toBe("unfinished");
  await page.reload();
  await shows(page, "👋");
});

test("offers to find people for an unknown name, and no action for notes", async () => {
  const page = await enter();
  await goToPeer(page, "Unknown-Name");
  await page.waitForSelector(".greeting p:has-text('No one here')");
  expect(await page.locator(".greeting button:visible").allInnerTexts()).toEqual(["Find people"]);
  await page.click(".greeting .find");
  expect(await page.locator("conversation-list input").evaluate((input) => input === document.activeElement)).toBe(
    true,
  );
  await goToPeer(page, READER);
  await page.waitForSelector(".greeting p:has-text('Only you')");
  expect(await page.locator(".greeting button:visible").count()).toBe(0);
});

/** The start of the message at the top of the scroller. */
const topMessage = (page: Page) =>
  page.evaluate(() => {
    const edge = document.querySelector("chat-thread .scroller")?.getBoundingClientRect().top ?? 0;
    const all = [...document.querySelectorAll("chat-thread .bubble")];
    const first = all.find((each) => each.getBoundingClientRect().bottom > edge + 2);
    return first?.querySelector(".text")?.textContent?.slice(0, 12);
  });

test("keeps the position far up when the window or the text changes size", async () => {
  const portrait = { width: 390, height: 844 };
  const page = await enter(LONG, { viewport: portrait });
  await until("the top is 120 messages up", async () => {
    await page.evaluate(() => document.querySelector("chat-thread .scroller")?.scrollBy(0, -700));
    return /^Message 4[67]\d/.test((await topMessage(page)) ?? "");
  });
  await drawn(page);
  const before = await topMessage(page);
  const steps: Record<string, () => Promise<unknown>> = {
    "turned to landscape": () => page.setViewportSize({ width: 844, height: 390 }),
    "turned back": () => page.setViewportSize(portrait),
    "the keyboard opens": () => page.setViewportSize({ ...portrait, height: 500 }),
    "the keyboard closes": () => page.setViewportSize(portrait),
    "text of twice the size": () => page.evaluate(() => (document.documentElement.style.fontSize = "200%")),
    "text as before": () => page.evaluate(() => (document.documentElement.style.fontSize = "")),
    "two panes": () => page.setViewportSize({ width: 1_100, height: 700 }),
    "one pane": () => page.setViewportSize(portrait),
    "a wide window, made narrow in many steps": async () => {
      for (let width = 1_400; width >= 390; width -= 50) await page.setViewportSize({ width, height: 800 });
      await page.setViewportSize(portrait);
    },
    "a line about the connection": () =>
      page.evaluate(() => document.querySelector(".open connection-banner")?.removeAttribute("hidden")),
    "turned while more history comes": async () => {
      await page.setViewportSize({ width: 844, height: 390 });
      await page.evaluate(() => document.querySelector("chat-thread .scroller")?.dispatchEvent(new Event("scroll")));
      await page.setViewportSize(portrait);
    },
  };
  for (const [step, change] of Object.entries(steps)) {
    await change();
    await drawn(page);
    expect([step, await topMessage(page)]).toEqual([step, before]);
  }
});

/** By how many pixels the newest bubble or its error is hidden. */
const hiddenBelow = (page: Page) =>
  page.evaluate(() => {
    const scroller = document.querySelector("chat-thread .scroller")?.getBoundingClientRect();
    const last = [...document.querySelectorAll("chat-thread :is(.bubble, .failure)")].at(-1)?.getBoundingClientRect();
    return scroller && last ? Math.max(0, Math.round(last.bottom - scroller.bottom)) : Number.NaN;
  });

test("stays at the end whatever appears", async () => {
  const reader = chat.server.user(0);
  const peer = await chat.server.user(1).open();
  const page = await enter(LONG, { viewport: { width: 390, height: 640 } });
  await until("the end is visible", async () => (await bottom(page)) < 2);
  const show = (selector: string) => () =>
    page.evaluate((selector) => {
      // The worst case: the scroll event of the page's own scrolling fires just when the element appears.
      const scroller = document.querySelector("chat-thread .scroller");
      document.querySelector(selector)?.removeAttribute("hidden");
      scroller?.dispatchEvent(new Event("scroll"));
    }, selector);
  const steps: Record<string, () => Promise<unknown>> = {
    "the question of notifications": show(".ask-notifications"),
    "the connection banner": show(".open connection-banner"),
    "a text of eight lines": () => page.fill("textarea", "line\n".repeat(8)),
    "a text too long": () => page.fill("textarea", "x".repeat(4_001)),
    "an empty field": () => page.fill("textarea", ""),
    "text of twice the size": () => page.evaluate(() => (document.documentElement.style.fontSize = "200%")),
    "text as before": () => page.evaluate(() => (document.documentElement.style.fontSize = "")),
    "turned to landscape": () => page.setViewportSize({ width: 844, height: 390 }),
    "turned back": () => page.setViewportSize({ width: 390, height: 640 }),
    "the keyboard": () => page.setViewportSize({ width: 390, height: 400 }),
    "a text of one's own": async () => {
      await write(page, "a text of more than one line ".repeat(4));
    },
    "texts of the other": async () => {
      for (let i = 1; i <= 3; i++) await peer.send(READER, `one more ${i}`);
      await page.locator(".message .text", { hasText: "one more 3" }).waitFor();
    },
    "why a text failed": async () => {
      await page.evaluate(() => {
        const { send } = WebSocket.prototype;
        WebSocket.prototype.send = function (data) {
          const { ref } = JSON.parse(String(data));
          const refusal = { type: "error", code: "invalid_text", message: "", ref };
          if (ref) this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(refusal) }));
          else send.call(this, data);
        };
      });
      await write(page, "refused");
      await page.waitForSelector(".failure");
    },
    "a block": async () => {
      await reader.post("/blocks", { name: LONG, blocked: true });
      await page.waitForSelector("message-composer .unblock:visible");
    },
    "text of twice the size, blocked": () => page.evaluate(() => (document.documentElement.style.fontSize = "200%")),
    unblocked: async () => {
      await page.click("message-composer .unblock");
      await page.waitForSelector("textarea:visible");
    },
  };
  for (const [step, change] of Object.entries(steps)) {
    await change();
    await drawn(page);
    expect([step, await hiddenBelow(page)]).toEqual([step, 0]);
  }
});

test("shows the first reply above the notification prompt", async () => {
  const other = await chat.server.user(6).open();
  for (let i = 1; i <= 30; i++) await other.send(READER, `unread ${i}`);
  const page = await enter(nameOf(6));
  await page.addInitScript(() => Object.defineProperty(Notification, "permission", { get: () => "default" }));
  await page.reload();
  await page.waitForSelector("chat-thread .day.new");
  await write(page, "my first reply");
  await page.waitForSelector(".ask-notifications:visible");
  await page.locator(".message .text", { hasText: "my first reply" }).waitFor();
  await drawn(page);
  expect(await hiddenBelow(page)).toBe(0);
});

test("removes the line above new messages after a reply from any device", async () => {
  const other = await chat.server.user(7).open();
  const phone = await chat.server.user(0).open();
  const line = (page: Page) => page.locator("chat-thread .day.new");
  await other.send(READER, "new to you");
  const page = await enter(nameOf(7));
  await line(page).waitFor();
  await write(page, "seen");
  await line(page).waitFor({ state: "detached" });

  await page.evaluate(() => (document.hasFocus = () => false));
  await other.send(READER, "new again");
  await line(page).waitFor();
  await phone.send(nameOf(7), "answered on the phone");
  await line(page).waitFor({ state: "detached" });
  await other.send(READER, "and once more");
  await until(
    "the line is above it",
    async () => (await line(page).locator("+ .message .text").innerText()) === "and once more",
  );
});
