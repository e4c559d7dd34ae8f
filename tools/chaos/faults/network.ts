/** Faults of the network: between pods and PostgreSQL, between people and pods, and of the way between pods. */

import { anyPod, connectionsOf, type Fault, need, NotHere } from "./fault.ts";

export const networkFaults: readonly Fault[] = [
  {
    id: "F13",
    name: "notifications do not arrive",
    async run(scene) {
      const { valkey, postgres } = scene.stage;
      const lasts = scene.seconds(6);
      const pod = anyPod(scene);
      if (valkey) valkey.link.set({ down: "stall" });
      else {
        const pids = new Set(await postgres.backends({ listening: true }));
        if (pids.size === 0) throw new NotHere("nobody listens");
        const listening = pod.database.connections.filter(({ backend }) => backend !== undefined && pids.has(backend));
        for (const connection of listening) connection.set({ down: "stall" });
      }
      await Bun.sleep(lasts * 1_000);
      scene.stage.heal();
      return `at ${valkey ? "any pod" : pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F21",
    name: "PostgreSQL out of reach",
    async run(scene) {
      const pod = anyPod(scene);
      const lasts = scene.seconds(8);
      pod.database.set({ up: "stall", down: "stall" });
      await Bun.sleep(2_000);
      const left = scene.town.leave(pod.index); // what the pod holds and goes on trying is sent to another meanwhile
      await Bun.sleep(lasts * 1_000 - 2_000);
      pod.database.heal();
      return `for ${pod.name}, ${lasts.toFixed(0)} s; ${left} tabs that waited went to another`;
    },
  },
  {
    id: "F22",
    name: "answers of PostgreSQL do not arrive",
    async run(scene) {
      const pod = anyPod(scene);
      const lasts = scene.seconds(8);
      pod.database.set({ down: scene.random.pick(["stall", "drop"]) });
      await Bun.sleep(lasts * 1_000);
      pod.database.heal();
      return `at ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F23",
    name: "connections to PostgreSQL reset",
    async run(scene) {
      const pod = anyPod(scene);
      let count = 0;
      for (const end = performance.now() + scene.seconds(3) * 1_000; performance.now() < end; await Bun.sleep(500))
        count += pod.database.cut();
      return `${count} of ${pod.name}`;
    },
  },
  {
    id: "F24",
    name: "packets lost",
    async run(scene) {
      const iptables = need("iptables", { root: true });
      const pod = anyPod(scene);
      const rule = (act: "-A" | "-D") =>
        Bun.spawnSync(
          [iptables, act, "INPUT", "-i", "lo", "-p", "tcp", "--dport", String(pod.port)].concat([
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            "0.1",
            "-j",
            "DROP",
          ]),
        );
      if (rule("-A").exitCode !== 0) throw new NotHere("iptables refuses");
      scene.stage.undo.add(() => rule("-D"));
      const lasts = scene.seconds(6);
      await Bun.sleep(lasts * 1_000);
      scene.stage.heal();
      return `a tenth on the way to ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F25",
    name: "people vanish without a word",
    async run(scene) {
      const names = scene.random.shuffled(scene.town.names).slice(0, Math.ceil(scene.town.names.length / 10));
      const lasts = scene.seconds(5);
      for (const name of names) {
        for (const connection of connectionsOf(scene, name)) connection.set({ up: "drop", down: "drop" });
      }
      await Bun.sleep(lasts * 1_000);
      scene.stage.heal();
      return `${names.length} people, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F26",
    name: "sockets cut",
    async run(scene) {
      let count = 0;
      for (let round = 0; round < 3; round++) {
        const pod = anyPod(scene);
        const ss = process.getuid?.() === 0 && round === 1 ? Bun.which("ss") : null;
        if (ss) Bun.spawnSync([ss, "-K", "sport", "=", `:${pod.port}`]);
        count += pod.link.cut();
        await Bun.sleep(scene.random.between(500, 1_500));
      }
      return `${count} of them`;
    },
  },
  {
    id: "F36",
    name: "Valkey away",
    async run({ stage, random, seconds }) {
      const { valkey } = stage;
      if (!valkey) throw new NotHere("the bus is PostgreSQL");
      const lasts = seconds(5);
      const dies = random.next() < 0.5;
      if (dies) await valkey.kill();
      else valkey.signal("SIGSTOP");
      await Bun.sleep(lasts * 1_000);
      if (dies) await valkey.up();
      else valkey.signal("SIGCONT");
      return `${dies ? "killed" : "frozen"}, for ${lasts.toFixed(0)} s`;
    },
  },
];
