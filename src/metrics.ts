/** Every metric, declared once. They are read from their owners when somebody asks. Labels come from closed sets only. */

/** What `/metrics` asks of the running parts. */
export interface Owners {
  readonly sockets: () => number;
  readonly people: () => number;
  readonly sendsWaiting: () => number;
  readonly busSent: () => { readonly packets: number; readonly bytes: number };
}

export class Metrics {
  readonly #owners: Owners;

  constructor(owners: Owners) {
    this.#owners = owners;
  }

  /** Prometheus text, version 0.0.4. */
  render(): string {
    const { packets, bytes } = this.#owners.busSent();
    return [
      gauge("chatify_websocket_connections", "Sockets open on this pod", this.#owners.sockets()),
      gauge("chatify_people", "People with a socket on this pod", this.#owners.people()),
      gauge("chatify_sends_waiting", "Messages accepted and not yet stored", this.#owners.sendsWaiting()),
      counter("chatify_bus_packets_sent_total", "Packets this pod sent to the others, heartbeats included", packets),
      counter("chatify_bus_bytes_sent_total", "Bytes of those packets", bytes),
    ].join("");
  }
}

function counter(name: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} counter\n${name} ${value}\n`;
}

function gauge(name: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}
