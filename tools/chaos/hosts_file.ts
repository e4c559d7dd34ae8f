/** A host name that can stop resolving: each pod runs in a mount namespace with the run's hosts file. Needs root on Linux. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NAME = "postgres.chaos.internal";

export class HostsFile {
  readonly name = NAME;
  /** Prefix of a pod's command. */
  readonly command: readonly string[];
  readonly #path: string;

  /** @returns undefined where a pod cannot have a hosts file of its own */
  static create(directory: string): HostsFile | undefined {
    const hosts = new HostsFile(join(directory, "names"));
    const found = Bun.which("unshare") && Bun.spawnSync([...hosts.command, "getent", "hosts", NAME]);
    return found && found.success ? hosts : undefined;
  }

  private constructor(directory: string) {
    mkdirSync(directory);
    this.#path = join(directory, "hosts");
    const nsswitch = join(directory, "nsswitch.conf");
    writeFileSync(nsswitch, "hosts: files\n"); // an unknown name fails at once, as with a cached NXDOMAIN
    this.add();
    const mount = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"';
    this.command = ["unshare", "--mount", "--", "sh", "-c", mount, "sh", this.#path, nsswitch];
  }

  add(): void {
    writeFileSync(this.#path, `127.0.0.1 localhost\n127.0.0.1 ${NAME}\n`);
  }

  remove(): void {
    writeFileSync(this.#path, "127.0.0.1 localhost\n");
  }
}
