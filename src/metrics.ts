/**
 * All metrics. Gauges are read from the running parts on each scrape. Label values come from closed
 * sets, never from client input. Counting and observing allocate nothing, since they run for every
 * message.
 */

import { LIMITED_ACTIONS } from "./config.ts";

/**
 * The outcome of a send: stored, already stored by an earlier send, or an error code. Sends beyond
 * a limit count as `rateLimited` instead.
 */
export const OUTCOMES = [
  "stored",
  "duplicate",
  "busy",
  "blocked",
  "invalid_text",
  "no_such_message",
  "no_such_file",
  "no_such_user",
  "ref_reused",
  "restarting",
] as const;
/**
 * Why a packet or event of the bus was dropped: not encrypted by a pod of this chat; a replay; from
 * a pod that has not yet proven that it is running (some at each pod's start); not matching the
 * table of events; of a kind that only newer pods know.
 */
export const BUS_DROPS = ["foreign", "replayed", "unproven", "malformed", "unknown"] as const;
export type BusDrop = (typeof BUS_DROPS)[number];
/** The limits that can reject a request or frame. */
export const LIMIT_NAMES = [
  ...LIMITED_ACTIONS,
  "bytes",
  "frames",
  "sockets",
  "sign_ups",
  "failed_logins",
  "successful_logins",
] as const;
export type LimitName = (typeof LIMIT_NAMES)[number];

const OTHER = "other";
/** All other methods are answered with 405. */
const METHODS = [OTHER, "GET", "HEAD", "POST", "PUT"];
const LAG_INTERVAL_MS = 100;

/** The values read on each scrape. */
export interface Gauges {
  readonly version: string;
  readonly sockets: () => number;
  readonly users: () => number;
  readonly pendingSends: () => number;
  readonly unsentBytes: () => number;
  readonly busSent: () => { readonly packets: number; readonly bytes: number };
  readonly usage: () => Usage;
}

/** Resources used by the process. */
export interface Usage {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

export class Metrics {
  readonly #gauges: Gauges;
  readonly #routes = new Map<string, RouteMetrics>();

  readonly messages = new LabeledCounter(OUTCOMES);
  readonly ackSeconds = new Histogram(0.000_25, 16);
  readonly batchMessages = new Histogram(1, 9);
  readonly querySeconds = { messages: new Histogram(0.000_25, 16), rest: new Histogram(0.000_25, 16) };
  readonly dbLosses = new Counter();
  readonly busLosses = new Counter();
  readonly busDrops = new LabeledCounter(BUS_DROPS);
  readonly backpressureCloses = new Counter();
  readonly stalledDisconnects = new Counter();
  readonly rateLimited = new LabeledCounter(LIMIT_NAMES);
  readonly loginFailures = new Counter();
  readonly fileBytes = new LabeledCounter(["received", "sent"]);
  readonly pictureWaitSeconds = new Histogram(0.001, 14);
  readonly pictureSeconds = new Histogram(0.001, 14);
  readonly lagSeconds = new Histogram(0.001, 13);

  constructor(gauges: Gauges) {
    this.#gauges = gauges;
  }

  /** The metrics of a route. @param template as in `http/router.ts`, never a requested path */
  route(template: string): RouteMetrics {
    return this.#routes.getOrInsertComputed(template, () => new RouteMetrics());
  }

  /** The metrics of requests to unknown paths. */
  get unknownRoute(): RouteMetrics {
    return this.route(OTHER);
  }

  /** Measures how late timers of the event loop fire. @returns a function that stops measuring */
  measureLag(): () => void {
    let due = performance.now() + LAG_INTERVAL_MS;
    const timer = setInterval(() => {
      const now = performance.now();
      this.lagSeconds.observe(Math.max(0, now - due) / 1_000);
      due = now + LAG_INTERVAL_MS;
    }, LAG_INTERVAL_MS);
    return () => clearInterval(timer);
  }

  /** Prometheus text, version 0.0.4. */
  render(): string {
    const { version, sockets, users, pendingSends, unsentBytes, busSent, usage } = this.#gauges;
    const { packets, bytes } = busSent();
    const { residentBytes, cpuSeconds } = usage();
    const queries = (name: string) => [
      ...this.querySeconds.messages.lines(name, 'use="messages"'),
      ...this.querySeconds.rest.lines(name, 'use="rest"'),
    ];
    const routes = [...this.#routes].filter(([, { used }]) => used);
    return [
      gauge("chatify_websocket_connections", "Open sockets on this pod", sockets()),
      gauge("chatify_users_connected", "Users with a socket on this pod", users()),
      gauge("chatify_send_queue_messages", "Messages accepted but not yet stored", pendingSends()),
      gauge("chatify_unsent_bytes", "Bytes buffered for clients that have not read them yet", unsentBytes()),
      family("chatify_messages_total", "counter", "Messages by outcome", (name) =>
        this.messages.lines(name, "outcome"),
      ),
      family("chatify_message_ack_seconds", "histogram", "Time from the arrival of a message to its ack", (name) =>
        this.ackSeconds.lines(name),
      ),
      family("chatify_batch_messages", "histogram", "Messages stored per statement", (name) =>
        this.batchMessages.lines(name),
      ),
      family("chatify_http_requests_total", "counter", "HTTP requests", (name) =>
        routes.flatMap(([template, route]) => route.lines(name, template)),
      ),
      family(
        "chatify_http_request_duration_seconds",
        "histogram",
        "Time from a request to the head of its response",
        (name) => routes.flatMap(([template, route]) => route.seconds.lines(name, `route="${template}"`)),
      ),
      family("chatify_db_query_duration_seconds", "histogram", "Duration of PostgreSQL statements", queries),
      counter("chatify_db_connections_lost_total", "Lost connections to PostgreSQL", this.dbLosses.value),
      counter("chatify_bus_packets_sent_total", "Packets sent to other pods, heartbeats included", packets),
      counter("chatify_bus_bytes_sent_total", "Bytes sent to other pods", bytes),
      counter("chatify_bus_losses_total", "Times this pod may have missed events of other pods", this.busLosses.value),
      family("chatify_bus_dropped_total", "counter", "Dropped packets and events of the bus", (name) =>
        this.busDrops.lines(name, "reason"),
      ),
      counter(
        "chatify_ws_backpressure_closes_total",
        "Sockets closed because their client read too slowly",
        this.backpressureCloses.value,
      ),
      counter(
        "chatify_stalled_disconnects_total",
        "Stalled clients disconnected because too much data was unsent",
        this.stalledDisconnects.value,
      ),
      family("chatify_rate_limited_total", "counter", "Rejections by limit", (name) =>
        this.rateLimited.lines(name, "limit"),
      ),
      counter("chatify_login_failures_total", "Failed logins", this.loginFailures.value),
      family("chatify_file_bytes_total", "counter", "Bytes of files received and sent", (name) =>
        this.fileBytes.lines(name, "direction"),
      ),
      family("chatify_picture_wait_seconds", "histogram", "Time that pictures waited for a decoder", (name) =>
        this.pictureWaitSeconds.lines(name),
      ),
      family("chatify_picture_seconds", "histogram", "Time to check a picture and make its preview", (name) =>
        this.pictureSeconds.lines(name),
      ),
      family("chatify_event_loop_lag_seconds", "histogram", "How late event loop timers fired", (name) =>
        this.lagSeconds.lines(name),
      ),
      family("chatify_build_info", "gauge", "Version of chatify and Bun", (name) => [
        `${name}{version="${version}",bun="${Bun.version}"} 1`,
      ]),
      gauge("process_resident_memory_bytes", "Memory of this process", residentBytes),
      counter("process_cpu_seconds_total", "CPU time of this process", cpuSeconds),
      gauge("process_start_time_seconds", "Start time of this process in Unix seconds", performance.timeOrigin / 1_000),
    ].join("");
  }
}

export class Counter {
  value = 0;

  add(): void {
    this.value++;
  }
}

/** A counter for each value of a label. */
export class LabeledCounter<Value extends string> {
  readonly #counts: Record<Value, number>;

  constructor(values: readonly Value[]) {
    this.#counts = Object.fromEntries(values.map((value) => [value, 0])) as Record<Value, number>;
  }

  add(value: Value, by = 1): void {
    this.#counts[value] += by;
  }

  lines(name: string, label: string): string[] {
    return Object.entries(this.#counts).map(([value, count]) => `${name}{${label}="${value}"} ${count}`);
  }
}

/** A histogram whose bounds double, so that the bucket is computed without a search. */
export class Histogram {
  readonly #first: number;
  /** The last bucket counts values beyond all bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  /** @param first bound of the first bucket @param buckets number of buckets with a bound */
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

/** Metrics of one route. */
export class RouteMetrics {
  readonly seconds = new Histogram(0.000_25, 16);
  /** By method and status encoded as one number, so that counting allocates no string. */
  readonly #counts = new Map<number, number>();

  get used(): boolean {
    return this.#counts.size > 0;
  }

  /** @param status of the response, 101 after an upgrade */
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
