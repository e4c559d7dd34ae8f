/** Edits and deletions as both users' pages show them. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import { cachedTexts, localhost, shows, useBrowser, write } from "../support/browser.ts";
import { migratedDatabase, type Person, startApp, type Tab } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(40_000);

const chat = useBrowser(async () => {
  const database = await migratedDatabase();
  const [one, two] = await Promise.all([startApp({ database }), startApp({ database })]);
  const stop = () => Promise.all([one.stop(), two.stop()]);
  return { url: one.url, one, two, stop };
});

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
