/** Who is online when pods come and go at awkward moments: a roster, and another pod that says what the test wants. */

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";

import { MemoryBus } from "../../src/cluster/memory_bus.ts";
import type { Database } from "../../src/db/client.ts";
import { PresenceRegistry } from "../../src/presence/registry.ts";
import { SILENT } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(20_000);

const rosters: PresenceRegistry[] = [];
afterEach(async () => {
  await Promise.all(rosters.splice(0).map((roster) => roster.stop()));
});

/** Instead of one to five minutes. */
const hiddenGraceMs = { least: 6_000, most: 7_000 };

/** A roster that hears one other pod, what it told, and what it wrote. */
async function meet(write: () => Promise<unknown> = async () => {}) {
  const pods = new Set<MemoryBus>();
  const [other, bus] = [new MemoryBus(pods), new MemoryBus(pods)].toSorted((one, two) => (one.pod < two.pod ? -1 : 1)) as [MemoryBus, MemoryBus]; // prettier-ignore
  const told: string[] = [];
  let writes = 0;
  const db = {
    run: async () => {
      writes++;
      await write();
      return [];
    },
  } as unknown as Database;
  const changed = (key: string, _: string, { online }: { online: boolean }) => void told.push(`${key} ${online ? "on" : "off"}`); // prettier-ignore
  const roster = new PresenceRegistry({ db, bus, log: SILENT, changed, hiddenGraceMs });
  rosters.push(roster);
  await other.start({ deliver() {}, lost() {}, joined() {}, vanished() {} });
  await bus.start({
    deliver: (event, from) => roster.receive(event, from),
    lost: (pod) => roster.requestSnapshots(pod),
    joined: (pod) => roster.podJoined(pod),
    vanished: (pod, politely) => roster.podLeft(pod, politely),
  });
  roster.start();
  const came = (key: string) => other.publish([{ kind: "online", nameKey: key, username: key }]);
  const people = (first: boolean, ...keys: string[]) =>
    other.publish([{ kind: "snapshot", first, people: keys.map((key) => [key, key] as const) }]);
  return { roster, bus, other, told, came, people, writes: () => writes };
}

test("roster keeps who comes back while it still checks the new list of their pod", async () => {
  const { roster, came, people, told } = await meet();
  came("ann");
  people(true, "bob"); // ann went, and that was lost
  came("ann");
  await Bun.sleep(1_300);
  expect(roster.isOnline("ann")).toBeTrue();
  expect(told).toEqual(["ann on", "bob on"]);
});

test("roster takes nobody away while parts of a list still arrive, and then whom none named", async () => {
  const { people, told, came } = await meet();
  for (const key of ["ann", "bob", "carol"]) came(key);
  for (const part of [["ann"], ["dave"], ["erin"], ["bob"]]) {
    people(part[0] === "ann", ...part);
    await Bun.sleep(400);
  }
  expect(told.filter((word) => word.endsWith("off"))).toEqual([]);
  await Bun.sleep(1_000);
  expect(told.filter((word) => word.endsWith("off"))).toEqual(["carol off"]);
});

test("roster takes nobody away whose pod is asked again, because a part was lost", async () => {
  const { roster, other, people, told, came } = await meet();
  for (const key of ["ann", "bob"]) came(key);
  people(true, "ann");
  await Bun.sleep(50);
  roster.requestSnapshots(other.pod);
  await Bun.sleep(1_200);
  people(true, "ann", "bob");
  await Bun.sleep(1_200);
  expect(told).toEqual(["ann on", "bob on"]);
});

test("roster is silent about a pod that is heard again in the moment it was given up", async () => {
  const { roster, other, told, came, people } = await meet();
  came("ann");
  await Bun.sleep(20);
  roster.podLeft(other.pod, false);
  roster.podJoined(other.pod);
  await Bun.sleep(600);
  people(true, "ann");
  await Bun.sleep(1_200);
  expect(told).toEqual(["ann on"]);
});

test("roster goes on writing the table when a pod died whose list it asked for", async () => {
  const { roster, other, writes } = await meet();
  await other.stop();
  roster.requestSnapshots(other.pod); // as after any loss
  await Bun.sleep(4_500);
  expect(writes()).toBeGreaterThan(0);
});

test("roster leaves the table to the pod with the smaller name, until that is gone", async () => {
  const { roster, other, people, writes } = await meet();
  people(true);
  roster.connect("ann", "ann");
  await Bun.sleep(4_500);
  expect(writes()).toBe(0);
  await other.stop();
  await Bun.sleep(2_500);
  expect(writes()).toBe(2); // reads what is there, writes ann
});

test("roster writes the table one statement at a time, however slow the database is", async () => {
  let [now, most] = [0, 0];
  const { other, roster, writes } = await meet(async () => {
    most = Math.max(most, ++now);
    await Bun.sleep(2_500);
    now--;
  });
  await other.stop();
  roster.connect("ann", "ann");
  await Bun.sleep(5_500);
  roster.connect("bob", "bob");
  await Bun.sleep(4_000);
  expect(writes()).toBe(3); // reads, writes ann, writes bob
  expect(most).toBe(1);
});

test("roster keeps a user online for a random time who hides when they were last seen, and nobody else", async () => {
  const { roster, told } = await meet();
  for (const key of ["ann", "bob"]) roster.connect(key, key);
  roster.disconnect("ann", { hidden: true });
  roster.disconnect("bob");
  await Bun.sleep(5_700);
  expect(told).toEqual(["ann on", "bob on", "bob off"]);
  roster.connect("ann", "ann"); // back in time, as after a reload
  await Bun.sleep(2_000);
  expect(told).toHaveLength(3);
  roster.disconnect("ann", { hidden: true });
  await until("ann is offline", () => told.at(-1) === "ann off");
});
