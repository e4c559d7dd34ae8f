/** The rules of the architecture, and that the documents agree with the code. */

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

import { SETTINGS } from "../../src/config.ts";
import { type Parts, paths } from "../../src/http/router.ts";
import { codeOf, folderOf, importsOf, LEVELS, sources } from "../../tools/architecture.ts";
import { document } from "../../tools/mutations/main.ts";
import { mutated } from "../../tools/mutations/mutate.ts";
import { MUTATIONS } from "../../tools/mutations/mutations.ts";
import { ROOT } from "../support/harness.ts";

const files = sources();
const code = new Map(await Promise.all(files.map(async (file) => [file, await codeOf(file)] as const)));
const imports = files.flatMap((file) => importsOf(file, code.get(file)!));
const levelOf = (file: string) => LEVELS.findIndex((folders) => folders.includes(folderOf(file)));
const having = (pattern: RegExp) => files.filter((file) => pattern.test(code.get(file)!));

test("every import leads to the same folder or one below", () => {
  expect(imports.length).toBeGreaterThan(200); // else this test reads nothing
  for (const { from, to } of imports) {
    expect(levelOf(from), `${from} has no level`).toBeGreaterThanOrEqual(0);
    if (folderOf(from) === folderOf(to)) continue;
    expect(levelOf(to), `${from} imports ${to}`).toBeLessThan(levelOf(from));
  }
});

test("the page's stores and its sync engine do not touch the DOM", async () => {
  const scripts = [...new Bun.Glob("static/js/{store,sync}/*.js").scanSync(ROOT)];
  expect(scripts.length).toBeGreaterThan(15); // else this test reads nothing
  for (const file of scripts) {
    const text = await Bun.file(join(ROOT, file)).text();
    const script = text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$|\s\/\/ .*$/gm, "");
    expect(script, file).not.toMatch(/\bdocument\b|"[^"]*\/(?:elements\/|util\/dom)/);
  }
});

test("imports have no cycle", () => {
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): void => {
    expect(path, "a circle").not.toContain(file);
    if (done.has(file)) return;
    for (const { from, to } of imports) if (from === file) walk(to, [...path, file]);
    done.add(file);
  };
  for (const file of files) walk(file, []);
});

test("the embedded PostgreSQL imports nothing of chatify, and the bus is imported as a type only", () => {
  for (const { from, to, typesOnly } of imports) {
    if (folderOf(from) === "embedded_postgres") expect(folderOf(to), `${from} imports ${to}`).toBe("embedded_postgres");
    if (folderOf(to) !== "cluster" || folderOf(from) === "cluster" || ROOTS.includes(from)) continue;
    expect(typesOnly, `${from} imports ${to}`).toBeTrue();
  }
});

/** The files that construct parts: the server's, those of its routes and its database, and those of commands. */
const ROOTS = ["app.ts", "cli/admin_context.ts", "db/serving_store.ts", "db/store.ts", "http/http_routes.ts"];

test("only the composition roots construct", () => {
  const imported = (name: string, file: string) =>
    new RegExp(`import[^;]*\\b${name}\\b[^;]* "\\.`).test(code.get(file)!);
  const parts = ROOTS.flatMap((root) => {
    const made = [...code.get(root)!.matchAll(/\bnew ([A-Z]\w+)\(/g)].map(([, name]) => name!);
    return made.filter((name) => imported(name, root) && !name.endsWith("Error"));
  });
  expect(parts).toContain("Chat");
  expect(parts).toContain("Messages");
  for (const part of parts) {
    const builders = having(new RegExp(`\\bnew ${part}\\(`)).filter((file) => imported(part, file));
    expect(ROOTS, part).toEqual(expect.arrayContaining(builders));
  }
});

test("the process, Bun.serve, the driver and incoming frames are each handled in one file", () => {
  expect(having(/\bprocess\./)).toEqual(["main.ts"]);
  expect(having(/\bBun\.serve\b/)).toEqual(["http/listen.ts"]);
  expect(having(/(from|import\() ?"postgres"/)).toEqual(["db/client.ts"]);
  expect(having(/(?<!function )\bparseFrame\(/)).toEqual(["chat/socket.ts"]);
  expect(having(/\bRedisClient\b/).filter((file) => file !== "cluster/redis_bus.ts")).toEqual([]);
});

const bare = (text: string) => text.replaceAll("`", "");

test("docs/settings.md describes every setting as config.ts does", async () => {
  const page = await Bun.file(join(ROOT, "docs", "settings.md")).text();
  const rows = [...page.matchAll(/^\| `([A-Z\d_]+)` *\| (.*?) *\| (.*?) *\|(?: .*\|)?$/gm)].map(([, ...cells]) =>
    cells.map(bare),
  );
  const settings = Object.entries(SETTINGS).map(([name, { default: fallback, about }]) => [
    name,
    bare(fallback),
    bare(about),
  ]);
  const isLimit = ([name]: readonly string[]) => name!.startsWith("LIMIT_"); // these have a table of their own
  expect(rows).toEqual([...settings.filter((row) => !isLimit(row)), ...settings.filter(isLimit)]);
});

test("README.md shows eight settings of config.ts, with their defaults", async () => {
  const readme = await Bun.file(join(ROOT, "README.md")).text();
  const rows = [...readme.matchAll(/^\| `([A-Z_]+)` \| `(.*?)` \|/gm)];
  expect([...readme.matchAll(/^\| `[A-Z_]+` \|/gm)]).toHaveLength(8);
  const defaults: Record<string, { default: string }> = SETTINGS;
  for (const [, name, fallback] of rows) expect(fallback, name).toBe(defaults[name!]!.default);
});

test(".env.example describes every setting as config.ts does, and sets none", async () => {
  const lines = (await Bun.file(join(ROOT, ".env.example")).text()).split("\n");
  expect(lines.filter((line) => line !== "" && !line.startsWith("# "))).toEqual([]);
  const told = lines.flatMap((line, i) => (/^# [A-Z\d_]+=/.test(line) ? [`${lines[i - 1]}\n${line}`] : []));
  expect(told).toEqual(
    Object.entries(SETTINGS).map(([name, { default: fallback, about }]) => {
      const value = fallback.includes(" ") ? "" : fallback; // a word of its own can be set as it is
      return `# ${bare(about)} (${bare(fallback)})\n# ${name}=${value}`;
    }),
  );
});

test("docker-compose.yml passes every setting on, and the image is of this version and this Bun", async () => {
  const [compose, dockerfile, manifest] = await Promise.all(
    ["docker-compose.yml", "Dockerfile", "package.json"].map((name) => Bun.file(join(ROOT, name)).text()),
  );
  const { services } = Bun.YAML.parse(compose!) as { services: Record<string, { environment: object }> };
  const ownToTheImage = new Set(["PORT", "HOST", "DATA_DIR"]);
  const settings = Object.keys(SETTINGS).filter((name) => !ownToTheImage.has(name));
  for (const service of ["web", "pod"]) {
    const passed = Object.keys(services[service]!.environment).map((name) => name.replace(/_FILE$/, ""));
    expect(passed.toSorted()).toEqual(settings.toSorted());
  }
  const { version, packageManager } = JSON.parse(manifest!) as { version: string; packageManager: string };
  expect(dockerfile).toContain(`ARG VERSION=${version}\n`);
  expect([...dockerfile!.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)).toEqual(
    Array.from({ length: 2 }, () => `oven/${packageManager.replace("@", ":")}-slim`),
  );
});

test("every mutation applies and parses, and docs/security-tests.md lists it", async () => {
  for (const mutation of Object.values(MUTATIONS).flat()) {
    const [source, test] = await Promise.all(
      [mutation.file, mutation.test].map((file) => Bun.file(join(ROOT, file)).text()),
    );
    const loader = mutation.file.endsWith(".ts") ? "ts" : "js";
    const text = mutated(source!, mutation);
    if (!mutation.file.endsWith(".sql")) new Bun.Transpiler({ loader }).transformSync(text); // the test runs the SQL
    expect(hasTest(test!, mutation.name), `${mutation.test} has a test "${mutation.name}"`).toBeTrue();
  }
  expect(await Bun.file(join(ROOT, "docs", "security-tests.md")).text()).toBe(document());
});

test("docs/protocol.md names every route, every frame and every error", async () => {
  const page = await Bun.file(join(ROOT, "docs", "protocol.md")).text();
  const known = Object.keys(paths({} as Parts)); // nothing is called
  for (const path of known) {
    const named = path.replace(/:(\w+)/g, "{$1}");
    expect(page, path).toMatch(new RegExp(`\`(GET|POST|PUT) ${RegExp.escape(named)}\``));
  }
  const frames = [...code.get("protocol.ts")!.matchAll(/\btype"?: ?"(\w+)"/g)].map(([, type]) => type!);
  expect(new Set(frames).size).toBeGreaterThan(12);
  for (const type of frames) expect(page, type).toContain(`{"type":"${type}"`);
  const codes = [...code.get("errors.ts")!.matchAll(/^ {2}(\w+): \{(?:$| status)/gm)].map(([, name]) => name!);
  expect(codes.length).toBeGreaterThan(20);
  for (const name of codes) expect(page, name).toContain(`\`${name}\``);
});

test("README.el.md has the structure, code and numbers of README.md", async () => {
  const [english, greek] = await Promise.all(["README.md", "README.el.md"].map(skeleton));
  expect(english!.length).toBeGreaterThan(10);
  expect(greek).toEqual(english!);
});

test("links between the documents lead somewhere, and the sources that they name exist", async () => {
  const documents = ["*.md", "docs/*.md"].flatMap((pattern) => Array.from(new Bun.Glob(pattern).scanSync(ROOT)));
  expect(documents.length).toBeGreaterThan(12);
  for (const name of documents) {
    const text = await Bun.file(join(ROOT, name)).text();
    for (const [, link] of text.matchAll(/(?:\]\(|src=")(?!https?:)([^)"]+)/g)) {
      const [path = "", anchor] = link!.split("#");
      const target = path === "" ? name : join(dirname(name), path);
      const place = `${name} links to ${link}`;
      expect(existsSync(join(ROOT, target)), place).toBeTrue();
      if (anchor === undefined) continue;
      const headings = [...(await Bun.file(join(ROOT, target)).text()).matchAll(/^#+ (.*)$/gm)];
      expect(
        headings.map(([, heading]) => anchorOf(heading!)),
        place,
      ).toContain(anchor);
    }
    for (const [, path] of text.matchAll(/`((?:src|static|test|tools|sql|k8s|docs|compose|monitoring)\/[\w./-]*)`/g)) {
      expect(existsSync(join(ROOT, path!)), `${name} names ${path}`).toBeTrue();
    }
  }
});

test("docs/architecture.md uses names that the code has", async () => {
  const text = await Bun.file(join(ROOT, "docs", "architecture.md")).text();
  const sources = ["src/**/*.ts", "static/js/**/*.js", "sql/*.sql"].flatMap((pattern) =>
    Array.from(new Bun.Glob(pattern).scanSync(ROOT)),
  );
  const code = await Promise.all(sources.map((file) => Bun.file(join(ROOT, file)).text()));
  const words = new Set(code.join("\n").match(/\w+/g));
  const names = [...text.matchAll(/`([A-Za-z_]+(?:\.[A-Za-z_]+)?)(?:`|\()/g)].map(([, name]) => name!);
  expect(names).toContain("Chat.send");
  for (const name of names) for (const part of name.split(".")) expect(words.has(part), name).toBeTrue();
});

/** As GitHub makes it of a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** What of a document is the same in every language: of each section its code, the first code of each row of its tables, and its numbers. */
async function skeleton(name: string) {
  const text = await Bun.file(join(ROOT, name)).text();
  return text.split(/^(?=#+ )/m).map((section) => {
    const blocks = [...section.matchAll(/^```(\w*)\n([^]*?)^```/gm)].map(([, language, code = ""]) =>
      // Comments and labels speak to people.
      language === "mermaid" ? code.replace(/\["?[^\]\n]*\]|\|[^|\n]*\|/g, "") : code.replace(/ *# .*$/gm, ""),
    );
    const prose = section.replace(/^```[^]*?^```/gm, "");
    return {
      level: /^#*/.exec(section)?.[0],
      blocks,
      rows: [...prose.matchAll(/^\|[^`|\n]*(`[^`]+`)?[^|\n]*\|/gm)].map(([, code]) => code),
      codes: [...prose.matchAll(/`[^`]+`/g)].map(([code]) => code).toSorted(),
      links: [...prose.matchAll(/\]\(([^)]+)\)/g)].map(([, to]) => to).filter((to) => !to!.startsWith("README")),
      numbers: [...prose.replace(/`[^`]+`/g, "").matchAll(/\d+(?:[.,]\d+)*/g)]
        .map(([number]) => number.replaceAll(",", "."))
        .toSorted(),
    };
  });
}

/**
 * Whether a test file may contain a test of this name: string literals, such as the names of its groups, the test and a
 * row of its table, make up the whole name. Placeholders such as %s stand for any text.
 */
function hasTest(file: string, name: string): boolean {
  const parts = [...file.matchAll(/(["`])((?:[^"`\\\n]|\\.)+)\1/g)]
    .map(([, , text]) => text!.split(/%[sdpijo]|\$\{[^}]*\}|\$[\w.]+/))
    .filter((pieces) => pieces.join("").trim().length > 0)
    .map((pieces) => pieces.map((piece) => RegExp.escape(piece)).join(".+"));
  return new RegExp(`^(?:(?:${parts.join("|")})(?:: | |$))+$`).test(name);
}
