/** Reads the JUnit report that `bun test` writes. */

export interface FileResult {
  readonly file: string;
  readonly tests: number;
  readonly failures: readonly NamedTest[];
  readonly skipped: readonly NamedTest[];
}

export interface NamedTest {
  /** The name of the test behind the names of its groups. */
  readonly name: string;
  readonly detail: string;
}

/** @returns one result per test file, in the order of the report */
export function readReport(xml: string): FileResult[] {
  const results: FileResult[] = [];
  for (const part of xml.split(/^ {2}(?=<testsuite )/m).slice(1)) {
    const opening = /^<testsuite [^>]*>/.exec(part)?.[0] ?? "";
    results.push({
      file: attribute(opening, "file"),
      tests: Number(attribute(opening, "tests")),
      failures: [...testsWith(part, "failure")],
      skipped: [...testsWith(part, "skipped")],
    });
  }
  return results;
}

function* testsWith(xml: string, child: "failure" | "skipped"): Generator<NamedTest> {
  const pattern = `<testcase name="([^"]*)" classname="([^"]*)"[^>]*>\\s*<${child}(?:[^>]* message="([^"]*)")?[^>]*>([^<]*)`;
  for (const [, name, group, message = "", body] of xml.matchAll(new RegExp(pattern, "g"))) {
    yield { name: unescape(group ? `${group}: ${name}` : name!), detail: unescape(body!.trim() || message) };
  }
}

function attribute(tag: string, name: string): string {
  return unescape(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

function unescape(xml: string): string {
  const characters: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#10": "\n" };
  return xml.replace(/&([^;]+);/g, (all, name: string) => characters[name] ?? all).trim();
}
