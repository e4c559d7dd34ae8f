/** CPU time and memory of processes, from /proc or `ps`. */

import { existsSync, readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100; // the kernel's USER_HZ, the same on every Linux
const HAS_PROC = existsSync("/proc/self/stat");

interface Row {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}

/** CPU seconds of a process and its children, exited ones included (PostgreSQL's sessions are processes). */
export function cpuSeconds(pid: number): number {
  const rows = HAS_PROC
    ? [pid, ...children(pid)].map(stat)
    : psRows().filter((row) => row.pid === pid || row.parent === pid);
  return rows.reduce((sum, row) => sum + (row?.cpuSeconds ?? 0), 0);
}

/** Resident memory of a process. */
export function rssBytes(pid: number): number {
  if (!HAS_PROC) return psRows().find((row) => row.pid === pid)?.rssBytes ?? Number.NaN;
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

/** Includes `cutime` and `cstime`, of reaped children. Undefined if the process has exited. */
function stat(pid: number): Omit<Row, "rssBytes"> | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // from field 3, after the command's name
    const ticks = [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0);
    return { pid, parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND };
  } catch {
    return undefined;
  }
}

/** `time` is minutes and seconds, on macOS with hundredths: 1:02.34. */
function psRows(): Row[] {
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

export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
