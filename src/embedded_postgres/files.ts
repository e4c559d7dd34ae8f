/** Files of the embedded PostgreSQL: its directory, ownership, and the socket directory. */

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
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";

import { EmbeddedError, explain, INSTEAD } from "./failure.ts";
import { MAJOR, PASSWORD, PORT } from "./layout.ts";
import { canEnter, currentUser, type Ids } from "./system_user.ts";

/** SQLite, used for locking, accepts paths of up to 512 bytes. */
const PATH_MAX = 500;

/**
 * Creates the private directory `<directory>/pg18`, or checks an existing one.
 *
 * @returns its path
 */
export function prepareHome(directory: string): string {
  const home = join(directory, `pg${MAJOR}`);
  if (/[\r\n]/.test(directory)) {
    throw new EmbeddedError("DATA_DIR contains a line break", `Set it to a path on one line. ${INSTEAD}`); // postmaster.pid has one path per line
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
      `${home} cannot be made private: its file system does not store permissions (a Windows or network share?)`,
      `Set DATA_DIR to a directory on a local disk. ${INSTEAD}`,
    );
  }
  return home;
}

/**
 * Creates a directory and its parents. Those that root creates are traversable by PostgreSQL's user,
 * whatever the umask.
 */
function makeReachable(directory: string): void {
  if (existsSync(directory)) return;
  if (lstatSync(directory, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new EmbeddedError(
      `${directory} is a link to ${readlinkSync(directory)}, which does not exist`,
      `Create that directory (is its disk mounted?), or set DATA_DIR. ${INSTEAD}`,
    );
  }
  makeReachable(dirname(directory));
  mkdirSync(directory, { recursive: true });
  makeTraversable(directory);
}

/** Makes a directory of ours accessible to us and, if we are root, traversable by others. */
function makeTraversable(directory: string): void {
  const { uid, mode } = statSync(directory);
  const needed = currentUser().uid === 0 ? 0o711 : 0o700;
  if (uid === currentUser().uid && (mode & needed) !== needed) chmodSync(directory, (mode & 0o777) | needed);
}

function otherMajor(where: string, version: string): EmbeddedError {
  return new EmbeddedError(
    `${where} was written by PostgreSQL ${version}; this version includes PostgreSQL ${MAJOR} and cannot read it`,
    `Export it with the version that wrote it and import it into a new DATA_DIR. Or set DATABASE_URL to a PostgreSQL ${version}.`,
  );
}

/**
 * Changes the owner of everything in `path` to `ids`, except the password file. Skips directories
 * that already belong to `ids`, so repeating it is cheap.
 */
export function chownTree(path: string, ids: Ids): void {
  if (currentUser().uid !== 0) return;
  forEachPresent(readdirSync(path), (name) => {
    const inside = join(path, name);
    const stat = lstatSync(inside);
    if (stat.uid === ids.uid || name === PASSWORD) return;
    if (stat.isDirectory()) chownTree(inside, ids);
    else lchownSync(inside, ids.uid, ids.gid);
  });
  lchownSync(path, ids.uid, ids.gid); // last, so that a killed run is repeated
}

/**
 * Calls `handle` for each name, and ignores files that disappear meanwhile: an `initdb` outlives a
 * killed server, and removes what it had made.
 */
export function forEachPresent(names: readonly string[], handle: (name: string) => void): void {
  for (const name of names) {
    try {
      handle(name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

/**
 * A socket directory that only `ids` can enter: in `home`, or in the system's temporary directory
 * if the path would be too long for a socket (104 bytes on macOS, 108 on Linux).
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
      `Set DATA_DIR to a shorter path, or TMPDIR to a directory that all users can write. ${INSTEAD}`,
    );
  }
  if (directory === near) {
    chmodSync(directory, 0o700); // a backup may have lost its mode; its parent is private
    chownTree(directory, ids);
  }
  if (isPrivate(directory, ids.uid)) return directory;
  throw new EmbeddedError(
    `${directory}, for the database's socket, belongs to another user`,
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

/** Whether only `uid` and root can access it. */
export function isPrivate(directory: string, uid: number): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat !== undefined && stat.isDirectory() && stat.uid === uid && (stat.mode & 0o077) === 0;
}

/** Whether sockets work there; on some network shares they do not. */
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
