/** The passwords of docker-compose.yml: random and kept; an older volume or .env keeps its own. */

import { expect } from "bun:test";

import { freePort } from "../../support/harness.ts";
import { type Compose, docker, healthy, run } from "./docker.ts";
import type { Scenario } from "./scenario.ts";

const PUBLISHED = "admin123";
const OLD_SETTINGS = ["POSTGRES_USER=chatuser", `POSTGRES_PASSWORD=${PUBLISHED}`, "POSTGRES_DB=chatdb"];
const IS_SUPERUSER = "select rolsuper from pg_roles where rolname = current_user";

export const passwords: Scenario = {
  about: "random passwords at the first start, which are kept; old volumes and .env files still work",
  async run({ results, compose, provide, name }) {
    await provide("postgres:18", "valkey/valkey:8");
    await testNew(results, compose("fresh", { PORT: `${freePort()}`, BUS: "valkey://valkey:6379" }));
    const original = compose("original", { PORT: `${freePort()}` }, "original.env");
    await testOld(results, "passwords: the .env of the original demo", original);
    const old = compose("volume", { PORT: `${freePort()}` });
    const container = name("before");
    const settings = OLD_SETTINGS.flatMap((setting) => ["--env", setting]);
    const mount = ["--volume", `${old.name}_db:/var/lib/postgresql`];
    await docker("run", "--detach", "--name", container, ...settings, ...mount, "postgres:18");
    const ready = ["docker", "exec", container, "pg_isready", "--host=localhost"];
    while ((await run(ready)).code !== 0) await Bun.sleep(200);
    await docker("stop", container);
    await docker("rm", container);
    await testOld(results, "passwords: a volume with the published password", old);
  },
};

/** On an empty host. */
async function testNew(results: { check: Check }, project: Compose): Promise<void> {
  try {
    await results.check("passwords: random at the first start, for a role without superuser rights", async () => {
      await project.do("--profile", "scale", "up", "--detach", "db", "valkey", "web");
      const [db, web, valkey] = await containers(project, "db", "web", "valkey");
      await healthy(web);
      const generated = await secrets(db);
      for (const secret of Object.values(generated)) expect(secret).toMatch(/^[0-9a-f]{48}$/);
      expect(new Set(Object.values(generated)).size).toBe(Object.values(generated).length);
      expect(await sql(db, IS_SUPERUSER)).toBe("f");
      expect(await sql(db, "select count(*) from pg_shadow where passwd is null", "postgres")).toBe("1"); // that of the superuser
      expect(await docker("exec", valkey, "valkey-cli", "ping")).toContain("NOAUTH");
      const log = await project.do("logs", "web");
      for (const secret of [PUBLISHED, ...Object.values(generated)]) expect(log).not.toContain(secret);
      expect(log).not.toContain("Warning");
    });
    await results.check("passwords: `down` and `up` keep them", async () => {
      const [db] = await containers(project, "db");
      const generated = await secrets(db);
      await project.do("--profile", "scale", "down");
      await project.do("up", "--detach");
      const [newDb, web] = await containers(project, "db", "web");
      await healthy(web);
      expect(await secrets(newDb)).toEqual(generated);
    });
    await results.check("passwords: a container can read only its own", async () => {
      const [web] = await containers(project, "web");
      const { out } = await run(["docker", "exec", web, "sh", "-c", "cat /run/chatify/* 2>&1 | grep -c denied"]);
      const files = await docker("exec", web, "ls", "/run/chatify");
      expect(Number(out)).toBe(files.split("\n").filter((file) => !file.startsWith("chatify_")).length);
    });
  } finally {
    await project.remove();
  }
}

/** With the published password, which the database keeps and the server warns about. */
async function testOld(results: { check: Check }, label: string, project: Compose): Promise<void> {
  try {
    await results.check(`${label} still works, with a warning`, async () => {
      await project.do("up", "--detach");
      const [db, web] = await containers(project, "db", "web");
      await healthy(web);
      expect((await secrets(db))["database_password"]).toBe(PUBLISHED);
      expect(await project.do("logs", "web")).toContain(
        "the database has the password published with the original demo",
      );
    });
  } finally {
    await project.remove();
  }
}

type Check = (name: string, check: () => Promise<string | void>) => Promise<void>;

async function containers<const Names extends readonly string[]>(
  project: Compose,
  ...services: Names
): Promise<{ [K in keyof Names]: string }> {
  const found = await Promise.all(services.map((service) => project.containers(service)));
  return found.map(([first = ""]) => first) as { [K in keyof Names]: string };
}

/** The passwords by file name, read as root. */
async function secrets(db: string): Promise<Record<string, string>> {
  const names = ["database_password", "chatify_bus_password", "grafana_password"];
  const values = names.map((name) => docker("exec", db, "cat", `/run/chatify/${name}`));
  return Object.fromEntries((await Promise.all(values)).map((value, i) => [names[i] as string, value]));
}

function sql(db: string, query: string, role = "chatuser"): Promise<string> {
  return docker("exec", db, "psql", "-U", role, "-d", "chatdb", "-Atc", query);
}
