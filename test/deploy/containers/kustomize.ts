/** What makes one set of manifests of k8s/ and its overlays: this machine's kubectl or kustomize, else one built here from its source, where there is Go. */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";
import { must } from "./docker.ts";
import { CannotRun } from "./engine.ts";

/** What kubectl 1.34 has built in. */
const MODULE = "sigs.k8s.io/kustomize/kustomize/v5";
const VERSION = "v5.7.1";
const PLACE = join(ROOT, "node_modules", ".cache", `kustomize-${VERSION}`);

/** @param say progress for a person @returns a directory for PATH; undefined: nothing is missing from it */
export async function provideKustomize(say: (line: string) => void): Promise<string | undefined> {
  if (Bun.which("kubectl") ?? Bun.which("kustomize")) return undefined;
  if (existsSync(join(PLACE, "kustomize"))) return PLACE;
  if (!Bun.which("go")) {
    throw new CannotRun(
      "What the overlays make is not shown: there is no kubectl, no kustomize, and no Go to build one",
    );
  }
  say(`Building kustomize ${VERSION} from its source …`);
  const directory = mkdtempSync(join(tmpdir(), "chatify-kustomize-"));
  try {
    const env = { GOFLAGS: "-mod=mod -modcacherw", GOPATH: join(directory, "go"), GOCACHE: join(directory, "cache") };
    const go = (...words: string[]) => must(["go", ...words], { cwd: directory, env });
    await go("mod", "init", "chatify-kustomize");
    await go("get", `${MODULE}@${VERSION}`);
    await go("build", "-o", join(directory, "bin", "kustomize"), MODULE);
    mkdirSync(join(PLACE, ".."), { recursive: true });
    renameSync(join(directory, "bin"), PLACE);
    return PLACE;
  } catch (error) {
    throw new CannotRun(
      `What the overlays make is not shown: kustomize cannot be built: ${error instanceof Error ? error.message : error}`,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
