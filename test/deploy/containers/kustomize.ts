/** kubectl or kustomize: the installed one, or with Go one built from source. */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";
import { must } from "./docker.ts";
import { Unsupported } from "./engine.ts";

/** The version in kubectl 1.34. */
const MODULE = "sigs.k8s.io/kustomize/kustomize/v5";
const VERSION = "v5.7.1";
const DIRECTORY = join(ROOT, "node_modules", ".cache", `kustomize-${VERSION}`);

/** @param say prints progress @returns a directory for PATH; undefined if one is installed @throws Unsupported */
export async function provideKustomize(say: (line: string) => void): Promise<string | undefined> {
  if (Bun.which("kubectl") ?? Bun.which("kustomize")) return undefined;
  if (existsSync(join(DIRECTORY, "kustomize"))) return DIRECTORY;
  if (!Bun.which("go")) {
    throw new Unsupported("there is no kubectl or kustomize, and no Go to build one");
  }
  say(`Building kustomize ${VERSION} from its source …`);
  const directory = mkdtempSync(join(tmpdir(), "chatify-kustomize-"));
  try {
    const env = { GOFLAGS: "-mod=mod -modcacherw", GOPATH: join(directory, "go"), GOCACHE: join(directory, "cache") };
    const go = (...args: string[]) => must(["go", ...args], { cwd: directory, env });
    await go("mod", "init", "chatify-kustomize");
    await go("get", `${MODULE}@${VERSION}`);
    await go("build", "-o", join(directory, "bin", "kustomize"), MODULE);
    mkdirSync(join(DIRECTORY, ".."), { recursive: true });
    renameSync(join(directory, "bin"), DIRECTORY);
    return DIRECTORY;
  } catch (error) {
    throw new Unsupported(`kustomize cannot be built: ${error instanceof Error ? error.message : error}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
