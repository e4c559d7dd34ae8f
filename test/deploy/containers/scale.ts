/** The profile `scale`: people spread over three pods behind the proxy; pods die, go and come, and the fault run's checker looks on. */

import { expect } from "bun:test";

import { percentile } from "../../../tools/support/statistics.ts";
import { SESSION_SECRET } from "../../../tools/support/users.ts";
import { freePort } from "../../support/harness.ts";
import { type Compose, docker, healthy, inspect } from "./docker.ts";
import { people, type Proof } from "./proof.ts";

const PEOPLE = 30;
const RATE = 40;
const CALM_MS = 4_000;
const DATABASE_AWAY_MS = 5_000;

export const scale: Proof = {
  about: "three pods behind the proxy: one killed, scaled to one and back, not one message lost",
  async run({ tally, compose, provide, seed }) {
    await provide("postgres:18", "valkey/valkey:8", "haproxy:3.2");
    const [port, proxyPort] = [freePort(), freePort()];
    const env = {
      PORT: `${port}`,
      PROXY_PORT: `${proxyPort}`,
      BUS: "valkey://valkey:6379",
      SESSION_SECRET,
      RATE_LIMIT: "off",
    };
    const project = compose("scale", env);
    const to = (pods: number) =>
      project.do("--profile", "scale", "up", "--detach", "--no-recreate", "--scale", `pod=${pods}`);
    try {
      await tally.check("scale: --profile scale up: three pods, a proxy, a Valkey, beside web and db", async () => {
        await project.do("--profile", "scale", "up", "--detach");
        const pods = await project.containers("pod");
        expect(pods).toHaveLength(3);
        await Promise.all(pods.map((pod) => healthy(pod)));
        await served(`http://127.0.0.1:${proxyPort}/readyz`, project);
        await Bun.sleep(3_000); // the proxy has found all three
      });
      await tally.check("scale: the proxy passes on nothing that a client claims about itself", async () => {
        const url = `http://127.0.0.1:${proxyPort}`;
        const claims = {
          "X-Forwarded-Proto": "https",
          "X-Forwarded-Host": "evil.example",
          "X-Request-Id": "forged-by-a-client",
        };
        const page = await fetch(`${url}/login`, { headers: claims });
        expect(page.headers.get("strict-transport-security")).toBeNull();
        const headers = {
          ...claims,
          Origin: "http://evil.example",
          "Content-Type": "application/x-www-form-urlencoded",
        };
        const foreign = await fetch(`${url}/login`, { method: "POST", headers, body: "username=ann&password=x" });
        expect(foreign.status).toBe(403);
      });
      await tally.check(
        `scale: ${PEOPLE} people write on while a pod is killed, the database goes and comes, two pods leave, two come`,
        async () => {
          const databaseUrl = await project.databaseUrl();
          const notes: string[] = [];
          const metrics = await people(
            { count: PEOPLE, rate: RATE, port: proxyPort, databaseUrl, seed },
            async ({ fault, history }) => {
              const spread = await sockets(project);
              expect(Math.min(...spread)).toBeGreaterThan(0);
              notes.push(`sockets ${spread.join(", ")}`);
              await Bun.sleep(CALM_MS);
              await fault("a pod killed", async () => {
                const [victim = ""] = await project.containers("pod");
                const pid = await inspect<number>(victim, ".State.Pid");
                process.kill(pid, "SIGKILL"); // as the kernel would: `docker kill` counts as wanted
                await Bun.sleep(1_000);
                for (const deadline = performance.now() + 30_000; ; await Bun.sleep(100)) {
                  const now = await inspect<number>(victim, ".State.Pid"); // 0 while it is not running
                  if (now !== pid && now > 0) break;
                  if (performance.now() > deadline)
                    throw new Error(`${victim} was not started again after it was killed`);
                }
                await healthy(victim);
              });
              await Bun.sleep(CALM_MS);
              const cuts: number[] = []; // their close codes
              const end = history.subscribe(
                (entry) => entry.e === "close" && entry.code !== 1000 && cuts.push(entry.code),
              );
              await fault("the database is away", async () => {
                await project.do("stop", "db");
                await Bun.sleep(DATABASE_AWAY_MS);
                await project.do("start", "db");
              });
              await Bun.sleep(CALM_MS);
              end();
              expect(cuts, "sockets cut because the database was away").toEqual([]);
              await fault("three pods become one", () => to(1));
              expect(await project.containers("pod")).toHaveLength(1);
              await Bun.sleep(CALM_MS);
              await fault("one pod becomes three", async () => {
                await to(3);
                await Promise.all((await project.containers("pod")).map((pod) => healthy(pod)));
              });
              await Bun.sleep(2 * CALM_MS);
              const again = await sockets(project);
              expect(again).toHaveLength(3);
              notes.push(`in the end ${again.join(", ")}`);
            },
          );
          expect(metrics.acked).toBeGreaterThan((RATE * CALM_MS) / 1_000);
          const { calm } = metrics.ackLatency();
          const back = metrics.faults.flatMap((fault) => fault.reconnectMs);
          return `${metrics.acked} messages, none lost, ${notes.join(", ")}; ack p50 ${calm.p50.toFixed(0)} ms, p99 ${calm.p99.toFixed(0)} ms in calm; ${back.length} tabs back, p99 ${(percentile(back, 0.99) / 1_000).toFixed(1)} s`;
        },
      );
    } finally {
      await project.remove();
    }
  },
};

/** How many sockets each pod has, as it says itself. */
async function sockets(project: Compose): Promise<number[]> {
  const ask = 'console.log(await (await fetch("http://127.0.0.1:8000/metrics")).text())';
  const pods = await project.containers("pod");
  const texts = await Promise.all(pods.map((pod) => docker("exec", pod, "bun", "--eval", ask)));
  return texts.map((text) => Number(/^chatify_websocket_connections (\d+)/m.exec(text)?.[1]));
}

async function served(url: string, project: Compose): Promise<void> {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline; await Bun.sleep(100)) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return;
  }
  throw new Error(
    `${url} does not answer 200\n${await project.do("--profile", "scale", "logs", "--tail", "10", "proxy")}`,
  );
}
