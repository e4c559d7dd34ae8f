/** How much text one user may send in a day, whatever sockets, pods and starts they use. */

import { afterEach, describe, expect, setDefaultTimeout, setSystemTime, test } from "bun:test";

import { TextQuota } from "../../src/chat/text_quota.ts";
import { connect } from "../../src/db/client.ts";
import { Database } from "../../src/db/database.ts";
import {
  type Frame,
  migratedDatabase,
  type Person,
  SILENT,
  startApp,
  type Tab,
  type TestApp,
} from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { Served } from "../support/served.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);
afterEach(() => void setSystemTime());

/** Of 4,000 bytes in UTF-8, whatever its characters. */
const TEXTS = ["x".repeat(4_000), "ß".repeat(2_000), "𐍈".repeat(1_000)];
const LIMITED = { RATE_LIMIT: "on", LIMIT_BYTES: "20kB/d", LIMIT_SENDS: "1000/s" };

/** Sends until a text is refused. @returns how many were stored, and the refusal of the next */
async function sendAll(tab: Tab, to: string): Promise<{ stored: number; refusal: Frame }> {
  for (let stored = 0; ; stored++) {
    const ref = tab.newRef();
    tab.say({ to, message: TEXTS[stored % TEXTS.length], ref });
    let answer: Frame | undefined;
    await until("the send is answered", () => {
      answer = tab.heard.find((frame) => frame["ref"] === ref);
      return answer !== undefined;
    });
    if (answer?.type === "error") return { stored, refusal: answer };
  }
}

const storedBytes = async ({ sql }: Pick<TestApp, "sql">) =>
  (await sql<[{ bytes: number }]>`select coalesce(sum(octet_length(content)), 0) as bytes from messages`)[0].bytes;

const secondsToMidnight = () => Math.ceil((86_400_000 - (Date.now() % 86_400_000)) / 1_000);

describe("text beyond the limit of a day", () => {
  test("is rejected by bytes with the time to midnight, only for its sender", async () => {
    await using app = await startApp({ env: LIMITED });
    const [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open({ watch: [] });
    const { stored, refusal } = await sendAll(tab, "bob");
    expect(stored).toBe(5);
    expect(refusal["code"]).toBe("rate_limited");
    expect(Math.abs(refusal["retry_after"] - secondsToMidnight())).toBeLessThanOrEqual(2);
    expect(refusal["message"]).toStartWith("You have reached the daily text limit. Please wait ");
    expect(await storedBytes(app)).toBe(20_000);
    expect((await (await bob.open()).send("ann", TEXTS[0]!)).type).toBe("ack");
    expect(await (await fetch(`${app.url}/metrics`)).text()).toContain('rate_limited_total{limit="bytes"} 1');
  });

  test("counts stored text only: rejected and resent messages do not count, and a shorter text may still fit", async () => {
    await using app = await startApp({ env: LIMITED });
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open({ watch: [] });
    for (let i = 0; i < 4; i++) await tab.send("bob", TEXTS[0]!, "the-same-ref");
    for (let i = 0; i < 4; i++) {
      tab.say({ to: "nobody", message: TEXTS[0] });
      expect((await tab.next("error"))["code"]).toBe("no_such_user");
    }
    expect((await sendAll(tab, "ann")).stored).toBe(4);
    const ref = tab.newRef();
    tab.say({ to: "bob", message: "x", ref });
    await until("one more byte is refused", () =>
      tab.heard.some((frame) => frame["ref"] === ref && frame["code"] === "rate_limited"),
    );
  });

  test("is refused on every socket and pod, at once where another is open", async () => {
    const database = await migratedDatabase();
    await using here = await startApp({ env: LIMITED, database });
    await using there = await startApp({ env: LIMITED, database });
    const [ann] = (await here.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open({ watch: [] });
    const [second, other] = [await ann.open({ watch: [] }), await ann.at(there).open({ watch: [] })];
    expect((await sendAll(tab, "bob")).stored).toBe(5);
    expect((await sendAll(second, "bob")).stored).toBe(0);
    await until(
      "the other pod has relayed all",
      () => other.heard.filter(({ type }) => type === "message").length === 5,
    );
    expect((await sendAll(other, "bob")).stored).toBe(0);
    await other.close();
    expect((await sendAll(await ann.at(there).open({ watch: [] }), "bob")).stored).toBe(0);
    expect(await storedBytes(here)).toBe(20_000);
  });

  test("is refused after a restart, and after a crash of every pod", async () => {
    const database = await migratedDatabase();
    let person: Person | undefined;
    {
      await using app = await startApp({ env: LIMITED, database });
      [person] = (await app.people("ann", "bob")) as [Person, Person];
      const tab = await person.open({ watch: [] });
      for (let i = 0; i < 3; i++) await tab.send("bob", TEXTS[0]!);
    }
    const served = await Served.start({ env: LIMITED, database });
    expect((await sendAll(await person.at(served).open({ watch: [] }), "bob")).stored).toBe(2);
    await until("what was refused is saved", async () => {
      await using app = await startApp({ database });
      return (await app.sql<[{ bytes: number }]>`select max(bytes) as bytes from text_sent`)[0].bytes === 20_000;
    });
    served.kill();
    await using again = await startApp({ env: LIMITED, database });
    expect((await sendAll(await person.at(again).open({ watch: [] }), "bob")).stored).toBe(0);
    expect(await storedBytes(again)).toBe(20_000);
  });

  test("is accepted the next day, and older days are deleted", async () => {
    await using app = await startApp({ env: LIMITED });
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open({ watch: [] });
    const days = async () => (await app.sql<{ day: string }[]>`select day::text from text_sent order by day`).length;
    for (const day of [0, 1, 2, 3]) {
      setSystemTime(new Date(Date.now() + (day > 0 ? 86_400_000 : 0)));
      expect((await sendAll(tab, "bob")).stored, `day ${day}`).toBe(5);
      await until("the day is saved, and no more than two", async () => (await days()) === Math.min(day + 1, 2));
    }
  });

  test("counts each text once when a sender leaves and is refunded while usage is saved", async () => {
    const target = await migratedDatabase();
    const db = new Database({ target, name: "test-quota", max: 1, log: SILENT });
    const quota = new TextQuota({ db, maxBytes: 1_000, log: SILENT, rejected() {} });
    try {
      for (const username of ["ann", "bob"]) quota.charge(username, 100, undefined);
      const saving = quota.flush();
      quota.refund("ann", 100);
      quota.forget("ann");
      await saving;
      await quota.flush();
      const saved = await db.run((sql) => sql`select sender, bytes from text_sent order by sender`);
      expect([...saved]).toEqual([
        { sender: "ann", bytes: 0 },
        { sender: "bob", bytes: 100 },
      ]);
    } finally {
      await quota.stop();
      await db.end();
    }
  });

  test("counts each text once when only part of the senders could be saved", async () => {
    const target = await migratedDatabase();
    const db = new Database({ target, name: "test-quota", max: 1, log: SILENT });
    const quota = new TextQuota({ db, maxBytes: 1_000, log: SILENT, rejected() {} });
    const sql = connect(target, { name: "test", max: 1 });
    try {
      quota.charge("first", 100, undefined);
      for (let i = 0; i < 1_000; i++) quota.charge(`user ${i}`, 100, undefined);
      {
        await using _ = await holdLock(
          sql,
          (tx) => tx`insert into text_sent values ((now() at time zone 'utc')::date, 'user 999', 0)`,
        );
        await quota.flush();
      }
      await quota.flush();
      const saved = await sql`select bytes, count(*) from text_sent group by bytes`;
      expect([...saved]).toEqual([{ bytes: 100, count: 1_001 }]);
    } finally {
      await quota.stop();
      await db.end();
      await sql.end({ timeout: 1 });
    }
  });

  test("is not counted without RATE_LIMIT", async () => {
    await using app = await startApp({ env: { ...LIMITED, RATE_LIMIT: "off" } });
    const [ann] = (await app.people("ann", "bob")) as [Person, Person];
    const tab = await ann.open({ watch: [] });
    for (let i = 0; i < 6; i++) await tab.send("bob", TEXTS[0]!);
    await app.leave();
    expect(await app.sql`select from text_sent`).toHaveLength(0);
  });
});
