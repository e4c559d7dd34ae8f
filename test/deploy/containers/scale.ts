/** The profile `scale`: users on three pods behind the proxy while pods are killed, removed and added. */

import { expect } from "bun:test";

import { percentile } from "../../../tools/support/statistics.ts";
import { SESSION_SECRET } from "../../../tools/support/users.ts";
import { freePort } from "../../support/harness.ts";
import { type Compose, docker, healthy, inspect } from "./docker.ts";
import { runWorkload, type Scenario } from "./scenario.ts";

const USERS = 30;
const RATE = 40;
const CALM_MS = 4_000;
const DATABASE_DOWN_MS = 5_000;

export const scale: Scenario = {
  about: "three pods behind the proxy: one killed, scaled to one and back, no message lost",
  async run({ results, compose, provide, seed }) {
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
      await results.check("scale: --profile scale up: three pods, a proxy and Valkey besides web and db", async () => {
        await project.do("--profile", "scale", "up", "--detach");
        const pods = await project.containers("pod");
        expect(pods).toHaveLength(3);
        await Promise.all(pods.map((pod) => healthy(pod)));
        await waitUntilServed(`http://127.0.0.1:${proxyPort}/readyz`, project);
        await Bun.sleep(3_000); // the proxy finds all three
      });
      await results.check("scale: the proxy forwards no header by which a client claims an origin", async () => {
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
      await results.check(
        `scale: ${USERS} users keep writing while a pod is killed, the database stops and starts, two pods are removed and added`,
        async () => {
          const databaseUrl = await project.databaseUrl();
          const notes: string[] = [];
          const metrics = await runWorkload(
            { users: USERS, rate: RATE, port: proxyPort, databaseUrl, seed },
            async ({ fault, history }) => {
              const spread = await sockets(project);
              expect(Math.min(...spread)).toBeGreaterThan(0);
              notes.push(`sockets ${spread.join(", ")}`);
              await Bun.sleep(CALM_MS);
              await fault("a pod killed", async () => {
                const [victim = ""] = await project.containers("pod");
                const pid = await inspect<number>(victim, ".State.Pid");
                process.kill(pid, "SIGKILL"); // as the kernel would: after `docker kill` Docker does not restart it
                await Bun.sleep(1_000);
                for (const deadline = performance.now() + 30_000; ; await Bun.sleep(100)) {
                  const now = await inspect<number>(victim, ".State.Pid"); // 0 while it is down
                  if (now !== pid && now > 0) break;
                  if (performance.now() > deadline) throw new Error(`${victim} was not restarted after it was killed`);
                }
                await healthy(victim);
              });
              await Bun.sleep(CALM_MS);
              const codes: number[] = []; // close codes
              const unsubscribe = history.subscribe(
                (entry) => entry.e === "close" && entry.code !== 1000 && codes.push(entry.code),
              );
              await fault("the database stopped", async () => {
                await project.do("stop", "db");
                await Bun.sleep(DATABASE_DOWN_MS);
                await project.do("start", "db");
              });
              await Bun.sleep(CALM_MS);
              unsubscribe();
              expect(codes, "sockets closed while the database was down").toEqual([]);
              await fault("scaled from three pods to one", () => to(1));
              expect(await project.containers("pod")).toHaveLength(1);
              await Bun.sleep(CALM_MS);
              await fault("scaled from one pod to three", async () => {
                await to(3);
                await Promise.all((await project.containers("pod")).map((pod) => healthy(pod)));
              });
              await Bun.sleep(2 * CALM_MS);
              const again = await sockets(project);
              expect(again).toHaveLength(3);
              notes.push(`at the end ${again.join(", ")}`);
            },
          );
          expect(metrics.acked).toBeGreaterThan((RATE * CALM_MS) / 1_000);
          const { calm } = metrics.ackLatency();
          const back = metrics.faults.flatMap((fault) => fault.reconnectMs);
          return `${metrics.acked} messages, none lost, ${notes.join(", ")}; ack p50 ${calm.p50.toFixed(0)} ms, p99 ${calm.p99.toFixed(0)} ms without faults; ${back.length} reconnections, p99 ${(percentile(back, 0.99) / 1_000).toFixed(1)} s`;
        },
      );
    } finally {
      await project.remove();
    }
  },
};

/** The number of sockets of each pod, from its metrics. */
async function sockets(project: Compose): Promise<number[]> {
  const script = 'console.log(await (await fetch("http://127.0.0.1:8000/metrics")).text())';
  const pods = await project.containers("pod");
  const texts = await Promise.all(pods.map((pod) => docker("exec", pod, "bun", "--eval", script)));
  return texts.map((text) => Number(/^chatify_websocket_connections (\d+)/m.exec(text)?.[1]));
}

async function waitUntilServed(url: string, project: Compose): Promise<void> {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline; await Bun.sleep(100)) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return;
  }
  throw new Error(
    `${url} does not answer 200\n${await project.do("--profile", "scale", "logs", "--tail", "10", "proxy")}`,
  );
}
