/** k8s/ as `kubectl kustomize` reads it: its tests, with what a machine without kubectl leaves out. */

import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";
import { run } from "./docker.ts";
import { CannotRun } from "./engine.ts";
import { provideKustomize } from "./kustomize.ts";
import type { Proof } from "./proof.ts";

export const k8s: Proof = {
  about: "every overlay of k8s/ is made, taken by Kubernetes 1.34, and fits the program",
  async run({ tally, say }) {
    let directory: string | undefined;
    try {
      directory = await provideKustomize(say);
    } catch (error) {
      if (!(error instanceof CannotRun)) throw error;
      return tally.leaveOut("k8s: every overlay", error.message);
    }
    await tally.check(
      "k8s: base and every overlay are made, taken by Kubernetes 1.34, and fit the program",
      async () => {
        const path = [...(directory ? [directory] : []), Bun.env["PATH"]].join(":");
        const words = [process.execPath, "test", "--timeout=60000", join("test", "deploy", "k8s_test.ts")];
        const { code, out, err } = await run(words, { cwd: ROOT, env: { PATH: path } });
        const said = Bun.stripANSI(out + err);
        if (code !== 0 || /NOT TESTED|\(skip\)/.test(said)) throw new Error(said);
        return `${/(\d+) pass/.exec(said)?.[1]} tests`;
      },
    );
  },
};
