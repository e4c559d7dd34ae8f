/** Faults of the network: between pods and PostgreSQL, between people and pods, and of the way between pods. */

import { connectionsOf, type Fault, pickPod, requireTool, Unsupported } from "./fault.ts";

export const networkFaults: readonly Fault[] = [
  {
    id: "F13",
    name: "notifications do not arrive",
    async run(context) {
      const { valkey, postgres } = context.cluster;
      const lasts = context.seconds(6);
      const pod = pickPod(context);
      if (valkey) valkey.proxy.set({ downstream: "stall" });
      else {
        const pids = new Set(await postgres.backends({ listening: true }));
        if (pids.size === 0) throw new Unsupported("nobody listens");
        const listening = pod.database.connections.filter(({ backend }) => backend !== undefined && pids.has(backend));
        for (const connection of listening) connection.set({ downstream: "stall" });
      }
      await Bun.sleep(lasts * 1_000);
      context.cluster.heal();
      return `at ${valkey ? "any pod" : pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F21",
    name: "PostgreSQL out of reach",
    async run(context) {
      const pod = pickPod(context);
      const lasts = context.seconds(8);
      pod.database.set({ upstream: "stall", downstream: "stall" });
      await Bun.sleep(2_000);
      const left = context.workload.leave(pod.index); // what the pod holds and goes on trying is sent to another meanwhile
      await Bun.sleep(lasts * 1_000 - 2_000);
      pod.database.heal();
      return `for ${pod.name}, ${lasts.toFixed(0)} s; ${left} tabs that waited went to another`;
    },
  },
  {
    id: "F22",
    name: "answers of PostgreSQL do not arrive",
    async run(context) {
      const pod = pickPod(context);
      const lasts = context.seconds(8);
      pod.database.set({ downstream: context.random.pick(["stall", "drop"]) });
      await Bun.sleep(lasts * 1_000);
      pod.database.heal();
      return `at ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F23",
    name: "connections to PostgreSQL reset",
    async run(context) {
      const pod = pickPod(context);
      let count = 0;
      for (const end = performance.now() + context.seconds(3) * 1_000; performance.now() < end; await Bun.sleep(500))
        count += pod.database.reset();
      return `${count} of ${pod.name}`;
    },
  },
  {
    id: "F24",
    name: "packets lost",
    async run(context) {
      const iptables = requireTool("iptables", { root: true });
      const pod = pickPod(context);
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
      if (rule("-A").exitCode !== 0) throw new Unsupported("iptables refuses");
      context.cluster.undo.add(() => rule("-D"));
      const lasts = context.seconds(6);
      await Bun.sleep(lasts * 1_000);
      context.cluster.heal();
      return `a tenth on the way to ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F25",
    name: "people vanish without a word",
    async run(context) {
      const names = context.random
        .shuffled(context.workload.names)
        .slice(0, Math.ceil(context.workload.names.length / 10));
      const lasts = context.seconds(5);
      for (const name of names) {
        for (const connection of connectionsOf(context, name)) connection.set({ upstream: "drop", downstream: "drop" });
      }
      await Bun.sleep(lasts * 1_000);
      context.cluster.heal();
      return `${names.length} people, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F26",
    name: "sockets cut",
    async run(context) {
      let count = 0;
      for (let round = 0; round < 3; round++) {
        const pod = pickPod(context);
        const ss = process.getuid?.() === 0 && round === 1 ? Bun.which("ss") : null;
        if (ss) Bun.spawnSync([ss, "-K", "sport", "=", `:${pod.port}`]);
        count += pod.proxy.reset();
        await Bun.sleep(context.random.between(500, 1_500));
      }
      return `${count} of them`;
    },
  },
  {
    id: "F36",
    name: "Valkey away",
    async run({ cluster, random, seconds }) {
      const { valkey } = cluster;
      if (!valkey) throw new Unsupported("the bus is PostgreSQL");
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
