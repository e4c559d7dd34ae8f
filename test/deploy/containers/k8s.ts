/** k8s/ as `kubectl kustomize` builds it: its tests, including those that need kubectl or kustomize. */

import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";
import { run } from "./docker.ts";
import { Unsupported } from "./engine.ts";
import { provideKustomize } from "./kustomize.ts";
import type { Scenario } from "./scenario.ts";

export const k8s: Scenario = {
  about: "every overlay of k8s/ builds, is valid for Kubernetes 1.34, and matches the server",
  async run({ results, say }) {
    let directory: string | undefined;
    try {
      directory = await provideKustomize(say);
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      return results.skip("k8s: every overlay", error.message);
    }
    await results.check(
      "k8s: base and every overlay build, are valid for Kubernetes 1.34, and match the server",
      async () => {
        const path = [...(directory ? [directory] : []), Bun.env["PATH"]].join(":");
        const command = [process.execPath, "test", "--timeout=60000", join("test", "deploy", "k8s_test.ts")];
        const { code, out, err } = await run(command, { cwd: ROOT, env: { PATH: path } });
        const output = Bun.stripANSI(out + err);
        if (code !== 0 || /NOT TESTED|\(skip\)/.test(output)) throw new Error(output);
        return `${/(\d+) pass/.exec(output)?.[1]} tests`;
      },
    );
  },
};
