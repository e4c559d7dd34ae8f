/** Faults of pods: they die, leave, freeze, and run out of what they need. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Pod } from "../cluster.ts";
import { type Fault, type FaultContext, pickPod, requireTool, Unsupported } from "./fault.ts";

const LEAVES_WITHIN_MS = 25_000;
const AWAY_MS = 1_000;

export const podFaults: readonly Fault[] = [
  {
    id: "F01",
    name: "pod killed",
    async run(context) {
      const pod = pickPod(context);
      pod.kill();
      await Bun.sleep(AWAY_MS);
      await pod.start();
      return pod.name;
    },
  },
  {
    id: "F02",
    name: "pod leaves",
    async run(context) {
      const pod = pickPod(context);
      const said = await leaves(context, [pod]);
      await pod.start();
      return said;
    },
  },
  {
    id: "F03",
    name: "all pods but one leave at once",
    pods: 3,
    async run(context) {
      const pods = context.random.shuffled(context.cluster.pods).slice(1);
      const said = await leaves(context, pods);
      await Bun.sleep(context.seconds(4) * 1_000);
      await Promise.all(pods.map((pod) => pod.start()));
      return said;
    },
  },
  {
    id: "F04",
    name: "rolling restart",
    async run(context) {
      const said: string[] = [];
      for (let round = 0; round < context.seconds(1); round++) {
        for (const pod of context.cluster.pods) {
          said.push(await leaves(context, [pod]));
          await pod.start();
        }
      }
      return said.join("; ");
    },
  },
  {
    id: "F05",
    name: "pod frozen",
    async run(context) {
      const pod = pickPod(context);
      const seconds = context.seconds(7);
      pod.signal("SIGSTOP");
      await Bun.sleep(seconds * 1_000);
      pod.signal("SIGCONT");
      return `${pod.name} for ${seconds.toFixed(0)} s`;
    },
  },
  {
    id: "F06",
    name: "all pods killed",
    async run({ cluster }) {
      for (const pod of cluster.pods) pod.kill();
      await Bun.sleep(AWAY_MS);
      await Promise.all(cluster.pods.map((pod) => pod.start()));
      return `${cluster.pods.length} of them`;
    },
  },
  {
    id: "F32",
    name: "pod out of file descriptors",
    async run(context) {
      const prlimit = requireTool("prlimit");
      const pod = pickPod(context);
      const before = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pod.pid}/limits`, "utf8"))?.[1] ?? "";
      const limit = readdirSync(`/proc/${pod.pid}/fd`).length + 20;
      const set = (soft: string) => Bun.spawnSync([prlimit, "--pid", String(pod.pid), `--nofile=${soft}:`]);
      set(String(limit));
      const clients: Bun.Socket[] = [];
      for (let i = 0; i < 60; i++) {
        const socket = { data: () => {}, error: () => {}, connectError: () => {} };
        clients.push(await Bun.connect({ hostname: "127.0.0.1", port: pod.port, socket }));
      }
      await Bun.sleep(context.seconds(4) * 1_000);
      for (const client of clients) client.terminate();
      set(before);
      return `${pod.name}, ${clients.length} connections with room for 20`;
    },
  },
  {
    id: "F38",
    name: "pod with a wrong clock",
    async run(context) {
      const pod = pickPod(context);
      const hours = context.random.pick([-1, 1]);
      await leaves(context, [pod]);
      await pod.start({
        env: { CHAOS_CLOCK_HOURS: String(hours) },
        words: ["--preload", join(import.meta.dir, "..", "clock_skew.ts")],
      });
      await Bun.sleep(context.seconds(6) * 1_000);
      await leaves(context, [pod]);
      await pod.start();
      return `${pod.name}, ${hours > 0 ? "an hour ahead" : "an hour behind"}`;
    },
  },
  {
    id: "F39",
    name: "pod leaves while PostgreSQL is out of reach",
    async run(context) {
      const pod = pickPod(context);
      pod.database.set({ upstream: "stall", downstream: "stall" });
      const { ms } = await pod.leave();
      pod.database.heal();
      if (ms > LEAVES_WITHIN_MS + 500) context.wrong(`${pod.name} took ${seconds(ms)} to leave`);
      await pod.start();
      return `${pod.name}, gone in ${seconds(ms)}`;
    },
  },
];

/** Pods leave in order: every socket is told 1012, and they end with 0 in time. */
async function leaves(context: FaultContext, pods: readonly Pod[]): Promise<string> {
  if (pods.some((pod) => pod.pid === 0)) throw new Unsupported("there is no pod to leave");
  const there = context.history.socketsOn(pods.map((pod) => pod.index));
  const codes: number[] = [];
  const unsubscribe = context.history.subscribe((entry) => {
    if (entry.e === "close" && there.has(entry.socket) && entry.code !== 1000) codes.push(entry.code);
  });
  const left = await Promise.all(pods.map((pod) => pod.leave()));
  await Bun.sleep(100); // the last closes are on their way
  unsubscribe();
  for (const [i, { code, ms }] of left.entries()) {
    if (code !== 0) context.wrong(`${pods[i]?.name} ended with ${code}`);
    if (ms > LEAVES_WITHIN_MS) context.wrong(`${pods[i]?.name} took ${seconds(ms)} to leave`);
  }
  const others = codes.filter((code) => code !== 1012 && code !== 1001);
  if (others.length > 0) context.wrong(`${others.length} of ${codes.length} sockets were closed with ${others[0]}`);
  const names = pods.map((pod) => pod.name).join(" and ");
  return `${names}, ${codes.length} sockets told, gone in ${seconds(Math.max(...left.map(({ ms }) => ms)))}`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
