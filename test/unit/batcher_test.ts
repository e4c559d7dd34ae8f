import { describe, expect, test } from "bun:test";

import { Batcher } from "../../src/util/batcher.ts";

/** A batcher whose writes end when the test says so. */
function held(max = 100) {
  const writes: { items: number[]; done: PromiseWithResolvers<void> }[] = [];
  const batcher = new Batcher<number, string>(
    async (items) => {
      const done = Promise.withResolvers<void>();
      writes.push({ items, done });
      await done.promise;
      return items.map((item) => `answer ${item}`);
    },
    { max },
  );
  return { batcher, writes };
}

describe("a batcher", () => {
  test("writes the items of one tick together, at once when idle", async () => {
    const { batcher, writes } = held();
    const answers = [batcher.add(1), batcher.add(2)];
    await Promise.resolve();
    expect(writes.map(({ items }) => items)).toEqual([[1, 2]]);
    writes[0]?.done.resolve();
    expect(await Promise.all(answers)).toEqual(["answer 1", "answer 2"]);
  });

  test("gathers items during a write, in order, one write at a time", async () => {
    const { batcher, writes } = held();
    const answers = [batcher.add(1)];
    await Promise.resolve();
    for (const item of [2, 3, 4]) {
      answers.push(batcher.add(item));
      await Bun.sleep(1);
    }
    expect(writes.map(({ items }) => items)).toEqual([[1]]);
    expect(batcher.size).toBe(3);
    writes[0]?.done.resolve();
    expect(await answers[0]).toBe("answer 1");
    await Bun.sleep(1);
    expect(writes.map(({ items }) => items)).toEqual([[1], [2, 3, 4]]);
    expect(batcher.size).toBe(0);
    writes[1]?.done.resolve();
    expect(await Promise.all(answers)).toEqual(["answer 1", "answer 2", "answer 3", "answer 4"]);
  });

  test("writes no more than max at once", async () => {
    const sizes: number[] = [];
    const batcher = new Batcher<number, number>(
      async (items) => {
        sizes.push(items.length);
        return items;
      },
      { max: 4 },
    );
    const items = Array.from({ length: 10 }, (_, i) => i);
    expect(await Promise.all(items.map((item) => batcher.add(item)))).toEqual(items);
    expect(sizes).toEqual([4, 4, 2]);
  });

  test("rejects the items of a failed write, and continues", async () => {
    let tries = 0;
    const batcher = new Batcher<number, number>(
      (items) => {
        if (++tries === 1) throw new Error("disk full"); // before there is a promise
        return tries === 2 ? Promise.reject(new Error("disk still full")) : Promise.resolve(items);
      },
      { max: 2 },
    );
    const results = await Promise.allSettled([1, 2, 3, 4, 5].map((item) => batcher.add(item)));
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected", "rejected", "fulfilled"]);
    expect(await batcher.add(6)).toBe(6);
  });

  test("drains: whatever was added before is answered", async () => {
    const { batcher, writes } = held(1);
    await batcher.drain(); // nothing to wait for
    let answered = 0;
    for (const item of [1, 2]) void batcher.add(item).then(() => answered++);
    const drained = batcher.drain().then(() => answered);
    await Bun.sleep(1);
    writes[0]?.done.resolve();
    await Bun.sleep(1);
    expect(answered).toBe(1);
    writes[1]?.done.resolve();
    expect(await drained).toBe(2);
  });

  test("of less than one is a mistake", () => {
    for (const max of [0, -1, Number.NaN]) expect(() => new Batcher(async () => [], { max })).toThrow(RangeError);
  });
});
