/**
 * Users on different pods notice no difference. Pods are servers of this process on one database, over each kind of bus; only a pod that
 * is killed is a separate process.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import {
  type Frame,
  freePort,
  migratedDatabase,
  type Person,
  REDIS,
  RedisServer,
  ROOT,
  startApp,
  type Tab,
  type TestApp,
} from "../support/harness.ts";
import { logs } from "../support/log_search.ts";
import { until } from "../support/until.ts";

/** Presence has long delays by design, so these tests run side by side. */
setDefaultTimeout(40_000);

/** A kind of bus. */
interface BusSetup extends AsyncDisposable {
  /** Settings of its pods. */
  readonly env: Record<string, string>;
  /** Closes a pod's subscriber connections. */
  cutSubscribers(pod: TestApp): Promise<unknown>;
}

/** The pods' own database. */
async function overPostgres(): Promise<BusSetup> {
  return {
    env: {},
    cutSubscribers: (pod) => pod.sql`
      select pg_terminate_backend(pid)
      from pg_stat_activity
      where datname = current_database() and query like 'listen %' and application_name like 'chatify%'
    `,
    async [Symbol.asyncDispose]() {},
  };
}

async function overRedis(): Promise<BusSetup> {
  const server = await RedisServer.start();
  return {
    env: { BUS: server.url },
    cutSubscribers: () => server.cut("subscribers"),
    [Symbol.asyncDispose]: () => server.end(),
  };
}

/** Pods that stop at the end of a test, the last one first. */
class Pods implements AsyncDisposable {
  readonly database: string;
  readonly #env: Record<string, string>;
  readonly #all: TestApp[] = [];

  constructor(database: string, env: Record<string, string>) {
    this.database = database;
    this.#env = env;
  }

  /** Starts one more. */
  async start(): Promise<TestApp> {
    const pod = await startApp({ database: this.database, env: this.#env });
    this.#all.push(pod);
    return pod;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pod of this.#all.toReversed()) await pod.stop();
  }
}

async function startPods(setup: BusSetup, count: number): Promise<{ pods: Pods; each: TestApp[] }> {
  const pods = new Pods(await migratedDatabase(), setup.env);
  const each: TestApp[] = [];
  for (let i = 0; i < count; i++) each.push(await pods.start());
  return { pods, each };
}

/** A server in a separate process, which can be killed. */
class Process implements AsyncDisposable {
  readonly url: string;
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #heard: Promise<void>;

  constructor(database: string, env: Record<string, string>) {
    const port = freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.#child = Bun.spawn([process.execPath, join(ROOT, "src", "main.ts")], {
      env: { ...process.env, ...env, PORT: String(port), HOST: "127.0.0.1", DATABASE_URL: database, RATE_LIMIT: "off" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#heard = new Response(this.#child.stderr).text().then((text) => logs.hear(text));
  }

  async ready(): Promise<void> {
    await until("the process is ready", async () => {
      const answer = await fetch(`${this.url}/readyz`).catch(() => undefined);
      return answer?.status === 200;
    });
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    await this.#heard;
  }

  [Symbol.asyncDispose] = () => this.kill();
}

const messages = (tab: Tab) => tab.heard.filter(({ type }) => type === "message");
const forget = (...tabs: Tab[]) => {
  for (const tab of tabs) tab.heard.length = 0;
};

function rules(open: () => Promise<BusSetup>): void {
  let setup: BusSetup;
  /** Three pods for the tests that break nothing. Each test has its own users. */
  let pods: Pods;
  let one: TestApp;
  let two: TestApp;
  let three: TestApp;

  beforeAll(async () => {
    setup = await open();
    const started = await startPods(setup, 3);
    pods = started.pods;
    [one, two, three] = started.each as [TestApp, TestApp, TestApp];
    await Bun.sleep(1_000); // the pods have met
  });
  afterAll(async () => {
    await pods[Symbol.asyncDispose]();
    await setup[Symbol.asyncDispose]();
  });

  test.concurrent("delivers messages to every socket of both users on every pod, once and in order", async () => {
    const [ann, bob] = (await one.people("m-ann", "m-bob")) as [Person, Person];
    const [a, a2, b, b3] = [
      await ann.open({ watch: [] }),
      await ann.at(two).open({ watch: [] }),
      await bob.at(two).open({ watch: [] }),
      await bob.at(three).open({ watch: [] }),
    ];
    const acks: Promise<Frame>[] = [];
    for (let i = 0; i < 150; i++) {
      a.say({ to: "m-bob", message: `from ann ${i}`, ref: a.newRef() });
      b.say({ to: "m-ann", message: `from bob ${i}`, ref: b.newRef() });
      acks.push(a.next("ack"), b.next("ack"));
      if (i % 10 === 0) await Bun.sleep(2);
    }
    const acked = await Promise.all(acks);
    expect(acked.filter(({ duplicate }) => duplicate)).toEqual([]);
    expect(acked.map(({ seq }) => seq as number).toSorted((x, y) => x - y)).toEqual(
      Array.from({ length: 300 }, (_, i) => i + 1),
    );
    const written = (who: string) => Array.from({ length: 150 }, (_, i) => `from ${who} ${i}`);
    for (const [tab, others] of [
      [a, ["bob"]],
      [b, ["ann"]],
      [a2, ["ann", "bob"]],
      [b3, ["ann", "bob"]],
    ] as const) {
      // prettier-ignore
      await until(`all of them at ${tab.who}`, () => messages(tab).length >= 150 * others.length);
      await Bun.sleep(50);
      for (const who of others) {
        const theirs = messages(tab).filter(({ from }) => from === `m-${who}`);
        expect(theirs.map(({ message }) => message)).toEqual(written(who)); // once, and as they were written
        expect(theirs.map(({ seq }) => seq)).toEqual(theirs.map(({ seq }) => seq as number).toSorted((x, y) => x - y));
      }
      expect(messages(tab)).toHaveLength(150 * others.length);
      expect(tab.heard.some(({ type }) => type === "sync")).toBeFalse();
    }
  });

  test.concurrent(
    "a resend on another pod is acked as duplicate and stored once, and every other socket receives sync",
    async () => {
      const [ann, bob] = (await one.people("r-ann", "r-bob")) as [Person, Person];
      const [a, a2, a3] = [
        await ann.open({ watch: [] }),
        await ann.at(two).open({ watch: [] }),
        await ann.at(three).open({ watch: [] }),
      ];
      const b = await bob.at(three).open({ watch: [] });
      const ref = a.newRef();
      const first = await a.send("r-bob", "once", ref);
      for (const tab of [a2, a3, b]) await tab.next("message");
      const second = await a2.send("r-bob", "once", ref);
      expect(second).toMatchObject({ id: first["id"], seq: first["seq"], timestamp: first["timestamp"] });
      expect([first["duplicate"], second["duplicate"]]).toEqual([false, true]);
      for (const tab of [a, a3, b]) await tab.next("sync");
      await a2.hearsNo("sync");
      expect([a, a2, a3, b].map((tab) => messages(tab).length)).toEqual([0, 1, 1, 1]);
      a3.say({ to: "r-bob", message: "another text", ref });
      expect(await a3.next("error")).toMatchObject({ code: "ref_reused", ref });
      expect(await bob.at(two).json<Frame[]>("/messages/r-ann/r-bob?peek=1")).toHaveLength(1);
    },
  );

  test.concurrent("every resend is followed by a sync, at most one a second for a user", async () => {
    const [ann, bob] = (await one.people("rs-ann", "rs-bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.at(three).open({ watch: [] })];
    const syncs = () => b.heard.filter(({ type }) => type === "sync").length;
    const ref = a.newRef();
    for (let i = 0; i < 4; i++) await a.send("rs-bob", "again", ref);
    await until("the sync of the first resend", () => syncs() === 1);
    await until("a sync after the last", () => syncs() === 2, 3_000);
    await Bun.sleep(1_200);
    expect(syncs()).toBe(2);
  });

  test.concurrent("delivered, read, typing and unread counts cross from pod to pod", async () => {
    const [ann, bob] = (await one.people("d-ann", "d-bob")) as [Person, Person];
    const [a, a3] = [await ann.open({ watch: [] }), await ann.at(three).open({ watch: [] })];
    await a.send("d-bob", "while bob is away");
    await a.hearsNo("delivered", 800);
    expect(await bob.at(three).json<unknown>("/unread_counts/d-bob")).toEqual({ "d-ann": 1 });
    const [b, b3] = [await bob.at(two).open({ watch: [] }), await bob.at(three).open({ watch: [] })];
    await a.send("d-bob", "now bob is there");
    for (const tab of [a, a3]) {
      expect(await tab.next("delivered")).toEqual({ type: "delivered", peer: "d-bob", seq: 2 });
    }
    expect(await bob.json<unknown>("/unread_counts/d-bob")).toEqual({ "d-ann": 2 });
    b.say({ type: "read", peer: "d-ann", seq: 2 });
    for (const tab of [a, a3, b, b3]) {
      expect(await tab.next("read")).toEqual({ type: "read", reader: "d-bob", peer: "d-ann", seq: 2 });
    }
    for (const pod of [one, two, three]) expect(await bob.at(pod).json<unknown>("/unread_counts/d-bob")).toEqual({});
    b.say({ type: "typing", peer: "d-ann" });
    b.say({ type: "typing", peer: "d-ann" });
    for (const tab of [a, a3]) expect(await tab.next("typing")).toEqual({ type: "typing", user: "d-bob" });
    await a.hearsNo("typing", 100); // one in 2 s
    await b3.hearsNo("typing", 0);
  });

  test.concurrent("announces new users and online users on every pod", async () => {
    const ann = await one.person("o-ann");
    const tabs = [await ann.open(), await ann.at(two).open(), await ann.at(three).open()];
    await until("the first lists", () => tabs.every((tab) => tab.heard.some(({ type }) => type === "status_update")));
    const bob = await two.person("o-bob");
    for (const tab of tabs) {
      await until("new_user", () => tab.heard.some((frame) => frame.type === "new_user" && frame["username"] === "o-bob")); // prettier-ignore
    }
    await bob.at(three).open({ watch: [] });
    for (const tab of tabs) {
      await until("status_update", () => tab.heard.some(({ type, online }) => type === "status_update" && online.includes("o-bob"))); // prettier-ignore
    }
    for (const pod of [one, two, three]) {
      expect(await ann.at(pod).json<string[]>("/online")).toContain("o-bob");
    }
  });

  test.concurrent("sends presence with last_seen to watchers on every pod", async () => {
    const [ann, bob] = (await one.people("p-ann", "p-bob")) as [Person, Person];
    const watchers = [await ann.open({ watch: ["p-bob"] }), await ann.at(three).open({ watch: ["p-bob"] })];
    const b = await bob.at(two).open({ watch: [] });
    for (const tab of watchers) {
      expect((await tab.next("presence"))["users"]).toEqual({ "p-bob": { online: true, last_seen: null } });
    }
    const late = await ann.at(three).open({ watch: [] });
    late.say({ type: "watch", users: ["p-bob"] }); // at once, on a pod where bob never was
    expect((await late.next("presence"))["users"]).toEqual({ "p-bob": { online: true, last_seen: null } });
    await b.close();
    const closedAt = Date.now();
    for (const tab of [...watchers, late]) {
      const { users } = await tab.next("presence");
      expect(users).toEqual({ "p-bob": { online: false, last_seen: expect.stringMatching(/Z$/) } });
      expect(Date.parse(users["p-bob"].last_seen) - closedAt).toBeWithin(4_500, 6_500);
    }
    for (const pod of [one, two, three]) {
      expect(await ann.at(pod).json<string[]>("/online")).not.toContain("p-bob");
    }
  });

  test.concurrent("presence ignores a reconnect to another pod, and the loss of one of two devices", async () => {
    const [ann, bob] = (await one.people("s-ann", "s-bob")) as [Person, Person];
    const first = await bob.at(two).open({ watch: [] });
    const watchers: Tab[] = [];
    for (const pod of [one, two, three]) watchers.push(await ann.at(pod).open({ watch: [] }));
    await until("bob online", async () => {
      const lists = await Promise.all([one, two, three].map((pod) => ann.at(pod).json<string[]>("/online")));
      return lists.every((names) => names.includes("s-bob"));
    });
    for (const tab of watchers) {
      tab.say({ type: "watch", users: ["s-bob"] });
      expect((await tab.next("presence"))["users"]["s-bob"].online).toBeTrue();
    }
    await first.close();
    await Bun.sleep(3_500);
    const second = await bob.at(three).open({ watch: [] });
    await Bun.sleep(3_000); // the first pod has let go of him
    const third = await bob.at(one).open({ watch: [] });
    await second.close();
    await Bun.sleep(6_500);
    for (const tab of watchers) await tab.hearsNo("presence", 0);
    for (const pod of [one, two, three]) {
      expect(await ann.at(pod).json<string[]>("/online")).toContain("s-bob");
    }
    await third.close();
  });

  test.concurrent(
    "the end of a session closes its sockets on every pod within two seconds, and no others",
    async () => {
      const ann = await one.person("e-ann");
      const other = await ann.at(two).logIn();
      const theirs = [await ann.open(), await ann.at(two).open(), await ann.at(three).open()];
      const others = [await other.at(one).open(), await other.at(three).open()];
      await ann.get("/logout");
      for (const tab of theirs) {
        const closed = await Promise.race([tab.closed, Bun.sleep(2_000)]);
        expect(closed).toMatchObject({ code: 4401 });
      }
      const again = await fetch(`${three.url}/login`, {
        method: "POST",
        body: new URLSearchParams({ username: "e-ann", password: "correct horse battery" }),
        headers: { cookie: other.cookie },
        redirect: "manual",
      });
      expect(again.status).toBe(302); // a login ends the session that the browser had before
      for (const tab of others) {
        const closed = await Promise.race([tab.closed, Bun.sleep(2_000)]);
        expect(closed).toMatchObject({ code: 4401 });
      }
    },
  );

  test.concurrent("a new pod learns within two seconds which users are online elsewhere", async () => {
    await using own = new Pods(await migratedDatabase(), setup.env);
    const first = await own.start();
    const [ann, bob] = (await first.people("ann", "Bob")) as [Person, Person];
    await bob.open();
    const second = await own.start();
    const took = await until("bob is known", async () =>
      (await ann.at(second).json<string[]>("/online")).includes("Bob"),
    );
    expect(took).toBeLessThan(6_000); // 2 s, and three times as much where the machine is busy
    const a = await ann.at(second).open({ watch: [] });
    a.say({ type: "watch", users: ["bob"] });
    expect((await a.next("presence"))["users"]).toEqual({ Bob: { online: true, last_seen: null } });
    await until("ann is known", async () => (await bob.json<string[]>("/online")).includes("ann"));
  });

  test.concurrent("users of a stopped pod go offline only if they do not reconnect elsewhere", async () => {
    const { pods: own, each } = await startPods(setup, 3);
    await using _ = own;
    const [first, second, third] = each as [TestApp, TestApp, TestApp];
    const [ann, bob, carol] = (await first.people("ann", "bob", "carol")) as [Person, Person, Person];
    await Bun.sleep(1_000);
    const tabs = [await bob.at(second).open({ watch: [] }), await carol.at(second).open({ watch: [] })];
    const online = async () => {
      const rows = await first.sql<{ username: string }[]>`select username from users where is_online order by 1`;
      return rows.map(({ username }) => username).join(" ");
    };
    const watchers = [await ann.open({ watch: [] }), await ann.at(third).open({ watch: [] })];
    await until("all are online in the table", async () => (await online()) === "ann bob carol", 5_000);
    for (const tab of watchers) {
      tab.say({ type: "watch", users: ["bob", "carol"] });
      const { users } = await tab.next("presence");
      expect([users.bob.online, users.carol.online]).toEqual([true, true]);
    }
    const leaving = second.leave();
    for (const tab of tabs) expect(await tab.closed).toMatchObject({ code: 1012 });
    const leftAt = performance.now();
    await leaving;
    await Bun.sleep(leftAt + 5_300 - performance.now()); // clients come back after 0–5 s, and then have to get there
    await bob.at(third).open({ watch: [] });
    for (const tab of watchers) {
      const { users } = await tab.next("presence");
      expect(users).toEqual({ carol: { online: false, last_seen: expect.stringMatching(/Z$/) } });
      expect(performance.now() - leftAt).toBeLessThan(12_000);
    }
    await until("carol is offline in the table", async () => (await online()) === "ann bob", 5_000);
    for (const tab of watchers) await tab.hearsNo("presence", 0);
  });

  test.concurrent("users.is_online follows pods that stop, and is false for all after the last one", async () => {
    const { pods: own, each } = await startPods(setup, 3);
    await using _ = own;
    const [first, second, third] = each as [TestApp, TestApp, TestApp];
    const people = (await first.people("ann", "bob", "carol")) as [Person, Person, Person];
    for (const [i, person] of people.entries()) await person.at(each[i]!).open({ watch: [] });
    const online = async () => {
      const rows = await third.sql<{ username: string }[]>`select username from users where is_online order by 1`;
      return rows.map(({ username }) => username).join(" ");
    };
    await until("all of them", async () => (await online()) === "ann bob carol", 5_000);
    await first.leave();
    expect(await online()).toBe("ann bob carol"); // she may come back elsewhere
    await until("who left", async () => (await online()) === "bob carol", 5_000 + 5_000);
    await second.leave();
    await third.leave();
    expect(await online()).toBe("");
  });

  test.concurrent("users.is_online is false for all after the last pods stop together", async () => {
    const { pods: own, each } = await startPods(setup, 3);
    await using _ = own;
    const people = (await each[0]!.people("ann", "bob", "carol")) as [Person, Person, Person];
    for (const [i, person] of people.entries()) await person.at(each[i]!).open({ watch: [] });
    const online = async () => (await each[0]!.sql`select from users where is_online`).length;
    await until("all of them", async () => (await online()) === 3);
    await Promise.all(each.map((pod) => pod.leave()));
    expect(await online()).toBe(0);
  });

  test.concurrent("users of a killed pod are offline within ten seconds, and in the table five later", async () => {
    await using own = new Pods(await migratedDatabase(), setup.env);
    const first = await own.start();
    await using victim = new Process(own.database, setup.env);
    const [ann, bob, carol] = (await first.people("ann", "bob", "carol")) as [Person, Person, Person];
    await victim.ready();
    const a = await ann.open({ watch: ["bob", "carol"] });
    const b = await bob.at(victim).open({ watch: [] });
    await carol.at(victim).open({ watch: [] });
    const state = async () => {
      const rows = await first.sql<{ username: string; is_online: boolean }[]>`
        select username, is_online from users order by 1
      `;
      return rows.map(({ is_online }) => (is_online ? "+" : "-")).join("");
    };
    await until("all online", async () => (await state()) === "+++", 5_000);
    forget(a);
    await victim.kill();
    const killedAt = performance.now();
    await b.closed;
    await carol.at(first).open({ watch: [] });
    await until("bob is offline", () => a.heard.some(({ users }) => users?.bob?.online === false));
    expect(performance.now() - killedAt).toBeLessThan(10_000);
    await until("bob is offline in the table", async () => (await state()) === "+-+", 5_000);
    expect(a.heard.filter(({ users }) => users?.carol?.online === false)).toEqual([]); // she was back before
  });

  test.concurrent(
    "sends sync within two seconds to users who miss messages while the bus is cut, and to no others",
    async () => {
      await using breakable = await open();
      const { pods: own, each } = await startPods(breakable, 2);
      await using _ = own;
      const [first, second] = each as [TestApp, TestApp];
      const [ann, bob, carol, dave] = (await first.people("ann", "bob", "carol", "dave")) as [
        Person,
        Person,
        Person,
        Person,
      ];
      const a = await ann.open({ watch: [] });
      const [b, c, d] = [
        await bob.at(second).open({ watch: [] }),
        await carol.at(second).open({ watch: [] }), // wrote to nobody
        await dave.at(second).open({ watch: [] }), // wrote long ago
      ];
      await d.send("carol", "long ago");
      await d.next("delivered");
      await first.sql`update conversations set last_at = now() - interval '2 minutes', marked_at = null`;
      let sent = 0;
      const cuttingUntil = performance.now() + 1_500;
      while (performance.now() < cuttingUntil) {
        await breakable.cutSubscribers(first);
        for (let i = 0; i < 10; i++) await a.send("bob", `m${++sent}`);
      }
      await breakable.cutSubscribers(first);
      const cutAt = performance.now();
      forget(a, c, d);
      const heardBefore = b.heard.length;
      await until("bob receives sync", () => b.heard.slice(heardBefore).some(({ type }) => type === "sync"), 5_000);
      console.log(`  ${messages(b).length} of ${sent} messages arrived through the cuts, sync after ${Math.round(performance.now() - cutAt)} ms`); // prettier-ignore
      expect(messages(b).length).toBeLessThan(sent); // else this test shows nothing
      const all = await bob.at(second).json<Frame[]>("/messages/ann/bob?peek=1");
      expect(all.map(({ content, seq }) => [content, seq])).toEqual(Array.from({ length: sent }, (_, i) => [`m${i + 1}`, i + 1])); // prettier-ignore
      const numbers = messages(b).map(({ seq }) => seq as number);
      expect(numbers).toEqual([...new Set(numbers)].toSorted((x, y) => x - y));
      await until("ann receives sync for her marks", () => a.heard.some(({ type }) => type === "sync"), 5_000);
      // The connection that was closed last may still be reconnecting, and lose this message too.
      const arrives = async () => {
        const { seq } = await a.send("bob", "after it all");
        await Bun.sleep(50);
        return messages(b).at(-1)?.["seq"] === seq;
      };
      await until("messages arrive again", arrives, 5_000);
      for (const tab of [c, d]) await tab.hearsNo("sync", 0);
    },
  );

  test.concurrent("a stopping pod marks the messages it delivered", async () => {
    const { pods: own, each } = await startPods(setup, 2);
    await using _ = own;
    const [first, second] = each as [TestApp, TestApp];
    const [ann, bob] = (await first.people("ann", "bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.at(second).open({ watch: [] })];
    await a.send("bob", "the first");
    await b.next("message");
    const left = second.leave();
    while (b.socket.readyState === WebSocket.OPEN) await a.send("bob", "another");
    await left;
    const last = messages(b).at(-1)?.["seq"] as number;
    await until("all of it", () => a.heard.some(({ type, seq }) => type === "delivered" && seq >= last));
  });

  test.concurrent("a pod that missed the end of a session closes its sockets once it notices the loss", async () => {
    await using breakable = await open();
    const { pods: own, each } = await startPods(breakable, 1);
    await using _ = own;
    const [pod] = each as [TestApp];
    const [ann, bob] = (await pod.people("ann", "bob")) as [Person, Person];
    const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
    await pod.sql`delete from sessions where user_id = (select id from users where username = 'ann')`;
    await breakable.cutSubscribers(pod);
    expect(await Promise.race([a.closed, Bun.sleep(6_000)])).toMatchObject({ code: 4401 });
    b.say({ type: "ping" });
    await b.next("pong");
  });
}

describe("over PostgreSQL", () => rules(overPostgres));
describe.skipIf(!REDIS)("over Redis", () => rules(overRedis));

test("a pod accepts sockets for nine tenths of its open files, and answers 503 beyond", async () => {
  await using pod = await startApp({ openFiles: 20 });
  const ann = await pod.person("ann");
  const tabs = await Promise.all(Array.from({ length: 18 }, () => ann.open({ watch: [] })));
  const refused = () =>
    ann.get("/ws/ann", {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    });
  const answer = await refused();
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
  expect((await ann.get("/online")).status).toBe(200); // those who are here are served
  await tabs[0]!.close();
  const late = await ann.open({ watch: [] });
  expect((await refused()).status).toBe(503);
  await late.close();
});
