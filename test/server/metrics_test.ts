/** `/metrics` is valid for Prometheus, and its values follow the activity of users. */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { connect } from "../../src/db/client.ts";
import { migratedDatabase, ROOT, startApp, type TestApp } from "../support/harness.ts";
import { png } from "../support/images.ts";
import { sharedApp } from "../support/shared_app.ts";
import { fetchFile, upload } from "../support/uploads.ts";

interface Family {
  readonly type: string;
  readonly help: string;
  /** By name and labels as they are written. */
  readonly samples: Map<string, number>;
}

/** Reads the text format strictly: HELP, TYPE and samples of a metric together, each once. */
function parse(text: string): Map<string, Family> {
  expect(text).toEndWith("\n");
  const families = new Map<string, Family>();
  let help: [name: string, words: string] | undefined;
  let current: [name: string, family: Family] | undefined;
  for (const line of text.split("\n").slice(0, -1)) {
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? [];
    if (kind === "HELP") help = [name, rest];
    else if (kind === "TYPE") {
      expect(help?.[0], line).toBe(name);
      expect(families.has(name), `${name} twice`).toBeFalse();
      current = [name, { type: rest, help: help![1], samples: new Map() }];
      families.set(...current);
    } else {
      const [, key, metric, value] = /^(([a-z_]+)(?:\{(?:[a-z]+="[^"\\\n]*",?)+\})?) (\S+)$/.exec(line) ?? [];
      expect(key, line).toBeDefined();
      const [owner, { type, samples }] = current!;
      const allowed = type === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => owner + end) : [owner];
      expect(allowed, line).toContain(metric!);
      expect(samples.has(key!), `${key} twice`).toBeFalse();
      expect(Number.isFinite(Number(value)), line).toBeTrue();
      samples.set(key!, Number(value));
    }
  }
  return families;
}

async function figures(app: TestApp): Promise<Map<string, Family>> {
  return parse(await (await fetch(`${app.url}/metrics`)).text());
}

/** The value of a sample; fails if there is none. */
async function value(app: TestApp, key: string): Promise<number> {
  const name = key.replace(/\{.*/, "");
  const families = await figures(app);
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|count|sum)$/, ""));
  const found = family?.samples.get(key);
  if (found === undefined) throw new Error(`no sample ${key} in ${[...(family?.samples.keys() ?? [])].join(" ")}`);
  return found;
}

/** How much samples rise during an action. */
async function rise<const Keys extends readonly string[]>(
  app: TestApp,
  keys: Keys,
  act: () => Promise<unknown>,
): Promise<number[]> {
  const before = await Promise.all(keys.map((key) => value(app, key).catch(() => 0))); // routes without requests have none
  await act();
  const after = await Promise.all(keys.map((key) => value(app, key)));
  return after.map((now, i) => now - before[i]!);
}

const app = await sharedApp();

describe("/metrics", () => {
  test("has every metric once, with its type, in base units, and histograms that add up", async () => {
    await (await app.person("early")).open();
    const families = await figures(app);
    expect(Object.fromEntries([...families].map(([name, { type }]) => [name, type]))).toEqual({
      chatify_websocket_connections: "gauge",
      chatify_users_connected: "gauge",
      chatify_send_queue_messages: "gauge",
      chatify_unsent_bytes: "gauge",
      chatify_messages_total: "counter",
      chatify_message_ack_seconds: "histogram",
      chatify_batch_messages: "histogram",
      chatify_http_requests_total: "counter",
      chatify_http_request_duration_seconds: "histogram",
      chatify_db_query_duration_seconds: "histogram",
      chatify_db_connections_lost_total: "counter",
      chatify_bus_packets_sent_total: "counter",
      chatify_bus_bytes_sent_total: "counter",
      chatify_bus_losses_total: "counter",
      chatify_bus_dropped_total: "counter",
      chatify_ws_backpressure_closes_total: "counter",
      chatify_stalled_disconnects_total: "counter",
      chatify_rate_limited_total: "counter",
      chatify_login_failures_total: "counter",
      chatify_file_bytes_total: "counter",
      chatify_picture_wait_seconds: "histogram",
      chatify_picture_seconds: "histogram",
      chatify_event_loop_lag_seconds: "histogram",
      chatify_build_info: "gauge",
      process_resident_memory_bytes: "gauge",
      process_cpu_seconds_total: "counter",
      process_start_time_seconds: "gauge",
    });
    for (const [name, { type, samples }] of families) {
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      expect(samples.size, name).toBeGreaterThan(0);
      if (type === "histogram") addsUp(name, samples);
    }
  });

  function addsUp(name: string, samples: Map<string, number>): void {
    const counts = [...samples].filter(([key]) => key.startsWith(`${name}_count`));
    expect(counts.length).toBeGreaterThan(0);
    for (const [key, count] of counts) {
      const labels = /\{(.*)\}/.exec(key)?.[1];
      const buckets = [...samples].filter(
        ([key]) => key.startsWith(`${name}_bucket{`) && (labels === undefined || key.includes(labels)),
      );
      const heights = buckets.map(([, height]) => height);
      expect(heights, key).toEqual(heights.toSorted((a, b) => a - b));
      expect(heights.at(-1), key).toBe(count);
      expect(buckets.at(-1)![0]).toContain('le="+Inf"');
    }
  }

  test("counts sockets, users, messages, acks, batches and statements", async () => {
    const [ann, bob] = await app.people("ann", "bob");
    const [sockets, users] = await rise(app, ["chatify_websocket_connections", "chatify_users_connected"], async () => {
      await ann!.open();
      await ann!.open();
      await bob!.open();
    });
    expect([sockets, users]).toEqual([3, 2]);
    const tab = await ann!.open();
    const moved = await rise(
      app,
      [
        'chatify_messages_total{outcome="stored"}',
        'chatify_messages_total{outcome="duplicate"}',
        'chatify_messages_total{outcome="ref_reused"}',
        'chatify_messages_total{outcome="no_such_user"}',
        'chatify_messages_total{outcome="invalid_text"}',
        "chatify_message_ack_seconds_count",
        "chatify_batch_messages_sum",
        'chatify_db_query_duration_seconds_count{use="messages"}',
      ],
      async () => {
        await tab.send("bob", "one", "metrics-ref-1");
        await tab.send("bob", "two");
        await tab.send("bob", "one", "metrics-ref-1");
        tab.say({ to: "bob", message: "other", ref: "metrics-ref-1" });
        tab.say({ to: "nobody-here", message: "three" });
        tab.say({ to: "no\0name", message: "four" });
        tab.say({ to: "bob", message: " " });
        for (let i = 0; i < 4; i++) await tab.next("error");
      },
    );
    expect(moved.slice(0, 7)).toEqual([2, 1, 1, 2, 1, 3, 5]);
    expect(moved[7]).toBeWithin(3, 6);
  });

  test("groups acks by how long users waited for them", async () => {
    await using slow = await startApp();
    const [ann] = await slow.people("ann", "bob");
    const tab = await ann!.open();
    await slow.sql.unsafe(
      "create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$",
    );
    await slow.sql.unsafe("create trigger slowly before insert on messages for each row execute function slowly()");
    const [sum, within] = await rise(
      slow,
      ["chatify_message_ack_seconds_sum", 'chatify_message_ack_seconds_bucket{le="0.256"}'],
      () => tab.send("bob", "slow"),
    );
    expect(sum).toBeGreaterThanOrEqual(0.3);
    expect(sum).toBeLessThan(5);
    expect(within).toBe(0);
  });

  test("counts requests by route template, never by path", async () => {
    const ann = await app.person("annabel");
    const moved = await rise(
      app,
      [
        'chatify_http_requests_total{route="/messages/:a/:b",method="GET",code="200"}',
        'chatify_http_requests_total{route="/messages/:a/:b",method="GET",code="403"}',
        'chatify_http_requests_total{route="/test",method="HEAD",code="200"}',
        'chatify_http_requests_total{route="/test",method="other",code="405"}',
        'chatify_http_requests_total{route="other",method="GET",code="404"}',
        'chatify_http_requests_total{route="/ws/:username",method="GET",code="101"}',
        'chatify_http_request_duration_seconds_count{route="/test"}',
      ],
      async () => {
        await ann.get("/messages/annabel/bob");
        await ann.get("/messages/bob/ann");
        await fetch(`${app.url}/test`, { method: "HEAD" });
        await fetch(`${app.url}/test`, { method: "DELETE" });
        await ann.get("/no-such-place?q=annabel");
        await ann.open();
      },
    );
    expect(moved).toEqual([1, 1, 1, 1, 1, 1, 2]);
    const text = await (await fetch(`${app.url}/metrics`)).text();
    for (const told of ["annabel", "no-such-place"]) expect(text).not.toContain(told);
  });

  test("counts the bytes of files, and times pictures", async () => {
    const ann = await app.person("photographer");
    const image = png(40, 20);
    const moved = await rise(
      app,
      [
        'chatify_file_bytes_total{direction="received"}',
        'chatify_file_bytes_total{direction="sent"}',
        "chatify_picture_wait_seconds_count",
        "chatify_picture_seconds_count",
      ],
      async () => {
        const { id } = await upload(ann, image);
        await fetchFile(ann, id, "", { range: "bytes=0-9" });
      },
    );
    expect(moved).toEqual([image.length, 10, 1, 1]);
  });

  test("counts failed logins and rejections by limit", async () => {
    await using strict = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SENDS: "1/m", LIMIT_LOGINS: "1/h" } });
    const [ann] = await strict.people("ann", "bob");
    const tab = await ann!.open();
    const logIn = () =>
      fetch(`${strict.url}/login`, {
        method: "POST",
        body: new URLSearchParams({ username: "ann", password: "wrong" }),
      });
    const moved = await rise(
      strict,
      [
        "chatify_login_failures_total",
        'chatify_rate_limited_total{limit="failed_logins"}',
        'chatify_rate_limited_total{limit="sends"}',
      ],
      async () => {
        await logIn();
        await logIn();
        await tab.send("bob", "one");
        tab.say({ to: "bob", message: "two" });
        await tab.next("error");
      },
    );
    expect(moved).toEqual([1, 1, 1]);
  });

  test("counts a socket closed because its client stopped reading, once", async () => {
    const [ann, deaf] = await app.people("writer", "deaf");
    const path = `/ws/${deaf!.name}`;
    const reader = await Bun.connect({
      hostname: "127.0.0.1",
      port: app.port,
      socket: {
        open: (socket) =>
          void socket.write(
            `GET ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${deaf!.cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
          ),
        data: (socket) => void socket.pause(),
      },
    });
    const tab = await ann!.open();
    const text = "x".repeat(4_000);
    const closes = "chatify_ws_backpressure_closes_total";
    const before = await value(app, closes);
    for (let i = 0; i < 60 && (await value(app, closes)) === before; i++) {
      await Promise.all(Array.from({ length: 100 }, () => tab.send("deaf", text)));
    }
    await Bun.sleep(50);
    expect((await value(app, closes)) - before).toBe(1);
    reader.terminate();
  });

  test("counts lost connections to PostgreSQL and lost packets of the bus", async () => {
    const database = await migratedDatabase();
    await using broken = await startApp({ database });
    const ann = await broken.person("ann");
    const address = new URL(database);
    const name = address.pathname.slice(1);
    address.pathname = "/postgres"; // from where to disturb
    const admin = connect(address.href, { name: "test-admin" });
    const rises = async (metric: string) => {
      for (let i = 0; i < 200 && (await value(broken, metric)) === 0; i++) await Bun.sleep(25);
      expect(await value(broken, metric), metric).toBeGreaterThanOrEqual(1);
    };
    await admin.unsafe(`alter database ${name} allow_connections false`);
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`;
    const asked = ann.get("/get_users");
    await rises("chatify_db_connections_lost_total");
    await admin.unsafe(`alter database ${name} allow_connections true`);
    await rises("chatify_bus_losses_total");
    expect((await asked).status).toBe(200);
    await admin.end({ timeout: 1 });
  });

  test("reports the version, start time, memory, and event loop lag", async () => {
    expect(await value(app, `chatify_build_info{version="0.0.0-test",bun="${Bun.version}"}`)).toBe(1);
    const started = await value(app, "process_start_time_seconds");
    expect(Math.abs(Date.now() / 1_000 - started)).toBeLessThan(3_600);
    expect(await value(app, "process_resident_memory_bytes")).toBeWithin(20e6, 20e9);
    expect(await value(app, "process_cpu_seconds_total")).toBeGreaterThan(0);
    const [late] = await rise(app, ["chatify_event_loop_lag_seconds_sum"], async () => {
      Bun.sleepSync(400); // this test shares the server's event loop
      await Bun.sleep(250);
    });
    expect(late).toBeGreaterThan(0.2);
  });
});

describe("the dashboard", () => {
  type Panel = { id: number; type: string; title: string; gridPos: Box; targets?: { expr: string; refId: string }[] };
  type Box = { x: number; y: number; w: number; h: number };
  const FILE = join(ROOT, "monitoring", "grafana", "dashboards", "chatify.json");
  const dashboard = JSON.parse(readFileSync(FILE, "utf8")) as {
    uid: string;
    panels: Panel[];
    templating: { list: { name: string }[] };
  };
  const asked = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [title, expr] as const),
  );
  /** What Prometheus adds to every sample. */
  const PROMETHEUS = ["job", "instance", "le"];

  test("queries existing metrics, according to their types and labels, and shows all of them", async () => {
    const ann = await app.person("dora");
    await (await ann.open()).send("dora", "a note"); // so that every family has a sample
    const families = await figures(app);
    const shown = new Set<string>();
    for (const [title, expr] of asked) {
      for (const [, name = ""] of expr.matchAll(/\b((?:chatify|process)_[a-z_]+)/g)) {
        const owner = families.has(name) ? name : name.replace(/_(bucket|sum|count)$/, "");
        const family = families.get(owner);
        expect(family, `${title}: ${name}`).toBeDefined();
        expect(owner === name, `${title}: ${name}`).toBe(family!.type !== "histogram");
        shown.add(owner);
        const rated = new RegExp(`\\b(rate|increase)\\(${name}\\{[^}]*\\}\\[\\$__rate_interval\\]\\)`).test(expr);
        expect(rated, `${title}: ${name}`).toBe(family!.type !== "gauge");
        const labels = new Set(
          [...family!.samples.keys()].flatMap((key) => [...key.matchAll(/(\w+)="/g)].map(([, label]) => label)),
        );
        for (const [, by = ""] of expr.matchAll(/ by \(([^)]*)\)/g)) {
          for (const label of by.split(", ")) expect([...labels, ...PROMETHEUS], `${title}: ${name}`).toContain(label);
        }
        const [, matchers = ""] = new RegExp(`${name}\\{([^}]*)\\}`).exec(expr) ?? [];
        for (const [, label] of matchers.matchAll(/(\w+)=~?"/g))
          expect([...labels, ...PROMETHEUS], title).toContain(label!);
      }
    }
    expect([...shown].toSorted()).toEqual([...families.keys()].toSorted());
  });

  test("is the home of docker-compose.yml's Grafana, with its Prometheus as source", async () => {
    // oxlint-disable-next-line typescript/no-explicit-any
    const yaml = async (path: string): Promise<any> => Bun.YAML.parse(await Bun.file(join(ROOT, path)).text());
    const { grafana } = (await yaml("docker-compose.yml")).services;
    const { volumes, environment } = grafana as { volumes: string[]; environment: Record<string, string> };
    const inside = (file: string) => {
      const mount = volumes.find((volume) => file.startsWith(volume.split(":")[0]!.slice(2)));
      const [from = "", to = ""] = mount?.split(":") ?? [];
      return file.replace(from.slice(2), to);
    };
    expect(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).toBe(inside(FILE.slice(ROOT.length + 1)));
    const { datasources } = await yaml("monitoring/grafana/provisioning/datasources/prometheus.yml");
    const [variable] = dashboard.templating.list as unknown as { name: string; current: { value: string } }[];
    expect((datasources as { uid: string }[]).map(({ uid }) => uid)).toContain(variable!.current.value);
  });

  test("has panels that do not overlap, on 24 columns, defined variables, and balanced brackets", () => {
    const { panels, templating } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const apart = (a: Box, b: Box) => a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
    for (const [i, { title, gridPos }] of panels.entries()) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (const other of panels.slice(i + 1))
        expect(apart(gridPos, other.gridPos), `${title}, ${other.title}`).toBeTrue();
    }
    expect(templating.list.map(({ name }) => name)).toEqual(["datasource", "job", "instance"]);
    for (const [title, expr] of asked) {
      for (const [open, close] of ["()", "{}", "[]"]) {
        expect(expr.split(open!).length, title).toBe(expr.split(close!).length);
      }
      for (const [, name] of expr.matchAll(/\$(\w+)/g))
        expect(["job", "instance", "__rate_interval"], title).toContain(name!);
    }
  });
});
