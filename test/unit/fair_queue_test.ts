import { describe, expect, test } from "bun:test";

import { ChatError } from "../../src/errors.ts";
import { FairQueue } from "../../src/util/fair_queue.ts";

/** A queue of one at a time whose first job holds up the others until `start`; what ran is in `ran`. */
function held({ waiting = 100, waitingOfOne = 50 } = {}) {
  const queue = new FairQueue({ concurrency: 1, waiting, client: { keys: 1, waiting: waitingOfOne } });
  const ran: string[] = [];
  const refused: string[] = [];
  const { promise: holding, resolve: start } = Promise.withResolvers<void>();
  const all: Promise<void>[] = [queue.run(["first", "first"], () => holding)];
  const add = (path: string, count = 1) => {
    for (let i = 0; i < count; i++) {
      const job = queue.run(path.split("/"), async () => void ran.push(path));
      all.push(
        job.catch((error: unknown) => {
          expect(error).toBeInstanceOf(ChatError);
          expect(error).toMatchObject({ code: "busy", retryAfter: 2 });
          refused.push(path);
        }),
      );
    }
  };
  const finish = async () => {
    start();
    await Promise.all(all);
    return ran;
  };
  return { add, finish, ran, refused };
}

describe("a fair queue", () => {
  test("serves clients in turn, one job each", async () => {
    const { add, finish } = held();
    add("eve/eve", 20);
    add("mallory/mallory", 20);
    add("ann/ann");
    expect((await finish()).indexOf("ann/ann")).toBe(2);
  });

  test("shares between networks first, whatever many addresses one uses", async () => {
    const { add, finish } = held();
    for (let i = 0; i < 30; i++) add(`big/${i}`, 2);
    add("ann/ann", 2);
    const ran = await finish();
    expect([ran.indexOf("ann/ann"), ran.lastIndexOf("ann/ann")]).toEqual([1, 3]);
    expect(new Set(ran.slice(0, 32)).size).toBe(31); // within the network each once before any twice
  });

  test("keeps the order of one client's jobs", async () => {
    const queue = new FairQueue({ concurrency: 2, waiting: 100, client: { keys: 1, waiting: 100 } });
    const ran: number[] = [];
    await Promise.all(Array.from({ length: 50 }, (_, i) => queue.run(["ann"], async () => void ran.push(i))));
    expect(ran).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  test("refuses a client's own job when it has too many", async () => {
    const { add, finish, refused } = held({ waitingOfOne: 3 });
    add("eve/eve", 5);
    add("ann/ann");
    expect(await finish()).toEqual(["eve/eve", "ann/ann", "eve/eve", "eve/eve"]);
    expect(refused).toEqual(["eve/eve", "eve/eve"]);
  });

  test("shares a client's room among its names", async () => {
    const { add, finish, refused } = held({ waitingOfOne: 4 });
    add("proxy/eve", 6);
    add("proxy/ann");
    expect((await finish()).slice(0, 2)).toEqual(["proxy/eve", "proxy/ann"]);
    expect(refused).toEqual(["proxy/eve", "proxy/eve", "proxy/eve"]);
  });

  test("makes room for a newcomer by refusing the newest job of the longest branch", async () => {
    const { add, finish, refused } = held({ waiting: 6 });
    add("eve/1", 3);
    add("eve/2", 1);
    add("bob/1", 2);
    add("ann/1");
    expect(refused).toEqual([]); // refused in the next tick
    expect((await finish()).toSorted()).toEqual(["ann/1", "bob/1", "bob/1", "eve/1", "eve/1", "eve/2"]);
    expect(refused).toEqual(["eve/1"]);
  });

  test("rejects the newcomer when no client has more jobs", async () => {
    const { add, finish, refused } = held({ waiting: 3 });
    for (const one of ["ann/1", "bob/1", "carl/1", "dora/1"]) add(one);
    expect(await finish()).toEqual(["ann/1", "bob/1", "carl/1"]);
    expect(refused).toEqual(["dora/1"]);
  });

  test("bounds concurrency, continues after failures, and forgets idle clients", async () => {
    const queue = new FairQueue({ concurrency: 2, waiting: 100, client: { keys: 1, waiting: 100 } });
    let inside = 0;
    let most = 0;
    const work = async (i: number) => {
      most = Math.max(most, ++inside);
      await Bun.sleep(1);
      inside--;
      if (i % 3 === 0) throw new Error(`job ${i}`);
      return i;
    };
    const done = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) => queue.run([`client ${i % 7}`], () => work(i))),
    );
    expect(most).toBe(2);
    expect(done.filter(({ status }) => status === "rejected")).toHaveLength(14);
    expect(await queue.run(["client 1"], async () => "still there")).toBe("still there");
  });
});
