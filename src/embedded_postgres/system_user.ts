/** Chooses the system user that runs PostgreSQL, which refuses to run as root. */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { getgid, getuid } from "node:process"; // `userInfo()` throws where a user has neither name nor HOME

export type Ids = { uid: number; gid: number };

/**
 * How a program is run. `self`: as the current user. `user`: by root, as another user. `namespace`:
 * in a user namespace that shows our files as another user's; needs no chown, and reaches root's
 * files.
 */
export type RunMode = { kind: "self" | "user" | "namespace"; files: Ids; shown?: Ids };

/** Ranges for a dedicated user id, best first. */
const RANGES = [
  { from: 1_879_048_192, to: 2_147_483_646 }, // assigned by no distribution, container runtime or systemd (systemd.io/UIDS-GIDS)
  { from: 65_000, to: 65_533 }, // reserved by Debian; for containers with only 65,536 ids
];

/**
 * The modes to try, best first.
 *
 * @param owner of the cluster; undefined if there is none yet
 * @param directory `DATA_DIR`
 */
export function runModes(owner: Ids | undefined, directory: string): RunMode[] {
  const { uid, gid } = currentUser();
  if (uid !== 0) {
    const files = { uid, gid };
    const named = owner !== undefined || isNamed(uid);
    return [{ kind: "self", files }, ...(named ? [] : [{ kind: "namespace" as const, files, shown: sharedAccount() }])];
  }
  const isOurs = owner !== undefined && RANGES.some(({ from, to }) => from <= owner.uid && owner.uid <= to);
  // A cluster of an ordinary user keeps its owner, even if root runs chatify.
  if (owner && owner.uid !== 0 && !isOurs && !isShared(owner, directory)) return [{ kind: "user", files: owner }];
  const dedicated = isOurs ? owner : unusedUser();
  const account = sharedAccount();
  return [
    ...(dedicated ? [{ kind: "user" as const, files: dedicated }] : []),
    { kind: "user", files: account },
    { kind: "namespace", files: { uid: 0, gid: 0 }, shown: account },
  ];
}

/** The user that this process runs as. */
export function currentUser(): Ids {
  return { uid: getuid?.() ?? 0, gid: getgid?.() ?? 0 };
}

/** Whether another user can enter a directory. Assumed for ourselves: a failure shows on use. */
export function canEnter(directory: string, { uid, gid }: Ids): boolean {
  if (uid === currentUser().uid) return true;
  try {
    return Bun.spawnSync(["sh", "-c", 'cd -- "$1"', "sh", directory], { cwd: "/", stderr: "ignore", uid, gid }).success;
  } catch {
    return false; // root without permission to change users
  }
}

/** Whether the system knows a name for a user id. */
export function isNamed(uid: number): boolean {
  return Bun.which("id") !== null && Bun.spawnSync(["id", "-un", String(uid)], { stderr: "ignore" }).success;
}

/** Whether the cluster belongs to a shared system account, which root chose in older versions. */
function isShared(owner: Ids, directory: string): boolean {
  return statSync(directory).uid === 0 && sharedAccounts().some(({ uid }) => uid === owner.uid);
}

/** System accounts that other services may also use. */
function sharedAccounts(): Ids[] {
  const lines = readLines("/etc/passwd");
  return ["postgres", "_postgres", "nobody"].flatMap((name) => {
    const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    return uid && gid ? [{ uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }] : []; // macOS writes nobody's as -2
  });
}

function sharedAccount(): Ids {
  return sharedAccounts()[0] ?? { uid: 65_534, gid: 65_534 };
}

/** A user id unused on this system; undefined if none is available. */
function unusedUser(): Ids | undefined {
  const mapped = readLines("/proc/self/uid_map").map((line) => line.trim().split(/\s+/).map(Number));
  const range = RANGES.find(({ from, to }) =>
    mapped.some(([first = 0, , count = 0]) => first <= from && to < first + count),
  );
  if (!range) return undefined;
  const used = new Set([
    ...[...readLines("/etc/passwd"), ...readLines("/etc/group")].map((line) => Number(line.split(":")[2])),
    ...readdirSync("/proc").map((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid),
  ]);
  const { from, to } = range;
  for (let tries = 0; tries < 100; tries++) {
    const uid = from + (crypto.getRandomValues(new Uint32Array(1))[0]! % (to - from + 1));
    if (!used.has(uid)) return { uid, gid: uid };
  }
  return undefined;
}

function readLines(path: string): string[] {
  return existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
}
