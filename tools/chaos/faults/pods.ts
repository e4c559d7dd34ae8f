/** Faults of pods: they die, leave, freeze, and run out of what they need. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Pod } from "../stage.ts";
import { anyPod, type Fault, need, NotHere, type Scene } from "./fault.ts";

const LEAVES_WITHIN_MS = 25_000;
const AWAY_MS = 1_000;

export const podFaults: readonly Fault[] = [
  {
    id: "F01",
    name: "pod killed",
    async run(scene) {
      const pod = anyPod(scene);
      pod.kill();
      await Bun.sleep(AWAY_MS);
      await pod.start();
      return pod.name;
    },
  },
  {
    id: "F02",
    name: "pod leaves",
    async run(scene) {
      const pod = anyPod(scene);
      const said = await leaves(scene, [pod]);
      await pod.start();
      return said;
    },
  },
  {
    id: "F03",
    name: "all pods but one leave at once",
    pods: 3,
    async run(scene) {
      const pods = scene.random.shuffled(scene.stage.pods).slice(1);
      const said = await leaves(scene, pods);
      await Bun.sleep(scene.seconds(4) * 1_000);
      await Promise.all(pods.map((pod) => pod.start()));
      return said;
    },
  },
  {
    id: "F04",
    name: "rolling restart",
    async run(scene) {
      const said: string[] = [];
      for (let round = 0; round < scene.seconds(1); round++) {
        for (const pod of scene.stage.pods) {
          said.push(await leaves(scene, [pod]));
          await pod.start();
        }
      }
      return said.join("; ");
    },
  },
  {
    id: "F05",
    name: "pod frozen",
    async run(scene) {
      const pod = anyPod(scene);
      const seconds = scene.seconds(7);
      pod.signal("SIGSTOP");
      await Bun.sleep(seconds * 1_000);
      pod.signal("SIGCONT");
      return `${pod.name} for ${seconds.toFixed(0)} s`;
    },
  },
  {
    id: "F06",
    name: "all pods killed",
    async run({ stage }) {
      for (const pod of stage.pods) pod.kill();
      await Bun.sleep(AWAY_MS);
      await Promise.all(stage.pods.map((pod) => pod.start()));
      return `${stage.pods.length} of them`;
    },
  },
  {
    id: "F32",
    name: "pod out of file descriptors",
    async run(scene) {
      const prlimit = need("prlimit");
      const pod = anyPod(scene);
      const before = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pod.pid}/limits`, "utf8"))?.[1] ?? "";
      const limit = readdirSync(`/proc/${pod.pid}/fd`).length + 20;
      const set = (soft: string) => Bun.spawnSync([prlimit, "--pid", String(pod.pid), `--nofile=${soft}:`]);
      set(String(limit));
      const guests: Bun.Socket[] = [];
      for (let i = 0; i < 60; i++) {
        const socket = { data: () => {}, error: () => {}, connectError: () => {} };
        guests.push(await Bun.connect({ hostname: "127.0.0.1", port: pod.port, socket }));
      }
      await Bun.sleep(scene.seconds(4) * 1_000);
      for (const guest of guests) guest.terminate();
      set(before);
      return `${pod.name}, ${guests.length} connections with room for 20`;
    },
  },
  {
    id: "F38",
    name: "pod with a wrong clock",
    async run(scene) {
      const pod = anyPod(scene);
      const hours = scene.random.pick([-1, 1]);
      await leaves(scene, [pod]);
      await pod.start({
        env: { CHAOS_CLOCK_HOURS: String(hours) },
        words: ["--preload", join(import.meta.dir, "..", "clock.ts")],
      });
      await Bun.sleep(scene.seconds(6) * 1_000);
      await leaves(scene, [pod]);
      await pod.start();
      return `${pod.name}, ${hours > 0 ? "an hour ahead" : "an hour behind"}`;
    },
  },
  {
    id: "F39",
    name: "pod leaves while PostgreSQL is out of reach",
    async run(scene) {
      const pod = anyPod(scene);
      pod.database.set({ up: "stall", down: "stall" });
      const { ms } = await pod.leave();
      pod.database.heal();
      if (ms > LEAVES_WITHIN_MS + 500) scene.wrong(`${pod.name} took ${seconds(ms)} to leave`);
      await pod.start();
      return `${pod.name}, gone in ${seconds(ms)}`;
    },
  },
];

/** Pods leave in order: every socket is told 1012, and they end with 0 in time. */
async function leaves(scene: Scene, pods: readonly Pod[]): Promise<string> {
  if (pods.some((pod) => pod.pid === 0)) throw new NotHere("there is no pod to leave");
  const there = scene.history.socketsOn(pods.map((pod) => pod.index));
  const codes: number[] = [];
  const unfollow = scene.history.follow((entry) => {
    if (entry.e === "close" && there.has(entry.socket) && entry.code !== 1000) codes.push(entry.code);
  });
  const left = await Promise.all(pods.map((pod) => pod.leave()));
  await Bun.sleep(100); // the last closes are on their way
  unfollow();
  for (const [i, { code, ms }] of left.entries()) {
    if (code !== 0) scene.wrong(`${pods[i]?.name} ended with ${code}`);
    if (ms > LEAVES_WITHIN_MS) scene.wrong(`${pods[i]?.name} took ${seconds(ms)} to leave`);
  }
  const others = codes.filter((code) => code !== 1012 && code !== 1001);
  if (others.length > 0) scene.wrong(`${others.length} of ${codes.length} sockets were closed with ${others[0]}`);
  const names = pods.map((pod) => pod.name).join(" and ");
  return `${names}, ${codes.length} sockets told, gone in ${seconds(Math.max(...left.map(({ ms }) => ms)))}`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
