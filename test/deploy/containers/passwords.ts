/** The passwords of docker-compose.yml: made at random, kept, and for a volume or an .env from before the ones it has. */

import { expect } from "bun:test";

import { freePort } from "../../support/harness.ts";
import { type Compose, docker, healthy, run } from "./docker.ts";
import type { Proof } from "./proof.ts";

const PUBLISHED = "admin123";
const BEFORE = ["POSTGRES_USER=chatuser", `POSTGRES_PASSWORD=${PUBLISHED}`, "POSTGRES_DB=chatdb"];
const IS_SUPERUSER = "select rolsuper from pg_roles where rolname = current_user";

export const passwords: Proof = {
  about: "no published password: made at the first start, kept, and old volumes and .env files go on working",
  async run({ tally, compose, provide, name }) {
    await provide("postgres:18", "valkey/valkey:8");
    await fresh(tally, compose("fresh", { PORT: `${freePort()}`, BUS: "valkey://valkey:6379" }));
    const original = compose("original", { PORT: `${freePort()}` }, "original.env");
    await before(tally, "passwords: the .env of the original demo", original);
    const old = compose("volume", { PORT: `${freePort()}` });
    const container = name("before");
    const settings = BEFORE.flatMap((setting) => ["--env", setting]);
    const mount = ["--volume", `${old.name}_db:/var/lib/postgresql`];
    await docker("run", "--detach", "--name", container, ...settings, ...mount, "postgres:18");
    const ready = ["docker", "exec", container, "pg_isready", "--host=localhost"];
    while ((await run(ready)).code !== 0) await Bun.sleep(200);
    await docker("stop", container);
    await docker("rm", container);
    await before(tally, "passwords: a volume with the published password", old);
  },
};

/** With nothing from before. */
async function fresh(tally: { check: Check }, project: Compose): Promise<void> {
  try {
    await tally.check("passwords: random ones at the first start, for a role that is no superuser", async () => {
      await project.do("--profile", "scale", "up", "--detach", "db", "valkey", "web");
      const [db, web, valkey] = await containers(project, "db", "web", "valkey");
      await healthy(web);
      const made = await secrets(db);
      for (const secret of Object.values(made)) expect(secret).toMatch(/^[0-9a-f]{48}$/);
      expect(new Set(Object.values(made)).size).toBe(Object.values(made).length);
      expect(await sql(db, IS_SUPERUSER)).toBe("f");
      expect(await sql(db, "select count(*) from pg_shadow where passwd is null", "postgres")).toBe("1"); // the superuser's
      expect(await docker("exec", valkey, "valkey-cli", "ping")).toContain("NOAUTH");
      const said = await project.do("logs", "web");
      for (const secret of [PUBLISHED, ...Object.values(made)]) expect(said).not.toContain(secret);
      expect(said).not.toContain("Warning");
    });
    await tally.check("passwords: `down` and `up` keep them", async () => {
      const [db] = await containers(project, "db");
      const made = await secrets(db);
      await project.do("--profile", "scale", "down");
      await project.do("up", "--detach");
      const [again, web] = await containers(project, "db", "web");
      await healthy(web);
      expect(await secrets(again)).toEqual(made);
    });
    await tally.check("passwords: a container reads its own and no other", async () => {
      const [web] = await containers(project, "web");
      const { out } = await run(["docker", "exec", web, "sh", "-c", "cat /run/chatify/* 2>&1 | grep -c denied"]);
      const files = await docker("exec", web, "ls", "/run/chatify");
      expect(Number(out)).toBe(files.split("\n").filter((file) => !file.startsWith("chatify_")).length);
    });
  } finally {
    await project.remove();
  }
}

/** With the published password, which the database keeps and the start warns of. */
async function before(tally: { check: Check }, what: string, project: Compose): Promise<void> {
  try {
    await tally.check(`${what} goes on working, with a warning`, async () => {
      await project.do("up", "--detach");
      const [db, web] = await containers(project, "db", "web");
      await healthy(web);
      expect((await secrets(db))["database_password"]).toBe(PUBLISHED);
      expect(await project.do("logs", "web")).toContain("the database has the password published with the demo");
    });
  } finally {
    await project.remove();
  }
}

type Check = (what: string, show: () => Promise<string | void>) => Promise<void>;

async function containers<const Names extends readonly string[]>(
  project: Compose,
  ...services: Names
): Promise<{ [K in keyof Names]: string }> {
  const found = await Promise.all(services.map((service) => project.containers(service)));
  return found.map(([first = ""]) => first) as { [K in keyof Names]: string };
}

/** Each password by its file's name, read as root. */
async function secrets(db: string): Promise<Record<string, string>> {
  const names = ["database_password", "chatify_bus_password", "grafana_password"];
  const values = names.map((name) => docker("exec", db, "cat", `/run/chatify/${name}`));
  return Object.fromEntries((await Promise.all(values)).map((value, i) => [names[i] as string, value]));
}

function sql(db: string, query: string, role = "chatuser"): Promise<string> {
  return docker("exec", db, "psql", "-U", role, "-d", "chatdb", "-Atc", query);
}
