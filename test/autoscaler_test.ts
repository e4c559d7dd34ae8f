/** The rehearsal's autoscaler decides as Kubernetes does: the examples of its documentation, and chatify's own rules. */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Autoscaler, type Pod, type Spec, SYNC_MS } from "./containers/autoscaler.ts";
import { ROOT } from "./harness.ts";

const { spec } = Bun.YAML.parse(readFileSync(join(ROOT, "k8s", "hpa.yaml"), "utf8")) as { spec: Spec };
const FREE = { stabilizationWindowSeconds: 0, policies: [{ type: "Pods", value: 100, periodSeconds: 15 }] } as const;
/** Target 50 % of 200m, as many at once as it likes. */
const free = (changes: Partial<Spec> = {}) =>
  new Autoscaler(
    { ...spec, minReplicas: 1, maxReplicas: 100, behavior: { scaleUp: FREE, scaleDown: FREE }, ...changes },
    200,
  );
const pods = (count: number, milli: number | undefined, ready = true): Pod[] =>
  Array.from({ length: count }, () => ({ ready, milli }));

describe("the autoscaler", () => {
  test("keeps the ratio of what is used and what is wished", () => {
    expect(free().decide(0, pods(1, 200))).toBe(2); // twice the target: twice as many
    expect(free().decide(0, pods(4, 50))).toBe(2); // half of it: half as many
    expect(free().decide(0, pods(3, 101))).toBe(3); // within a tenth: nothing
    expect(free().decide(0, pods(3, 109))).toBe(3);
    expect(free().decide(0, pods(3, 112))).toBe(4); // rounded up
    expect(free().decide(0, pods(3, 91))).toBe(3);
  });

  test("stays between the least and the most", () => {
    expect(free({ maxReplicas: 5 }).decide(0, pods(3, 900))).toBe(5);
    expect(free({ minReplicas: 2 }).decide(0, pods(3, 0))).toBe(2);
  });

  test("takes pods it knows nothing of for what speaks against a change", () => {
    expect(free().decide(0, [...pods(2, 200), ...pods(2, undefined, false)])).toBe(4); // not ready: they use nothing yet
    expect(free().decide(0, [...pods(2, 300), ...pods(2, undefined, false)])).toBe(6);
    expect(free().decide(0, [...pods(2, 10), ...pods(2, undefined)])).toBe(4); // not measured: they use all they asked for
    expect(free().decide(0, [...pods(3, 10), ...pods(1, undefined)])).toBe(3);
    expect(free().decide(0, pods(3, undefined, false))).toBe(3);
  });

  test("with chatify's rules goes up at once, from one to three to five, and down after five minutes by one a minute", () => {
    const autoscaler = new Autoscaler(spec, 100);
    const seen: [number, number][] = [];
    let replicas = 1;
    for (let now = 0; now <= 20 * 60_000; now += SYNC_MS) {
      const load = now >= 60_000 && now < 300_000 ? 400 : 20; // in all
      const before = replicas;
      replicas = autoscaler.decide(now, pods(replicas, load / replicas));
      if (replicas !== before) seen.push([now / 1_000, replicas]);
    }
    expect(seen).toEqual([
      [60, 3],
      [75, 5],
      [585, 4], // the last that wished for five was at 285
      [645, 3],
      [705, 2],
      [765, 1],
    ]);
  });

  test("in a hurry does the same in less time", () => {
    const autoscaler = new Autoscaler(spec, 100, { speed: 10 });
    let replicas = 5;
    const seen: [number, number][] = [];
    autoscaler.decide(0, pods(5, 50));
    for (let now = SYNC_MS / 10; now <= 60_000; now += SYNC_MS / 10) {
      const before = replicas;
      replicas = autoscaler.decide(now, pods(replicas, 1));
      if (replicas !== before) seen.push([now / 1_000, replicas]);
    }
    expect(seen).toEqual([
      [30, 4],
      [36, 3],
      [42, 2],
      [48, 1],
    ]);
  });
});
