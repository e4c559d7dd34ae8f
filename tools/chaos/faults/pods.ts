/** Faults of pods: killed, terminated, frozen, short of resources. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Pod } from "../cluster.ts";
import { type Fault, type FaultContext, last, pickPod, requireTool, Unsupported } from "./fault.ts";

const TERMINATES_WITHIN_MS = 25_000;
const DOWN_MS = 1_000;

export const podFaults: readonly Fault[] = [
  {
    id: "F01",
    name: "pod killed",
    async run(context) {
      const pod = pickPod(context);
      pod.kill();
      await Bun.sleep(DOWN_MS);
      await pod.start();
      return pod.name;
    },
  },
  {
    id: "F02",
    name: "pod terminated",
    async run(context) {
      const pod = pickPod(context);
      const note = await terminate(context, [pod]);
      await pod.start();
      return note;
    },
  },
  {
    id: "F03",
    name: "all pods but one terminated at once",
    pods: 3,
    async run(context) {
      const pods = context.random.shuffled(context.cluster.pods).slice(1);
      const note = await terminate(context, pods);
      await last(context.seconds(4));
      await Promise.all(pods.map((pod) => pod.start()));
      return note;
    },
  },
  {
    id: "F04",
    name: "rolling restart",
    async run(context) {
      const notes: string[] = [];
      for (let round = 0; round < context.seconds(1); round++) {
        for (const pod of context.cluster.pods) {
          notes.push(await terminate(context, [pod]));
          await pod.start();
        }
      }
      return notes.join("; ");
    },
  },
  {
    id: "F05",
    name: "pod frozen",
    async run(context) {
      const pod = pickPod(context);
      pod.signal("SIGSTOP");
      const lasted = await last(context.seconds(7));
      pod.signal("SIGCONT");
      return `${pod.name}, ${lasted}`;
    },
  },
  {
    id: "F06",
    name: "all pods killed",
    async run({ cluster }) {
      for (const pod of cluster.pods) pod.kill();
      await Bun.sleep(DOWN_MS);
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
      await last(context.seconds(4));
      for (const client of clients) client.terminate();
      set(before);
      return `${pod.name}, ${clients.length} connections with descriptors for 20`;
    },
  },
  {
    id: "F38",
    name: "pod with a wrong clock",
    async run(context) {
      const pod = pickPod(context);
      const hours = context.random.pick([-1, 1]);
      await terminate(context, [pod]);
      const bunArgs = ["--preload", join(import.meta.dir, "..", "clock_skew.ts")];
      await pod.start({ env: { CHAOS_CLOCK_HOURS: String(hours) }, bunArgs });
      await last(context.seconds(6));
      await terminate(context, [pod]);
      await pod.start();
      return `${pod.name}, ${hours > 0 ? "an hour ahead" : "an hour behind"}`;
    },
  },
  {
    id: "F39",
    name: "pod terminated while PostgreSQL is unreachable",
    async run(context) {
      const pod = pickPod(context);
      pod.database.set({ upstream: "stall", downstream: "stall" });
      const { ms } = await pod.terminate();
      pod.database.heal();
      if (ms > TERMINATES_WITHIN_MS + 500) context.violation(`${pod.name} exited only after ${seconds(ms)}`);
      await pod.start();
      return `${pod.name}, exited after ${seconds(ms)}`;
    },
  },
];

/** Terminates pods, which must close every socket with 1012 and exit with 0 in time. */
async function terminate(context: FaultContext, pods: readonly Pod[]): Promise<string> {
  if (pods.some((pod) => pod.pid === 0)) throw new Unsupported("the pod is down");
  const sockets = context.history.socketsOn(pods.map((pod) => pod.index));
  const codes: number[] = [];
  const unsubscribe = context.history.subscribe((entry) => {
    if (entry.e === "close" && sockets.has(entry.socket) && entry.code !== 1000) codes.push(entry.code);
  });
  const exits = await Promise.all(pods.map((pod) => pod.terminate()));
  await Bun.sleep(100); // the last closes arrive
  unsubscribe();
  for (const [i, { code, ms }] of exits.entries()) {
    if (code !== 0) context.violation(`${pods[i]?.name} exited with ${code}`);
    if (ms > TERMINATES_WITHIN_MS) context.violation(`${pods[i]?.name} exited only after ${seconds(ms)}`);
  }
  const others = codes.filter((code) => code !== 1012 && code !== 1001);
  if (others.length > 0) context.violation(`${others.length} of ${codes.length} sockets were closed with ${others[0]}`);
  const names = pods.map((pod) => pod.name).join(" and ");
  return `${names}, ${codes.length} sockets closed, exited after ${seconds(Math.max(...exits.map(({ ms }) => ms)))}`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
