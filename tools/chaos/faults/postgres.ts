/** Faults of PostgreSQL: it stops, crashes, hangs, and runs out of what it needs. */

import { connect } from "../../../src/db/client.ts";
import { send } from "../stage.ts";
import { until } from "../town.ts";
import { type Fault, need, NotHere, type Scene } from "./fault.ts";

/** How soon after PostgreSQL takes connections something is acknowledged again. */
const ACK_WITHIN_MS = 3_000;
/** As long as CoreDNS keeps a denial in many distributions. */
const NAME_UNKNOWN_MS = 30_000;

export const postgresFaults: readonly Fault[] = [
  {
    id: "F07",
    name: "PostgreSQL restarted",
    async run(scene) {
      await scene.stage.postgres.down("SIGINT");
      await scene.stage.postgres.up();
      return ackAfter(scene, "it took connections");
    },
  },
  {
    id: "F08",
    name: "PostgreSQL crashed",
    crash: true,
    async run(scene) {
      await scene.stage.postgres.down("SIGQUIT");
      await Bun.sleep(scene.seconds(2) * 1_000);
      await scene.stage.postgres.up();
      return ackAfter(scene, "recovery");
    },
  },
  {
    id: "F09",
    name: "postmaster killed",
    crash: true,
    async run(scene) {
      await scene.stage.postgres.down("SIGKILL");
      await scene.stage.postgres.up();
      return ackAfter(scene, "recovery");
    },
  },
  {
    id: "F10",
    name: "backend killed, all sessions reset",
    crash: true,
    async run(scene) {
      const { postgres } = scene.stage;
      send(scene.random.pick(await postgres.backends({ listening: false })), "SIGKILL");
      await Bun.sleep(200);
      await postgres.sql.run((sql) => sql`select 1`);
      return ackAfter(scene, "it answered");
    },
  },
  {
    id: "F11",
    name: "sessions of the pods terminated",
    async run({ stage, seconds }) {
      let count = 0;
      const end = performance.now() + seconds(5) * 1_000;
      for (; performance.now() < end; await Bun.sleep(1_000)) {
        const pids = await stage.postgres.backends({ listening: false });
        await stage.postgres.terminate(pids);
        count += pids.length;
      }
      return `${count} of them`;
    },
  },
  {
    id: "F12",
    name: "listening sessions terminated",
    async run({ stage }) {
      if (stage.valkey) return `${stage.valkey.link.cut()} connections to Valkey cut instead`;
      const pids = await stage.postgres.backends({ listening: true });
      if (pids.length === 0) throw new NotHere("nobody listens");
      await stage.postgres.terminate(pids);
      return `${pids.length} of them`;
    },
  },
  {
    id: "F14",
    name: "backend stopped",
    async run(scene) {
      const pid = scene.random.pick(await scene.stage.postgres.writers());
      send(pid, "SIGSTOP");
      const lasts = scene.seconds(9);
      await Bun.sleep(lasts * 1_000);
      send(pid, "SIGCONT");
      return `a writer's, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F15",
    name: "slow disk",
    async run(scene) {
      const lasts = await inject(scene, "fdatasync", "delay_enter=400000", 5);
      return `0.4 s for each flush, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F16",
    name: "flush failed",
    crash: true,
    async run(scene) {
      await inject(scene, "fdatasync", "error=EIO:when=1", 1);
      await scene.stage.postgres.sql.run((sql) => sql`select 1`);
      return ackAfter(scene, "it answered");
    },
  },
  {
    id: "F17",
    name: "disk full",
    async run(scene) {
      // The log's writes go on: full there, PostgreSQL stops itself (F16 is that).
      const files = await scene.stage.postgres.files(["messages", "messages_pkey", "messages_ref"]);
      const lasts = await inject(scene, "pwrite64,pwritev,fallocate", "error=ENOSPC", 4, files);
      return `for messages, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F18",
    name: "table locked",
    async run({ stage, random }) {
      const seconds = random.between(2, 4.7);
      const table = random.pick(["messages", "conversations"]);
      await stage.postgres.sql.run((sql) =>
        sql.unsafe(`do $$ begin lock table ${table} in access exclusive mode; perform pg_sleep(${seconds}); end $$`),
      );
      return `${table}, for ${seconds.toFixed(1)} s`;
    },
  },
  {
    id: "F20",
    name: "connections used up",
    async run({ stage, seconds }) {
      const lasts = seconds(4);
      const end = performance.now() + lasts * 1_000;
      const address = stage.postgres.address(socketsOf(stage));
      const take = async () => {
        for (; performance.now() < end; await Bun.sleep(20)) {
          const one = connect(address, { name: "crowd", max: 1 });
          await one`select pg_sleep(${(end - performance.now()) / 1_000})`.catch(() => {}); // no room for it
          await one.end({ timeout: 0 }).catch(() => {});
        }
      };
      const crowd = Array.from({ length: 110 }, take);
      await Bun.sleep(1_000);
      await stage.postgres.terminate(await stage.postgres.backends({ listening: false })); // they find no way back
      await Promise.all(crowd);
      return `for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F41",
    name: "name of PostgreSQL unknown",
    async run(scene) {
      const { names, pods } = scene.stage;
      if (!names) throw new NotHere("only root on Linux can make a name that is unknown");
      const closed: number[] = [];
      const unfollow = scene.history.follow((entry) => {
        if (entry.e === "close" && entry.code >= 1_011) closed.push(entry.code);
      });
      scene.stage.undo.add(() => names.known());
      names.unknown();
      for (const pod of pods) pod.database.cut();
      await Bun.sleep(NAME_UNKNOWN_MS);
      unfollow();
      names.known();
      const sockets = `${closed.length} sockets closed${closed.length > 0 ? ` (${[...new Set(closed)].join(", ")})` : ""}`;
      if (closed.length > 0) scene.wrong(sockets);
      return `for ${NAME_UNKNOWN_MS / 1_000} s, ${sockets}; ${await ackAfter(scene, "it was known")}`;
    },
  },
  {
    id: "F37",
    name: "promotion to a new timeline",
    async run(scene) {
      await scene.stage.postgres.down("SIGINT");
      await scene.stage.postgres.promoted();
      return ackAfter(scene, "it took connections");
    },
  },
];

/** How soon something is acknowledged, now that PostgreSQL is back. */
async function ackAfter(scene: Scene, since: string): Promise<string> {
  const begun = performance.now();
  let acked = false;
  const unfollow = scene.history.follow((entry) => (acked ||= entry.e === "ack"));
  await until(() => acked, 20_000);
  unfollow();
  const ms = performance.now() - begun;
  if (ms > ACK_WITHIN_MS) scene.wrong(`the first ack came ${Math.round(ms)} ms after ${since}`);
  return `first ack ${Math.round(ms)} ms after ${since}`;
}

/** Lets system calls of the pods' sessions go wrong for a while. @param files on these only @returns for how many seconds */
async function inject(
  scene: Scene,
  calls: string,
  what: string,
  short: number,
  files: readonly string[] = [],
): Promise<number> {
  const strace = need("strace");
  const pids = await scene.stage.postgres.writers();
  const words = pids.flatMap((pid) => ["-p", String(pid)]);
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:${what}`, "-o", "/dev/null"].concat(
    files.flatMap((file) => ["-P", file]),
  );
  const child = Bun.spawn([strace, "-f", "-qq", ...inject, ...words], { stdio: ["ignore", "ignore", "pipe"] });
  const lasts = scene.seconds(short);
  await Bun.sleep(lasts * 1_000);
  const early = child.exitCode;
  child.kill("SIGTERM");
  await child.exited;
  if (early !== null && early !== 0 && !what.includes("when=1"))
    throw new NotHere(`strace: ${(await new Response(child.stderr).text()).trim().split("\n")[0]}`);
  return lasts;
}

function socketsOf({ postgres: { place } }: Scene["stage"]): string {
  return "unix" in place ? place.unix.slice(0, place.unix.lastIndexOf("/")) : "";
}
