import { expect, test } from "bun:test";

import { startApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

/** Presence is slow by design: these tests wait side by side. */
const SLOW_MS = 45_000;

test.concurrent(
  "watch returns the current state at once, also of unknown users",
  async () => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "Bob", "carol");
    await bob!.open();
    const a = await ann!.open();
    a.say({ type: "watch", users: ["bob", "carol", "nobody", "no\u0000body"] });
    expect((await a.next("presence"))["users"]).toEqual({
      Bob: { online: true, last_seen: null },
      carol: { online: false, last_seen: null },
      nobody: { online: false, last_seen: null },
      "no\u0000body": { online: false, last_seen: null },
    });
  },
  SLOW_MS,
);

test.concurrent(
  "watchers receive changes of the users they watch, and no full lists",
  async () => {
    await using app = await startApp();
    const [ann, bob, carol] = await app.people("ann", "bob", "carol");
    const a = await ann!.open({ watch: ["bob"] });
    const b = await bob!.open();
    expect((await a.next("presence"))["users"]).toEqual({ bob: { online: true, last_seen: null } });
    await carol!.open();
    await app.person("dave");
    await a.hearsNo("presence", 1_300);
    await a.hearsNo("status_update", 0);
    await a.hearsNo("new_user", 0);
    a.say({ type: "watch", users: ["carol"] }); // replaces the list
    expect((await a.next("presence"))["users"]).toEqual({ carol: { online: true, last_seen: null } });
    await b.close();
    await a.hearsNo("presence", 6_500);
  },
  SLOW_MS,
);

test.concurrent(
  "users go offline five seconds after their last socket closed, and a reload is silent",
  async () => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "bob");
    const a = await ann!.open({ watch: ["bob"] });
    const first = await bob!.open();
    await a.next("presence");
    const second = await bob!.open();
    await first.close(); // another tab is still open
    await second.close();
    await Bun.sleep(3_000);
    const third = await bob!.open(); // back in time
    await a.hearsNo("presence", 3_500);
    expect(await ann!.json<string[]>("/online")).toContain("bob");
    await third.close();
    const closedAt = performance.now();
    await Bun.sleep(4_000);
    expect(await ann!.json<string[]>("/online")).toContain("bob");
    const { users } = await a.next("presence", 4_000);
    expect(performance.now() - closedAt).toBeGreaterThan(4_800);
    expect(users).toEqual({ bob: { online: false, last_seen: expect.stringMatching(/Z$/) } });
    expect(await ann!.json<string[]>("/online")).toEqual(["ann"]);
  },
  SLOW_MS,
);

test.concurrent(
  "sockets that never watch receive the full list within a second, and when it changes",
  async () => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "bob");
    const a = await ann!.open();
    expect(await a.next("status_update", 3_000)).toEqual({ type: "status_update", online: ["ann"] });
    await bob!.open();
    expect((await a.next("status_update", 6_000))["online"]).toEqual(["ann", "bob"]);
    await a.hearsNo("status_update", 1_500); // nothing changed
  },
  SLOW_MS,
);

test.concurrent(
  "users.is_online follows within five seconds, last_seen_at is stored, and a start repairs the state after a crash",
  async () => {
    await using app = await startApp();
    const [ann] = await app.people("ann", "bob");
    await app.sql`update users set is_online = true where username = 'bob'`; // as a killed server leaves it
    const tab = await ann!.open();
    const state = () => app.sql<{ is_online: boolean; last_seen_at: string | null }[]>`
    select is_online, last_seen_at from users where username = 'ann'
  `;
    const becomes = (online: boolean, withinMs: number) =>
      until(`is_online is ${online}`, async () => (await state())[0]!.is_online === online, withinMs);
    await becomes(true, 8_000);
    expect(await state()).toEqual([{ is_online: true, last_seen_at: null }] as never);
    await tab.close();
    await becomes(false, 12_000);
    expect(await state()).toEqual([{ is_online: false, last_seen_at: expect.any(String) }] as never);
  },
  SLOW_MS,
);

test.concurrent(
  "new_user is sent to sockets that watch and ask for it, until they watch without asking",
  async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    const [one, other] = [await ann.open(), await ann.open({ watch: [] })];
    one.say({ type: "watch", users: [], new_users: true });
    await one.next("presence");
    await app.person("bob");
    expect(await one.next("new_user")).toEqual({ type: "new_user", username: "bob" });
    one.say({ type: "watch", users: ["bob"], new_users: "yes" });
    await one.next("presence");
    await app.person("carol");
    await Promise.all([one.hearsNo("new_user"), other.hearsNo("new_user")]);
  },
  SLOW_MS,
);

test.concurrent(
  "new_user is sent to sockets that never watch, at most ten a second",
  async () => {
    await using app = await startApp();
    const a = await (await app.person("ann")).open();
    await app.people(...Array.from({ length: 25 }, (_, i) => `person${i}`));
    await Bun.sleep(300);
    const told = a.heard.filter(({ type }) => type === "new_user").length;
    expect(told).toBeGreaterThanOrEqual(10);
    expect(told).toBeLessThanOrEqual(25);
  },
  SLOW_MS,
);
