import type { Protection } from "./protection.ts";

const BLOCKED =
  "who is blocked writes and is acknowledged as ever; the other's sockets, list, history and counts hear nothing";
const test = "test/blocks_test.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "somebody blocked is heard on the blocker's sockets",
    file: "src/chat.ts",
    find: "const to = hidden || ",
    replace: "const to = ",
    test,
    name: BLOCKED,
  },
  {
    against: "somebody blocked makes the blocker's devices fetch, by sending again",
    file: "src/chat.ts",
    find: "if (!hidden) this.#sync(send.toKey",
    replace: "this.#sync(send.toKey",
    test,
    name: BLOCKED,
  },
  {
    against: "somebody blocked is seen typing",
    file: "src/chat.ts",
    find: "if (!apart) this.#tell",
    replace: "this.#tell",
    test,
    name: BLOCKED,
  },
  {
    against: "somebody blocked can tell, by a read mark of a page that was open",
    file: "sql/0006_account.sql",
    find: "and not case when c.low = t.reader then c.low_blocks else c.high_blocks end",
    replace: "",
    test,
    name: BLOCKED,
  },
  {
    against: "what somebody blocked wrote is in the blocker's list",
    file: "src/db/messages.ts",
    find: "and not c.low_blocks and c.last_seq > 0",
    replace: "and c.last_seq > 0",
    test,
    name: BLOCKED,
  },
  {
    against: "what somebody blocked wrote is counted for the blocker",
    file: "src/db/messages.ts",
    find: "c.low_unread > 0 and not c.low_blocks",
    replace: "c.low_unread > 0",
    test,
    name: BLOCKED,
  },
  {
    against: "what somebody blocked wrote is in the blocker's history",
    file: "src/db/messages.ts",
    find: "and not case when c.low = ${me} then c.low_blocks else c.high_blocks end",
    replace: "",
    test,
    name: BLOCKED,
  },
  {
    against: "somebody blocked sends the blocker's devices to fetch, at every loss between pods",
    file: "src/db/messages.ts",
    find: 'c.low = t.name collate "C" and not c.low_blocks and',
    replace: 'c.low = t.name collate "C" and',
    test,
    name: "a loss between pods asks nobody to fetch what somebody they block wrote",
  },
  {
    against: "what somebody reads is told although one of the two hides it",
    file: "sql/0006_account.sql",
    find: "not m.deaf and not m.hidden as told",
    replace: "not m.deaf as told",
    test: "test/account_test.ts",
    name: "reading stays between the reader's own devices when the reader hides it, and arriving is still told",
  },
  {
    against: "what somebody read is in the list although one of the two hides it",
    file: "src/http/api.ts",
    find: "(hidesRead || row.hidesRead) ? 0",
    replace: "false ? 0",
    test: "test/account_test.ts",
    name: "reading stays between the reader's own devices when the writer hides it, and arriving is still told",
  },
  {
    against: "when somebody was last seen is told as they go although they hide it",
    file: "src/presence.ts",
    find: "?.hidesLastSeen === false",
    replace: "?.hidesLastSeen !== undefined",
    test: "test/account_test.ts",
    name: "who hides when they were last seen shows it to nobody, and sees it of nobody, but who is online",
  },
];
