/** Connection strings against real servers and certificates: servers and TLS as in libpq, and chatify's own session settings. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { connect } from "../../src/db/client.ts";
import { DatabaseError, migrate } from "../../src/db/migrate.ts";
import { Authority } from "../support/certificates.ts";
import { ROOT, SILENT, startApp } from "../support/harness.ts";
import { PostgresServer } from "../support/postgres_server.ts";

setDefaultTimeout(30_000);

const directory = mkdtempSync(join(tmpdir(), "chatify-connection-"));
const authority = new Authority(directory);
const stranger = new Authority(directory, "stranger");
const certificate = authority.sign("server", { names: "DNS:localhost,IP:127.0.0.1" });
const SECRET = "hunter22-is-secret";
let server: PostgresServer;

beforeAll(async () => {
  server = await PostgresServer.start({ certificate });
  await server.run((sql) => sql.unsafe(`create role ann superuser login password '${SECRET}'`));
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The server's address as ann. */
function address(rest = "", host = "localhost"): string {
  return `postgres://ann:${SECRET}@${host}:${server.port}/chatify${rest}`;
}

/** The session's TLS version and client certificate as the server reports them, "plain", or the error code. */
async function session(url: string): Promise<string> {
  const sql = connect(url, { name: "test" });
  try {
    const [row] = await sql<
      [{ version: string | null; subject: string | null }]
    >`select version, client_dn as subject from pg_stat_ssl where pid = pg_backend_pid()`;
    return [row.version ?? "plain", row.subject ?? ""].join(" ").trim();
  } catch (error) {
    return Reflect.get(error as object, "code");
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** The message an admin reads when chatify cannot start with an address. */
async function refusal(url: string): Promise<string> {
  const options = { directory: join(ROOT, "sql"), name: "test", allowUnsafe: false, log: SILENT, say: () => {} };
  const error = await migrate(url, options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(DatabaseError);
  const { message } = error as DatabaseError;
  expect(message).not.toContain("hunter");
  return message;
}

describe("TLS", () => {
  const CAS: Readonly<Record<string, string>> = {
    "no CA": "",
    "its CA": `&sslrootcert=${authority.root}`,
    "another CA": `&sslrootcert=${stranger.root}`,
    "the system's CAs": "&sslrootcert=system",
  };

  test.each([
    ["disable", "no CA", "localhost", "plain"],
    ["allow", "no CA", "localhost", "plain"],
    ["prefer", "no CA", "localhost", "TLSv1.3"],
    ["prefer", "another CA", "localhost", "plain"],
    ["require", "no CA", "localhost", "TLSv1.3"],
    ["require", "another CA", "localhost", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"], // as libpq: a given root is always verified
    ["verify-ca", "its CA", "localhost", "TLSv1.3"],
    ["verify-ca", "its CA", "[::1]", "TLSv1.3"], // which the certificate does not name
    ["verify-ca", "another CA", "localhost", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["verify-full", "its CA", "localhost", "TLSv1.3"],
    ["verify-full", "its CA", "127.0.0.1", "TLSv1.3"],
    ["verify-full", "its CA", "[::1]", "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["verify-full", "no CA", "localhost", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["verify-full", "the system's CAs", "localhost", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
  ] as const)("sslmode=%s with %s to %s: %s", async (mode, ca, host, meant) => {
    expect(await session(address(`?sslmode=${mode}${CAS[ca]}`, host))).toBe(meant);
  });

  test.each([
    ["sslnegotiation=direct", "TLSv1.3"],
    ["ssl_max_protocol_version=TLSv1.2", "TLSv1.2"],
    ["sslsni=0", "TLSv1.3"],
  ])("sslmode=require with %s: %s", async (rest, meant) => {
    expect(await session(address(`?sslmode=require&${rest}`))).toBe(meant);
  });

  test("verifies the host name although hostaddr is the address to connect to", async () => {
    const rest = `?sslmode=verify-full&sslrootcert=${authority.root}`;
    expect(await session(address(`${rest}&hostaddr=::1`))).toBe("TLSv1.3");
    expect(await session(address(`${rest}&hostaddr=127.0.0.1`, "elsewhere.example"))).toBe(
      "ERR_TLS_CERT_ALTNAME_INVALID",
    );
  });

  test("is preferred by default", async () => {
    expect(await session(address())).toBe("TLSv1.3");
  });

  test("follows pg_hba.conf as far as sslmode allows", async () => {
    const rule = (kind: string) => [`${kind} all all all scram-sha-256`];
    const sessions = (modes: string[]) => Promise.all(modes.map((mode) => session(address(`?sslmode=${mode}`))));
    await server.restart({ certificate, access: rule("hostssl") });
    expect(await sessions(["disable", "allow", "prefer"])).toEqual(["28000", "TLSv1.3", "TLSv1.3"]);
    await server.restart({ certificate, access: rule("hostnossl") });
    expect(await sessions(["allow", "prefer", "require"])).toEqual(["plain", "plain", "28000"]);
    await server.restart();
    expect(await sessions(["allow", "prefer", "require"])).toEqual(["plain", "plain", "TLS_NOT_OFFERED"]);
  });

  test("sends a client certificate, also with an encrypted key, and rejects a revoked server", async () => {
    const { cert, key } = authority.sign("ann");
    await server.restart({ certificate, clientAuthority: authority.root });
    expect(await session(address(`?sslmode=require&sslcert=${cert}&sslkey=${key}`))).toBe("TLSv1.3 /CN=ann");
    expect(await session(address(`?sslmode=require&sslcert=${cert}&sslkey=${key}&sslcertmode=disable`))).toBe(
      "TLSv1.3",
    );
    const locked = join(directory, "locked.key");
    Bun.spawnSync(["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:open%sesame", "-out", locked]);
    const open = `&sslpassword=${encodeURIComponent("open%sesame")}`;
    expect(await session(address(`?sslmode=require&sslcert=${cert}&sslkey=${locked}${open}`))).toBe("TLSv1.3 /CN=ann");
    const list = `&sslcrl=${authority.revoke(certificate)}`;
    expect(await session(address(`?sslmode=verify-full&sslrootcert=${authority.root}${list}`))).toBe("CERT_REVOKED");
  });

  test("failures at startup are one sentence with a remedy", async () => {
    const full = `?sslmode=verify-full&sslrootcert=${authority.root}`;
    const where = `the server at localhost:${server.port}`;
    await server.restart({ certificate });
    expect(await refusal(address("?sslmode=verify-full"))).toBe(
      `The certificate of ${where} is not trusted (unable to verify the first certificate): ` +
        "set sslrootcert in DATABASE_URL to the certificate file of the CA that issued it",
    );
    expect(await refusal(address(full, "[::1]"))).toMatch(
      /^The certificate of the server at \[::1\]:\d+ is for another name \(.*\): use that name in DATABASE_URL, or verify only the issuer with sslmode=verify-ca$/,
    );
    await server.restart({ certificate: authority.sign("expired", { names: "DNS:localhost", days: -1 }) });
    expect(await refusal(address(full))).toBe(
      `The certificate of ${where} is not valid now (certificate has expired): renew it, and check this machine's clock`,
    );
    const alone = new Authority(directory, "alone").itself;
    await server.restart({ certificate: alone });
    expect(await refusal(address(full))).toStartWith(`The certificate of ${where} is not trusted (`);
    await server.restart();
    expect(await refusal(address("?sslmode=require"))).toBe(
      `The server at localhost:${server.port} does not support TLS, which sslmode=require requires: set ssl = on there, or change sslmode in DATABASE_URL`,
    );
    const missing = join(directory, "missing.pem");
    await server.restart({ certificate });
    expect(await refusal(address(`?sslmode=verify-ca&sslrootcert=${missing}`))).toBe(
      `The file ${missing} in sslrootcert cannot be read (ENOENT). Check DATABASE_URL`,
    );
    expect(await refusal(address(`?sslmode=verify-ca&sslrootcert=${import.meta.path}`))).toStartWith(
      "The certificate and key files in DATABASE_URL cannot be used: ",
    );
  });

  test("a refused client certificate is one sentence that does not blame the server's", async () => {
    const own = authority.sign("own");
    const foreign = stranger.sign("foreign");
    const expired = authority.sign("expired-client", { days: -1 });
    await server.restart({ certificate, clientAuthority: authority.root });
    for (const { cert, key } of [foreign, expired]) {
      expect(await refusal(address(`?sslmode=require&sslcert=${cert}&sslkey=${key}`))).toMatch(
        /^The server at localhost:\d+ rejected the client certificate \(\w+_(UNKNOWN_CA|CERTIFICATE_EXPIRED)\): set sslcert in DATABASE_URL to /,
      );
    }
    expect(await refusal(address(`?sslmode=require&sslcert=${own.cert}&sslkey=${foreign.key}`))).toBe(
      "The certificate and key files in DATABASE_URL cannot be used: KEY_VALUES_MISMATCH. Do sslcert, sslkey and sslpassword belong together?",
    );
    await server.restart({ certificate, settings: { ssl_max_protocol_version: "TLSv1.2" } });
    expect(await refusal(address("?sslmode=require&ssl_min_protocol_version=TLSv1.3"))).toContain(
      "have no TLS version in common",
    );
    await server.restart({ certificate });
  });
});

describe("servers", () => {
  test("are tried in turn, and only the primary is used", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
    const { port } = silent.address() as { port: number };
    const hosts = `127.0.0.1:1,no-such-host.invalid:2,%2Fnowhere,127.0.0.1:${port},localhost`;
    expect(await session(address("?connect_timeout=1", hosts))).toBe("TLSv1.3");
    silent.close();
    await using standby = await PostgresServer.start({ standby: true });
    expect(await session(address("", `127.0.0.1:${standby.port},localhost`))).toBe("28P01"); // its error is reported
    await standby.restart();
    await standby.run((sql) => sql.unsafe(`create role ann superuser login password '${SECRET}'`));
    await standby.restart({ standby: true });
    expect(await session(address("", `127.0.0.1:${standby.port},localhost`))).toBe("TLSv1.3");
    const both = `127.0.0.1:${standby.port},127.0.0.1`;
    expect(await refusal(`postgres://ann:${SECRET}@${both}:${standby.port}/chatify`)).toBe(
      `None of the servers at 127.0.0.1:${standby.port}, at 127.0.0.1:${standby.port} accepts writes: DATABASE_URL must name the primary`,
    );
  });

  test("that wait for a synchronous standby are refused within seconds, and nothing waits for ever", async () => {
    await server.restart({ certificate, settings: { synchronous_standby_names: "elsewhere" } });
    const begunAt = performance.now();
    expect(await refusal(address())).toBe(
      "PostgreSQL cannot commit: it is waiting for a synchronous standby (synchronous_standby_names is elsewhere): start the standby, or change the setting",
    );
    expect(performance.now() - begunAt).toBeLessThan(10_000);
    await server.restart({ certificate });
  });

  test("time out after connect_timeout", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
    const { port } = silent.address() as { port: number };
    const begunAt = performance.now();
    expect(await session(`postgres://ann:${SECRET}@127.0.0.1:${port}/chatify?connect_timeout=1`)).toBe(
      "CONNECT_TIMEOUT",
    );
    expect(performance.now() - begunAt).toBeWithin(900, 3_000);
    silent.close();
  });
});

test("chat works over IPv6 and in a database with any name, and its timestamps end in Z whatever the address sets", async () => {
  await server.run((sql) => sql.unsafe('create database "my ""db""/é%?#@" template template0'));
  const place = `[::1]:${server.port}/${encodeURIComponent('my "db"/é%?#@')}`;
  for (const [name, rest] of [
    ["ann", "TimeZone=Asia/Kathmandu"],
    ["bob", "options=-c%20timezone%3DAsia/Kathmandu%20-c%20datestyle%3DGerman"],
  ] as const) {
    await using app = await startApp({ database: `postgres://ann:${SECRET}@${place}?${rest}` });
    const tab = await (await app.person(name)).open();
    const { timestamp } = await tab.send(name, "hello");
    expect(timestamp).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  }
});
