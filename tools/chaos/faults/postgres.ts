/** Faults of PostgreSQL: it stops, crashes, hangs, and runs out of what it needs. */

import { connect } from "../../../src/db/client.ts";
import { send } from "../cluster.ts";
import { until } from "../workload.ts";
import { type Fault, type FaultContext, requireTool, Unsupported } from "./fault.ts";

/** How soon after PostgreSQL takes connections something is acknowledged again. */
const ACK_WITHIN_MS = 3_000;
/** As long as CoreDNS keeps a denial in many distributions. */
const NAME_UNKNOWN_MS = 30_000;

export const postgresFaults: readonly Fault[] = [
  {
    id: "F07",
    name: "PostgreSQL restarted",
    async run(context) {
      await context.cluster.postgres.down("SIGINT");
      await context.cluster.postgres.up();
      return ackAfter(context, "it took connections");
    },
  },
  {
    id: "F08",
    name: "PostgreSQL crashed",
    crash: true,
    async run(context) {
      await context.cluster.postgres.down("SIGQUIT");
      await Bun.sleep(context.seconds(2) * 1_000);
      await context.cluster.postgres.up();
      return ackAfter(context, "recovery");
    },
  },
  {
    id: "F09",
    name: "postmaster killed",
    crash: true,
    async run(context) {
      await context.cluster.postgres.down("SIGKILL");
      await context.cluster.postgres.up();
      return ackAfter(context, "recovery");
    },
  },
  {
    id: "F10",
    name: "backend killed, all sessions reset",
    crash: true,
    async run(context) {
      const { postgres } = context.cluster;
      send(context.random.pick(await postgres.backends({ listening: false })), "SIGKILL");
      await Bun.sleep(200);
      await postgres.sql.run((sql) => sql`select 1`);
      return ackAfter(context, "it answered");
    },
  },
  {
    id: "F11",
    name: "sessions of the pods terminated",
    async run({ cluster, seconds }) {
      let count = 0;
      const end = performance.now() + seconds(5) * 1_000;
      for (; performance.now() < end; await Bun.sleep(1_000)) {
        const pids = await cluster.postgres.backends({ listening: false });
        await cluster.postgres.terminate(pids);
        count += pids.length;
      }
      return `${count} of them`;
    },
  },
  {
    id: "F12",
    name: "listening sessions terminated",
    async run({ cluster }) {
      if (cluster.valkey) return `${cluster.valkey.proxy.reset()} connections to Valkey cut instead`;
      const pids = await cluster.postgres.backends({ listening: true });
      if (pids.length === 0) throw new Unsupported("nobody listens");
      await cluster.postgres.terminate(pids);
      return `${pids.length} of them`;
    },
  },
  {
    id: "F14",
    name: "backend stopped",
    async run(context) {
      const pid = context.random.pick(await context.cluster.postgres.writers());
      send(pid, "SIGSTOP");
      const lasts = context.seconds(9);
      await Bun.sleep(lasts * 1_000);
      send(pid, "SIGCONT");
      return `a writer's, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F15",
    name: "slow disk",
    async run(context) {
      const lasts = await inject(context, "fdatasync", "delay_enter=400000", 5);
      return `0.4 s for each flush, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F16",
    name: "flush failed",
    crash: true,
    async run(context) {
      await inject(context, "fdatasync", "error=EIO:when=1", 1);
      await context.cluster.postgres.sql.run((sql) => sql`select 1`);
      return ackAfter(context, "it answered");
    },
  },
  {
    id: "F17",
    name: "disk full",
    async run(context) {
      // The log's writes go on: full there, PostgreSQL stops itself (F16 is that).
      const files = await context.cluster.postgres.files(["messages", "messages_pkey", "messages_ref"]);
      const lasts = await inject(context, "pwrite64,pwritev,fallocate", "error=ENOSPC", 4, files);
      return `for messages, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F18",
    name: "table locked",
    async run({ cluster, random }) {
      const seconds = random.between(2, 4.7);
      const table = random.pick(["messages", "conversations"]);
      await cluster.postgres.sql.run((sql) =>
        sql.unsafe(`do $$ begin lock table ${table} in access exclusive mode; perform pg_sleep(${seconds}); end $$`),
      );
      return `${table}, for ${seconds.toFixed(1)} s`;
    },
  },
  {
    id: "F20",
    name: "connections used up",
    async run({ cluster, seconds }) {
      const lasts = seconds(4);
      const end = performance.now() + lasts * 1_000;
      const address = cluster.postgres.address(socketsOf(cluster));
      const take = async () => {
        for (; performance.now() < end; await Bun.sleep(20)) {
          const one = connect(address, { name: "crowd", max: 1 });
          await one`select pg_sleep(${(end - performance.now()) / 1_000})`.catch(() => {}); // no room for it
          await one.end({ timeout: 0 }).catch(() => {});
        }
      };
      const crowd = Array.from({ length: 110 }, take);
      await Bun.sleep(1_000);
      await cluster.postgres.terminate(await cluster.postgres.backends({ listening: false })); // they find no way back
      await Promise.all(crowd);
      return `for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F41",
    name: "name of PostgreSQL unknown",
    async run(context) {
      const { names, pods } = context.cluster;
      if (!names) throw new Unsupported("only root on Linux can make a name that is unknown");
      const closed: number[] = [];
      const unsubscribe = context.history.subscribe((entry) => {
        if (entry.e === "close" && entry.code >= 1_011) closed.push(entry.code);
      });
      context.cluster.undo.add(() => names.known());
      names.unknown();
      for (const pod of pods) pod.database.reset();
      await Bun.sleep(NAME_UNKNOWN_MS);
      unsubscribe();
      names.known();
      const sockets = `${closed.length} sockets closed${closed.length > 0 ? ` (${[...new Set(closed)].join(", ")})` : ""}`;
      if (closed.length > 0) context.wrong(sockets);
      return `for ${NAME_UNKNOWN_MS / 1_000} s, ${sockets}; ${await ackAfter(context, "it was known")}`;
    },
  },
  {
    id: "F37",
    name: "promotion to a new timeline",
    async run(context) {
      await context.cluster.postgres.down("SIGINT");
      await context.cluster.postgres.promoted();
      return ackAfter(context, "it took connections");
    },
  },
];

/** How soon something is acknowledged, now that PostgreSQL is back. */
async function ackAfter(context: FaultContext, since: string): Promise<string> {
  const begun = performance.now();
  let acked = false;
  const unsubscribe = context.history.subscribe((entry) => (acked ||= entry.e === "ack"));
  await until(() => acked, 20_000);
  unsubscribe();
  const ms = performance.now() - begun;
  if (ms > ACK_WITHIN_MS) context.wrong(`the first ack came ${Math.round(ms)} ms after ${since}`);
  return `first ack ${Math.round(ms)} ms after ${since}`;
}

/** Lets system calls of the pods' sessions go wrong for a while. @param files on these only @returns for how many seconds */
async function inject(
  context: FaultContext,
  calls: string,
  what: string,
  short: number,
  files: readonly string[] = [],
): Promise<number> {
  const strace = requireTool("strace");
  const pids = await context.cluster.postgres.writers();
  const words = pids.flatMap((pid) => ["-p", String(pid)]);
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:${what}`, "-o", "/dev/null"].concat(
    files.flatMap((file) => ["-P", file]),
  );
  const child = Bun.spawn([strace, "-f", "-qq", ...inject, ...words], { stdio: ["ignore", "ignore", "pipe"] });
  const lasts = context.seconds(short);
  await Bun.sleep(lasts * 1_000);
  const early = child.exitCode;
  child.kill("SIGTERM");
  await child.exited;
  if (early !== null && early !== 0 && !what.includes("when=1"))
    throw new Unsupported(`strace: ${(await new Response(child.stderr).text()).trim().split("\n")[0]}`);
  return lasts;
}

function socketsOf({ postgres: { place } }: FaultContext["cluster"]): string {
  return "unix" in place ? place.unix.slice(0, place.unix.lastIndexOf("/")) : "";
}
