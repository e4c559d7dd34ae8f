/** The run's Valkey, behind a proxy. */

import { Valkey } from "../support/valkey.ts";
import { FaultProxy } from "./fault_proxy.ts";

export class ProxiedValkey extends Valkey {
  readonly proxy = new FaultProxy(() => ({ hostname: "127.0.0.1", port: this.port }));

  /** The pods' `BUS`. */
  get url(): string {
    return `redis://127.0.0.1:${this.proxy.port}`;
  }

  close(): void {
    this.signal("SIGKILL");
    this.proxy.close();
  }
}
