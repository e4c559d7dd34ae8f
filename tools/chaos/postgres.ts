/** The PostgreSQL of a run: real, on the disk, with fsync on. It can be stopped in every way there is, and looked into past every broken proxy. */

import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Database } from "../../src/db/database.ts";
import { migrate } from "../../src/db/migrate.ts";
import { startEmbedded } from "../../src/db/own_postgres.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import { BenchDatabase } from "../support/database.ts";
import type { Address } from "./fault_proxy.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SILENT = new Log({ level: "error", format: "text", write: () => {} });
const SOCKET = ".s.PGSQL.5432";

export class Postgres {
  readonly #directory: string;
  #embedded: Embedded;
  #sql: Database;
  #closed = false;
  /** A start under way. */
  #starting: Promise<void> = Promise.resolve();

  private constructor(directory: string, embedded: Embedded) {
    this.#directory = directory;
    this.#embedded = embedded;
    this.#sql = this.#connect();
  }

  /** Starts it with chatify's tables and `people` who have a session each. */
  static async start(directory: string, people: number): Promise<Postgres> {
    const embedded = await startEmbedded({ directory, log: SILENT });
    const options = { directory: join(ROOT, "sql"), name: "chaos", allowUnsafe: false, log: SILENT, say: () => {} };
    await migrate(embedded.target, options);
    const postgres = new Postgres(directory, embedded);
    const database = new BenchDatabase("chatify", postgres.address(postgres.#host));
    await database.people(people);
    await database.sql.end({ timeout: 1 });
    return postgres;
  }

  /** Where it answers, past every proxy. */
  get place(): Address {
    return { unix: join(this.#host, SOCKET) };
  }

  /** An address for pods. @param host that leads here, or the directory of a socket that does */
  address(host: string, port = 5432): string {
    const { username, password } = this.#target;
    return `postgres://${username}:${password}@localhost/chatify?host=${encodeURIComponent(host)}&port=${port}`;
  }

  /** Asks it directly; waits up to 10 s for it to be there. */
  get sql(): Database {
    return this.#sql;
  }

  /** The postmaster; its sessions are its children. */
  get pid(): number {
    return Number(readFileSync(join(this.#cluster, "postmaster.pid"), "utf8").split("\n")[0]);
  }

  /** Sessions of the pods. `listening`: those that wait for notifications; otherwise the others. */
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

  /** The sessions that store messages; waits for one. */
  async writers(): Promise<number[]> {
    for (;;) {
      const rows = await this.#sql.run(
        (sql) => sql<{ pid: number }[]>`
          select pid
          from pg_stat_activity
          where application_name like 'chatify%' and query ilike '%with input as materialized%' -- the beginning of a batch
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

  /** Stops it: `SIGINT` is fast, `SIGQUIT` immediate, `SIGKILL` ends the postmaster alone, whose sessions then end themselves. */
  async down(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): Promise<void> {
    const { pid } = this;
    const stopped = this.#embedded.stop(); // else it is started again at once
    process.kill(pid, signal);
    await stopped;
    while (existsSync(`/proc/${pid}`) && !isZombie(pid)) await Bun.sleep(5);
  }

  /** Starts it again, unless the run is over. @returns when it takes connections */
  up(): Promise<void> {
    if (!this.#closed) this.#starting = this.#start();
    return this.#starting;
  }

  /** Starts it again as a standby that is promoted: the same data on a new timeline, as after a fail-over that lost nothing. */
  async promoted(): Promise<void> {
    this.#leave("standby.signal");
    await this.up(); // it answers, and takes no writes
    await Bun.sleep(300);
    this.#leave("promote");
    process.kill(this.pid, "SIGUSR1");
    const recovers = (): Promise<boolean> =>
      this.#sql
        .run((sql) => sql<[{ recovers: boolean }]>`select pg_is_in_recovery() as recovers`)
        .then(([row]) => row.recovers);
    while (await recovers()) await Bun.sleep(20);
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

  /** A file that PostgreSQL looks for. */
  #leave(name: string): void {
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
