import type { Protection } from "./protection.ts";

const attention = (against: string, find: string, replace: string, name: string): Protection => ({
  against,
  file: "static/js/attention.js",
  find,
  replace,
  test: "test/page_attention_test.ts",
  name: `attention ${name}`,
});

export const PROTECTIONS: readonly Protection[] = [
  attention(
    "somebody who is muted makes themselves heard",
    "return !muted && myRead < seq;",
    "return myRead < seq;",
    "is not asked for what was read meanwhile, on the phone perhaps, nor for what is muted or my own",
  ),
  attention(
    "what was read on the phone is announced at the desk",
    "return !muted && myRead < seq;",
    "return !muted;",
    "is not asked for what was read meanwhile, on the phone perhaps, nor for what is muted or my own",
  ),
  attention(
    "what is on the screen is announced beside it",
    "if (shown.has(key) || !this.#isNews(news)) return;",
    "if (!this.#isNews(news)) return;",
    "is not asked for what is on the screen, and only softly beside another conversation",
  ),
  attention(
    "a flood of messages is a flood of sounds",
    "this.#around.now() - this.#soundedAt >= SOUND_EVERY_MS",
    "SOUND_EVERY_MS > 0",
    "tells of a burst once, with its last words, and sounds once in two seconds",
  ),
  {
    against: "a message is told as read that lay beside the window somebody wrote in",
    file: "static/js/dom.js",
    find: "(document.hasFocus() || isTouch())",
    replace: "true",
    test: "test/attention_test.ts",
    name: "a window that is seen and has not the focus marks nothing as read and notifies; when the focus is back the mark goes out",
  },
  {
    against: "every tab announces the same message",
    file: "static/js/tabs.js",
    find: "return this.#roles.has(role);",
    replace: "return role !== undefined;",
    test: "test/page_attention_test.ts",
    name: "attention is asked for once, however many tabs are hidden, and goes on when the one that asks is closed",
  },
  {
    against: "messages stay on the screen as notifications after signing out",
    file: "static/js/attention_page.js",
    find: "return notices.close(() => true);",
    replace: "return Promise.resolve();",
    test: "test/attention_test.ts",
    name: "signing out takes the notifications away",
  },
  {
    against: "a text that another device replaced is sent over it",
    file: "static/js/shared_drafts.js",
    find: "if (known || tooLong ||",
    replace: "if (tooLong ||",
    test: "test/page_attention_test.ts",
    name: "shared drafts replaced by another device while they waited for their turn are not sent any more",
  },
  {
    against: "a text that the server never had is taken for one that was sent elsewhere",
    file: "static/js/shared_drafts.js",
    find: "const had = mine.known || mine.text === mine.had;",
    replace: "const had = true;",
    test: "test/page_attention_test.ts",
    name: "shared drafts sent elsewhere while this device was off are gone here, and those the server never had stay",
  },
  {
    against: "a text that the server never had is overwritten by one from another device",
    file: "static/js/shared_drafts.js",
    find: "mine && this.#wasNeverSent(mine) ? this.#joined(mine, text) : text;",
    replace: "text;",
    test: "test/page_attention_test.ts",
    name: "shared drafts that the server does not take stay when another device writes and sends",
  },
];
