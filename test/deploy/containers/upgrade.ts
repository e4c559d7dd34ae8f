/** A volume of PostgreSQL 15, as of the original demo: rejected, then migrated as docs/upgrading.md says. */

import { expect } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { cookieOf, freePort, Person, post, ROOT } from "../../support/harness.ts";
import { docker, healthy, must, run } from "./docker.ts";
import type { Scenario } from "./scenario.ts";

const CREDENTIALS = ["POSTGRES_USER=chatuser", "POSTGRES_PASSWORD=admin123", "POSTGRES_DB=chatdb"];
const FILL = "until pg_isready -q -h localhost; do sleep 0.2; done; psql -q -v ON_ERROR_STOP=1 -U chatuser chatdb";

export const upgrade: Scenario = {
  about: "a volume of PostgreSQL 15 is rejected, and dumped and restored as docs/upgrading.md says",
  async run({ results, compose, provide, name }) {
    await provide("postgres:15", "postgres:18");
    const port = freePort();
    const project = compose("upgrade", { PORT: `${port}` });
    const [volume, old] = [`${project.name}_db`, name("old")];
    const directory = mkdtempSync(join(tmpdir(), "chatify-upgrade-"));
    try {
      const settings = CREDENTIALS.flatMap((setting) => ["--env", setting]);
      const mount = ["--volume", `${volume}:/var/lib/postgresql/data`];
      await docker("run", "--detach", "--name", old, ...settings, ...mount, "postgres:15");
      const input = readFileSync(join(ROOT, "test", "support", "original.sql"), "utf8");
      await must(["docker", "exec", "--interactive", old, "sh", "-c", FILL], { input });
      await docker("stop", old);
      await docker("rm", old);

      await results.check("upgrade: PostgreSQL 18 rejects a volume of version 15", async () => {
        await project.do("up", "--detach", "db");
        return waitForLog(project.name, "there appears to be PostgreSQL data in");
      });
      const restored = "upgrade: the commands of docs/upgrading.md keep all passwords and messages";
      await results.check(restored, async () => {
        const script = migrationScript({ compose: project.command.join(" "), volume, old });
        await must(["bash", "-euo", "pipefail", "-c", script], { cwd: directory, env: project.env });
        const dump = readFileSync(join(directory, "chat.sql"), "utf8");
        expect(dump).toContain("PostgreSQL database dump complete");
        const [web = ""] = await project.containers("web");
        await healthy(web);
        const url = `http://127.0.0.1:${port}`;
        const answer = await post(`${url}/login`, { username: "alice", password: "alice-password" });
        expect(answer.status).toBe(302);
        const alice = new Person(url, "alice", cookieOf(answer));
        const rows = await alice.json<{ content: string }[]>("/messages/alice/Bob?peek=1");
        const texts = rows.map(({ content }) => content);
        expect(texts).toEqual(["first", "second", "third", "fourth", "fifth", "sixth"]);
      });
    } finally {
      await run(["docker", "rm", "--force", "--volumes", old]);
      await project.remove();
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

/** The commands of docs/upgrading.md, with these names. */
function migrationScript(names: { compose: string; volume: string; old: string }): string {
  const blocks = readFileSync(join(ROOT, "docs", "upgrading.md"), "utf8").matchAll(/^```sh\n([^]*?)^```/gm);
  const script = [...blocks].map(([, code = ""]) => code).find((code) => code.includes("postgres:15"));
  if (script === undefined) throw new Error("docs/upgrading.md has no commands for a volume of PostgreSQL 15");
  return script
    .replaceAll("docker compose", names.compose)
    .replaceAll("chatify_db", names.volume)
    .replaceAll(/(--name|exec|rm -f) old\b/g, `$1 ${names.old}`);
}

/** @returns the first log line of a project's containers that contains the text */
async function waitForLog(project: string, text: string): Promise<string> {
  const filter = `label=com.docker.compose.project=${project}`;
  for (let tries = 0; tries < 100; tries++) {
    for (const id of (await docker("ps", "--all", "--quiet", "--filter", filter)).split("\n").filter(Boolean)) {
      const { out, err } = await run(["docker", "logs", id]);
      const line = `${out}\n${err}`.split("\n").find((line) => line.includes(text));
      if (line) return line;
    }
    await Bun.sleep(200);
  }
  throw new Error(`no container logged "${text}"`);
}
