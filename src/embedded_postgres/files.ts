/**
 * Files of the embedded PostgreSQL: its directory and ownership, locks between processes, the socket directory, and `postmaster.pid`.
 * Knows nothing of SQL.
 */

import { Database } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { platform, tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";

import { canEnter, currentUser, type Ids } from "./system_user.ts";

export const MAJOR = 18;
export const PORT = 5432; // only part of the socket's name
/** SQLite, used for locking, accepts paths of up to 512 bytes. */
const PATH_MAX = 500;
/** File with the superuser's password, in the cluster. When root starts PostgreSQL, it runs as a user that cannot read this file. */
export const PASSWORD = "chatify_password";
export const INSTEAD = "Or set DATABASE_URL to a PostgreSQL of your own.";

/** The database cannot be started. The message states the problem and, on a second line, a remedy. */
export class EmbeddedError extends Error {
  /** Exit code for the process. */
  readonly exitCode = 1;

  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(`${what}\n${remedy}`, options);
    this.name = "EmbeddedError";
  }
}

/**
 * Creates the private directory `<directory>/pg18`, or checks an existing one.
 *
 * @returns its path
 */
export function prepareHome(directory: string): string {
  const home = join(directory, `pg${MAJOR}`);
  if (/[\r\n]/.test(directory)) {
    throw new EmbeddedError("DATA_DIR holds a line break", `Set it to a path on one line. ${INSTEAD}`); // postmaster.pid has one path a line
  }
  if (Buffer.byteLength(home) > PATH_MAX) throw explain(new Error("ENAMETOOLONG"), directory);
  try {
    makeReachable(directory);
    makeTraversable(directory);
    const others = readdirSync(directory).filter((name) => /^pg\d+$/.test(name));
    if (others.length > 0 && !others.includes(`pg${MAJOR}`))
      throw otherMajor(join(directory, others[0]!), others[0]!.slice(2));
    mkdirSync(home, { recursive: true });
    const [owner, me] = [statSync(home).uid, currentUser().uid];
    if (me !== 0 && owner !== me) {
      const root = statSync(directory).uid === 0;
      throw new EmbeddedError(
        `The database in ${home} belongs to user ${owner}, and chatify runs as user ${me}`,
        `Start chatify as ${root ? "root" : `user ${owner}`}, or stop it and give ${directory} to user ${me} (chown -R), or set DATA_DIR to a directory of your own. ${INSTEAD}`,
      );
    }
    chmodSync(home, 0o700);
    for (const [name, mode] of [
      ["cluster", 0o700],
      ["lock", 0o600],
      ["in-use", 0o600],
    ] as const) {
      if (existsSync(join(home, name))) chmodSync(join(home, name), mode);
    }
    const version = join(home, "cluster", "PG_VERSION");
    const found = existsSync(version) ? readFileSync(version, "utf8").trim() : String(MAJOR);
    if (found !== String(MAJOR)) throw otherMajor(join(home, "cluster"), found);
  } catch (error) {
    throw error instanceof EmbeddedError ? error : explain(error, directory);
  }
  if (statSync(home).mode & 0o077) {
    throw new EmbeddedError(
      `${home} cannot be made private: its file system keeps no permissions (a Windows or network share?)`,
      `Set DATA_DIR to a directory on a local disk. ${INSTEAD}`,
    );
  }
  return home;
}

/** Creates a directory and its parents. Root's are traversable by other users whatever the umask, since PostgreSQL runs as another user. */
function makeReachable(directory: string): void {
  if (existsSync(directory)) return;
  if (lstatSync(directory, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new EmbeddedError(
      `${directory} is a link to ${readlinkSync(directory)}, which does not exist`,
      `Make that directory (is its disk mounted?), or set DATA_DIR. ${INSTEAD}`,
    );
  }
  makeReachable(dirname(directory));
  mkdirSync(directory, { recursive: true });
  makeTraversable(directory);
}

/** Makes an own directory accessible to us and, if we are root, traversable by others. */
function makeTraversable(directory: string): void {
  const { uid, mode } = statSync(directory);
  const needed = currentUser().uid === 0 ? 0o711 : 0o700;
  if (uid === currentUser().uid && (mode & needed) !== needed) chmodSync(directory, (mode & 0o777) | needed);
}

/** Explains a file system failure. */
export function explain(error: unknown, directory: string): EmbeddedError {
  if (error instanceof EmbeddedError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const say = (what: string, remedy: string) => new EmbeddedError(what, `${remedy} ${INSTEAD}`, { cause: error });
  if (/ENOSPC|EDQUOT|No space left|quota exceeded|SQLITE_FULL|Check free disk space/i.test(text)) {
    return say(`The disk with ${directory} is full`, "Free some space (a new database needs 150 MB), or set DATA_DIR.");
  }
  if (/EROFS|Read-only file system/i.test(text)) {
    return say(`${directory} is on a read-only file system`, "Set DATA_DIR to a directory that can be written.");
  }
  if (/is needed by initdb but was not found/.test(text)) {
    return say(
      "The path of chatify contains \", $ or `, and PostgreSQL's initdb cannot run there",
      "Rename that directory.",
    );
  }
  if (/ENAMETOOLONG|name too long/i.test(text)) {
    return say(`The path ${directory} is too long`, "Set DATA_DIR to a shorter one.");
  }
  if (/ENOTDIR|EEXIST|Not a directory/.test(text)) {
    return say(
      `${directory} cannot hold the database: a file is in the way`,
      "Move it, or set DATA_DIR to a directory.",
    );
  }
  if (
    /EACCES|EPERM|Permission denied|not permitted|SQLITE_(READONLY|CANTOPEN|PERM)|unable to open database/i.test(text)
  ) {
    const user = `user ${currentUser().uid}`;
    return say(
      `${directory} cannot be written by ${user}`,
      `Give it to ${user}, or set DATA_DIR to a directory that is.`,
    );
  }
  return say(
    `The database in ${directory} cannot be started: ${text.trim()}`,
    `The log is in ${directory}/pg${MAJOR}/log.`,
  );
}

function otherMajor(where: string, version: string): EmbeddedError {
  return new EmbeddedError(
    `${where} was written by PostgreSQL ${version}; this chatify comes with PostgreSQL ${MAJOR} and cannot read it`,
    `Export it with the chatify that wrote it and import it into a new DATA_DIR. Or set DATABASE_URL to a PostgreSQL ${version}.`,
  );
}

/**
 * Changes the owner of everything in `path` to `ids`, except the password file. Skips directories that already belong to `ids`, so
 * repeating it is cheap.
 */
export function chownTree(path: string, ids: Ids): void {
  if (currentUser().uid !== 0) return;
  for (const name of readdirSync(path)) {
    const inside = join(path, name);
    const stat = lstatSync(inside);
    if (stat.uid === ids.uid || name === PASSWORD) continue;
    if (stat.isDirectory()) chownTree(inside, ids);
    else lchownSync(inside, ids.uid, ids.gid);
  }
  lchownSync(path, ids.uid, ids.gid); // last, so that a run that was killed starts over
}

/** A file lock, held until `close`; the kernel releases it when the process dies. */
export interface HeldLock {
  close(): void;
}

/**
 * Locks an empty file through SQLite, the only API here for kernel locks. Unlike a pid file, such a lock cannot outlive its holder.
 *
 * @param kind `exclusive` conflicts with every lock, `shared` only with exclusive ones
 * @returns undefined if another process holds a conflicting lock
 */
export function lock(path: string, kind: "exclusive" | "shared"): HeldLock | undefined {
  const database = new Database(path, { create: true });
  try {
    database.run("pragma busy_timeout = 0");
    database.run("pragma journal_mode = memory"); // a journal file would need space, and stopping must also work on a full disk
    database.run(kind === "exclusive" ? "begin exclusive" : "begin");
    if (kind === "shared") database.query("select count(*) from sqlite_master").get(); // `begin` alone locks nothing
    return { close: () => database.close() };
  } catch (error) {
    database.close();
    if (error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
}

/** Reads `postmaster.pid`. That process may be dead, and its pid reused. */
export function readPostmaster(cluster: string): { pid: number; sockets: string; status: string } | undefined {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
    return { pid: Number(lines[0]), sockets: lines[4] ?? "", status: lines[7]?.trim() || "starting" };
  } catch {
    return undefined;
  }
}

/** Whether the working directory of process `pid` is this cluster, as for PostgreSQL but not for a process that reuses its pid. */
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
 * Clears files of a dead PostgreSQL that would prevent a start: PostgreSQL refuses to start if `postmaster.pid` names any live process
 * of its user, which may have reused the pid. Replaces the pid with an impossible one but keeps the rest, which leads PostgreSQL to
 * surviving backends. A file emptied by a crash or a full disk is useless and is removed.
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

/** Signals PostgreSQL to end its sessions and stop. @param pid of a process that `worksIn` just confirmed */
export function interrupt(pid: number): void {
  Bun.spawnSync(["sh", "-c", 'kill -INT "$1"', "sh", String(pid)]);
}

/**
 * A socket directory that only `ids` can enter: in `home`, or in the system's temporary directory if the path would be too long for a
 * socket (104 bytes on macOS, 108 on Linux).
 */
export function socketDirectory(home: string, ids: Ids): string {
  const near = join(home, "run");
  const name = `chatify-${Bun.hash(`${ids.uid} ${home}`).toString(36)}`;
  const far = [tmpdir(), "/tmp"].filter((parent) => isAbsolute(parent)).map((parent) => join(parent, name));
  const places = fitsSocketPath(near) && supportsSockets(home) ? [near] : far.filter(fitsSocketPath);
  const directory = places.find((place) => ensureDirectory(place, ids));
  if (directory === undefined) {
    throw new EmbeddedError(
      `The path ${near} cannot hold the database's socket, and neither can a temporary directory (${dirname(far[0] ?? far[1]!)})`,
      `Set DATA_DIR to a shorter path, or TMPDIR to a directory that all may use. ${INSTEAD}`,
    );
  }
  if (directory === near) {
    chmodSync(directory, 0o700); // a backup may have lost its mode; its parent is private
    chownTree(directory, ids);
  }
  if (isPrivate(directory, ids.uid)) return directory;
  throw new EmbeddedError(
    `${directory}, for the database's socket, is someone else's`,
    `Set DATA_DIR to a shorter path. ${INSTEAD}`,
  );
}

/** Creates the directory if needed. @returns whether it exists and `ids` can reach it */
function ensureDirectory(directory: string, ids: Ids): boolean {
  try {
    if (existsSync(directory)) return true;
    if (!canEnter(dirname(directory), ids)) return false;
    mkdirSync(directory, { mode: 0o700 });
    chownTree(directory, ids);
    return true;
  } catch {
    return false;
  }
}

function fitsSocketPath(directory: string): boolean {
  return Buffer.byteLength(`${directory}/.s.PGSQL.${PORT}.lock`) <= 100;
}

/** Whether only `uid` and root can write there. */
export function isPrivate(directory: string, uid: number): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat !== undefined && stat.isDirectory() && stat.uid === uid && (stat.mode & 0o077) === 0;
}

/** Some network shares do not support sockets. */
function supportsSockets(directory: string): boolean {
  const path = join(directory, "try");
  rmSync(path, { force: true });
  try {
    Bun.listen({ unix: path, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}

/** Flushes a file or directory to disk. */
export function fsyncPath(path: string): void {
  const file = openSync(path, "r");
  fsyncSync(file);
  closeSync(file);
}

/** The last errors in the newest log in `directory`. */
export function lastLogLines(directory: string): string {
  const files = readdirSync(directory).map((name) => join(directory, name));
  const [newest] = files
    .filter((path) => statSync(path).size > 0)
    .toSorted((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const lines = newest ? readFileSync(newest, "utf8").trim().split("\n").slice(-8) : [];
  return lines.filter((line) => !line.includes(" LOG: ")).join("\n");
}
