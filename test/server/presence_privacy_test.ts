/** Presence is hidden across blocks, and last seen of users who hide it. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import { PASSWORD, type Person, startApp, type Tab, type TestApp } from "../support/harness.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

type Row = Record<string, unknown>;
const OFFLINE = { online: false, last_seen: null };
const ONLINE = { online: true, last_seen: null };

const { one, two } = await sharedPods();

const block = (me: Person, name: string, blocked = true) => me.post("/blocks", { name, blocked });
const online = (who: Person, pod: TestApp) => who.at(pod).json<string[]>("/online");
const row = async (who: Person, pod: TestApp, peer: string) =>
  (await who.at(pod).json<Row[]>("/conversations")).find((row) => row["peer"] === peer)!;

/** Waits until a socket receives a user in this state. */
async function hears(tab: Tab, name: string, state: Row): Promise<void> {
  for (;;) {
    const { users } = await tab.next("presence");
    if (users[name] && Bun.deepEquals(users[name], state)) return;
  }
}

/** Waits for a full list with a user, or without. */
async function lists(tab: Tab, name: string, isListed: boolean): Promise<void> {
  for (;;) if ((await tab.next("status_update"))["online"].includes(name) === isListed) return;
}

/** A user connects and disconnects, and a third one is notified of both. */
async function comeAndGo(who: Person, witness: Tab): Promise<void> {
  const tab = await who.open({ watch: [] });
  await hears(witness, who.name, ONLINE);
  await goes(who, tab, witness);
}

/** A user's last tab closes, and a third one sees them go. */
async function goes(who: Person, tab: Tab, witness: Tab): Promise<void> {
  witness.heard.length = 0;
  await tab.close();
  await until(`${who.name} goes`, () => witness.heard.some(({ users }) => users?.[who.name]?.online === false));
}

for (const [title, blocker, blocked] of [
  ["the one who is blocked", "a-ann", "a-bob"],
  ["the one who blocks", "b-bob", "b-ann"],
] as const) {
  test.concurrent(`presence is hidden from ${title} on every pod and route until the block ends`, async () => {
    const letter = blocker[0];
    const [ann, bob, carol] = (await one.people(`${letter}-ann`, `${letter}-bob`, `${letter}-carol`)) as [
      Person,
      Person,
      Person,
    ];
    const block = async (on: boolean) =>
      (blocker === ann.name ? ann : bob).post("/blocks", { name: blocked, blocked: on });
    const a = await ann.open({ watch: [bob.name] });
    const [watching, listed] = [await bob.at(two).open({ watch: [ann.name] }), await bob.at(two).open()];
    const [witness, listedWitness] = [await carol.open({ watch: [ann.name] }), await carol.at(two).open()];
    await watching.send(ann.name, "hello");
    await lists(listed, ann.name, true);
    await lists(listedWitness, ann.name, true);
    await block(true);
    await hears(watching, ann.name, OFFLINE);
    await hears(a, bob.name, OFFLINE);
    await lists(listed, ann.name, false);
    for (const pod of [one, two]) {
      expect(await online(bob, pod)).not.toContain(ann.name);
      expect(await online(ann, pod)).not.toContain(bob.name);
      expect(await online(carol, pod)).toContain(ann.name);
      const shown = await row(blocker === ann.name ? bob : ann, pod, blocked === bob.name ? ann.name : bob.name);
      expect(shown).toMatchObject(OFFLINE);
    }
    const later = await bob.open({ watch: [] });
    later.say({ type: "watch", users: [ann.name.toUpperCase(), carol.name] });
    expect((await later.next("presence"))["users"]).toEqual({ [ann.name]: OFFLINE, [carol.name]: ONLINE });
    const laterListed = await bob.open();
    await lists(laterListed, ann.name, false);

    // Coming and going is silent: not even a list comes that is the same as before.
    await goes(ann, a, witness);
    const tabs = [watching, later, listed, laterListed];
    await until("the list of others says so", async () => !(await online(carol, two)).includes(ann.name));
    for (const tab of tabs) tab.heard.length = 0;
    await comeAndGo(ann, witness);
    for (const tab of tabs) {
      const told = tab.heard.filter(({ users, online }) => users?.[ann.name] || online?.includes(ann.name));
      expect(told).toEqual([]);
    }
    watching.say({ type: "watch", users: [ann.name] });
    expect((await watching.next("presence"))["users"]).toEqual({ [ann.name]: OFFLINE }); // since when is not told, either

    const back = await ann.open({ watch: [] });
    await hears(witness, ann.name, ONLINE);
    await block(false);
    await hears(watching, ann.name, ONLINE);
    await lists(listed, ann.name, true);
    expect(await online(bob, two)).toContain(ann.name);
    expect(await row(bob, two, ann.name)).toMatchObject({ online: true });
    await back.close();
  });
}

test.concurrent("a full list changed only by a blocked user is not sent again", async () => {
  await using app = await startApp();
  const [ann, bob, carol] = (await app.people("ann", "bob", "carol")) as [Person, Person, Person];
  await block(ann, "bob");
  const listed = await bob.open();
  expect((await listed.next("status_update"))["online"]).toEqual(["bob"]);
  const witness = await carol.open({ watch: ["ann"] });
  expect((await listed.next("status_update"))["online"]).toEqual(["bob", "carol"]);
  await comeAndGo(ann, witness);
  await listed.hearsNo("status_update", 1_500);
});

test.concurrent("the time when a user who hides last seen leaves appears nowhere", async () => {
  const [ann, bob] = (await one.people("h-ann", "h-bob")) as [Person, Person];
  await bob.post("/me/settings", { hide_last_seen: true });
  const [watching, listed] = [await ann.at(two).open({ watch: ["h-bob"] }), await ann.open()];
  const tabs = [await bob.open({ watch: [] }), await bob.at(two).open({ watch: [] })];
  await tabs[0]!.send("h-ann", "hello");
  await hears(watching, "h-bob", ONLINE);
  await lists(listed, "h-bob", true);
  for (const tab of tabs) await tab.close();
  watching.heard.length = 0;
  await watching.hearsNo("presence", 9_000); // five seconds, and what a tick and a write may add
  for (const pod of [one, two]) {
    expect(await online(ann, pod)).toContain("h-bob");
    expect(await row(ann, pod, "h-bob")).toMatchObject(ONLINE);
  }
  expect(listed.heard.findLast(({ type }) => type === "status_update")!["online"]).toContain("h-bob");
  watching.say({ type: "watch", users: ["h-bob"] });
  expect((await watching.next("presence"))["users"]).toEqual({ "h-bob": ONLINE });
});

test.concurrent("a user who hides last seen and deletes the account goes offline at once", async () => {
  const [ann, bob] = (await one.people("k-ann", "k-bob")) as [Person, Person];
  await bob.post("/me/settings", { hide_last_seen: true });
  const watching = await ann.at(two).open({ watch: ["k-bob"] });
  for (const pod of [one, two]) await bob.at(pod).open({ watch: [] });
  await hears(watching, "k-bob", ONLINE);
  expect((await bob.post("/me/delete", { password: PASSWORD })).status).toBe(200);
  await hears(watching, "k-bob", OFFLINE);
  for (const pod of [one, two])
    await until("not listed", async () => !(await online(ann, pod)).includes("k-bob"), 3_000);
});

test.concurrent("a user who hides last seen after leaving goes offline without a time", async () => {
  const [ann, bob] = (await one.people("i-ann", "i-bob")) as [Person, Person];
  const watching = await ann.at(two).open({ watch: ["i-bob"] });
  const tab = await bob.open({ watch: [] });
  await hears(watching, "i-bob", ONLINE);
  await tab.close();
  expect((await bob.post("/me/settings", { hide_last_seen: true })).status).toBe(200);
  expect((await watching.next("presence", 15_000))["users"]).toEqual({ "i-bob": OFFLINE });
});

test.concurrent("a block applies on other pods although its event was lost", async () => {
  const [ann, bob] = (await one.people("j-ann", "j-bob")) as [Person, Person];
  await ann.open({ watch: [] });
  const watching = await bob.at(two).open({ watch: ["j-ann"] });
  await watching.send("j-ann", "hello");
  await one.sql`update conversations set blocked_by = array['j-ann'] where low = 'j-ann' and high = 'j-bob'`;
  await one.sql`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = current_database() and application_name like 'chatify%' and query ilike 'listen%'
  `;
  await hears(watching, "j-ann", OFFLINE);
});
