/** The run's PostgreSQL, on disk with fsync on. It can be stopped in every way, and queried past the proxies. */

import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Database } from "../../src/db/database.ts";
import { migrate } from "../../src/db/migrate.ts";
import { startEmbedded } from "../../src/db/start_embedded.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { TestDatabase } from "../support/database.ts";
import { SILENT } from "../support/sandbox.ts";
import type { Address } from "./fault_proxy.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SOCKET = ".s.PGSQL.5432";

export class Postgres {
  readonly #directory: string;
  #embedded: Embedded;
  #sql: Database;
  #closed = false;
  #starting: Promise<void> = Promise.resolve();

  private constructor(directory: string, embedded: Embedded) {
    this.#directory = directory;
    this.#embedded = embedded;
    this.#sql = this.#connect();
  }

  /** Starts one with chatify's tables and `users` with a session each. */
  static async create(directory: string, users: number): Promise<Postgres> {
    const embedded = await startEmbedded({ directory, log: SILENT });
    const options = { directory: join(ROOT, "sql"), name: "chaos", allowUnsafe: false, log: SILENT, say: () => {} };
    await migrate(embedded.target, options);
    const postgres = new Postgres(directory, embedded);
    const database = new TestDatabase("chatify", postgres.urlFor(postgres.#host));
    await database.addUsers(users);
    await database.sql.end({ timeout: 1 });
    return postgres;
  }

  /** Its own address, behind every proxy. */
  get address(): Address {
    return { unix: join(this.#host, SOCKET) };
  }

  /** A connection string for pods. @param host resolves to it or to a proxy, or the directory of a socket */
  urlFor(host: string, port = 5432): string {
    const { username, password } = this.#target;
    return `postgres://${username}:${password}@localhost/chatify?host=${encodeURIComponent(host)}&port=${port}`;
  }

  /** A direct connection; a query waits up to 10 s while it is down. */
  get sql(): Database {
    return this.#sql;
  }

  /** The process id of the postmaster; its sessions are child processes. */
  get pid(): number {
    return Number(readFileSync(join(this.#cluster, "postmaster.pid"), "utf8").split("\n")[0]);
  }

  /** Process ids of the pods' sessions: those that LISTEN, or the others. */
  async backends(options: { listening: boolean }): Promise<number[]> {
    const rows = await this.#sql.run(
      (sql) => sql<{ pid: number }[]>`
        select pid
        from pg_stat_activity
        where
          backend_type = 'client backend'
          and application_name like 'chatify%'
          and (query ilike 'listen%') = ${options.listening}
        order by pid
      `,
    );
    return rows.map(({ pid }) => pid);
  }

  /** Process ids of the sessions that store messages; waits for one. */
  async writers(): Promise<number[]> {
    for (;;) {
      const rows = await this.#sql.run(
        (sql) => sql<{ pid: number }[]>`
          select pid
          from pg_stat_activity
          where application_name like 'chatify%' and query ilike '%with input as materialized%' -- the start of a batch
          order by pid
        `,
      );
      if (rows.length > 0) return rows.map(({ pid }) => pid);
      await Bun.sleep(100);
    }
  }

  /** The files of tables and indexes. */
  async files(relations: readonly string[]): Promise<string[]> {
    const rows = await this.#sql.run(
      (sql) =>
        sql<
          { path: string }[]
        >`select pg_relation_filepath(name::regclass) as path from unnest(${[...relations]}::text[]) name`,
    );
    return rows.map(({ path }) => join(this.#cluster, path));
  }

  async terminate(pids: readonly number[]): Promise<void> {
    await this.#sql.run((sql) => sql`select pg_terminate_backend(pid) from unnest(${[...pids]}::bigint[]::int[]) pid`);
  }

  /** `SIGINT`: fast shutdown. `SIGQUIT`: immediate. `SIGKILL`: the postmaster, whose sessions then exit by themselves. */
  async stop(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): Promise<void> {
    const { pid } = this;
    const stopped = this.#embedded.stop(); // otherwise it would be restarted at once
    process.kill(pid, signal);
    await stopped;
    while (existsSync(`/proc/${pid}`) && !isZombie(pid)) await Bun.sleep(5);
  }

  /** Starts it again, unless the run is over. @returns when it accepts connections */
  start(): Promise<void> {
    if (!this.#closed) this.#starting = this.#start();
    return this.#starting;
  }

  /** Starts it as a standby and promotes that: the same data on a new timeline, as after a failover without loss. */
  async promote(): Promise<void> {
    this.#touch("standby.signal");
    await this.start(); // read-only
    await Bun.sleep(300);
    this.#touch("promote");
    process.kill(this.pid, "SIGUSR1");
    const isInRecovery = (): Promise<boolean> =>
      this.#sql
        .run((sql) => sql<[{ recovering: boolean }]>`select pg_is_in_recovery() as recovering`)
        .then(([row]) => row.recovering);
    while (await isInRecovery()) await Bun.sleep(20);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#starting.catch(() => {});
    await this.#sql.end();
    await this.#embedded.stop();
  }

  async #start(): Promise<void> {
    this.#embedded = await startEmbedded({ directory: this.#directory, log: SILENT });
    await this.#sql.end();
    this.#sql = this.#connect();
  }

  get #host(): string {
    return this.#target.host;
  }

  get #target() {
    if (typeof this.#embedded.target === "string") throw new TypeError("The embedded database has no socket");
    return this.#embedded.target;
  }

  get #cluster(): string {
    return join(this.#embedded.directory, "cluster");
  }

  /** Creates a signal file for PostgreSQL. */
  #touch(name: string): void {
    const path = join(this.#cluster, name);
    writeFileSync(path, "");
    const { uid, gid } = statSync(this.#cluster);
    chownSync(path, uid, gid);
  }

  #connect(): Database {
    return new Database({ target: this.#embedded.target, name: "chaos", max: 3, log: SILENT });
  }
}

function isZombie(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}
