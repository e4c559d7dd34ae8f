/** What processes have used: CPU seconds and memory, from /proc, or from `ps` where there is none. */

import { existsSync, readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100; // the kernel's USER_HZ, the same on every Linux
const HAS_PROC = existsSync("/proc/self/stat");

interface Row {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}

/** CPU seconds of a process and its children, those that ended included (PostgreSQL's sessions are processes). */
export function cpuSeconds(pid: number): number {
  const rows = HAS_PROC
    ? [pid, ...children(pid)].map(stat)
    : listed().filter((row) => row.pid === pid || row.parent === pid);
  return rows.reduce((sum, row) => sum + (row?.cpuSeconds ?? 0), 0);
}

/** Memory of a process in use right now, without what is swapped or was never touched. */
export function rssBytes(pid: number): number {
  if (!HAS_PROC) return listed().find((row) => row.pid === pid)?.rssBytes ?? Number.NaN;
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

function children(pid: number): number[] {
  const list = `/proc/${pid}/task/${pid}/children`;
  if (existsSync(list)) return readFileSync(list, "utf8").split(" ").filter(Boolean).map(Number);
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => stat(Number(name)));
  return all.flatMap((row) => (row?.parent === pid ? [row.pid] : []));
}

/** `cutime` and `cstime` count children that have ended and were waited for. Undefined when the process is gone. */
function stat(pid: number): Omit<Row, "rssBytes"> | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // the name before may hold anything; field 3 comes first
    const ticks = [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0);
    return { pid, parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND };
  } catch {
    return undefined;
  }
}

/** On macOS `time` has hundredths: 1:02.34. */
function listed(): Row[] {
  const { stdout } = Bun.spawnSync(["ps", "-axo", "pid=,ppid=,rss=,time="]);
  return stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => {
      const [pid, parent, kilobytes, time = "0"] = line.trim().split(/\s+/);
      const seconds = time.split(/[:-]/).reduce((sum, part) => sum * 60 + Number(part), 0);
      return { pid: Number(pid), parent: Number(parent), cpuSeconds: seconds, rssBytes: Number(kilobytes) * 1024 };
    });
}
