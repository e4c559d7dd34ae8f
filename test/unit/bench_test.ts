/** The benchmark's arguments, audit and report. Whole runs are in `test/tools/`. */

import { expect, test } from "bun:test";
import { join } from "node:path";

import { auditAcks, SeqTracker } from "../../tools/bench/load/audit.ts";
import { readOptions } from "../../tools/bench/options.ts";
import { Report } from "../../tools/support/report.ts";
import { numberOfRef, refOf, textOf } from "../../tools/support/users.ts";
import { runCommand } from "../support/command.ts";
import { ROOT } from "../support/harness.ts";

const bench = (args: string[]) => runCommand("bench/main.ts", args);

test("bench rejects unknown arguments with a message", async () => {
  const part = await bench(["--only", "send,sned"]);
  expect(part.code).toBe(2);
  expect(part.err).toContain('There is no part "sned"; there are send, pods, quiet, idle');
  const option = await bench(["--fast"]);
  expect(option.code).toBe(2);
  expect(option.err).toContain("Unknown option '--fast'");
  expect((await bench(["--only"])).code).toBe(2);
  expect((await bench(["--big", "--short"])).code).toBe(2);
  const help = await bench(["--help"]);
  expect(help.code).toBe(0);
  expect(help.out).toContain("--only NAME");
});

test("bench rejects a disk that is too small", async () => {
  const script = `
    import { Sandbox } from ${JSON.stringify(join(ROOT, "tools", "support", "sandbox.ts"))};
    new Sandbox({ spaceBytes: 2 ** 60, profile: undefined });
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
  expect(await new Response(child.stderr).text()).toContain(
    "are free. Free some, or choose another directory: TMPDIR=",
  );
});

const acks = [
  { ref: refOf("a".repeat(16), 0), id: 7, seq: 1 },
  { ref: refOf("a".repeat(16), 1), id: 9, seq: 3 },
];
const rows = acks.map((ack) => ({ ...ack, content: textOf(ack.ref) }));

test("bench audit accepts acks that match the table", () => {
  expect(auditAcks("ann", acks, rows, textOf)).toEqual([]);
});

for (const [name, heard, stored] of [
  ["another number", [{ ...acks[0]!, seq: 2 }, acks[1]!], rows],
  ["another id", [{ ...acks[0]!, id: 8 }, acks[1]!], rows],
  ["a missing row", acks, rows.slice(1)],
  ["a row without an ack", acks.slice(1), rows],
  ["a row twice", acks, [...rows, { ...rows[0]!, id: 10, seq: 4 }]],
  ["another text", acks, [{ ...rows[0]!, content: "something else" }, rows[1]!]],
  ["an ack twice", [...acks, acks[0]!], rows],
] as const) {
  test(`bench audit finds ${name}`, () => {
    expect(auditAcks("ann", heard, stored, textOf).length).toBeGreaterThan(0);
  });
}

test("bench finds a gap in the numbers, and a number twice", () => {
  const numbers = new SeqTracker(10);
  for (const seq of [11, 13, 12]) expect(numbers.add(seq)).toBeTrue();
  expect([numbers.last, numbers.waiting]).toEqual([13, 0]);
  expect(numbers.add(12)).toBeFalse();
  expect(numbers.add(15)).toBeTrue();
  expect(numbers.add(15)).toBeFalse();
  expect([numbers.last, numbers.waiting]).toEqual([13, 1]);
});

test("bench derives the text of a send from its ref", () => {
  const ref = refOf("0123456789abcdef", 12_345);
  expect(ref).toMatch(/^[0-9a-f]{32}$/);
  expect(numberOfRef(ref)).toBe(12_345);
  expect(textOf(ref)).toHaveLength(64);
});

test("bench report fails a wrong answer, but a figure only if it is far off", () => {
  const report = new Report();
  const figure = { part: "send", name: "window 8", unit: "/s" } as const;
  report.add({ ...figure, value: 60, baseline: { name: "limit", value: 100 }, bound: { least: 0.75 } });
  expect([report.missed.length, report.failed.length]).toEqual([1, 0]);
  report.add({ ...figure, value: 30, baseline: { name: "limit", value: 100 }, bound: { least: 0.75 } });
  report.add({ ...figure, value: 4.1, bound: { most: 2 } });
  expect([report.missed.length, report.failed.length]).toEqual([3, 2]);
  expect(report.wrong).toEqual([]);
  report.check("send", "acks", ["one was lost"]);
  expect(report.wrong.length).toBe(1);
  expect(report.table()).toContain("FAILED  send: acks\n          one was lost");
});

test("bench options keep the order of the parts", () => {
  expect(readOptions(["--only=quiet,send"])?.parts).toEqual(["send", "quiet"]);
  expect(readOptions(["--short", "--check"])).toMatchObject({ short: true, check: true, big: false, json: false });
});
