import { describe, expect, test } from "bun:test";

import { defaultBudget, UnsentBudget } from "../../src/delivery/unsent_budget.ts";
import { Log } from "../../src/log.ts";
import { Counter } from "../../src/metrics.ts";

const MiB = 2 ** 20;

/** @param maxBytes the budget @returns what makes clients; `cut` names those that were cut, `inOrder` those of them that had time */
function pod(maxBytes: number) {
  const lines: string[] = [];
  const disconnects = new Counter();
  const unsent = new UnsentBudget({
    maxBytes,
    disconnects,
    log: new Log({ level: "debug", format: "json", write: (line) => lines.push(line) }),
  });
  const cut: string[] = [];
  const inOrder: string[] = [];
  const client = (name: string) => {
    const one = {
      disconnect({ graceful }: { graceful: boolean }) {
        cut.push(name);
        if (graceful) inOrder.push(name);
      },
    };
    return { holds: (bytes: number) => unsent.note(one, bytes) };
  };
  return { unsent, client, cut, inOrder, disconnects, lines };
}

describe("unsent data", () => {
  test("beyond the budget belongs to the client that has been stalled longest, which is cut", () => {
    const { unsent, client, cut, disconnects } = pod(100);
    const [ann, bob, cid] = [client("ann"), client("bob"), client("cid")];
    ann.holds(40);
    bob.holds(40);
    ann.holds(50);
    expect(unsent.bytes).toBe(90);
    cid.holds(20);
    expect(cut).toEqual(["ann"]);
    expect(unsent.bytes).toBe(60);
    cid.holds(90); // more than all others may have
    expect(cut).toEqual(["ann", "bob"]);
    cid.holds(101);
    expect(cut).toEqual(["ann", "bob", "cid"]);
    expect([unsent.bytes, disconnects.value]).toEqual([0, 3]);
  });

  test("that becomes less for a client spares it: it reads", () => {
    const { client, cut } = pod(100);
    const [ann, bob] = [client("ann"), client("bob")];
    ann.holds(50);
    bob.holds(40);
    ann.holds(45);
    bob.holds(60);
    expect(cut).toEqual(["bob"]);
    ann.holds(0);
    bob.holds(100);
    expect(cut).toEqual(["bob"]);
  });

  test("is kept for a while for the first that are cut, and for no more than an eighth of the budget", () => {
    const { client, cut, inOrder } = pod(100);
    for (let i = 1; i <= 6; i++) client(`client ${i}`).holds(6);
    client("a large one").holds(99);
    expect(cut).toEqual([1, 2, 3, 4, 5, 6].map((i) => `client ${i}`));
    expect(inOrder).toEqual(["client 1", "client 2"]);
  });

  test("is logged once a minute, however many are cut", () => {
    const { client, lines } = pod(10);
    for (let i = 0; i < 100; i++) client(`client ${i}`).holds(11);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ level: "warn", budgetBytes: 10, disconnected: 1 });
  });

  test("may by default be a quarter of the memory, from 1 to 128 MiB", () => {
    expect([2, 64, 512, 16_384].map((memory) => defaultBudget(memory * MiB) / MiB)).toEqual([1, 16, 128, 128]);
    expect(defaultBudget(Number.POSITIVE_INFINITY)).toBe(128 * MiB);
  });
});
