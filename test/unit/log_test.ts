import { describe, expect, test } from "bun:test";

import { errorText, Log, type LogLevel } from "../../src/log.ts";

function logTo(lines: string[], format: "text" | "json", level: LogLevel = "debug"): Log {
  return new Log({ level, format, write: (line) => lines.push(line) });
}

/** An error that quotes its input: from a parser, or recognized by its code. */
function quoting(code?: string): unknown {
  if (code !== undefined) return Object.assign(new Error('invalid: "private words"'), { code });
  try {
    return JSON.parse("private words");
  } catch (error) {
    return error;
  }
}

describe("the log as JSON", () => {
  test("is one object per line, with time, level and event", () => {
    const lines: string[] = [];
    logTo(lines, "json").warn("database connection lost", { code: "57P01", tries: 3, gone: undefined });
    expect(lines[0]).toEndWith("\n");
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: "warn",
      event: "database connection lost",
      code: "57P01",
      tries: 3,
    });
  });

  test("keeps an error's stack and code in one line", () => {
    const lines: string[] = [];
    logTo(lines, "json").error("request failed", Object.assign(new Error("a\nb"), { code: "42P01" }), { id: "7" });
    expect(lines.join("").split("\n")).toHaveLength(2);
    const { error, id } = JSON.parse(lines[0] ?? "");
    expect(error).toContain("a\nb");
    expect(error).toContain("log_test.ts");
    expect(error).toEndWith("[42P01]");
    expect(id).toBe("7");
  });
});

describe("the log as text", () => {
  test("has the time, the event and its fields, and the level unless it is info", () => {
    const lines: string[] = [];
    const log = logTo(lines, "text");
    log.info("listening", { port: 8000, url: "http://localhost:8000" });
    log.debug("swept", { rows: 0, since: null, gone: undefined });
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d listening port=8000 url=http:\/\/localhost:8000\n$/);
    expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d debug swept rows=0 since=null\n$/);
  });

  test("quotes values that look like another field or contain control characters", () => {
    const lines: string[] = [];
    logTo(lines, "text").info("odd", { name: "a b=c", quote: 'say "x"', bell: "\u001b[2J" });
    expect(lines[0]).toEndWith(String.raw`odd name="a b=c" quote="say \"x\"" bell="\u001b[2J"` + "\n");
  });

  test("keeps a stack readable, and no value can pass for another event", () => {
    const lines: string[] = [];
    logTo(lines, "text").error("request failed", new Error("bad text: \n12:00:00 all is well\r\u001b[2J"));
    const [first, ...rest] = (lines[0] ?? "").trimEnd().split(/[\n\r]/);
    expect(first).toMatch(/^\d\d:\d\d:\d\d error request failed error=Error: bad text: $/);
    expect(rest.length).toBeGreaterThan(2);
    for (const line of rest) expect(line).toStartWith("    ");
    expect(lines[0]).not.toContain("\u001b");
  });

  test("omits the message of an error that quotes its input, and keeps its stack and code", () => {
    const lines: string[] = [];
    const log = logTo(lines, "text");
    for (const error of [quoting(), quoting("22P02"), quoting("ERR_INVALID_URL")]) {
      log.error("failed", error);
      log.warn("failed", { error: errorText(error) });
    }
    expect(lines.join("")).not.toContain("private");
    expect(lines[0]).toMatch(/error failed error=SyntaxError: \(omitted: may quote input\)\n {4}/);
    expect(lines[0]).toContain("log_test.ts");
    expect(lines[3]).toEndWith('warn failed error="Error: (omitted: may quote input) [22P02]"\n');
    log.error(
      "failed",
      Object.assign(new Error("no such table"), { code: "42P01", detail: "Key (a)=(private words)" }),
    );
    expect(lines[6]).toContain("no such table");
    expect(lines[6]).not.toContain("private");
  });

  test("accepts any thrown value as an error", () => {
    const lines: string[] = [];
    const log = logTo(lines, "text");
    log.error("one", "plain");
    log.error("two", null);
    log.error("three");
    expect(lines.map((line) => line.slice(9))).toEqual([
      "error one error=plain\n",
      "error two error=null\n",
      "error three\n",
    ]);
  });
});

test("the log omits events below its level", () => {
  const levels: LogLevel[] = ["debug", "info", "warn", "error"];
  for (const [i, level] of levels.entries()) {
    const lines: string[] = [];
    const log = logTo(lines, "json", level);
    for (const each of levels) log[each]("event");
    expect(lines.map((line) => JSON.parse(line).level)).toEqual(levels.slice(i));
  }
});
