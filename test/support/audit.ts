/**
 * Whether a package has a known vulnerability, by `bun audit`. Without an answer of the registry (no network, a mirror without
 * advisories) the verdict is "unchecked", which is neither a pass nor a failure.
 */

const DEADLINE_MS = 60_000;

export interface Audit {
  readonly verdict: "clean" | "vulnerable" | "unchecked";
  /** The advisories, or the reason for no answer. */
  readonly words: string;
}

/** @param env beside the process's own, such as another registry */
export async function audit(root: string, env: Record<string, string> = {}): Promise<Audit> {
  const child = Bun.spawn([process.execPath, "audit", "--json"], {
    cwd: root,
    env: { ...Bun.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE_MS,
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const advisories = readAdvisories(out);
  if (advisories.length > 0) return { verdict: "vulnerable", words: advisories.join("\n") };
  if (code === 0) return { verdict: "clean", words: "" };
  return { verdict: "unchecked", words: err.trim() || `bun audit ended with ${code ?? "no code"} without output` };
}

/** The output of `--json`: lists of advisories by package. */
function readAdvisories(out: string): string[] {
  let packages: unknown;
  try {
    packages = JSON.parse(out);
  } catch {
    return []; // errors are plain text, on stderr
  }
  return Object.entries(packages ?? {}).flatMap(([name, advisories]) =>
    (advisories as Partial<Record<"severity" | "title" | "url" | "vulnerable_versions", string>>[]).map(
      ({ severity, title, url, vulnerable_versions: versions }) =>
        `${name} ${versions}: ${severity}, ${title} (${url})`,
    ),
  );
}
