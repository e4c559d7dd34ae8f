/** Faults of the network: between pods and PostgreSQL, between clients and pods, and of the bus. */

import { connectionsOf, type Fault, last, pickPod, requireTool, Unsupported } from "./fault.ts";

const STALL = { upstream: "stall", downstream: "stall" } as const;
const DROP = { upstream: "drop", downstream: "drop" } as const;

export const networkFaults: readonly Fault[] = [
  {
    id: "F13",
    name: "notifications do not arrive",
    async run(context) {
      const { valkey, postgres } = context.cluster;
      const pod = pickPod(context);
      if (valkey) valkey.proxy.set({ downstream: "stall" });
      else {
        const pids = new Set(await postgres.backends({ listening: true }));
        if (pids.size === 0) throw new Unsupported("no session listens");
        const listening = pod.database.connections.filter(({ backend }) => backend !== undefined && pids.has(backend));
        for (const connection of listening) connection.set({ downstream: "stall" });
      }
      return `at ${valkey ? "all pods" : pod.name}, ${await last(context.seconds(6))}`;
    },
  },
  {
    id: "F21",
    name: "PostgreSQL unreachable",
    async run(context) {
      const pod = pickPod(context);
      pod.database.set(STALL);
      await Bun.sleep(2_000);
      const moved = context.workload.moveAwayFrom(pod.index); // its pending sends reach another pod
      const lasted = await last(context.seconds(8) - 2);
      return `from ${pod.name}, ${lasted} more; ${moved} tabs with unsent messages moved to another pod`;
    },
  },
  {
    id: "F22",
    name: "answers of PostgreSQL do not arrive",
    async run(context) {
      const pod = pickPod(context);
      pod.database.set({ downstream: context.random.pick(["stall", "drop"]) });
      return `at ${pod.name}, ${await last(context.seconds(8))}`;
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
    name: "packet loss",
    async run(context) {
      const iptables = requireTool("iptables", { root: true });
      const pod = pickPod(context);
      const match = `INPUT -i lo -p tcp --dport ${pod.port} -m statistic --mode random --probability 0.1 -j DROP`;
      const rule = (action: "-A" | "-D") => Bun.spawnSync([iptables, action, ...match.split(" ")]);
      if (rule("-A").exitCode !== 0) throw new Unsupported("iptables failed");
      context.cluster.undo.add(() => rule("-D"));
      return `10 % towards ${pod.name}, ${await last(context.seconds(6))}`;
    },
  },
  {
    id: "F25",
    name: "clients vanish without a close",
    async run(context) {
      const { random, workload } = context;
      const names = random.shuffled(workload.names).slice(0, Math.ceil(workload.names.length / 10));
      for (const name of names) for (const connection of connectionsOf(context, name)) connection.set(DROP);
      return `${names.length} users, ${await last(context.seconds(5))}`;
    },
  },
  {
    id: "F26",
    name: "sockets reset",
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
    name: "Valkey down",
    async run({ cluster, random, seconds }) {
      const { valkey } = cluster;
      if (!valkey) throw new Unsupported("the bus is PostgreSQL");
      const isKilled = random.next() < 0.5;
      if (isKilled) await valkey.kill();
      else valkey.signal("SIGSTOP");
      const lasted = await last(seconds(5));
      if (isKilled) await valkey.start();
      else valkey.signal("SIGCONT");
      return `${isKilled ? "killed" : "frozen"}, ${lasted}`;
    },
  },
];
