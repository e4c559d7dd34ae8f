/** Lists the files that a page loads on demand. */

import { dirname, join } from "node:path/posix";

const transpiler = new Bun.Transpiler({ loader: "js" });

/**
 * The files that a page may load after its bundled script, in the order in which to fetch them: first
 * the styles and icons that no HTML links to, then modules, each after its static imports, then data.
 *
 * @param files contents by path below `static/`, as they are served
 * @param script path of the page's script
 */
export function onDemandFiles(files: ReadonlyMap<string, Buffer>, script: string): string[] {
  const linked = new Set<string>();
  for (const [path, bytes] of files) {
    if (!path.endsWith(".html")) continue;
    for (const [, link = ""] of bytes.toString().matchAll(/"\/static\/([^"]+)"/g)) linked.add(link);
  }
  const others = [...files.keys()].filter((path) => !linked.has(path));
  return [
    ...others.filter((path) => /\.(?:css|svg)$/.test(path)),
    ...modulesAfter(files, script),
    ...others.filter((path) => path.endsWith(".json")),
  ];
}

function modulesAfter(files: ReadonlyMap<string, Buffer>, script: string): string[] {
  const seen = new Set<string>();
  const ordered: string[] = [];
  const visit = (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    const imports = transpiler.scanImports(files.get(path) ?? "");
    const imported = (kind: string) =>
      imports.filter((each) => each.kind === kind).map((each) => join(dirname(path), each.path));
    imported("import-statement").forEach(visit);
    ordered.push(path);
    imported("dynamic-import").forEach(visit);
  };
  visit(script);
  return ordered.filter((path) => path !== script);
}
