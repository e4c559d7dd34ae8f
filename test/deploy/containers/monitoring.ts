/** The profile `monitoring`, as far as images can be had: Prometheus finds every chatify, and has the token it takes. */

import { expect } from "bun:test";
import { join } from "node:path";

import { freePort, Person, post, ROOT } from "../../support/harness.ts";
import { addressOf, type Compose, healthy } from "./docker.ts";
import type { Proof } from "./proof.ts";

const SCRAPED_MS = 30_000;
/** A rate needs two samples, and the dashboard takes it over a minute. */
const RATED_MS = 60_000;
const TOKEN = "a-token-of-the-proofs";

export const monitoring: Proof = {
  about: "Prometheus asks every chatify, with the token that others lack (Grafana has no stand-in)",
  async run({ tally, compose, provide }) {
    await provide("postgres:18", "prom/prometheus:v3.5.0");
    const port = freePort();
    const project = compose("monitoring", { PORT: `${port}`, METRICS_TOKEN: TOKEN });
    try {
      await tally.check("monitoring: Prometheus has the metrics of web", async () => {
        await project.do("--profile", "monitoring", "up", "--detach", "web", "prometheus");
        const [web = ""] = await project.containers("web");
        await healthy(web);
        const begun = performance.now();
        while ((await asked(project, 'up{job="chatify"}')) !== "1") {
          if (performance.now() - begun > SCRAPED_MS)
            throw new Error(await project.do("logs", "--tail", "10", "prometheus"));
          await Bun.sleep(500);
        }
        expect(await asked(project, "chatify_websocket_connections")).toBe("0");
      });
      await tally.check("monitoring: Prometheus has an answer to every question of the dashboard", async () => {
        const [ann] = [await Person.signUp(`http://127.0.0.1:${port}`, "Ann")];
        const tab = await ann.open();
        for (let i = 0; i < 5; i++) await tab.send("Ann", `a note ${i}`);
        const waiting = new Set(await questions());
        const count = waiting.size;
        for (const deadline = performance.now() + RATED_MS; waiting.size > 0; await Bun.sleep(1_000)) {
          await post(`http://127.0.0.1:${port}/login`, { username: "Ann", password: "not hers" }); // refused after ten
          for (const question of waiting) if ((await asked(project, question)) !== undefined) waiting.delete(question);
          if (performance.now() > deadline) throw new Error(`no answer to\n${[...waiting].join("\n")}`);
        }
        await tab.close();
        return `${count} questions`;
      });
      await tally.check("monitoring: nobody else reads them", async () => {
        expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBeOneOf([401, 403]);
      });
    } finally {
      await project.remove();
    }
  },
};

/** What the panels ask, of every chatify. */
async function questions(): Promise<string[]> {
  const file = Bun.file(join(ROOT, "monitoring", "grafana", "dashboards", "chatify.json"));
  const { panels } = (await file.json()) as { panels: { targets?: { expr: string }[] }[] };
  const asked = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return asked.map((expr) => expr.replace(/\$(job|instance)\b/g, ".*").replaceAll("$__rate_interval", "1m"));
}

/** What Prometheus answers to a query, the first of it. */
async function asked(project: Compose, query: string): Promise<string | undefined> {
  const [prometheus = ""] = await project.containers("prometheus");
  const url = `http://${await addressOf(prometheus)}:9090/api/v1/query?${new URLSearchParams({ query })}`;
  const answer = await fetch(url).catch(() => undefined);
  if (!answer?.ok) return undefined;
  const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
  return data.result[0]?.value[1];
}
