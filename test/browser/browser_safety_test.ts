/** Pages under attack: messages, names and links stay text, and the content security policy stops the rest. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { BrowserContext, BrowserContextOptions, Page } from "playwright-core";

import { scripted, shows, signOut, signUp, useBrowser, write } from "../support/browser.ts";
import { PASSWORD, Person, startApp } from "../support/harness.ts";
import { LINKS } from "../support/hostile_links.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser(startApp, { keepsPages: true });

/** The policy violations of a context's pages, as `securitypolicyviolation` reports them. */
async function violations(context: BrowserContext): Promise<string[]> {
  const heard: string[] = [];
  await context.exposeFunction("reportViolation", (what: string) => void heard.push(what));
  await context.addInitScript(() => {
    const { reportViolation } = globalThis as unknown as { reportViolation: (what: string) => void };
    document.addEventListener("securitypolicyviolation", (event) =>
      reportViolation(`${event.effectiveDirective} ${event.blockedURI}`),
    );
  });
  return heard;
}

interface Visitor {
  readonly page: Page;
  readonly refused: string[];
}

async function visitor(options: BrowserContextOptions = {}): Promise<Visitor> {
  const context = await chat.context(undefined, options);
  const refused = await violations(context);
  return { page: await context.newPage(), refused };
}

/** The user signed in on a page, without the page. */
async function besides(page: Page, name: string): Promise<Person> {
  const cookies = await page.context().cookies();
  return new Person(chat.server.url, name, cookies.map(({ name, value }) => `${name}=${value}`).join("; "));
}

/** Fills every password field. */
async function submit(page: Page, username: string, password: string): Promise<void> {
  await page.fill('input[name="username"]', username);
  for (const input of await page.locator("input[type=password]").all()) await input.fill(password);
  await page.press("input[type=password] >> nth=0", "Enter");
}

const message = (page: Page, text: string) => page.locator("chat-thread .message .text", { hasText: text });

test("violates no policy while every feature is used", async () => {
  const bob = await chat.server.person("Used-Bob");
  const { page, refused } = await visitor();
  for (const path of ["/signup", "/login"]) {
    await page.goto(chat.url + path);
    for (const language of ["el", "en"]) {
      await page.click(`language-choice button[lang=${language}]`);
      await page.waitForSelector(`html[lang=${language}]`);
    }
    await page.fill("#password", "short");
    await page.click(".show-password >> nth=0");
    await page.click(".show-password >> nth=0");
    await page.press("#password", "Enter"); // refused by the page
    await page.waitForSelector("#username_error:visible");
    await submit(page, "Used-Bob", "not the password"); // refused by the server
    await page.waitForSelector(
      path === "/login" ? "[role=alert]:has-text('Wrong')" : "#username_error:has-text('taken')",
    );
  }

  await signUp(page, chat.url, "Used-Ann");
  await page.fill("conversation-list input", "nobody-of-this-name");
  await page.waitForSelector("conversation-list .note:not(:empty)");
  await page.click("conversation-list .clear");
  await page.fill("conversation-list input", "used-b");
  await page.click('conversation-list .found a[data-name="Used-Bob"]');
  await page.waitForSelector("chat-thread .greeting:visible");
  const tab = await bob.open();
  for (let i = 0; i < 70; i++) tab.say({ to: "Used-Ann", message: `${i}: https://example.org/${i}` });
  tab.say({ type: "typing", peer: "Used-Ann" });
  await message(page, "69: ").waitFor();
  await write(page, "hello, www.example.org 🙂");
  await write(page, "🙂");
  await page.waitForSelector('chat-thread .tick[data-state="delivered"]:visible');
  await page.reload();
  await message(page, "69: ").waitFor();
  await until("the end is far away", async () => {
    // Again: rendering what arrives may scroll back to the end before the scroll event.
    await page.evaluate(() => document.querySelector("chat-thread .scroller")?.scrollTo(0, 0));
    return page.locator("chat-thread .jump").isVisible();
  });
  await message(page, "0: ").first().waitFor();
  await page.click("chat-thread .jump");

  // A message without a receiver.
  await chat.server.sql`update users set name_key = 'used-gone' where username = 'Used-Bob'`;
  for (const again of [".retry", ".discard"]) {
    if (again === ".retry") await write(page, "too late");
    await page.click(`chat-thread .failure ${again}`);
  }
  await page.waitForSelector("chat-thread .failure", { state: "detached" });

  await page.fill("message-composer textarea", "x".repeat(4_001));
  await page.waitForSelector("message-composer .problem:visible");
  await page.fill("message-composer textarea", "");
  await page.click("conversation-list .me");
  await page.click("#menu language-choice button[lang=el]");
  await page.click("#menu .notes");
  await write(page, "<b>note</b>");
  await message(page, "note").waitFor();
  await page.goBack();
  await page.goForward();
  await page.goto(`${chat.url}/#nobody-of-this-name`);
  await page.setViewportSize({ width: 320, height: 600 });
  await page.click("chat-header .back");
  await signOut(page);
  await page.waitForURL(`${chat.url}/login`);
  pageErrors.allow(/status of 404/);
  await page.goto(`${chat.url}/nothing`);
  await page.goto(`${chat.url}/healthz`);
  expect(refused).toEqual([]);
});

/** The directives violated below. Every script violates Trusted Types first. */
const REFUSED = [
  "base-uri",
  "connect-src",
  "form-action",
  "frame-src",
  "img-src",
  "require-trusted-types-for",
  "style-src-elem",
];

test("blocks and reports injected scripts, styles, frames and requests", async () => {
  pageErrors.allow(/./); // each violation is logged
  const { page, refused } = await visitor();
  for (const path of ["/login", "/signup", "/"]) {
    if (path === "/") await signUp(page, chat.url, "Slipped");
    else await page.goto(chat.url + path);
    refused.length = 0;
    await page.evaluate(() => {
      const tried = (act: () => unknown) => {
        try {
          act();
        } catch {
          // some throw as well
        }
      };
      const add = (name: string, attributes: Record<string, string>, text = "") => {
        const element = document.createElement(name);
        for (const [key, value] of Object.entries(attributes)) tried(() => element.setAttribute(key, value));
        element.append(text);
        document.body.append(element);
        return element;
      };
      add("script", {}, "globalThis.slipped = 'inline'");
      add("style", {}, "body { display: none }");
      tried(
        () => (document.body.lastElementChild!.innerHTML = "<img src=x onerror=\"globalThis.slipped = 'markup'\">"),
      );
      // oxlint-disable-next-line no-implied-eval
      tried(() => setTimeout("globalThis.slipped = 'eval'" as unknown as () => void));
      tried(() => add("button", { onclick: "globalThis.slipped = 'handler'" }).click());
      add("img", { src: "https://elsewhere.example/x.png" });
      add("iframe", { src: "https://elsewhere.example/" });
      add("object", { data: "https://elsewhere.example/" });
      add("base", { href: "https://elsewhere.example/" });
      add("link", { rel: "stylesheet", href: "https://elsewhere.example/x.css" });
      tried(() => fetch("https://elsewhere.example/").catch(() => {}));
      tried(() => (add("form", { action: "https://elsewhere.example/", method: "post" }) as HTMLFormElement).submit());
    });
    const directives = () => [...new Set(refused.map((what) => what.split(" ")[0]))].toSorted();
    // Some are reported by another process. The last line reports those that are missing.
    await until("all violations are reported", async () => directives().length >= REFUSED.length).catch(() => {});
    await Bun.sleep(300); // what is not refused has time to run
    expect(await page.evaluate(() => (globalThis as unknown as { slipped?: string }).slipped)).toBeUndefined();
    expect([path, directives()]).toEqual([path, REFUSED]);
  }
});

const SCRIPTS = [
  "<script>globalThis.slipped = 1</script>",
  "<img src=x onerror=globalThis.slipped=1>",
  "<svg/onload=globalThis.slipped=1>",
  `"><script>globalThis.slipped=1</script>`,
  `' autofocus onfocus='globalThis.slipped=1`,
  "javascript:globalThis.slipped=1",
  "&lt;img src=x onerror=globalThis.slipped=1&gt;",
  "&#60;script&#62;globalThis.slipped=1&#60;/script&#62;",
  "{{username}} {{form_error}} {{{username}}} ${globalThis.slipped=1} <%= 1 %>",
  "</textarea></title></template></style><script>globalThis.slipped=1</script>",
  '<!--<img src="--><img src=x onerror=globalThis.slipped=1>">',
  "\u202e<b>reversed</b>\u202c",
];

/** The thread's elements besides messages and their announcements. */
const OUTSIDE = "chat-thread *:not(.messages *, .announcer *)";

test("shows markup in a message as text, in the thread, the list and to screen readers", async () => {
  const { page, refused } = await visitor();
  await signUp(page, chat.url, "Script-Ann");
  const eve = await (await chat.server.person("Script-Eve")).open();
  await eve.send("Script-Ann", "hello");
  await page.click('conversation-list a[data-name="Script-Eve"]');
  await message(page, "hello").waitFor();
  const [title, marks] = [await page.title(), await page.locator(OUTSIDE).count()];
  for (const text of SCRIPTS) {
    await eve.send("Script-Ann", text);
    await page.waitForFunction(
      (text) => [...document.querySelectorAll("chat-thread .text")].at(-1)?.textContent === text,
      text,
    );
    // The list is drawn with the next frame.
    await page.waitForFunction(
      (text) => document.querySelector("conversation-list .preview")?.textContent === text,
      text,
    );
    expect(await page.locator("chat-thread .announcer").textContent()).toContain(text);
  }
  expect(await page.locator("chat-thread .text *").count()).toBe(0);
  expect(await page.locator("conversation-list .preview *, chat-thread .announcer p *").count()).toBe(0);
  expect(await page.locator(OUTSIDE).count()).toBe(marks);
  expect(await page.title()).toBe(title);
  await page.reload();
  await message(page, "hello").waitFor();
  await shows(page, "hello", ...SCRIPTS);
  expect(await page.evaluate(() => "slipped" in globalThis)).toBeFalse();
  // A name in the address is untrusted text too.
  for (const text of SCRIPTS) {
    await page.goto(`${chat.url}/#${encodeURIComponent(text)}`);
    await page.waitForFunction((text) => document.querySelector("chat-header h2")?.textContent === text, text);
  }
  expect(await page.locator("chat-header h2 *, chat-thread .greeting p *").count()).toBe(0);
  expect(await page.evaluate(() => "slipped" in globalThis)).toBeFalse();
  expect(refused).toEqual([]);
});

const NAMES = [
  `"><script>globalThis.slipped=1</script>`,
  `' autofocus onfocus='globalThis.slipped=1`,
  "{{form_error}}{{{{username}}}}",
  `{{password_code}}" x="&quot;&#34;`,
  "$& $1 $' $`",
];

test("returns markup and placeholders in a name as text in the form", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const { page, refused } = await visitor({ javaScriptEnabled });
    for (const path of ["/login", "/signup"]) {
      await page.goto(chat.url + path);
      const ready = () => (javaScriptEnabled ? scripted(page) : undefined); // scripts add the language buttons
      await ready();
      const elements = await page.locator("body *").count();
      for (const name of javaScriptEnabled || path === "/signup" ? NAMES : NAMES.slice(0, 1)) {
        // The previous page may show the same error. The scripts of a sign-up refuse these names without a request.
        const stays = javaScriptEnabled && path === "/signup";
        await Promise.all([stays || page.waitForEvent("load"), submit(page, name, PASSWORD)]);
        await ready();
        await page.waitForSelector(path === "/login" ? "[role=alert]:visible" : "#username_error:visible");
        expect(await page.inputValue('input[name="username"]')).toBe(name);
        expect(await page.locator("body *").count()).toBe(elements);
      }
    }
    if (javaScriptEnabled) expect(await page.evaluate(() => "slipped" in globalThis)).toBeFalse();
    expect(refused).toEqual([]);
    await page.context().close();
  }
});

test("opens links at the shown address, in a window without opener or referrer", async () => {
  const seen: Headers[] = [];
  using elsewhere = Bun.serve({
    port: 0,
    hostname: "localhost",
    fetch: ({ headers }) => {
      seen.push(headers);
      return new Response("<title>there</title>", { headers: { "Content-Type": "text/html" } });
    },
  });
  const there = `http://localhost:${elsewhere.port}/x`;
  const { page, refused } = await visitor();
  await signUp(page, chat.url, "Link-Ann");
  const eve = await (await chat.server.person("Link-Eve")).open();
  await eve.send(
    "Link-Ann",
    `look: ${there}, and ${chat.url}/#Link-Eve, but not ${chat.url}/logout or ${chat.url}/%6cogout`,
  );
  await page.goto(`${chat.url}/#Link-Eve`);
  await message(page, "look").waitFor();
  const anchors = page.locator("chat-thread .text a");
  expect(await anchors.evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).href))).toEqual([
    there,
    `${chat.url}/#Link-Eve`,
  ]);
  expect(seen).toEqual([]); // no request before the click
  for (const [attribute, value] of [
    ["rel", "noopener noreferrer nofollow"],
    ["target", "_blank"],
    ["dir", "auto"],
  ] as const) {
    expect(await anchors.first().getAttribute(attribute)).toBe(value);
  }
  const [popup] = await Promise.all([page.context().waitForEvent("page"), anchors.first().click()]);
  await popup.waitForLoadState();
  expect(await popup.title()).toBe("there");
  expect(await popup.evaluate(() => globalThis.opener as unknown)).toBeNull();
  expect(await popup.evaluate(() => document.referrer)).toBe("");
  expect(seen[0]?.get("referer")).toBeNull();
  await popup.close();

  // The table by which the tokenizer is tested.
  const outsideCode = LINKS.filter(([text]) => !text.includes("`"));
  const [hostile, expected] = [outsideCode.map(([text]) => text), outsideCode.flatMap(([, ...hrefs]) => hrefs)];
  const sendable = hostile.filter((text) => !text.includes("\0"));
  for (let at = 0; at < sendable.length; at += 40) await eve.send("Link-Ann", sendable.slice(at, at + 40).join("\n"));
  await page.waitForFunction((last) => document.body.textContent?.includes(last), sendable.at(-1)!);
  const shown = await anchors.evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).href));
  expect(shown.slice(2)).toEqual(expected);
  await page.click('conversation-list a[data-name="Link-Eve"]'); // still here, still signed in
  expect(refused).toEqual([]);
});

test("wraps a link as long as a message on a phone of 320 px", async () => {
  const { page } = await visitor({ viewport: { width: 320, height: 600 } });
  await signUp(page, chat.url, "Long-Ann");
  const eve = await (await chat.server.person("Long-Eve")).open();
  const ann = await (await besides(page, "Long-Ann")).open();
  for (const tab of [eve, ann]) {
    const other = tab === eve ? "Long-Ann" : "Long-Eve";
    await tab.send(other, `https://example.org/${"long".repeat(300)}`);
    await tab.send(other, `https://${"sub.".repeat(40)}example.org/?${"q=%20".repeat(60)}`);
    await tab.send(other, "W".repeat(1_000));
  }
  await page.goto(`${chat.url}/#Long-Eve`);
  await message(page, "WWW").first().waitFor();
  expect(await page.locator("chat-thread .text a").count()).toBe(4);
  const wide = await page.evaluate(() => {
    const inside = [...document.querySelectorAll("html, body, .scroller, .text, .text a")];
    return inside.filter((element) => element.scrollWidth > element.clientWidth && element.clientWidth > 0).length;
  });
  expect(wide).toBe(0);
  const edges = await page
    .locator("chat-thread .text a")
    .evaluateAll((all) => all.flatMap((a) => [a.getBoundingClientRect().left, a.getBoundingClientRect().right]));
  expect(Math.min(...edges)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...edges)).toBeLessThanOrEqual(320);
});

test("shows no messages when going back after sign-out", async () => {
  const page = await chat.page();
  await signUp(page, chat.url, "Back-Ann");
  await page.goto(`${chat.url}/#Back-Ann`);
  await write(page, "for my eyes only");
  await page.waitForSelector('chat-thread .message[data-seq="1"]'); // stored
  await signOut(page);
  await page.waitForURL(`${chat.url}/login`);
  for (let steps = 0; steps < 3; steps++) {
    // The page may unload before it responds.
    const back = () => page.evaluate(() => history.back()).catch(() => {});
    await Promise.all([page.waitForEvent("framenavigated"), back()]);
    await page.waitForFunction(() => document.readyState === "complete");
    await Bun.sleep(400); // what a restored page might show, or one that has just loaded
    expect(await page.locator("body").innerText()).not.toContain("for my eyes only");
  }
});
