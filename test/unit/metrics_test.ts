import { expect, test } from "bun:test";

import { Histogram, RouteMetrics } from "../../src/metrics.ts";

const bounds = (histogram: Histogram) =>
  histogram.lines("h").flatMap((line) => {
    const [, le, count] = /^h_bucket\{le="(.+)"\} (\d+)$/.exec(line) ?? [];
    return le === undefined ? [] : [[le, Number(count)] as const];
  });

test("histogram counts a value equal to a bound below that bound, as Prometheus does", () => {
  const histogram = new Histogram(1, 4);
  for (const value of [0, 0.5, 1, 1.001, 2, 3, 4, 8, 8.1, 1e15]) histogram.observe(value);
  expect(bounds(histogram)).toEqual([
    ["1", 3],
    ["2", 5],
    ["4", 7],
    ["8", 8],
    ["+Inf", 10],
  ]);
  expect(histogram.lines("h").slice(-1)).toEqual(["h_count 10"]);
});

test("histogram computes the bucket that a search would find", () => {
  const first = 0.000_25;
  for (let i = 0; i < 2_000; i++) {
    const value = 2 ** (Math.random() * 24 - 14);
    const histogram = new Histogram(first, 16);
    histogram.observe(value);
    const [found] = bounds(histogram).find(([, count]) => count === 1)!;
    const searched = Array.from({ length: 16 }, (_, k) => first * 2 ** k).find((bound) => value <= bound);
    expect(found, String(value)).toBe(String(searched ?? "+Inf"));
  }
});

test("route counts by method and code, and unknown methods as other", () => {
  const route = new RouteMetrics();
  expect(route.used).toBeFalse();
  for (const method of ["GET", "GET", "POST", "DELETE", "PATCH"]) route.count(method, method < "P" ? 200 : 405, 1);
  expect(route.lines("r", "/x/:id").toSorted()).toEqual([
    'r{route="/x/:id",method="GET",code="200"} 2',
    'r{route="/x/:id",method="POST",code="405"} 1',
    'r{route="/x/:id",method="other",code="200"} 1',
    'r{route="/x/:id",method="other",code="405"} 1',
  ]);
});
