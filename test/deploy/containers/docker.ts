/** Docker and Compose commands, of any version. */

import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";

/** A command failed. */
export class CommandError extends Error {
  constructor(command: readonly string[], code: number, output: string) {
    super(`${command.join(" ")} exited with ${code}\n${output.trim().split("\n").slice(-15).join("\n")}`);
    this.name = "CommandError";
  }
}

export interface Output {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command. @param options.env in addition to PATH, HOME and DOCKER_… */
export async function run(
  command: readonly string[],
  options: { env?: Readonly<Record<string, string>>; cwd?: string; input?: string } = {},
): Promise<Output> {
  const docker = Object.entries(Bun.env).filter(([name]) => /^(DOCKER_|PATH$|HOME$|TMPDIR$)/.test(name));
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? ROOT,
    env: { ...Object.fromEntries(docker), ...options.env },
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

/** @returns the trimmed output @throws CommandError */
export async function must(command: readonly string[], options: Parameters<typeof run>[1] = {}): Promise<string> {
  const { code, out, err } = await run(command, options);
  if (code !== 0) throw new CommandError(command, code, out + err);
  return out.trim();
}

export function docker(...args: string[]): Promise<string> {
  return must(["docker", ...args]);
}

/** One field of `docker inspect`. @param name of an image or a container */
export async function inspect<T>(name: string, field: string): Promise<T> {
  return JSON.parse(await docker("inspect", "--format", `{{json ${field}}}`, name)) as T;
}

/** `docker compose` or `docker-compose`; undefined if there is neither. */
export async function composeCommand(): Promise<string[] | undefined> {
  if ((await run(["docker", "compose", "version"])).code === 0) return ["docker", "compose"];
  return Bun.which("docker-compose") ? ["docker-compose"] : undefined;
}

/** docker-compose.yml, unchanged, as a Compose project with a network and volumes of its own. */
export class Compose {
  static #ended = false;
  static readonly #running = new Set<Promise<string>>();
  readonly name: string;
  /** The prefix of its commands. */
  readonly command: readonly string[];
  /** Replaces the host's shell environment. */
  env: Readonly<Record<string, string>>;

  /** @param command that of `composeCommand` @param dotEnv replaces `.env` */
  constructor(
    command: readonly string[],
    name: string,
    env: Readonly<Record<string, string>>,
    dotEnv: "none.env" | "original.env" = "none.env",
  ) {
    const files = ["--env-file", join(import.meta.dir, dotEnv), "--file", join(ROOT, "docker-compose.yml")];
    this.command = [...command, "--project-name", name, ...files];
    this.name = name;
    this.env = env;
  }

  /** @returns the output @throws CommandError, or Error after `end` */
  async do(...args: string[]): Promise<string> {
    if (Compose.#ended) throw new Error(`The run has ended: ${args.join(" ")}`);
    const running = must([...this.command, ...args], { env: this.env });
    Compose.#running.add(running);
    return running.finally(() => Compose.#running.delete(running));
  }

  /** Rejects further commands and waits for running ones, so that what is removed is not created again. */
  static async end(): Promise<void> {
    Compose.#ended = true;
    await Promise.allSettled(Compose.#running);
  }

  /** The running containers of a service. */
  async containers(service: string): Promise<string[]> {
    const filters = [`label=com.docker.compose.project=${this.name}`, `label=com.docker.compose.service=${service}`];
    const ids = await docker("ps", "--quiet", ...filters.flatMap((filter) => ["--filter", filter]));
    return ids.split("\n").filter(Boolean);
  }

  /** The database's connection string from the host; its role may run checkpoints, as the workload's setup does. */
  async databaseUrl(): Promise<string> {
    const [db = ""] = await this.containers("db");
    await docker("exec", db, "psql", "-qU", "postgres", "-c", "grant pg_checkpoint to chatuser");
    const password = await docker("exec", db, "cat", "/run/chatify/database_password");
    return `postgresql://chatuser:${password}@${await addressOf(db)}:5432/chatdb`;
  }

  /** Removes its containers, networks and volumes. */
  async remove(): Promise<void> {
    await run(
      [
        ...this.command,
        "--profile",
        "scale",
        "--profile",
        "monitoring",
        "down",
        "--volumes",
        "--remove-orphans",
        "--timeout",
        "5",
      ],
      {
        env: this.env,
      },
    );
  }
}

export async function addressOf(container: string): Promise<string> {
  const networks = await inspect<Record<string, { IPAddress: string }>>(container, ".NetworkSettings.Networks");
  return Object.values(networks)[0]?.IPAddress ?? "";
}

/** Waits for a container's healthcheck to pass. */
export async function healthy(container: string, withinMs = 60_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const state = await inspect<{ Status: string; Health?: { Status: string } }>(container, ".State");
    if (state.Health?.Status === "healthy") return;
    if (state.Status === "exited" || performance.now() > deadline) {
      const { out, err } = await run(["docker", "logs", "--tail", "20", container]);
      throw new Error(
        `${container} is ${state.Status} and ${state.Health?.Status} after ${withinMs / 1_000} s\n${out}${err}`,
      );
    }
    await Bun.sleep(200);
  }
}
