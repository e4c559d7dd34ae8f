/** Restores what backups lose: empty directories, and the modes and owners of files. */

import { chmodSync, lchownSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";

import { forEachPresent } from "./files.ts";
import { PASSWORD } from "./layout.ts";
import { currentUser, type Ids } from "./system_user.ts";

/** Directories that are empty after a clean shutdown, or whose content PostgreSQL recreates. */
const MAY_BE_EMPTY = [
  "pg_commit_ts",
  "pg_dynshmem",
  "pg_logical/mappings",
  "pg_logical/snapshots",
  "pg_notify",
  "pg_replslot",
  "pg_serial",
  "pg_snapshots",
  "pg_stat",
  "pg_stat_tmp",
  "pg_subtrans",
  "pg_tblspc",
  "pg_twophase",
  "pg_wal/archive_status",
  "pg_wal/summaries",
];

/**
 * Repairs the home of a stopped PostgreSQL: makes everything readable and writable for its owner,
 * and creates missing directories.
 *
 * @param owner the user that will run PostgreSQL
 */
export function repairHome(home: string, owner: Ids): void {
  const names = readdirSync(home).filter((name) => name !== "package" && name !== "lib");
  forEachPresent(names, (name) => repairPath(join(home, name), owner));
  const cluster = join(home, "cluster");
  chmodSync(join(cluster, PASSWORD), 0o600);
  for (const name of MAY_BE_EMPTY) {
    const made = mkdirSync(join(cluster, name), { mode: 0o700, recursive: true });
    if (made) repairPath(made, owner);
  }
}

/** Makes files readable and writable for their owner. Root also changes the owner. */
function repairPath(path: string, owner: Ids): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return;
  const needed = stat.isDirectory() ? 0o700 : 0o600;
  if ((stat.mode & needed) !== needed) chmodSync(path, (stat.mode & 0o777) | needed);
  if (stat.isDirectory()) forEachPresent(readdirSync(path), (name) => repairPath(join(path, name), owner));
  if (stat.uid !== owner.uid && currentUser().uid === 0 && basename(path) !== PASSWORD)
    lchownSync(path, owner.uid, owner.gid);
}
