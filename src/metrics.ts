/** Every metric, declared once. Gauges are read from their owners when somebody asks. Labels come from closed sets only. */

/** What `/metrics` asks of the running parts. */
export interface Gauges {
  readonly sockets: () => number;
  readonly people: () => number;
  readonly sendsWaiting: () => number;
}

export class Metrics {
  readonly #gauges: Gauges;

  constructor(gauges: Gauges) {
    this.#gauges = gauges;
  }

  /** Prometheus text, version 0.0.4. */
  render(): string {
    return [
      gauge("chatify_websocket_connections", "Sockets open on this pod", this.#gauges.sockets()),
      gauge("chatify_people", "People with a socket on this pod", this.#gauges.people()),
      gauge("chatify_sends_waiting", "Messages accepted and not yet stored", this.#gauges.sendsWaiting()),
    ].join("");
  }
}

function gauge(name: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}
