/** `postmaster.pid`, which prevents two servers on one cluster, and the process it names. */

import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { platform } from "node:os";
import { join } from "node:path";

import { PORT } from "./layout.ts";

/** Reads `postmaster.pid`. That process may be dead, and its pid reused. */
export function readPostmaster(cluster: string): { pid: number; sockets: string; status: string } | undefined {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
    return { pid: Number(lines[0]), sockets: lines[4] ?? "", status: lines[7]?.trim() || "starting" };
  } catch {
    return undefined;
  }
}

/** Whether a process works in this cluster, so that it is PostgreSQL and has not reused its pid. */
export function worksIn(cluster: string, pid: number): boolean {
  try {
    if (platform() === "linux") return sameFile(`/proc/${pid}/cwd`, cluster);
    return Bun.spawnSync(["ps", "-o", "command=", "-p", String(pid)])
      .stdout.toString()
      .includes(cluster);
  } catch {
    return false;
  }
}

/** Whether two paths refer to the same file, also across mounts. */
export function sameFile(one: string, other: string): boolean {
  const [a, b] = [statSync(one, { throwIfNoEntry: false }), statSync(other, { throwIfNoEntry: false })];
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/**
 * Clears files of a dead PostgreSQL that would prevent a start: PostgreSQL refuses to start while
 * the pid in `postmaster.pid` belongs to any process of its user. Replaces the pid with an
 * impossible one and keeps the rest, by which PostgreSQL finds surviving backends. Removes a file
 * that a crash or a full disk has emptied.
 */
export function clearStalePostmaster(cluster: string, sockets: string): void {
  const path = join(cluster, "postmaster.pid");
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  if (/^\d+\n/.test(text))
    writeFileSync(path, text.replace(/^\d+/, "2147483646"), { flag: "r+" }); // "w" would empty the file on a full disk
  else rmSync(path, { force: true });
  rmSync(join(sockets, `.s.PGSQL.${PORT}`), { force: true });
  rmSync(join(sockets, `.s.PGSQL.${PORT}.lock`), { force: true });
}

/** Signals PostgreSQL to end its sessions and stop. @param pid one that `worksIn` just confirmed */
export function interrupt(pid: number): void {
  Bun.spawnSync(["sh", "-c", 'kill -INT "$1"', "sh", String(pid)]);
}
