/** Faults of PostgreSQL: stopped, crashed, hanging, short of resources. */

import { dirname } from "node:path";

import { connect } from "../../../src/db/client.ts";
import { signal } from "../../support/sandbox.ts";
import type { Postgres } from "../postgres.ts";
import { until } from "../workload.ts";
import { type Fault, type FaultContext, last, requireTool, Unsupported } from "./fault.ts";

/** The time until an ack once PostgreSQL accepts connections. */
const ACK_WITHIN_MS = 3_000;
/** As long as CoreDNS caches a denial in many distributions. */
const NAME_UNKNOWN_MS = 30_000;

export const postgresFaults: readonly Fault[] = [
  restart({ id: "F07", name: "PostgreSQL restarted" }, "SIGINT", (postgres) => postgres.start()),
  restart({ id: "F08", name: "PostgreSQL crashed", crash: true }, "SIGQUIT", async (postgres, { seconds }) => {
    await last(seconds(2));
    await postgres.start();
  }),
  restart({ id: "F09", name: "postmaster killed", crash: true }, "SIGKILL", (postgres) => postgres.start()),
  {
    id: "F10",
    name: "backend killed, all sessions reset",
    crash: true,
    async run(context) {
      const { postgres } = context.cluster;
      signal(context.random.pick(await postgres.backends({ listening: false })), "SIGKILL");
      await Bun.sleep(200);
      await postgres.sql.run((sql) => sql`select 1`);
      return timeToAck(context, "it answered");
    },
  },
  {
    id: "F11",
    name: "sessions of the pods terminated",
    async run({ cluster: { postgres }, seconds }) {
      let count = 0;
      for (const end = performance.now() + seconds(5) * 1_000; performance.now() < end; await Bun.sleep(1_000)) {
        const pids = await postgres.backends({ listening: false });
        await postgres.terminate(pids);
        count += pids.length;
      }
      return `${count} of them`;
    },
  },
  {
    id: "F12",
    name: "listening sessions terminated",
    async run({ cluster: { postgres, valkey } }) {
      if (valkey) return `instead, ${valkey.proxy.reset()} connections to Valkey reset`;
      const pids = await postgres.backends({ listening: true });
      if (pids.length === 0) throw new Unsupported("no session listens");
      await postgres.terminate(pids);
      return `${pids.length} of them`;
    },
  },
  {
    id: "F14",
    name: "backend stopped",
    async run(context) {
      const pid = context.random.pick(await context.cluster.postgres.writers());
      signal(pid, "SIGSTOP");
      const lasted = await last(context.seconds(9));
      signal(pid, "SIGCONT");
      return `a writer's, ${lasted}`;
    },
  },
  {
    id: "F15",
    name: "slow disk",
    async run(context) {
      return `0.4 s per flush, ${await inject(context, "fdatasync", "delay_enter=400000", { seconds: 5 })}`;
    },
  },
  {
    id: "F16",
    name: "flush failed",
    crash: true,
    async run(context) {
      await inject(context, "fdatasync", "error=EIO:when=1", { seconds: 1 });
      await context.cluster.postgres.sql.run((sql) => sql`select 1`);
      return timeToAck(context, "it answered");
    },
  },
  {
    id: "F17",
    name: "disk full",
    async run(context) {
      // WAL writes still succeed: if they failed, PostgreSQL would panic, which is F16.
      const files = await context.cluster.postgres.files(["messages", "messages_pkey", "messages_ref"]);
      const calls = "pwrite64,pwritev,fallocate";
      return `for messages, ${await inject(context, calls, "error=ENOSPC", { seconds: 4, files })}`;
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
    name: "connections exhausted",
    async run({ cluster: { postgres }, seconds }) {
      const duration = seconds(4);
      const end = performance.now() + duration * 1_000;
      const url = postgres.urlFor("unix" in postgres.address ? dirname(postgres.address.unix) : "");
      const occupy = async () => {
        for (; performance.now() < end; await Bun.sleep(20)) {
          const sql = connect(url, { name: "crowd", max: 1 });
          await sql`select pg_sleep(${(end - performance.now()) / 1_000})`.catch(() => {}); // rejected: too many
          await sql.end({ timeout: 0 }).catch(() => {});
        }
      };
      const occupying = Array.from({ length: 110 }, occupy);
      await Bun.sleep(1_000);
      await postgres.terminate(await postgres.backends({ listening: false })); // they cannot reconnect
      await Promise.all(occupying);
      return `for ${duration.toFixed(0)} s`;
    },
  },
  restart({ id: "F37", name: "promotion to a new timeline" }, "SIGINT", (postgres) => postgres.promote()),
  {
    id: "F41",
    name: "PostgreSQL's name does not resolve",
    async run(context) {
      const { hosts, pods, undo } = context.cluster;
      if (!hosts) throw new Unsupported("a name that stops resolving needs root on Linux");
      const codes: number[] = [];
      const unsubscribe = context.history.subscribe((entry) => {
        if (entry.e === "close" && entry.code >= 1_011) codes.push(entry.code);
      });
      undo.add(() => hosts.add());
      hosts.remove();
      for (const pod of pods) pod.database.reset();
      await Bun.sleep(NAME_UNKNOWN_MS);
      unsubscribe();
      hosts.add();
      const closed = `${codes.length} sockets closed${codes.length > 0 ? ` (${[...new Set(codes)].join(", ")})` : ""}`;
      if (codes.length > 0) context.violation(closed);
      return `for ${NAME_UNKNOWN_MS / 1_000} s, ${closed}; ${await timeToAck(context, "it resolved")}`;
    },
  },
];

/** PostgreSQL is stopped by a signal and started again. */
function restart(
  fault: Omit<Fault, "run">,
  signal: "SIGINT" | "SIGQUIT" | "SIGKILL",
  start: (postgres: Postgres, context: FaultContext) => Promise<void>,
): Fault {
  return {
    ...fault,
    async run(context) {
      const { postgres } = context.cluster;
      await postgres.stop(signal);
      await start(postgres, context);
      return timeToAck(context, "it accepted connections");
    },
  };
}

/** The time until the next ack, which has a bound. */
async function timeToAck(context: FaultContext, since: string): Promise<string> {
  const startedAt = performance.now();
  let acked = false;
  const unsubscribe = context.history.subscribe((entry) => (acked ||= entry.e === "ack"));
  await until(() => acked, 20_000);
  unsubscribe();
  const ms = Math.round(performance.now() - startedAt);
  if (ms > ACK_WITHIN_MS) context.violation(`the first ack arrived ${ms} ms after ${since}`);
  return `first ack ${ms} ms after ${since}`;
}

/** Makes system calls of the writing sessions fail or take long. @param options.files only on these */
async function inject(
  context: FaultContext,
  calls: string,
  fault: string,
  options: { seconds: number; files?: readonly string[] },
): Promise<string> {
  const strace = requireTool("strace");
  const pids = await context.cluster.postgres.writers();
  const targets = pids.flatMap((pid) => ["-p", String(pid)]);
  const paths = (options.files ?? []).flatMap((file) => ["-P", file]);
  const rules = ["-e", `trace=${calls}`, "-e", `inject=${calls}:${fault}`, "-o", "/dev/null", ...paths];
  const child = Bun.spawn([strace, "-f", "-qq", ...rules, ...targets], { stdio: ["ignore", "ignore", "pipe"] });
  const lasted = await last(context.seconds(options.seconds));
  const early = child.exitCode;
  child.kill("SIGTERM");
  await child.exited;
  if (early !== null && early !== 0 && !fault.includes("when=1"))
    throw new Unsupported(`strace: ${(await new Response(child.stderr).text()).trim().split("\n")[0]}`);
  return lasted;
}
