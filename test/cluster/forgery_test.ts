/** Names in a client's frames cannot forge events on another pod. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { decodePacket } from "../../src/cluster/codec.ts";
import { PacketCipher } from "../../src/cluster/packet_cipher.ts";
import { listen } from "../../src/db/client.ts";
import {
  type Frame,
  migratedDatabase,
  type Person,
  REDIS,
  RedisServer,
  startApp,
  type Tab,
  type TestApp,
} from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(40_000);

/** Names that break a format that does not quote them, or not correctly. */
function hostileNames(victim: string): string[] {
  const message = JSON.stringify({ type: "message", from: "bob", to: victim, message: "forged", id: 1, seq: 1 });
  const breaks = [
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\u0085",
    "\u2028",
    "\u001b[2J",
    '"',
    '"]',
    '","',
    "'",
    "\\",
    "\\n",
    "\\u0000",
  ];
  return [
    ...breaks.flatMap((sign) => [sign, `x${sign}${victim}`, `${victim}${sign}x`, `${sign}${victim}${sign}`]),
    "",
    "{}",
    "[]",
    "null",
    "__proto__",
    "constructor",
    "*",
    "%",
    `{${victim}}`,
    `x,${victim}`,
    "\ud800",
    `${victim}\udfff`,
    `${victim}' or true --`,
    `x\t{}\nf\t${victim}\t${message}\nf\ty`,
    `x\t{}\nf\t${victim}\t{"type":"typing","user":"bob"}\nf\ty`,
    "x\t{}\nc\tghost\tghost\nf\ty",
    "x\t{}\np\t1\nc\tghost\tghost\nf\ty",
    "x\t{}\nu\tghost\nf\ty",
    `x"],{}],["frame",["${victim}"],${message}],["frame",["y`,
    `x"],{}],["online","ghost","ghost"],["frame",["y`,
    "x".repeat(201),
    "x".repeat(30_000),
  ];
}

/** Every client frame with a name. */
const NAMING_FRAMES: Record<string, (name: string) => object> = {
  "a message": (name) => ({ to: name, message: "genuine", ref: crypto.randomUUID() }),
  "a message without ref": (name) => ({ to: name, message: "genuine" }),
  typing: (name) => ({ type: "typing", peer: name }),
  "a read mark": (name) => ({ type: "read", peer: name, seq: 1 }),
  "a draft": (name) => ({ type: "draft", peer: name, text: "Dear" }),
  watch: (name) => ({ type: "watch", users: [name] }),
};

/** A kind of bus. */
interface Ground {
  /** Settings of its pods. */
  open(): Promise<Record<string, string>>;
  /** Listens to every packet. */
  spy(database: string, realm: string, hear: (packet: string) => void): Promise<{ end(): unknown }>;
  close(): Promise<void>;
}

function rules({ open, spy, close }: Ground): void {
  let database: string;
  let here: TestApp;
  let there: TestApp;
  let scenes = 0;

  beforeAll(async () => {
    database = await migratedDatabase();
    const env = await open();
    here = await startApp({ database, env });
    there = await startApp({ database, env });
    await Bun.sleep(1_000); // they know each other
  });
  afterAll(async () => {
    await there.stop();
    await here.stop();
    await close();
  });

  /** Ann tries to impersonate Bob to Vera, who is on the other pod. */
  async function scene() {
    const n = ++scenes;
    const [ann, bob, vera] = (await here.people(`ann-${n}`, `bob-${n}`, `vera-${n}`)) as [Person, Person, Person];
    const v = await vera.at(there).open({ watch: [bob.name] });
    const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
    const onlineThere = async () =>
      (await vera.at(there).json<string[]>("/online"))
        .filter((name) => !name.includes("-") || name.endsWith(`-${n}`))
        .toSorted();
    await until("the other pod knows both", async () => (await onlineThere()).length === 3);

    /** Checks that the frames so far forged nothing on the other pod, and that messages still arrive. */
    async function nothingForged(): Promise<void> {
      a.say({ type: "ping" });
      await a.next("pong");
      b.say({ type: "typing", peer: vera.name });
      const { seq } = await b.send(vera.name, "genuine");
      await until("Bob's message", () => v.heard.some((frame) => frame["from"] === bob.name && frame["seq"] === seq));
      await until("Bob's typing", () => v.heard.some(({ type, user }) => type === "typing" && user === bob.name));
      await a.send(ann.name, "still signed in");
      const isGenuine = (frame: Frame) => {
        if (frame.type === "message")
          return [ann.name, bob.name].includes(frame["from"]) && frame["message"] === "genuine";
        if (frame.type === "typing") return [ann.name, bob.name].includes(frame["user"]);
        if (frame.type === "presence") return Object.keys(frame["users"]).every((name) => name === bob.name);
        if (frame.type === "new_user") return [ann.name, bob.name].includes(frame["username"]); // their sign-up, late
        return frame.type === "hello";
      };
      expect(v.heard.filter((frame) => !isGenuine(frame))).toEqual([]);
      expect(await onlineThere()).toEqual([ann.name, bob.name, vera.name]);
      const [{ count }] = await here.sql<[{ count: number }]>`select count(*) from messages where sender = ${bob.name}`;
      expect(v.heard.filter(({ from }) => from === bob.name)).toHaveLength(count);
      expect([a, b, v].map(({ socket }) => socket.readyState)).toEqual([1, 1, 1]);
      await Promise.all([a, b, v].map((tab: Tab) => tab.close()));
    }
    return { a, vera, bob, nothingForged };
  }

  test("a name in a typing frame forges no message on another pod", async () => {
    const { a, vera, bob, nothingForged } = await scene();
    const forged = { type: "message", from: bob.name, to: vera.name, message: "forged", id: 1, seq: 1 };
    a.say({ type: "typing", peer: `x\t{}\nf\t${vera.name}\t${JSON.stringify(forged)}\nf\ty` });
    await nothingForged();
  });

  test("a name in a typing frame ends no session on another pod", async () => {
    const { a, vera, nothingForged } = await scene();
    const [session] = await here.sql<{ id: number }[]>`
      select s.id from sessions s join users u on u.id = s.user_id where u.username = ${vera.name}
    `;
    a.say({ type: "typing", peer: `x\t{}\ne\t${vera.name}\t${session?.id}\nf\ty` });
    await nothingForged();
  });

  test("a name in a typing frame neither empties nor invents presence on another pod", async () => {
    const { a, nothingForged } = await scene();
    a.say({ type: "typing", peer: "x\t{}\np\t1\nc\tghost\tghost\nf\ty" });
    await nothingForged();
  });

  test("pods send each other only names of accounts", async () => {
    const settings = await here.sql<{ name: string; value: string }[]>`select name, value from settings`;
    const setting = (name: string) => settings.find((row) => row.name === name)!.value;
    const insider = new PacketCipher(setting("bus_key"), "an insider");
    const named = new Set<string>();
    const subscriber = await spy(database, setting("bus_realm"), (packet) => {
      for (const event of decodePacket(insider.open(packet)!.text, expect.unreachable)!.events) {
        if (event.kind === "frame") for (const key of event.to) named.add(key);
        if ("nameKey" in event) named.add(event.nameKey);
      }
    });
    const { a, vera, nothingForged } = await scene();
    for (const frame of Object.values(NAMING_FRAMES)) {
      for (const name of [...hostileNames(vera.name), "nobody", "ghost", "Nobody At All"]) a.say(frame(name));
    }
    await nothingForged();
    const accounts = await here.sql<{ nameKey: string }[]>`select name_key as "nameKey" from users`;
    expect(named.size).toBeGreaterThan(2); // else this test reads nothing
    expect([...named].filter((key) => !accounts.some(({ nameKey }) => nameKey === key))).toEqual([]);
    await subscriber.end();
  });

  test.each(Object.entries(NAMING_FRAMES))("a hostile name in %s forges nothing on another pod", async (_, frame) => {
    const { a, vera, nothingForged } = await scene();
    for (const name of hostileNames(vera.name)) a.say(frame(name));
    await nothingForged();
  });
}

describe("over PostgreSQL", () =>
  rules({
    open: async () => ({}),
    async spy(database, realm, hear) {
      const subscriber = listen(database, { name: "spy", channel: `chatify_${realm}`, received: hear, closed() {} });
      await subscriber.ready;
      return subscriber;
    },
    close: async () => {},
  }));

describe.skipIf(!REDIS)("over Redis", () => {
  let server: RedisServer;
  rules({
    async open() {
      server = await RedisServer.start();
      return { BUS: server.url };
    },
    async spy(_, realm, hear) {
      const subscriber = await server.client();
      await subscriber.subscribe(`chatify:0:${realm}:sealed`, hear);
      return { end: () => subscriber.close() };
    },
    close: () => server.end(),
  });
});
