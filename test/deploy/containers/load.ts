/** Five instances of the Kubernetes documentation's load test: every answer is a page, and users keep chatting. */

import { expect } from "bun:test";

import type { History } from "../../../tools/chaos/history.ts";
import { percentile } from "../../../tools/support/statistics.ts";
import { SESSION_SECRET } from "../../../tools/support/users.ts";
import { freePort } from "../../support/harness.ts";
import { docker, healthy, run } from "./docker.ts";
import { runWorkload, type Scenario } from "./scenario.ts";

const CLIENTS = 5;
const SECONDS = 20;
const RATE = 9;
const ACK_P99_MS = 250;
/** Other programs may occupy the machine for seconds: one of several windows must meet the bound. */
const TRIES = 3;
const LOOP = "while sleep 0.01; do wget -q -O- http://web:8000; done";

export const load: Scenario = {
  about: "five load-test clients get only 200 while three users chat",
  async run({ results, compose, provide, name, seed }) {
    await provide("postgres:18", "busybox");
    const port = freePort();
    const project = compose("load", { PORT: `${port}`, SESSION_SECRET });
    const clients = Array.from({ length: CLIENTS }, (_, i) => name(`client-${i}`));
    try {
      await project.do("up", "--detach");
      const [web = ""] = await project.containers("web");
      await healthy(web);
      const network = `${project.name}_default`;
      for (const client of clients) {
        await docker("run", "--detach", "--name", client, "--network", network, "busybox", "sh", "-c", LOOP);
      }
      await results.check(`load: ${CLIENTS} × \`${LOOP}\`, three users chat`, async () => {
        const windows: { p50: number; p99: number; acks: number }[] = [];
        const databaseUrl = await project.databaseUrl();
        await runWorkload({ users: 3, rate: RATE, port, databaseUrl, seed }, async ({ history }) => {
          await Bun.sleep(2_000);
          while (windows.length < TRIES && !((windows.at(-1)?.p99 ?? Number.POSITIVE_INFINITY) <= ACK_P99_MS)) {
            windows.push(await acksOf(history, SECONDS * 1_000));
          }
        });
        await Promise.all(clients.map((client) => docker("kill", client)));
        let pages = 0;
        for (const client of clients) {
          const { out, err } = await run(["docker", "logs", client]);
          expect(err).toBe(""); // wget reports every other status there
          pages += out.match(/<\/html>/g)?.length ?? 0;
        }
        expect(pages).toBeGreaterThan(SECONDS * CLIENTS);
        const notes = windows.map(
          ({ p50, p99, acks }) => `${acks} acks, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
        );
        const { acks = 0, p99 = Number.POSITIVE_INFINITY } = windows.at(-1) ?? {};
        expect(acks, notes.join("; ")).toBeGreaterThan((SECONDS * RATE) / 2);
        expect(p99, notes.join("; ")).toBeLessThanOrEqual(ACK_P99_MS);
        return `${pages} pages; ${notes.join("; ")}`;
      });
    } finally {
      await Promise.all(
        Array.from({ length: CLIENTS }, (_, i) => run(["docker", "rm", "--force", name(`client-${i}`)])),
      );
      await project.remove();
    }
  },
};

/** The ack latency of messages written from now on. */
async function acksOf(history: History, forMs: number): Promise<{ p50: number; p99: number; acks: number }> {
  const writtenAt = new Map<string, number>();
  const times: number[] = [];
  const unsubscribe = history.subscribe((entry) => {
    if (entry.e === "write") writtenAt.set(entry.ref, entry.t);
    const at = entry.e === "ack" ? writtenAt.get(entry.ref) : undefined;
    if (at !== undefined) times.push(entry.t - at);
  });
  await Bun.sleep(forMs);
  unsubscribe();
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99), acks: times.length };
}
