/**
 * Another role of the PostgreSQL server, or a client of a Valkey without a password, reads and forges nothing on the bus, even if it knows
 * the channel. Messages stored by pods of an older version, which the bus does not reach, are fetched.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { newPodName } from "../../src/cluster/bus.ts";
import { type Client, connect, listen } from "../../src/db/client.ts";
import { Database } from "../../src/db/database.ts";
import { insertMessages } from "../../src/db/insert_messages.ts";
import { applicationNameOf, DISCOVERED_WITHIN_MS, servingPods } from "../../src/db/pods.ts";
import { Hub } from "../../src/delivery/hub.ts";
import { Resync } from "../../src/delivery/resync.ts";
import { UnreachablePods } from "../../src/delivery/unreachable_pods.ts";
import { Log } from "../../src/log.ts";
import {
  migratedDatabase,
  type Person,
  REDIS,
  RedisServer,
  SILENT,
  startApp,
  type TestApp,
} from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(40_000);

/** A client of the bus's server that is no pod. */
interface Stranger {
  /** The packets it received on channels of any chatify. */
  readonly heard: string[];
  /** The channels it writes to: that of an older version, and the pods' own. */
  readonly channels: readonly string[];
  say(channel: string, text: string): Promise<unknown>;
  end(): Promise<void>;
}

interface BusSetup {
  env(): Promise<Record<string, string>>;
  stranger(database: string, realm: string): Promise<Stranger>;
  /** Listens where pods of an older version listen. */
  older(database: string, realm: string, hear: (text: string) => void): Promise<{ end(): unknown }>;
  end(): Promise<void>;
}

const TEXT = "the harbour at half past nine";

class Postgres implements BusSetup {
  env = async () => ({});
  async end() {}

  async stranger(database: string, realm: string): Promise<Stranger> {
    const address = await strangerAt(database);
    const channels = ["chatify", `chatify_${realm}`];
    const heard: string[] = [];
    const hear = (text: string) => void heard.push(text);
    const subscribers = channels.map((channel) =>
      listen(address, { name: "stranger", channel, received: hear, closed() {} }),
    );
    await Promise.all(subscribers.map(({ ready }) => ready));
    const sql = connect(address, { name: "stranger" });
    return {
      heard,
      channels,
      say: (channel, text) => sql.notify(channel, text),
      end: async () =>
        void (await Promise.all([sql.end({ timeout: 1 }), ...subscribers.map((subscriber) => subscriber.end())])),
    };
  }

  async older(database: string, _: string, hear: (text: string) => void) {
    const subscriber = listen(database, { name: "older", channel: "chatify", received: hear, closed() {} });
    await subscriber.ready;
    return subscriber;
  }
}

class Redis implements BusSetup {
  #server!: RedisServer;

  async env() {
    this.#server = await RedisServer.start();
    return { BUS: this.#server.url };
  }

  end = () => this.#server.end();

  async stranger(_: string, realm: string): Promise<Stranger> {
    const [subscriber, publisher] = [await this.#server.client(), await this.#server.client()];
    const channels = [`chatify:0:${realm}`, ...((await publisher.send("PUBSUB", ["CHANNELS"])) as string[])];
    const heard: string[] = [];
    await subscriber.subscribe(channels, (text) => void heard.push(text));
    return {
      heard,
      channels,
      say: (channel, text) => publisher.publish(channel, text),
      async end() {
        subscriber.close();
        publisher.close();
      },
    };
  }

  async older(_: string, realm: string, hear: (text: string) => void) {
    const subscriber = await this.#server.client();
    await subscriber.subscribe(`chatify:0:${realm}`, hear);
    return { end: () => subscriber.close() };
  }
}

/** The address of a role that may only connect. */
async function strangerAt(database: string): Promise<string> {
  const url = new URL(database);
  const role = `stranger${url.pathname.slice(1)}`;
  const admin = connect(database, { name: "test-admin" });
  await admin.unsafe(
    `do $$ begin create role ${role} login password 'stranger'; exception when duplicate_object then end $$`,
  );
  await admin.end({ timeout: 1 });
  return Object.assign(url, { username: role, password: "stranger" }).href;
}

function rules(setup: BusSetup): void {
  let database: string;
  let env: Record<string, string>;
  let here: TestApp;
  let there: TestApp;
  let realm: string;

  beforeAll(async () => {
    env = await setup.env();
    database = await migratedDatabase();
    here = await startApp({ database, env });
    there = await startApp({ database, env });
    const [row] = await here.sql<{ value: string }[]>`select value from settings where name = 'bus_realm'`;
    realm = row!.value;
    await Bun.sleep(1_000); // they know each other
  });
  afterAll(async () => {
    await there.stop();
    await here.stop();
    await setup.end();
  });

  test("a listener on the channel reads no message and no name", async () => {
    const stranger = await setup.stranger(database, realm);
    const [ann, bob] = (await here.people("read-ann", "read-bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.at(there).open({ watch: ["read-ann"] })];
    a.say({ type: "typing", peer: "read-bob" });
    await a.send("read-bob", TEXT);
    await b.next("message");
    b.say({ type: "read", peer: "read-ann", seq: 1 });
    await a.next("read");
    expect(stranger.heard.length).toBeGreaterThan(2); // else this test shows nothing
    for (const text of stranger.heard) {
      const all = text + Buffer.from(text.slice(text.lastIndexOf(".") + 1), "base64").toString("latin1");
      for (const word of [TEXT, "harbour", "read-ann", "read-bob", "typing", "message"])
        expect(all).not.toContain(word);
    }
    await stranger.end();
  });

  test("a stranger on the channel forges nothing: no message, no end of a session, no presence, and causes no fetching", async () => {
    const stranger = await setup.stranger(database, realm);
    const [ann, bob] = (await here.people("forge-ann", "forge-bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.at(there).open({ watch: [] })];
    await a.send("forge-bob", TEXT);
    await b.next("message");
    const [session] = await here.sql<{ id: number }[]>`
      select s.id from sessions s join users u on u.id = s.user_id where u.username = 'forge-bob'
    `;
    const message = { type: "message", from: "forge-ann", to: "forge-bob", message: "forged", id: 1, seq: 2 };
    const online = (await bob.at(there).json<string[]>("/online")).toSorted();
    const dropped = await drops(there);
    const recorded = [...stranger.heard];
    expect(recorded.length).toBeGreaterThan(2);
    const events = [
      ["frame", ["forge-bob"], message],
      ["end", "forge-bob", session!.id],
      ["snapshot", true, [["ghost", "ghost"]]],
      ["online", "ghost", "ghost"],
      ["user", "ghost"],
    ];
    const forged = [
      `e\tstranger\t1\nf\tforge-bob\t${JSON.stringify(message)}\ne\tforge-bob\t${session!.id}\np\t1\tghost\tghost\nu\tghost`,
      "b\tstranger\t99",
      JSON.stringify(["events", 1, ...events]),
      ...recorded
        .slice(0, 20)
        .map((text) => `${text.slice(0, text.lastIndexOf(".") + 1)}${btoa(JSON.stringify(["events", 1, ...events]))}`),
    ];
    const heard = b.heard.length;
    for (const channel of stranger.channels)
      for (const text of [...forged, ...recorded]) await stranger.say(channel, text);
    await a.send("forge-bob", "the real one");
    await until("the real one", () => b.heard.some(({ message: text }) => text === "the real one"));
    await Bun.sleep(300); // a resync gathers for 100 ms
    expect(b.heard.slice(heard)).toMatchObject([
      { type: "message", from: "forge-ann", message: "the real one", seq: 2 },
    ]);
    expect(a.heard.filter(({ type }) => type === "sync")).toEqual([]);
    expect((await bob.at(there).json<string[]>("/online")).toSorted()).toEqual(online);
    expect([a, b].map(({ socket }) => socket.readyState)).toEqual([1, 1]);
    const now = await drops(there);
    expect(now.foreign! - dropped.foreign!).toBeGreaterThanOrEqual(3); // on the pods' channel
    expect(now.replayed! - dropped.replayed!).toBeGreaterThanOrEqual(2);
    expect(there.log.join("")).not.toContain("forged");
    await stranger.end();
  });

  test("fetches messages stored by a pod of an older version within seconds, and makes that pod resync", async () => {
    const alerts: string[] = [];
    const subscriber = await setup.older(database, realm, (text) => void alerts.push(text));
    const [ann, bob] = (await here.people("old-ann", "old-bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
    const older = new Database({ target: database, name: applicationNameOf(newPodName()), max: 1, log: SILENT });
    const store = (ref: string) =>
      older.run((sql) => insertMessages(sql, [{ sender: "old-ann", toKey: "old-bob", ref, sendId: 1, content: ref }]));
    try {
      for (let i = 0; i < 7; i++) {
        await store(`while it is new ${i}`);
        await Bun.sleep(1_000);
      }
      await until("bob receives sync", () => b.heard.some(({ type }) => type === "sync"));
      for (let i = 0; i < 3; i++) {
        b.heard.length = 0;
        await store(`later ${i}`);
        const tookMs = await until("bob receives sync", () => b.heard.some(({ type }) => type === "sync"));
        expect(tookMs).toBeLessThan(4_000); // 2 s, and twice as much where the machine is busy
      }
      const number = () => Math.max(...alerts.map((text) => Number(/^b\t[\w-]{1,32}\t(\d{1,15})$/.exec(text)![1])));
      await until("the older pod is alerted", () => alerts.length > 0);
      const before = number();
      await a.send("old-bob", TEXT);
      await until("it is alerted again", () => number() > before, 4_000);
      expect(alerts.join("")).not.toContain("old-");
      await Bun.sleep(8_000); // after 6 s without a query it counts as inactive
      b.heard.length = 0;
      await store("after a rest");
      await until("bob receives sync again", () => b.heard.some(({ type }) => type === "sync"));
      expect(here.log.filter((line) => line.includes("unreachable over the bus"))).toHaveLength(1);
    } finally {
      await older.end();
      subscriber.end();
    }
    await until("all pods are reachable again", () => here.log.some((line) => line.includes("all pods are reachable")));
    await Bun.sleep(1_500);
    a.heard.length = b.heard.length = 0;
    await a.send("old-bob", "after the upgrade");
    await Bun.sleep(2_500);
    expect([...a.heard, ...b.heard].filter(({ type }) => type === "sync")).toEqual([]);
  });
}

/** Dropped packets by reason. */
async function drops(app: TestApp): Promise<Record<string, number>> {
  const text = await (await fetch(`${app.url}/metrics`)).text();
  return Object.fromEntries(
    [...text.matchAll(/^chatify_bus_dropped_total\{reason="(\w+)"\} (\d+)$/gm)].map(([, why, count]) => [
      why!,
      Number(count),
    ]),
  );
}

describe("over PostgreSQL", () => {
  rules(new Postgres());

  test("fetches the first messages of an unreachable new pod also between rare checks", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    await app.people("ann", "bob");
    const db = new Database({ target: database, name: "test-here", max: 2, log: SILENT });
    const hub = new Hub();
    let synced = 0;
    const send = () => ++synced > 0;
    hub.add({ username: "bob", nameKey: "bob", sessionId: 1, send, sendAll: send, close() {} });
    const resync = new Resync({ db, hub, log: SILENT, refresh: async () => {} });
    const [reachable] = await servingPods(db);
    const bus = { pod: newPodName(), peers: [reachable!.name.replace("chatify-", "")] };
    const checks = new UnreachablePods({ db, bus, log: SILENT, resync, alertOlderPods() {}, calmAfterMs: 0 });
    checks.start();
    await Bun.sleep(500); // the next check is 10 s after the first
    const older = new Database({ target: database, name: applicationNameOf(newPodName()), max: 1, log: SILENT });
    try {
      const message = { sender: "ann", toKey: "bob", ref: "the-first", sendId: 1, content: "the first" };
      await older.run((sql) => insertMessages(sql, [message]));
      const isSynced = async () => {
        await older.run((sql) => sql`select`); // a pod is never idle for long
        return synced > 0;
      };
      await until("bob receives sync", isSynced, 15_000);
    } finally {
      checks.stop();
      resync.stop();
      for (const each of [older, db]) await each.end();
    }
  });

  test("reports no pod that left the bus and then the database between two checks", async () => {
    const database = await migratedDatabase();
    const [db, stopping] = ["test-here", applicationNameOf(newPodName())].map(
      (name) => new Database({ target: database, name, max: 1, log: SILENT }),
    ) as [Database, Database];
    await stopping.run((sql) => sql`select`);
    await Bun.sleep(DISCOVERED_WITHIN_MS); // a younger one does not count
    await stopping.run((sql) => sql`select`);
    const warnings: string[] = [];
    const log = new Log({ level: "warn", format: "text", write: (line) => void warnings.push(line) });
    const resyncs: number[] = [];
    const checks = new UnreachablePods({
      db,
      bus: { pod: newPodName(), peers: [] },
      log,
      resync: { schedule: (withinMs: number) => void resyncs.push(withinMs) },
      alertOlderPods() {},
    });
    checks.start();
    try {
      await until("the pod is found", () => resyncs.length > 0);
      await stopping.end();
      await Bun.sleep(2_500);
      expect(warnings).toEqual([]);
    } finally {
      checks.stop();
      for (const each of [stopping, db]) await each.end();
    }
  });

  test("another database role finds neither the channel nor the key, and passes for no pod", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const address = new URL(await strangerAt(database));
    const sql: Client = connect(address.href, { name: applicationNameOf(newPodName()) });
    const b = await (await app.person("bob")).open({ watch: [] });
    await b.send("bob", "something that changed");
    await expect(sql`select value from settings`.execute()).rejects.toThrow("permission denied");
    const queries = await sql<
      { query: string }[]
    >`select query from pg_stat_activity where application_name like 'chatify-%'`;
    expect(queries.filter(({ query }) => /listen/i.test(query))).toEqual([]);
    for (let i = 0; i < 8; i++) {
      await sql`select 1`;
      await Bun.sleep(1_000);
    }
    expect(b.heard.filter(({ type }) => type === "sync")).toEqual([]);
    await sql.end({ timeout: 1 });
  });
});

describe.skipIf(!REDIS)("over Redis", () => rules(new Redis()));
