/** How the page's modules are loaded on demand, found by reading their sources. */

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { onDemandFiles } from "../../src/http/on_demand_files.ts";
import { bundledScripts } from "../../src/http/page_bundles.ts";
import { ROOT } from "../support/harness.ts";

const STATIC = join(ROOT, "static");
const transpiler = new Bun.Transpiler({ loader: "js" });
/** A page cannot start without its language, and `start.js` reloads it; forms register the worker on the next visit, too. */
const OTHERS = new Set(["js/util/translate.js", "js/account/account_translations.js", "js/form.js"]);

const modules = readdirSync(join(STATIC, "js"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".js"))
  .map((name) => `js/${name.replaceAll("\\", "/")}`);

test("every module loaded on demand is requested again after a failure", () => {
  let count = 0;
  for (const path of modules.filter((each) => !OTHERS.has(each))) {
    const text = readFileSync(join(STATIC, path), "utf8");
    const again = [...text.matchAll(/importAgain\(\s*\(\) => import\("([^"]+)"\),\s*"([^"]+)",?\s*\)/g)];
    for (const [, imported, below] of again) expect([path, join(path, "..", imported!)]).toEqual([path, `js/${below}`]);
    const dynamic = transpiler.scanImports(text).filter(({ kind }) => kind === "dynamic-import");
    expect([path, again.map(([, imported]) => imported!).toSorted()]).toEqual([
      path,
      dynamic.map((each) => each.path).toSorted(),
    ]);
    count += again.length;
  }
  expect(count).toBeGreaterThan(10);
});

test("the list of files to fetch has every module after its own imports, each once, and no page's own", async () => {
  const files = await bundledScripts(STATIC, ["js/chat.js"]);
  for (const name of ["css/chat.css", "css/dialogs.css", "emoji.json", "icons/a.svg"]) files.set(name, Buffer.from(""));
  files.set("chat.html", Buffer.from('<link href="/static/css/chat.css">'));
  const listed = onDemandFiles(files, "js/chat.js");
  expect(listed.toSorted()).toEqual(
    [...files.keys()].filter((path) => !/^(chat\.html|css\/chat\.css|js\/chat\.js)$/.test(path)).toSorted(),
  );
  for (const [at, path] of listed.entries()) {
    if (!path.endsWith(".js")) continue;
    for (const { kind, path: to } of transpiler.scanImports(files.get(path)!)) {
      const imported = join(path, "..", to);
      if (kind === "import-statement" && imported !== "js/chat.js")
        expect(listed.slice(0, at), path).toContain(imported);
    }
  }
});
