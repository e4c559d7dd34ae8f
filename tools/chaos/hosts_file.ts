/**
 * A host name for PostgreSQL that only the pods of a run can resolve, and that can become unknown: each pod runs in a mount namespace with a
 * hosts file of the run's. Needs root on Linux.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NAME = "postgres.chaos.internal";

export class HostsFile {
  readonly name = NAME;
  /** To be put before the command of a pod. */
  readonly command: readonly string[];
  readonly #hosts: string;

  /** @returns undefined where a pod cannot have a hosts file of its own */
  static make(directory: string): HostsFile | undefined {
    const names = new HostsFile(join(directory, "names"));
    const found = Bun.which("unshare") && Bun.spawnSync([...names.command, "getent", "hosts", NAME]);
    return found && found.success ? names : undefined;
  }

  private constructor(directory: string) {
    mkdirSync(directory);
    this.#hosts = join(directory, "hosts");
    const lookUps = join(directory, "nsswitch.conf");
    writeFileSync(lookUps, "hosts: files\n"); // an unknown name is denied at once, as by a DNS server that caches the denial
    this.known();
    const mount = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"';
    this.command = ["unshare", "--mount", "--", "sh", "-c", mount, "sh", this.#hosts, lookUps];
  }

  known(): void {
    writeFileSync(this.#hosts, `127.0.0.1 localhost\n127.0.0.1 ${NAME}\n`);
  }

  unknown(): void {
    writeFileSync(this.#hosts, "127.0.0.1 localhost\n");
  }
}
