import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { RateLimit } from "../../src/util/rate_limit.ts";

describe("a rate limit", () => {
  test("allows a burst at once, then returns the time to wait", () => {
    const limit = new RateLimit({ burst: 3, perSecond: 2 });
    expect([0, 0, 0, 0, 0].map((now) => limit.charge("ann", now))).toEqual([0, 0, 0, 500, 500]);
  });

  test("refills credits steadily, up to the burst", () => {
    const limit = new RateLimit({ burst: 3, perSecond: 2 });
    for (let i = 0; i < 3; i++) limit.charge("ann", 0);
    expect(limit.charge("ann", 499)).toBeGreaterThan(0);
    expect(limit.charge("ann", 500)).toBe(0);
    expect(limit.charge("ann", 500)).toBe(500);
    expect([0, 0, 0, 0].map(() => limit.charge("ann", 60_000))).toEqual([0, 0, 0, 500]);
    limit.charge("bob", 60_000);
    expect([0, 0, 0, 0].map(() => limit.charge("bob", 61_000))).toEqual([0, 0, 0, 500]);
  });

  test("counts each key apart", () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1 });
    expect(limit.charge("ann", 0)).toBe(0);
    expect(limit.charge("bob", 0)).toBe(0);
    expect(limit.charge("ann", 0)).toBe(1_000);
  });

  test("costs nothing to those it refuses: asking early does not put the credit off", () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1 });
    limit.charge("ann", 0);
    for (let now = 0; now < 1_000; now += 100) {
      expect(Math.abs(limit.charge("ann", now) - (1_000 - now))).toBeLessThanOrEqual(1); // rounded up
    }
    expect(limit.charge("ann", 1_001)).toBe(0);
  });

  test("forgets keys that have filled up again", () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1 });
    for (let i = 0; i < 1_000; i++) limit.charge(`key ${i}`, i);
    expect(limit.size).toBe(1_000);
    limit.charge("another", 10_000);
    expect(limit.size).toBe(1);
  });

  test("never grants more than the burst and the refilled credits", () => {
    const waits = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), waits, (burst, perSecond, waits) => {
        const limit = new RateLimit({ burst, perSecond });
        let now = 0;
        let granted = 0;
        for (const wait of waits) {
          now += wait;
          if (limit.charge("ann", now) === 0) granted++;
        }
        expect(granted).toBeLessThanOrEqual(burst + (now / 1_000) * perSecond + 1e-6);
      }),
    );
  });

  test("grants a credit at the announced time, and not earlier", () => {
    const limits = fc.record({
      burst: fc.integer({ min: 1, max: 50 }),
      perSecond: fc.constantFrom(0.1, 0.5, 1, 5, 30),
    });
    const asks = fc.array(fc.tuple(fc.constantFrom("ann", "bob"), fc.integer({ min: 0, max: 5_000 })), {
      maxLength: 80,
    });
    fc.assert(
      fc.property(limits, asks, (options, asks) => {
        const limit = new RateLimit(options);
        let now = 0;
        for (const [key, wait] of asks) {
          now += wait;
          const waitMs = limit.charge(key, now);
          if (waitMs === 0) continue;
          expect(waitMs).toBeLessThanOrEqual(Math.ceil(1_000 / options.perSecond));
          if (waitMs > 2) expect(limit.charge(key, now + waitMs - 2)).toBeGreaterThan(0);
          expect(limit.charge(key, (now += waitMs + 1e-6))).toBe(0);
        }
        expect(limit.size).toBeLessThanOrEqual(2);
      }),
    );
  });

  test("refunds an unused credit, up to the burst", () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1 });
    limit.charge("ann", 0);
    limit.charge("ann", 0);
    expect(limit.charge("ann", 0)).toBeGreaterThan(0);
    limit.refund("ann");
    expect([0, 0].map(() => limit.charge("ann", 0) > 0)).toEqual([false, true]);
    for (let i = 0; i < 9; i++) limit.refund("ann");
    limit.refund("nobody");
    expect([0, 0, 0].map(() => limit.charge("ann", 0) > 0)).toEqual([false, false, true]);
  });

  test("remembers so many keys at most, and in a flood of made-up ones those that spent most", () => {
    const limit = new RateLimit({ burst: 10, perSecond: 1 / 90 }, { maxKeys: 100 });
    for (let i = 0; i < 10; i++) limit.charge("the attacked", 0);
    for (let i = 0; i < 10_000; i++) {
      limit.charge(`made up ${i}`, 1);
      expect(limit.size).toBeLessThanOrEqual(100);
    }
    expect(limit.charge("the attacked", 2)).toBeGreaterThan(0);
  });

  test("of less than one is a mistake", () => {
    for (const burst of [0, -1, Number.NaN]) expect(() => new RateLimit({ burst, perSecond: 1 })).toThrow(RangeError);
  });
});
