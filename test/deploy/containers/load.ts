/** The load tester that everybody copies, five of them, against `web`: each answer is a page, and people chat on. */

import { expect } from "bun:test";

import type { History } from "../../../tools/chaos/history.ts";
import { percentile } from "../../../tools/support/statistics.ts";
import { SESSION_SECRET } from "../../../tools/support/users.ts";
import { freePort } from "../../support/harness.ts";
import { docker, healthy, run } from "./docker.ts";
import { people, type Proof } from "./proof.ts";

const TESTERS = 5;
const SECONDS = 20;
const RATE = 9;
const ACK_P99_MS = 250;
/** Other programs may take the machine for some seconds: one such stretch of several has to be good. */
const TRIES = 3;
const LOOP = "while sleep 0.01; do wget -q -O- http://web:8000; done";

export const load: Proof = {
  about: "five load testers get nothing but 200 while three people chat",
  async run({ tally, compose, provide, name, seed }) {
    await provide("postgres:18", "busybox");
    const port = freePort();
    const project = compose("load", { PORT: `${port}`, SESSION_SECRET });
    const testers = Array.from({ length: TESTERS }, (_, i) => name(`tester-${i}`));
    try {
      await project.do("up", "--detach");
      const [web = ""] = await project.containers("web");
      await healthy(web);
      const network = `${project.name}_default`;
      for (const tester of testers) {
        await docker("run", "--detach", "--name", tester, "--network", network, "busybox", "sh", "-c", LOOP);
      }
      await tally.check(`load: ${TESTERS} × \`${LOOP}\`, three people chat`, async () => {
        const windows: { p50: number; p99: number; acks: number }[] = [];
        const databaseUrl = await project.databaseUrl();
        await people({ count: 3, rate: RATE, port, databaseUrl, seed }, async ({ history }) => {
          await Bun.sleep(2_000);
          while (windows.length < TRIES && !((windows.at(-1)?.p99 ?? Number.POSITIVE_INFINITY) <= ACK_P99_MS)) {
            windows.push(await acksOf(history, SECONDS * 1_000));
          }
        });
        await Promise.all(testers.map((tester) => docker("kill", tester)));
        let pages = 0;
        for (const tester of testers) {
          const { out, err } = await run(["docker", "logs", tester]);
          expect(err).toBe(""); // wget names every other answer there
          pages += out.match(/<\/html>/g)?.length ?? 0;
        }
        expect(pages).toBeGreaterThan(SECONDS * TESTERS);
        const told = windows.map(
          ({ p50, p99, acks }) => `${acks} acks, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
        );
        const { acks = 0, p99 = Number.POSITIVE_INFINITY } = windows.at(-1) ?? {};
        expect(acks, told.join("; ")).toBeGreaterThan((SECONDS * RATE) / 2);
        expect(p99, told.join("; ")).toBeLessThanOrEqual(ACK_P99_MS);
        return `${pages} pages, nothing else; ${told.join("; ")}`;
      });
    } finally {
      await Promise.all(
        Array.from({ length: TESTERS }, (_, i) => run(["docker", "rm", "--force", name(`tester-${i}`)])),
      );
      await project.remove();
    }
  },
};

/** How long acks took of what was written from now on. */
async function acksOf(history: History, forMs: number): Promise<{ p50: number; p99: number; acks: number }> {
  const writtenAt = new Map<string, number>();
  const times: number[] = [];
  const end = history.subscribe((entry) => {
    if (entry.e === "write") writtenAt.set(entry.ref, entry.t);
    const at = entry.e === "ack" ? writtenAt.get(entry.ref) : undefined;
    if (at !== undefined) times.push(entry.t - at);
  });
  await Bun.sleep(forMs);
  end();
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99), acks: times.length };
}
