/** The fuzz run's arguments, and the outcome it expects of each frame. Whole runs are in `test/tools/`. */

import { describe, expect, test } from "bun:test";

import { Random } from "../../tools/chaos/random.ts";
import { expectedOutcome, hostileFrame } from "../../tools/fuzz/frames.ts";
import { readOptions } from "../../tools/fuzz/options.ts";
import { runCommand } from "../support/command.ts";

const fuzz = (args: string[]) => runCommand("fuzz/main.ts", args);

test("fuzz rejects unknown arguments with a message", async () => {
  const unknown = await fuzz(["--sead", "1"]);
  expect(unknown.code).toBe(2);
  expect(unknown.err).toContain("Unknown option '--sead'");
  const help = await fuzz(["--help"]);
  expect([help.code, help.err]).toEqual([0, ""]);
  expect(help.out).toContain("--seed N");
  expect(readOptions(["--seed=7", "--frames", "10"])).toEqual({ seed: 7, frames: 10, requests: 50_000 });
  for (const words of [["--seed", "x"], ["--frames"], ["--frames", "-1"], ["--toString", "1"]])
    expect(() => readOptions(words)).toThrow();
});

test("fuzz makes the same frames from the same seed", () => {
  const sender = {
    peers: ["ann"],
    victims: ["bob"],
    ref: () => "a-ref-of-hers",
    changeRef: () => "another-ref",
    again: () => undefined,
    known: () => ({ peer: "ann", seq: 7 }),
  };
  const frames = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 200 }, () => hostileFrame(random, sender).bytes.toString("hex"));
  };
  expect(frames(1)).toEqual(frames(1));
  expect(frames(1)).not.toEqual(frames(2));
});

describe("fuzz expects the outcome of", () => {
  test.each([
    ['{"to":"ann","message":"x"}', "send"],
    ['{"type":"message","to":"ann","message":"x","ref":"12345678","more":1}', "send"],
    ['{"to":"ann","message":"x","ref":"short"}', "bad_request"],
    ['{"to":"ann","message":"\\u0000"}', "invalid_text"],
    ['{"to":"ann","message":"\\ud800"}', "invalid_text"],
    ['{"to":"ann","message":" \\u200b"}', "invalid_text"],
    [`{"to":"ann","message":"${"😀".repeat(4_000)}"}`, "send"],
    [`{"to":"ann","message":"${"😀".repeat(4_001)}"}`, "invalid_text"],
    ['{"to":"ann","message":"x","reply_to":1}', "send"],
    ['{"to":"ann","message":"x","reply_to":null}', "bad_request"],
    ['{"type":"edit","peer":"ann","seq":1,"message":"x","ref":"12345678"}', "change"],
    ['{"type":"edit","peer":"ann","seq":1,"message":"x"}', "bad_request"],
    ['{"type":"edit","peer":"ann","seq":1,"emoji":"👍","ref":"12345678"}', "bad_request"],
    ['{"type":"edit","peer":"ann","seq":1,"message":" ","ref":"12345678"}', "invalid_text"],
    ['{"type":"delete","peer":"ann","seq":1e300,"message":7,"ref":"12345678"}', "change"],
    ['{"type":"delete","peer":"ann","seq":-1,"ref":"12345678"}', "bad_request"],
    ['{"type":"react","peer":"ann","seq":1,"emoji":"","ref":"12345678"}', "change"],
    ['{"type":"react","peer":"ann","seq":1,"emoji":"👨‍👩‍👧‍👦","ref":"12345678"}', "change"],
    ['{"type":"react","peer":"ann","seq":1,"emoji":"👍👍","ref":"12345678"}', "invalid_text"],
    ['{"type":"react","peer":"ann","seq":1,"emoji":null,"ref":"12345678"}', "bad_request"],
    ['{"type":"read","peer":"ann","seq":1e3}', "accepted"],
    ['{"type":"read","peer":"ann","seq":0.5}', "bad_request"],
    ['{"type":"watch","users":[]}', "accepted"],
    ['{"type":"watch","users":[1]}', "bad_request"],
    ['{"type":"typing"}', "bad_request"],
    ['{"type":"ping"}', "pong"],
    ['\ufeff{"type":"ping"}', "bad_request"],
    ["[]", "bad_request"],
    ["x".repeat(33_000), "closed"],
  ])("%.60s: %s", (text, expected) => {
    const outcome = expectedOutcome(Buffer.from(text));
    expect(outcome.kind === "rejected" ? outcome.code : outcome.kind).toBe(expected as "send");
  });
});
