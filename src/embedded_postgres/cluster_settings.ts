/** Creates the cluster of the embedded PostgreSQL and writes its settings. */

import { lchownSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { chownTree, fsyncPath } from "./files.ts";
import { PASSWORD, PORT } from "./layout.ts";
import type { Programs } from "./programs.ts";
import { currentUser } from "./system_user.ts";

/** One run of a program. `says`: required output, as single-user PostgreSQL always exits with 0. */
type Step = { program: "initdb" | "postgres"; args: string[]; input?: string; says?: string };

/**
 * Creates a cluster with an empty database, and moves it into place once both are flushed to disk.
 *
 * @param cluster its path, in PostgreSQL's home
 * @throws Error with the output of PostgreSQL's programs
 */
export async function createCluster(cluster: string, programs: Programs): Promise<void> {
  const home = dirname(cluster);
  for (const name of readdirSync(home)) {
    if (name.startsWith("new-")) rmSync(join(home, name), { recursive: true, force: true, maxRetries: 3 }); // left by a killed run
  }
  const fresh = join(home, `new-${crypto.randomUUID().slice(0, 8)}`);
  const [data, password] = [join(fresh, "cluster"), join(fresh, "password")];
  mkdirSync(fresh, { mode: 0o700 });
  try {
    const made = Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString("base64url");
    writeFileSync(password, made, { mode: 0o600 });
    chownTree(home, programs.files);
    for (const { program, args, says = "", ...step } of creation(data, password)) {
      const { exitCode, output } = await programs.run(program, args, { ...step, cwd: home });
      if (exitCode !== 0 || !output.includes(says)) throw new Error(output);
    }
    renameSync(password, join(data, PASSWORD)); // password and cluster appear together or not at all
    hideFromPostgres(join(data, PASSWORD));
    fsyncPath(join(data, PASSWORD));
    fsyncPath(data);
    renameSync(data, cluster);
    fsyncPath(home);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Makes us the owner of a file, so that a PostgreSQL that runs as another user cannot read it. */
export function hideFromPostgres(path: string): void {
  const { uid, gid } = currentUser();
  lchownSync(path, uid, gid);
}

/** Syncs once at the end, which is 0.4 s faster than three times. */
function creation(cluster: string, password: string): Step[] {
  const access = ["--username=chatify", `--pwfile=${password}`, "--auth=scram-sha-256"];
  const language = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]; // the same on every system
  return [
    { program: "initdb", args: ["-D", cluster, ...access, ...language, "--no-sync", "--no-instructions"] },
    {
      program: "postgres",
      args: ["--single", "-F", "-D", cluster, "postgres"],
      input: "create database chatify strategy file_copy\nselect datname from pg_database where datname = 'chatify'\n",
      says: 'datname = "chatify"',
    },
    { program: "initdb", args: ["-D", cluster, "--sync-only"] },
  ];
}

/** The configuration file, written at each start so that a newer chatify can change it. */
export function settingsFile(sockets: string, logs: string): string {
  return `# Written by chatify at each start. Put your own settings into local.conf beside this file, or use ALTER SYSTEM.

cluster_name = 'chatify'
listen_addresses = ''                 # not on the network, so no port can collide
port = ${PORT}
unix_socket_directories = ${quoted(`"${sockets.replaceAll('"', '""')}"`)}
unix_socket_permissions = 0700
max_connections = 100

# Acknowledged messages are on the disk.
fsync = on
full_page_writes = on
synchronous_commit = on

# For small machines: memory is allocated on use, and no idle worker processes.
shared_buffers = 128MB
io_method = sync
max_parallel_workers_per_gather = 0
max_logical_replication_workers = 0
jit = off
dynamic_shared_memory_type = mmap     # /dev/shm is 64 MB in a container, and is emptied when a user logs out

# For many small commits: rare checkpoints, and compressed full pages in the WAL.
checkpoint_timeout = 15min
min_wal_size = 128MB
max_wal_size = 1GB
wal_compression = on

# A week of logs, without statements and details, which would contain messages.
logging_collector = on
log_directory = ${quoted(logs)}
log_filename = 'postgresql-%a.log'
log_file_mode = 0600
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_checkpoints = off
log_min_error_statement = panic
log_error_verbosity = terse
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'

include_if_exists = 'local.conf'
`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}
