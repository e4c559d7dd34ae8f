/**
 * Every metric, declared once, and what counts them. Gauges are read from their owners when somebody asks. Labels come from closed
 * sets only: never a name, an address or a path as somebody typed it. Where messages pass, a count is an addition and a histogram an
 * index and two: nothing is allocated.
 */

import { LIMITED_ACTIONS } from "./config.ts";

/** What became of a message: stored, found stored by an earlier send, or an error's code. */
export const OUTCOMES = [
  "stored",
  "duplicate",
  "busy",
  "blocked",
  "invalid_text",
  "no_such_user",
  "ref_reused",
] as const;
/**
 * Why a packet or an event of the bus was dropped: sealed by no pod of this chat; sent before; from a pod that has not proven yet that it
 * runs now (some at each pod's start); not what the table of events says; of a kind that only newer pods know.
 */
export const BUS_DROPS = ["foreign", "replayed", "unproven", "malformed", "unknown"] as const;
export type BusDrop = (typeof BUS_DROPS)[number];
/** What may be refused because of a limit. */
export const LIMITED = [...LIMITED_ACTIONS, "bytes", "frames", "sockets", "sign_ups", "logins", "sign_ins"] as const;
export type Limited = (typeof LIMITED)[number];

const OTHER = "other";
/** The rest is answered 405. */
const METHODS = [OTHER, "GET", "HEAD", "POST"];
const LAG_EVERY_MS = 100;

/** What `/metrics` asks of the running parts. */
export interface Owners {
  readonly version: string;
  readonly sockets: () => number;
  readonly people: () => number;
  readonly sendsWaiting: () => number;
  readonly unsentBytes: () => number;
  readonly busSent: () => { readonly packets: number; readonly bytes: number };
  readonly usage: () => Usage;
}

/** What the process has taken of its machine. */
export interface Usage {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

export class Metrics {
  readonly #owners: Owners;
  readonly #routes = new Map<string, Route>();

  readonly messages = new Counts(OUTCOMES);
  readonly ackSeconds = new Histogram(0.000_25, 16);
  readonly batchMessages = new Histogram(1, 9);
  readonly querySeconds = { messages: new Histogram(0.000_25, 16), rest: new Histogram(0.000_25, 16) };
  readonly dbLosses = new Count();
  readonly busLosses = new Count();
  readonly busDrops = new Counts(BUS_DROPS);
  readonly backpressureCloses = new Count();
  readonly unsentCuts = new Count();
  readonly rateLimited = new Counts(LIMITED);
  readonly loginFailures = new Count();
  readonly lagSeconds = new Histogram(0.001, 13);

  constructor(owners: Owners) {
    this.#owners = owners;
  }

  /** What counts the requests to a route. @param template as in `routes.ts`, never a path */
  route(template: string): Route {
    const known = this.#routes.get(template);
    if (known) return known;
    const route = new Route();
    this.#routes.set(template, route);
    return route;
  }

  /** What counts requests to no route. */
  get elsewhere(): Route {
    return this.route(OTHER);
  }

  /** Measures how late the event loop comes to its timers. @returns ends it */
  watchLag(): () => void {
    let due = performance.now() + LAG_EVERY_MS;
    const timer = setInterval(() => {
      const now = performance.now();
      this.lagSeconds.observe(Math.max(0, now - due) / 1_000);
      due = now + LAG_EVERY_MS;
    }, LAG_EVERY_MS);
    return () => clearInterval(timer);
  }

  /** Prometheus text, version 0.0.4. */
  render(): string {
    const { version, sockets, people, sendsWaiting, unsentBytes, busSent, usage } = this.#owners;
    const { packets, bytes } = busSent();
    const { residentBytes, cpuSeconds } = usage();
    const queries = (name: string) => [
      ...this.querySeconds.messages.lines(name, 'use="messages"'),
      ...this.querySeconds.rest.lines(name, 'use="rest"'),
    ];
    const routes = [...this.#routes].filter(([, { used }]) => used);
    return [
      gauge("chatify_websocket_connections", "Sockets open on this pod", sockets()),
      gauge("chatify_people", "People with a socket on this pod", people()),
      gauge("chatify_sends_waiting", "Messages accepted and not yet stored", sendsWaiting()),
      gauge("chatify_unsent_bytes", "Data that clients have not taken yet", unsentBytes()),
      family("chatify_messages_total", "counter", "Messages by what became of them", (name) =>
        this.messages.lines(name, "outcome"),
      ),
      family("chatify_message_ack_seconds", "histogram", "From a message's arrival to its ack", (name) =>
        this.ackSeconds.lines(name),
      ),
      family("chatify_batch_messages", "histogram", "Messages in one storing statement", (name) =>
        this.batchMessages.lines(name),
      ),
      family("chatify_http_requests_total", "counter", "Requests answered", (name) =>
        routes.flatMap(([template, route]) => route.lines(name, template)),
      ),
      family("chatify_http_request_duration_seconds", "histogram", "From a request to the head of its answer", (name) =>
        routes.flatMap(([template, route]) => route.seconds.lines(name, `route="${template}"`)),
      ),
      family("chatify_db_query_duration_seconds", "histogram", "Statements that PostgreSQL answered", queries),
      counter("chatify_db_losses_total", "Times a connection to PostgreSQL was lost", this.dbLosses.value),
      counter("chatify_bus_packets_sent_total", "Packets this pod sent to the others, heartbeats included", packets),
      counter("chatify_bus_bytes_sent_total", "Bytes of those packets", bytes),
      counter(
        "chatify_bus_losses_total",
        "Times this pod may have missed something of the others",
        this.busLosses.value,
      ),
      family("chatify_bus_dropped_total", "counter", "Packets and events of the bus that were dropped", (name) =>
        this.busDrops.lines(name, "reason"),
      ),
      counter(
        "chatify_ws_backpressure_closes_total",
        "Sockets closed because their reader fell behind",
        this.backpressureCloses.value,
      ),
      counter(
        "chatify_unsent_cuts_total",
        "Stalled clients cut because too much data was unsent",
        this.unsentCuts.value,
      ),
      family("chatify_rate_limited_total", "counter", "Refusals by limit", (name) =>
        this.rateLimited.lines(name, "limit"),
      ),
      counter("chatify_login_failures_total", "Wrong names and passwords", this.loginFailures.value),
      family("chatify_event_loop_lag_seconds", "histogram", "How late the event loop came to a timer", (name) =>
        this.lagSeconds.lines(name),
      ),
      family("chatify_build_info", "gauge", "What runs here", (name) => [
        `${name}{version="${version}",bun="${Bun.version}"} 1`,
      ]),
      gauge("process_resident_memory_bytes", "Memory of this process", residentBytes),
      counter("process_cpu_seconds_total", "CPU time of this process", cpuSeconds),
      gauge("process_start_time_seconds", "When this process started, since 1970", performance.timeOrigin / 1_000),
    ].join("");
  }
}

/** What only rises. */
export class Count {
  value = 0;

  add(): void {
    this.value++;
  }
}

/** Counts by a label whose values are known. */
export class Counts<Value extends string> {
  readonly #counts: Record<Value, number>;

  constructor(values: readonly Value[]) {
    this.#counts = Object.fromEntries(values.map((value) => [value, 0])) as Record<Value, number>;
  }

  add(value: Value): void {
    this.#counts[value]++;
  }

  lines(name: string, label: string): string[] {
    return Object.entries(this.#counts).map(([value, count]) => `${name}{${label}="${value}"} ${count}`);
  }
}

/** Counts in buckets of which each reaches twice as far as the one before: which it is takes no search. */
export class Histogram {
  readonly #first: number;
  /** The last is for what lies beyond the bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  /** @param first bound of the first bucket @param buckets how many have a bound */
  constructor(first: number, buckets: number) {
    this.#first = first;
    this.#counts = new Float64Array(buckets + 1);
  }

  observe(value: number): void {
    const beyond = Math.max(0, Math.ceil(value / this.#first) - 1);
    const bucket = Math.min(32 - Math.clz32(beyond), this.#counts.length - 1);
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#sum += value;
  }

  lines(name: string, labels = ""): string[] {
    const lines: string[] = [];
    let count = 0;
    const prefix = labels === "" ? "" : `${labels},`;
    for (const [i, own] of this.#counts.entries()) {
      count += own;
      const bound = i === this.#counts.length - 1 ? "+Inf" : this.#first * 2 ** i;
      lines.push(`${name}_bucket{${prefix}le="${bound}"} ${count}`);
    }
    const braced = labels === "" ? "" : `{${labels}}`;
    lines.push(`${name}_sum${braced} ${this.#sum}`, `${name}_count${braced} ${count}`);
    return lines;
  }
}

/** The requests to one route. */
export class Route {
  readonly seconds = new Histogram(0.000_25, 16);
  /** By method and status in one number, so that counting makes no text. */
  readonly #counts = new Map<number, number>();

  get used(): boolean {
    return this.#counts.size > 0;
  }

  /** @param status of the answer, 101 after an upgrade */
  count(method: string, status: number, tookMs: number): void {
    const key = Math.max(0, METHODS.indexOf(method)) * 1_000 + status;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.seconds.observe(tookMs / 1_000);
  }

  lines(name: string, template: string): string[] {
    return [...this.#counts].map(([key, count]) => {
      const method = METHODS[Math.floor(key / 1_000)];
      return `${name}{route="${template}",method="${method}",code="${key % 1_000}"} ${count}`;
    });
  }
}

function counter(name: string, help: string, value: number): string {
  return family(name, "counter", help, () => [`${name} ${value}`]);
}

function gauge(name: string, help: string, value: number): string {
  return family(name, "gauge", help, () => [`${name} ${value}`]);
}

function family(
  name: string,
  type: "counter" | "gauge" | "histogram",
  help: string,
  lines: (name: string) => string[],
): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines(name), ""].join("\n");
}
