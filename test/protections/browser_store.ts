import type { Protection } from "./protection.ts";

const LEAVING =
  "signing out leaves nothing behind; a session that ended elsewhere nothing but what its person had written";
const NEXT = "another person at the same browser never sees what the one before wrote or read";
const TABS = "two tabs: what one sent or threw away leaves the other, and what a closed one left is sent by the other";
const VERSIONS = "a server that hangs shows the kept page, and a new version of it comes whole or not at all";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "who is called ann finds the unsent texts of ann.b at the same browser",
    file: "static/js/outbox_store.js",
    find: "draft?.ref === key",
    replace: `typeof draft?.ref === "string"`,
    test: "test/page_outbox_test.ts",
    name: "the outbox survives a reload, for the same person only",
  },
  {
    against: "the chat opens without a network after signing out",
    file: "static/js/places.js",
    find: "(await cached()).map((name) => caches.delete(name))",
    replace: "[]",
    test: "test/offline_test.ts",
    name: LEAVING,
  },
  {
    against: "who signs in next finds what the person before them wrote and read",
    file: "static/js/chat.js",
    find: "await forgetAllBut(me);",
    replace: "",
    test: "test/offline_test.ts",
    name: NEXT,
  },
  {
    against: "a conversation with somebody blocked stays on the page and in the browser",
    file: "static/js/messenger.js",
    find: "this.#conversations.delete(key);\n      this.cache?.drop(peer);",
    replace: "continue;",
    test: "test/page_keeping_test.ts",
    name: "a page that was here before lets go of a conversation that the server does not list any more",
  },
  {
    against: "copies of a database that is no more are shown as conversations",
    file: "static/js/reading_cache.js",
    find: "if (this.#epoch !== undefined && this.#epoch !== epoch) this.forget();",
    replace: "",
    test: "test/page_keeping_test.ts",
    name: "the cache for reading writes nothing before the server has said which data are its, and forgets those of another",
  },
  {
    against: "a tab that is behind the times brings such copies back",
    file: "static/js/reading_cache.js",
    find: "const good = record?.epoch === this.#epoch;",
    replace: "const good = true;",
    test: "test/page_keeping_test.ts",
    name: "the cache for reading does not believe what a tab wrote that had not heard of the new data",
  },
  {
    against: "an old version of the page is served while the server has a new one",
    file: "static/js/sw.js",
    find: "if (answer && answer.status < 500) return answer;",
    replace: "",
    test: "test/offline_test.ts",
    name: VERSIONS,
  },
  {
    against: "a server that hangs keeps the page from opening",
    file: "static/js/sw.js",
    find: "await Promise.race([asked.catch(() => {}), patience]);",
    replace: "await asked.catch(() => patience);",
    test: "test/offline_test.ts",
    name: VERSIONS,
  },
  {
    against: "a text is lost when its tab is closed at once",
    file: "static/js/kept_records.js",
    find: "const shelved = this.#shelve(this.#prefix + key, text);",
    replace: "const shelved = false;",
    test: "test/page_keeping_test.ts",
    name: "kept records are safe from the moment they are given, and leave localStorage once the database has them",
  },
  {
    against: "a text is lost between localStorage and the database, read in the wrong order",
    file: "static/js/kept_records.js",
    find: "for (const { key, record } of shelved) {",
    replace: "for (const { key, record } of this.#shelved().map((key) => ({ key, record: this.#read(key) }))) {",
    test: "test/page_keeping_test.ts",
    name: "kept records are safe from the moment they are given, and leave localStorage once the database has them",
  },
  {
    against: "texts of an earlier page go out after newer ones",
    file: "static/js/messenger.js",
    find: "if (!this.#restored || this.connection",
    replace: "if (this.connection",
    test: "test/page_keeping_test.ts",
    name: "a page that was here before sends the texts of an earlier page before any new one",
  },
  {
    against: "a text thrown away in one tab is sent by another",
    file: "static/js/chat.js",
    find: "if (data.removed) store.quietly(() => outbox.discard(data.removed));",
    replace: "",
    test: "test/offline_test.ts",
    name: TABS,
  },
  {
    against: "a text stays unsent because its tab is closed",
    file: "static/js/chat.js",
    find: "if (data.left) void outbox.load();",
    replace: "",
    test: "test/offline_test.ts",
    name: TABS,
  },
  {
    against: "an unfinished text is overwritten by another device while it is typed",
    file: "static/js/drafts.js",
    find: "if (mine?.text && typing && mine.text !== unfinished.text) {",
    replace: "if (mine?.text && typing && mine.text === unfinished.text) {",
    test: "test/page_keeping_test.ts",
    name: "unfinished texts nothing is overwritten under the fingers, and then it is what counts",
  },
];
