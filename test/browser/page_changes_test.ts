/** Edits and deletions as both users' pages show them. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import { outboxPrefix } from "../../static/js/store/browser_storage.js";
import type { PendingChange } from "../../static/js/store/pending.js";
import { cachedTexts, localhost, shows, useBrowser, write } from "../support/browser.ts";
import { type Person, startTwoPods, type Tab } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(40_000);

const chat = useBrowser(startTwoPods);

let refs = 0;
/** Changes a message from another client of the user. */
const change = (tab: Tab, frame: Record<string, unknown>) => tab.say({ ...frame, ref: `change-${++refs}` });

test("shows what the peer's other client edits and deletes, in the thread, the list and the cache", async () => {
  const { one, two } = chat.server;
  const [ann, bob] = (await one.people("ch-ann", "ch-bob")) as [Person, Person];
  const there = localhost(two.url);
  const [annPage, bobPage] = [await chat.open(ann, "/#ch-bob"), await chat.open(bob, "/#ch-ann", { url: there })];
  for (const text of ["helo", "a secret", "last"]) await write(annPage, text);
  await shows(bobPage, "helo", "a secret", "last");
  const client = await ann.at(two).open({ watch: [] });

  change(client, { type: "edit", peer: "ch-bob", seq: 1, message: "hello" });
  change(client, { type: "delete", peer: "ch-bob", seq: 2 });
  change(client, { type: "edit", peer: "ch-bob", seq: 3, message: "<b>the end</b>" });
  for (const page of [annPage, bobPage]) {
    await shows(page, "hello", "Message deleted", "<b>the end</b>");
    expect(await page.locator(".message time").allTextContents()).toEqual([
      expect.stringMatching(/^\d\d:\d\d · edited$/),
      expect.stringMatching(/^\d\d:\d\d$/),
      expect.stringMatching(/^\d\d:\d\d · edited$/),
    ]);
    expect(await page.locator("conversation-list .preview").innerText()).toBe("<b>the end</b>");
  }
  await until("the cache follows", async () => (await cachedTexts(bobPage, "ch-bob", "ch-ann"))[0] === "hello");
  expect(await cachedTexts(bobPage, "ch-bob", "ch-ann")).toEqual(["hello", "", "<b>the end</b>"]);

  await bobPage.context().setOffline(true);
  change(client, { type: "delete", peer: "ch-bob", seq: 3 });
  await shows(annPage, "hello", "Message deleted", "Message deleted");
  await bobPage.context().setOffline(false);
  await shows(bobPage, "hello", "Message deleted", "Message deleted");
  expect(await bobPage.locator("conversation-list .preview").innerText()).toBe("Message deleted");
});

test("sends the changes that a closed page left behind, in order, and shows them until they are stored", async () => {
  const { one, two } = chat.server;
  const [ann, bob] = (await one.people("left-ann", "left-bob")) as [Person, Person];
  const client = await ann.open({ watch: [] });
  for (const text of ["one", "two", "three"]) await client.send("left-bob", text);
  const bobPage = await chat.open(bob, "/#left-ann", { url: localhost(two.url) });

  const context = await chat.context(ann);
  const changes = (
    [
      ["edit", 1, "ONE"],
      ["delete", 2, ""],
      ["react", 3, "🎉"],
      ["edit", 3, "\0"], // the server rejects it
    ] as const
  ).map(([type, seq, text], at): PendingChange => {
    return { ref: `left-behind-${at}`, peer: "left-bob", type, seq, text, at: at + 1, state: "changing" };
  });
  const annPage = await context.newPage();
  await annPage.goto(`${chat.url}/test`);
  await annPage.evaluate(
    ([prefix, records]) => {
      for (const record of records) localStorage.setItem(prefix + record.ref, JSON.stringify(record));
    },
    [outboxPrefix("left-ann"), changes] as const,
  );
  await annPage.goto(`${chat.url}/#left-bob`);
  for (const page of [annPage, bobPage]) await shows(page, "ONE", "Message deleted", "three");
  await until("the error is shown", async () => (await annPage.locator(".problem").innerText()) !== "");
  const rows = await bob.json<Record<string, unknown>[]>("/messages/left-bob/left-ann?peek=1");
  expect(rows.map(({ content, deleted, reactions }) => [content, deleted, reactions])).toEqual([
    ["ONE", undefined, undefined],
    ["", true, undefined],
    ["three", undefined, { "left-ann": "🎉" }],
  ]);
  await annPage.reload();
  await shows(annPage, "ONE", "Message deleted", "three");
  expect(await annPage.evaluate(() => Object.keys(localStorage).filter((key) => key.includes("left-behind")))).toEqual(
    [],
  );
});
