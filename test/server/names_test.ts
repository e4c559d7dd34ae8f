/** Names are trimmed wherever they are read, and rejected when they resemble another account's. On two pods. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import fc from "fast-check";

import { connect } from "../../src/db/client.ts";
import { nameKey } from "../../src/util/text.ts";
import { nameKey as pageKey } from "../../static/js/util/names.js";
import { cookieOf, emptyDatabase, migratedDatabase, PASSWORD, Person, post, startApp } from "../support/harness.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

const { one, two } = await sharedPods();

const signUp = (username: string, app = one, more: Record<string, string> = {}) =>
  post(`${app.url}/signup`, { username, password: PASSWORD, ...more });
const logIn = (username: string, app = one) => post(`${app.url}/login`, { username, password: PASSWORD });

/** Sees a name refused, with the words beside its field. */
async function refused(answer: Response, status: number, code: string): Promise<void> {
  expect(answer.status).toBe(status);
  expect(answer.headers.has("set-cookie")).toBe(false);
  expect(await answer.text()).toContain(`id="username_error" data-error="${code}">`);
}

describe("a name that looks like another's is refused", () => {
  test.each([
    ["a capital I for an l", "alice", "aIice"],
    ["Cyrillic for Latin", "ape", "аре"],
    ["Cyrillic capitals", "kot", "КОТ"],
    ["m for rn", "modern", "modem"],
    ["a one for an l", "paul", "pau1"],
    ["a zero for an o", "rob", "r0b"],
    ["an o for a zero", "agent.007", "agent.oo7"],
  ])("%s", async (_, taken, other) => {
    expect((await signUp(taken)).status).toBe(302);
    await refused(await signUp(other, two), 409, "name_similar");
    expect((await logIn(taken, two)).status).toBe(302);
    expect(await one.sql`select username from users where username in ${one.sql([taken, other])}`).toEqual([
      { username: taken },
    ] as never);
  });

  test("by one of two pods, when both receive it at once", async () => {
    const pairs = Array.from({ length: 12 }, (_, i) => [`ilse.${i}x`, `iIse.${i}x`] as const);
    const statuses = await Promise.all(
      pairs.map((pair) => Promise.all(pair.map(async (name, i) => (await signUp(name, i === 0 ? one : two)).status))),
    );
    for (const pair of statuses) expect(pair.toSorted()).toEqual([302, 409]);
  });

  test("also while the other's sign-up is not committed: the second one waits", async () => {
    let answer: Promise<Response> | undefined;
    await one.sql.begin(async (tx) => {
      await tx`select refuse_lookalike(array['willow', 'WlLLOW'])`;
      const [{ id }] = await tx<[{ id: number }]>`
        insert into users (username, name_key, search_key, password, has_skeletons)
        values ('willow', 'willow', 'willow', '!', true)
        returning id
      `;
      await tx`insert into name_skeletons values (${id}, 'willow', true), (${id}, 'WlLLOW', false)`;
      answer = signUp("wiIIow", two);
      await until("the second waits", async () => {
        const [row] = await one.sql<[{ waits: boolean }]>`
          select exists (select from pg_stat_activity where wait_event = 'advisory' and query like '%refuse_lookalike%') as waits
        `;
        return row.waits;
      });
    });
    await refused((await answer)!, 409, "name_similar");
  });

  test("unless the account existed before, which keeps its name", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const [ann, bob] = (await app.people("george", "bob")) as [Person, Person];
    await app.sql`
      insert into users (username, name_key, search_key, password)
      select t.name, lower(t.name), lower(t.name), password
      from users, unnest(array['ɡeorge', 'gеorge', 'admin', 'John Smith', 'аре']) as t (name)
      where username = 'bob'
    `; // as an older pod makes them
    await using later = await startApp({ database });
    for (const name of ["ɡeorge", "gеorge", "admin", "John Smith", "аре"]) {
      const answer = await logIn(name, later);
      expect(answer.status).toBe(302);
      const tab = await new Person(later.url, name, cookieOf(answer)).open({ watch: [] });
      expect(await (await bob.at(later).open({ watch: [] })).send(name, "hello")).toMatchObject({ peer: name });
      expect(await tab.next("message")).toMatchObject({ from: "bob", to: name });
    }
    await refused(await signUp("ape", later), 409, "name_similar");
    expect((await ann.get("/me")).status).toBe(200);
  });

  test("but a namesake in another alphabet is not", async () => {
    for (const name of ["Anna", "Αννα", "Анна", "Tatiana", "Τατιανα", "Kai", "Kal"]) {
      expect((await signUp(name)).status).toBe(302);
    }
  });
});

describe("a name is refused at sign-up", () => {
  test.each([
    ["of a letter for phoneticians", "ɡeorge"],
    ["of a dotless i with a dot", "alı̇ce"],
    ["of a mark of another script", "ann\u064e"],
  ])("%s", async (_, name) => refused(await signUp(name), 422, "bad_name"));

  test.each(["admin", "Administrator", "support", "CHATIFY", "r00t", "chatify-support", "support24", "Υποστήριξη"])(
    "when it speaks for the server: %s",
    async (name) => refused(await signUp(name), 409, "name_reserved"),
  );

  test("also with the code of a fresh install", async () => {
    await using app = await startApp();
    expect((await signUp("admin", app, { code: app.adminCode! })).status).toBe(302);
  });
});

describe("whitespace around a name is trimmed", () => {
  const AROUND = [
    " ann-lee ",
    "\u00a0Ann-Lee\u3000",
    "\u200bann-lee\ufeff",
    "\tann-lee\r\n",
    "\u2060\u200cann-lee\u200d",
  ];

  test("at sign-up, at login, in paths and in frames", async () => {
    expect((await signUp("\u00a0\u200b Ann-Lee\u200d \n")).status).toBe(302);
    const [bob] = (await two.people("barbara")) as [Person];
    const b = await bob.open({ watch: [] });
    for (const [i, typed] of AROUND.entries()) {
      const answer = await logIn(typed, two);
      expect(answer.status).toBe(302);
      const ann = new Person(one.url, typed, cookieOf(answer));
      expect(await ann.json("/me")).toMatchObject({ username: "Ann-Lee" });
      const a = await ann.open({ watch: [] });
      expect(await b.send(typed, "hi")).toMatchObject({ peer: "Ann-Lee" });
      expect(await a.next("message")).toMatchObject({ to: "Ann-Lee" });
      b.say({ type: "watch", users: [typed] });
      expect((await b.next("presence"))["users"]).toEqual({ "Ann-Lee": { online: true, last_seen: null } });
      const name = encodeURIComponent(typed);
      expect(await ann.json<unknown[]>(`/messages/${name}/%20barbara%E2%80%8B?peek=1`)).toHaveLength(i + 1);
      expect(await ann.json(`/unread_counts/${name}`)).toEqual({ barbara: 1 });
      expect(await bob.json<unknown[]>(`/conversations?peer=${name}`)).toHaveLength(1);
      a.say({ type: "read", peer: " barbara\u00a0", seq: i + 1 });
      expect(await b.next("read")).toMatchObject({ reader: "Ann-Lee", peer: "barbara" });
      expect(await (await bob.post("/mutes", { name: typed, muted: false })).json()).toMatchObject({ name: "Ann-Lee" });
      await a.close();
    }
    await refused(await signUp("ann-lee\u200b"), 409, "name_taken");
  });

  test("also for accounts of the original demo, which keep their distinct names", async () => {
    const database = await emptyDatabase();
    const sql = connect(database, { name: "test", max: 1 });
    await sql.file(new URL("../support/original.sql", import.meta.url).pathname);
    await sql`
      insert into users (id, username, password)
      values (20, ' carol ', ${PASSWORD}), (21, 'dave', ${PASSWORD}), (22, 'dave ', ${PASSWORD})
    `;
    await sql`insert into messages (sender, receiver, content, timestamp) values ('dave ', ' carol ', 'hello', now())`;
    await sql.end();
    await using app = await startApp({ database });
    for (const typed of [" carol ", "carol"]) {
      const answer = await logIn(typed, app);
      expect(answer.status).toBe(302);
      const carol = new Person(app.url, typed, cookieOf(answer));
      expect(await carol.json("/me")).toMatchObject({ username: " carol " });
      expect(await carol.json<unknown[]>("/messages/carol/dave.2")).toMatchObject([{ sender: "dave.2" }]);
    }
    expect((await logIn("dave.2", app)).status).toBe(302);
  });
});

test("the page finds names by the key that the server makes", () => {
  const unit = fc.oneof(
    fc.constantFrom(..." \u00a0\u200b\ufeffaΑΣς.É\u0301"),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  );
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 8 }), (name) => {
      expect(pageKey(name)).toBe(nameKey(name));
    }),
    { numRuns: 3_000 },
  );
});
