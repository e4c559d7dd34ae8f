/** The profile `monitoring`, without Grafana: Prometheus finds every server and has the metrics token. */

import { expect } from "bun:test";
import { join } from "node:path";

import { freePort, Person, post, ROOT } from "../../support/harness.ts";
import { addressOf, type Compose, healthy } from "./docker.ts";
import type { Scenario } from "./scenario.ts";

const SCRAPED_MS = 30_000;
/** The dashboard's rates cover a minute, and need two samples. */
const RATED_MS = 60_000;
const TOKEN = "a-token-of-the-tests";

export const monitoring: Scenario = {
  about: "Prometheus scrapes every server with the metrics token, which others lack (Grafana has no stand-in)",
  async run({ results, compose, provide }) {
    await provide("postgres:18", "prom/prometheus:v3.5.0");
    const port = freePort();
    const project = compose("monitoring", { PORT: `${port}`, METRICS_TOKEN: TOKEN });
    try {
      await results.check("monitoring: Prometheus has the metrics of web", async () => {
        await project.do("--profile", "monitoring", "up", "--detach", "web", "prometheus");
        const [web = ""] = await project.containers("web");
        await healthy(web);
        const startedAt = performance.now();
        while ((await ask(project, 'up{job="chatify"}')) !== "1") {
          if (performance.now() - startedAt > SCRAPED_MS)
            throw new Error(await project.do("logs", "--tail", "10", "prometheus"));
          await Bun.sleep(500);
        }
        expect(await ask(project, "chatify_websocket_connections")).toBe("0");
      });
      await results.check("monitoring: Prometheus answers every query of the dashboard", async () => {
        const [ann] = [await Person.signUp(`http://127.0.0.1:${port}`, "Ann")];
        const tab = await ann.open();
        for (let i = 0; i < 5; i++) await tab.send("Ann", `a note ${i}`);
        const unanswered = new Set(await dashboardQueries());
        const count = unanswered.size;
        for (const deadline = performance.now() + RATED_MS; unanswered.size > 0; await Bun.sleep(1_000)) {
          await post(`http://127.0.0.1:${port}/login`, { username: "Ann", password: "not hers" }); // refused after ten
          for (const query of unanswered) if ((await ask(project, query)) !== undefined) unanswered.delete(query);
          if (performance.now() > deadline) throw new Error(`no answer to\n${[...unanswered].join("\n")}`);
        }
        await tab.close();
        return `${count} queries`;
      });
      await results.check("monitoring: no one else may read them", async () => {
        expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBeOneOf([401, 403]);
      });
    } finally {
      await project.remove();
    }
  },
};

/** The queries of the panels. */
async function dashboardQueries(): Promise<string[]> {
  const file = Bun.file(join(ROOT, "monitoring", "grafana", "dashboards", "chatify.json"));
  const { panels } = (await file.json()) as { panels: { targets?: { expr: string }[] }[] };
  const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return queries.map((expr) => expr.replace(/\$(job|instance)\b/g, ".*").replaceAll("$__rate_interval", "1m"));
}

/** The first value of a query. */
async function ask(project: Compose, query: string): Promise<string | undefined> {
  const [prometheus = ""] = await project.containers("prometheus");
  const url = `http://${await addressOf(prometheus)}:9090/api/v1/query?${new URLSearchParams({ query })}`;
  const response = await fetch(url).catch(() => undefined);
  if (!response?.ok) return undefined;
  const { data } = (await response.json()) as { data: { result: { value: [number, string] }[] } };
  return data.result[0]?.value[1];
}
