/** Docker and Compose, of whichever age this machine has, as the proofs use them: words in, what was said out. */

import { join } from "node:path";

import { ROOT } from "../../support/harness.ts";

/** A program ended otherwise than it should have. */
export class CommandError extends Error {
  constructor(words: readonly string[], code: number, said: string) {
    super(`${words.join(" ")} ended with ${code}\n${said.trim().split("\n").slice(-15).join("\n")}`);
    this.name = "CommandError";
  }
}

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program. @param options.env in addition to PATH, HOME and where Docker is */
export async function run(
  words: readonly string[],
  options: { env?: Readonly<Record<string, string>>; cwd?: string; input?: string } = {},
): Promise<Said> {
  const docker = Object.entries(Bun.env).filter(([name]) => /^(DOCKER_|PATH$|HOME$|TMPDIR$)/.test(name));
  const child = Bun.spawn([...words], {
    cwd: options.cwd ?? ROOT,
    env: { ...Object.fromEntries(docker), ...options.env },
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

/** The same, and it has to end well. @returns what it said, without the space around it */
export async function must(words: readonly string[], options: Parameters<typeof run>[1] = {}): Promise<string> {
  const { code, out, err } = await run(words, options);
  if (code !== 0) throw new CommandError(words, code, out + err);
  return out.trim();
}

export function docker(...words: string[]): Promise<string> {
  return must(["docker", ...words]);
}

/** What `docker inspect` knows of an image or a container, one field of it. */
export async function inspect<T>(what: string, field: string): Promise<T> {
  return JSON.parse(await docker("inspect", "--format", `{{json ${field}}}`, what)) as T;
}

/** `docker-compose` or `docker compose`, whichever there is; undefined: neither. */
export async function composeWords(): Promise<string[] | undefined> {
  if ((await run(["docker", "compose", "version"])).code === 0) return ["docker", "compose"];
  return Bun.which("docker-compose") ? ["docker-compose"] : undefined;
}

/** The project's docker-compose.yml, unchanged, as a project of its own with a network and volumes of its own. */
export class Compose {
  static #ended = false;
  static readonly #doing = new Set<Promise<string>>();
  readonly name: string;
  /** What its commands begin with. */
  readonly words: readonly string[];
  /** What stands in for `.env` and the shell of whoever hosts it. */
  env: Readonly<Record<string, string>>;

  /** @param words of `composeWords` @param dotEnv what stands for `.env`, not that of whoever runs this */
  constructor(
    words: readonly string[],
    name: string,
    env: Readonly<Record<string, string>>,
    dotEnv: "none.env" | "original.env" = "none.env",
  ) {
    const files = ["--env-file", join(import.meta.dir, dotEnv), "--file", join(ROOT, "docker-compose.yml")];
    this.words = [...words, "--project-name", name, ...files];
    this.name = name;
    this.env = env;
  }

  /** Runs one of its commands, which has to end well. @throws Error when everything is being removed */
  async do(...words: string[]): Promise<string> {
    if (Compose.#ended) throw new Error(`Not done any more: ${words.join(" ")}`);
    const doing = must([...this.words, ...words], { env: this.env });
    Compose.#doing.add(doing);
    return doing.finally(() => Compose.#doing.delete(doing));
  }

  /** Nothing is begun any more, and what was begun is over: from here on removing is for good. */
  static async end(): Promise<void> {
    Compose.#ended = true;
    await Promise.allSettled(Compose.#doing);
  }

  /** The containers of a service that run. */
  async containers(service: string): Promise<string[]> {
    const filters = [`label=com.docker.compose.project=${this.name}`, `label=com.docker.compose.service=${service}`];
    const ids = await docker("ps", "--quiet", ...filters.flatMap((filter) => ["--filter", filter]));
    return ids.split("\n").filter(Boolean);
  }

  /** Where its database is, from this machine: a container's address. Its role may do what the fault run's preparation does. */
  async databaseUrl(): Promise<string> {
    const [db = ""] = await this.containers("db");
    await docker("exec", db, "psql", "-qU", "postgres", "-c", "grant pg_checkpoint to chatuser");
    const password = await docker("exec", db, "cat", "/run/chatify/database_password");
    return `postgresql://chatuser:${password}@${await addressOf(db)}:5432/chatdb`;
  }

  /** Ends it and removes its containers, networks and volumes. */
  async remove(): Promise<void> {
    await run(
      [
        ...this.words,
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

/** Waits for a container's own healthcheck to be content. */
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
