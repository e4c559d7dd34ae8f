/** The presence registry while another pod, controlled by the test, joins and leaves at difficult times. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";

import type { Database } from "../../src/db/database.ts";
import { PresenceRegistry } from "../../src/presence/registry.ts";
import { SILENT } from "../support/harness.ts";
import { MemoryBus } from "../support/memory_bus.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(20_000);

const registries: PresenceRegistry[] = [];
afterAll(async () => {
  await Promise.all(registries.splice(0).map((registry) => registry.stop()));
});

/** Instead of one to five minutes. */
const hiddenGraceMs = { min: 6_000, max: 7_000 };

/** A registry with one other pod, the changes it reported, and its writes. */
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
  const registry = new PresenceRegistry({ db, bus, log: SILENT, changed, hiddenGraceMs });
  registries.push(registry);
  await other.start({ deliver() {}, lost() {}, joined() {}, left() {} });
  await bus.start({
    deliver: (event, from) => registry.receive(event, from),
    lost: (pod) => registry.requestSnapshots(pod),
    joined: (pod) => registry.podJoined(pod),
    left: (pod, graceful) => registry.podLeft(pod, graceful),
  });
  registry.start();
  const came = (key: string) => other.publish([{ kind: "online", nameKey: key, username: key }]);
  const people = (first: boolean, ...keys: string[]) =>
    other.publish([{ kind: "snapshot", first, people: keys.map((key) => [key, key] as const) }]);
  return { registry, bus, other, told, came, people, writes: () => writes };
}

test.concurrent("registry keeps a user who reconnects while a snapshot is compared", async () => {
  const { registry, came, people, told } = await meet();
  came("ann");
  people(true, "bob"); // ann's offline event was lost
  came("ann");
  await Bun.sleep(1_300);
  expect(registry.isOnline("ann")).toBeTrue();
  expect(told).toEqual(["ann on", "bob on"]);
});

test.concurrent("registry removes users missing from a snapshot only after its last part", async () => {
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

test.concurrent("registry removes no user while a snapshot is requested again after a lost part", async () => {
  const { registry, other, people, told, came } = await meet();
  for (const key of ["ann", "bob"]) came(key);
  people(true, "ann");
  await Bun.sleep(50);
  registry.requestSnapshots(other.pod);
  await Bun.sleep(1_200);
  people(true, "ann", "bob");
  await Bun.sleep(1_200);
  expect(told).toEqual(["ann on", "bob on"]);
});

test.concurrent("registry ignores a pod that rejoins at once", async () => {
  const { registry, other, told, came, people } = await meet();
  came("ann");
  await Bun.sleep(20);
  registry.podLeft(other.pod, false);
  registry.podJoined(other.pod);
  await Bun.sleep(600);
  people(true, "ann");
  await Bun.sleep(1_200);
  expect(told).toEqual(["ann on"]);
});

test.concurrent("registry writes the table although the pod of a requested snapshot died", async () => {
  const { registry, other, writes } = await meet();
  await other.stop();
  registry.requestSnapshots(other.pod); // as after any loss
  await Bun.sleep(4_500);
  expect(writes()).toBeGreaterThan(0);
});

test.concurrent("registry leaves the table to the pod with the smaller name until that stops", async () => {
  const { registry, other, people, writes } = await meet();
  people(true);
  registry.connect("ann", "ann");
  await Bun.sleep(4_500);
  expect(writes()).toBe(0);
  await other.stop();
  await Bun.sleep(2_500);
  expect(writes()).toBe(2); // reads what is there, writes ann
});

test.concurrent("registry writes the table one statement at a time on a slow database", async () => {
  let [now, most] = [0, 0];
  const { other, registry, writes } = await meet(async () => {
    most = Math.max(most, ++now);
    await Bun.sleep(2_500);
    now--;
  });
  await other.stop();
  registry.connect("ann", "ann");
  await Bun.sleep(5_500);
  registry.connect("bob", "bob");
  await Bun.sleep(4_000);
  expect(writes()).toBe(3); // reads, writes ann, writes bob
  expect(most).toBe(1);
});

test.concurrent("registry delays going offline by a random time only for users who hide last seen", async () => {
  const { registry, told } = await meet();
  for (const key of ["ann", "bob"]) registry.connect(key, key);
  registry.disconnect("ann", { hidesLastSeen: true });
  registry.disconnect("bob");
  await Bun.sleep(5_700);
  expect(told).toEqual(["ann on", "bob on", "bob off"]);
  registry.connect("ann", "ann"); // back in time, as after a reload
  await Bun.sleep(2_000);
  expect(told).toHaveLength(3);
  registry.disconnect("ann", { hidesLastSeen: true });
  await until("ann is offline", () => told.at(-1) === "ann off");
});
