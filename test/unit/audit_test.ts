import { expect, test } from "bun:test";

import { audit } from "../support/audit.ts";
import { freePort, ROOT } from "../support/harness.ts";

/** A registry that knows these holes, or that knows of no such question. */
function registry(answer: object | number) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => (typeof answer === "number" ? new Response(null, { status: answer }) : Response.json(answer)),
  });
  const env = { NPM_CONFIG_REGISTRY: `http://127.0.0.1:${server.port}/` };
  return { env, [Symbol.asyncDispose]: () => server.stop(true) };
}

test("audit is clean without advisories", async () => {
  await using place = registry({});
  expect(await audit(ROOT, place.env)).toEqual({ verdict: "clean", words: "" });
});

test("audit reports a known vulnerability", async () => {
  const hole = {
    id: 1,
    url: "https://example.org/advisory",
    title: "Everything is open",
    severity: "low",
    vulnerable_versions: "<99",
    cwe: [],
    cvss: { score: 1, vectorString: "" },
  };
  await using place = registry({ postgres: [hole] });
  const { verdict, words } = await audit(ROOT, place.env);
  expect(verdict).toBe("vulnerable");
  expect(words).toContain("postgres <99: low, Everything is open (https://example.org/advisory)");
});

test("audit stays open where the registry does not answer it, or there is none", async () => {
  await using place = registry(405);
  const mirror = await audit(ROOT, place.env);
  expect(mirror.verdict).toBe("unchecked");
  expect(mirror.words).toContain("405");
  const offline = await audit(ROOT, { NPM_CONFIG_REGISTRY: `http://127.0.0.1:${freePort()}/` });
  expect(offline.verdict).toBe("unchecked");
  expect(offline.words).not.toBe("");
});
