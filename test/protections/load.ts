import type { Protection } from "./protection.ts";

/** A small fuzz run: noticed there, whatever else notices it. */
const FUZZ = { test: "test/fuzz_test.ts", name: "fuzz finds nothing wrong, and leaves nothing behind" } as const;

const SLOW = "test/slow_test.ts";
const READERS = "readers who stop reading a long answer hold little, and may go on after 14 s";
const FILES = "more connections than files: people go on talking, idle ones make room, and all heals by itself";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "a cursor that PostgreSQL does not take for an instant is our failure",
    file: "src/http/api.ts",
    find: 'if (!isInstant(lastAt)) throw new ChatError("bad_request", { words: "before is no cursor" });',
    replace: "",
    test: "test/history_test.ts",
    name: "/conversations ?before=MjAyNi0wMi0zMFQwMDowMDowMFp8MQ== is refused with 400",
  },
  {
    against: "a frame marks up to half a number (fuzzing)",
    file: "src/protocol.ts",
    find: '|| typeof seq !== "number" || !Number.isInteger(seq) || seq < 0',
    replace: '|| typeof seq !== "number" || seq < 0',
    ...FUZZ,
  },
  {
    against: "a list of any length is watched (fuzzing)",
    file: "src/protocol.ts",
    find: "|| users.length > WATCH_MAX ",
    replace: "",
    ...FUZZ,
  },
  {
    against: "a name with NUL reaches PostgreSQL (fuzzing)",
    file: "src/text.ts",
    find: 'key === "" || BREAKS_LINES.test(key) ? undefined',
    replace: 'key === "" ? undefined',
    ...FUZZ,
  },
  {
    against: "a ref of any shape is stored (fuzzing)",
    file: "src/protocol.ts",
    find: "/^[A-Za-z0-9_-]{8,64}$/.test(ref)",
    replace: "ref.length < 1_000",
    ...FUZZ,
  },
  {
    against: "a flood that goes on although it is refused",
    file: "src/socket.ts",
    find: "if (limits.strike(socket, error.code, performance.now())) socket.close(CLOSE.limits);",
    replace: "",
    test: "test/load_test.ts",
    name: "load of 10,000 messages a second from one person is refused, then sent away with 1008 each time, and others chat on",
  },
  {
    against: "logins that wait without end",
    file: "src/http/auth.ts",
    find: "waiting: 128, client: { keys: 4, waiting: 32 }",
    replace: "waiting: 32_000, client: { keys: 4, waiting: 32_000 }",
    test: "test/load_test.ts",
    name: "load of 200 logins at once hashes two at a time, sends the others away with 503, and people chat on in no more memory",
  },
  {
    against: "connections that send a byte now and then are held for ever (slowloris)",
    file: "src/app.ts",
    find: "idleTimeout: IDLE_SECONDS,",
    replace: "idleTimeout: 60,",
    test: SLOW,
    name: "slow connections are cut within 15 s, and people sign in meanwhile",
  },
  {
    against: "one person asks for many long answers and reads none",
    file: "src/http/stream.ts",
    find: `if (open >= most) throw new ChatError("rate_limited", { retryAfter: 5 });`,
    replace: "",
    test: SLOW,
    name: READERS,
  },
  {
    against: "readers of long texts who stop reading fill the memory",
    file: "src/db/pages.ts",
    find: "export const TEXTS_MAX_BYTES = 64 * 1024;",
    replace: "export const TEXTS_MAX_BYTES = 64 * 1024 * 1024;",
    test: "test/memory_test.ts",
    name: "190 connections that ask for /conversations?limit=200 and read nothing",
  },
  {
    against: "sockets and answers of many people who stop reading fill the memory",
    file: "src/unsent.ts",
    find: "while (this.#bytes > this.#maxBytes) this.#cutOldest();",
    replace: "",
    test: "src/unsent_test.ts",
    name: "unsent data beyond the budget belongs to the client that has been stalled longest, which is cut",
  },
  {
    against: "idle connections use up the files, and nobody gets in",
    file: "src/app.ts",
    find: "const closed = server?.closeIdleConnections() ?? 0;",
    replace: "const closed = 0;",
    test: SLOW,
    name: FILES,
  },
  {
    against: "sockets use up the files, and nobody gets in",
    file: "src/app.ts",
    find: `if (crowded || hub.size >= socketsMax) return new ChatError("busy", { retryAfter: 5 });`,
    replace: "",
    test: SLOW,
    name: FILES,
  },
  {
    against: "a flood that goes on although it is refused",
    file: "src/socket.ts",
    find: "if (limits.strike(socket, error.code, performance.now())) socket.close(CLOSE.limits);",
    replace: "",
    test: "test/load_test.ts",
    name: "load of 10,000 messages a second from one person is refused, then sent away with 1008 each time, and others chat on",
  },
  {
    against: "logins that wait without end",
    file: "src/http/auth.ts",
    find: "waiting: 128, client: { keys: 4, waiting: 32 }",
    replace: "waiting: 32_000, client: { keys: 4, waiting: 32_000 }",
    test: "test/load_test.ts",
    name: "load of 200 logins at once hashes two at a time, sends the others away with 503, and people chat on in no more memory",
  },
];
