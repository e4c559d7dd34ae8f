/** Bundles and minifies the pages' scripts and styles in memory; `static/` stays as it is. */

import { join } from "node:path";

/**
 * Bundles each script with its static imports into one file, since on a slow network every request
 * costs a round trip and small files compress badly. Modules imported on demand stay files of their
 * own and import shared code from the script. All keep their paths, and equal sources give equal
 * bytes.
 *
 * @param directory `static/`
 * @param scripts paths below it that the pages load
 * @returns contents by path below `directory`
 * @throws RangeError if two pages need different files of the same name
 */
export async function bundledScripts(directory: string, scripts: readonly string[]): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const bundle of await Promise.all(scripts.map((script) => bundledScript(directory, script)))) {
    for (const [path, bytes] of bundle) {
      if (files.get(path)?.equals(bytes) === false)
        throw new RangeError(`Cannot bundle ${path}: pages need different files`);
      files.set(path, bytes);
    }
  }
  return files;
}

async function bundledScript(directory: string, script: string): Promise<[string, Buffer][]> {
  const { outputs } = await Bun.build({
    entrypoints: [join(directory, script)],
    root: directory,
    splitting: true,
    modulePreload: false,
    minify: true,
    // Without a hash in the script's name, Bun would put shared code into a file of its own.
    naming: { entry: "[dir]/[name]-[hash].[ext]", chunk: "[dir]/[name]-[hash].[ext]" },
  });
  const isShared = (file: Bun.BuildArtifact) => file.kind === "chunk" && plainPath(file) === script;
  const built = await Promise.all(outputs.map(async (file) => ({ file, code: await file.text() })));
  // Bun's hashes depend on the directory. The version in every URL makes them superfluous, except that
  // shared code needs names: hashes of the code without Bun's.
  const hashes = new RegExp(outputs.map(({ hash }) => hash).join("|"), "g");
  const names = new Map(
    built.map(({ file, code }) => {
      const name = isShared(file) ? `-${Bun.hash(code.replaceAll(hashes, "")).toString(36)}` : "";
      return [`-${file.hash}.js`, `${name}.js`];
    }),
  );
  const renamed = (text: string) => {
    for (const [from, to] of names) text = text.replaceAll(from, to);
    return text;
  };
  const files = built.map(({ file, code }): [string, Buffer] => [
    renamed(normalized(file)),
    Buffer.from(renamed(code)),
  ]);
  if (new Set(files.map(([path]) => path)).size < files.length)
    throw new RangeError(`Cannot bundle ${script}: two of its files have the same name`);
  return files;
}

function plainPath(file: Bun.BuildArtifact): string {
  return normalized(file).replace(`-${file.hash}`, "");
}

function normalized({ path }: Bun.BuildArtifact): string {
  return path.replaceAll("\\", "/").replace(/^\.\//, "");
}

/**
 * Replaces the imports of styles by their contents and minifies them. The target is `bun`: for
 * `browser`, Bun would also replace `light-dark()` and nesting.
 *
 * @returns contents by path below `directory`
 */
export async function bundledStyles(directory: string, styles: readonly string[]): Promise<Map<string, Buffer>> {
  const entrypoints = styles.map((path) => join(directory, path));
  const { outputs } = await Bun.build({ entrypoints, root: directory, minify: true, target: "bun" });
  return new Map(
    await Promise.all(outputs.map(async (file) => [normalized(file), Buffer.from(await file.arrayBuffer())] as const)),
  );
}
