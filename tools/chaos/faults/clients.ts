/** Faults of clients: those user read slowly, flood, send nonsense, or say the same thing everywhere. */

import { cookieOf } from "../../support/users.ts";
import { until } from "../workload.ts";
import { connectionsOf, type Fault, pickPod } from "./fault.ts";
import { newRef, RawClient } from "./raw_client.ts";

/** A message of 5.6 kB: as much as a notification carries to another pod. */
const LARGE = "🪨".repeat(1_400);
const AT_ONCE = 60;
/** More than the kernel keeps for a reader: 5 MB or so, but up to 37 where `net.ipv4.tcp_rmem` and `tcp_wmem` let it. */
const TOO_MANY = Math.ceil(56e6 / Buffer.byteLength(LARGE));

export const clientFaults: readonly Fault[] = [
  {
    id: "F27",
    name: "slow reader",
    async run(context) {
      const { workload, random } = context;
      const slow = random.pick(workload.names.filter((name) => connectionsOf(context, name).length > 0));
      const peer = random.pick(workload.peersOf(slow));
      const connections = connectionsOf(context, slow);
      workload.held.add(slow);
      for (const connection of connections) connection.set({ downstream: "stall" });
      let count = 0;
      while (count < TOO_MANY && !connections.every(({ closedByServer }) => closedByServer)) {
        if (!(await until(() => (workload.pagesOf(peer)[0]?.waiting ?? 0) < AT_ONCE, 15_000))) break;
        workload.say(peer, slow, `${count++} ${LARGE}`);
        if (count % 20 === 0) await Bun.sleep(20);
      }
      const cut = await until(() => connections.every(({ closedByServer }) => closedByServer), 3_000);
      if (!cut) context.wrong(`${slow} was not cut off after ${count} messages of 5.6 kB`);
      await Bun.sleep(1_000);
      for (const connection of connections) connection.set({ downstream: "pass" });
      workload.held.delete(slow);
      return `${slow}, ${cut ? "cut off within" : "not cut off after"} ${count} messages of 5.6 kB`;
    },
  },
  {
    id: "F28",
    name: "flood from one client",
    async run(context) {
      const { workload, random } = context;
      const user = random.pick(workload.names);
      const to = random.pick(workload.peersOf(user));
      const client = await RawClient.open(context, user, pickPod(context).index);
      const count = 3_000;
      for (let i = 0; i < count; i++) client.send(to, `flood ${i}`, newRef());
      await until(() => client.answered >= count, 15_000);
      client.close();
      return `${count} messages at once from ${user}, ${client.refused} refused`;
    },
  },
  {
    id: "F30",
    name: "many sign in at once",
    async run(context) {
      const pod = pickPod(context);
      const codes = await Promise.all(
        Array.from({ length: 60 }, async (_, i) => {
          const body = new URLSearchParams({ username: `nobody${i}`, password: "not the password" });
          const answer = await fetch(`http://127.0.0.1:${pod.proxy.port}/login`, { method: "POST", body }).catch(
            () => undefined,
          );
          return answer?.status ?? 0;
        }),
      );
      const count = (code: number) => codes.filter((other) => other === code).length;
      const others = codes.filter((code) => ![401, 429, 503].includes(code));
      if (others.length > 0) context.wrong(`a wrong password was answered ${others[0]}`);
      return `60 at ${pod.name}: ${count(401)} wrong, ${count(429)} too many, ${count(503)} busy`;
    },
  },
  {
    id: "F31",
    name: "requests that never end",
    async run(context) {
      const pod = pickPod(context);
      const socket = { data: () => {}, error: () => {}, connectError: () => {} };
      const clients = await Promise.all(
        Array.from({ length: 200 }, () => Bun.connect({ hostname: "127.0.0.1", port: pod.port, socket })),
      );
      for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: x\r\n");
      const lasts = context.seconds(4);
      for (let i = 0; i < lasts * 2; i++) {
        await Bun.sleep(500);
        for (const client of clients) client.write(`X-${i}: y\r\n`);
      }
      for (const client of clients) client.terminate();
      return `200 at ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F33",
    name: "frames far too large",
    async run(context) {
      const client = await RawClient.open(context, context.random.pick(context.workload.names), pickPod(context).index);
      client.say(JSON.stringify({ to: "p00000", message: "x".repeat(2 ** 20) }));
      if (!(await until(() => client.code !== undefined, 3_000)))
        context.wrong("a frame of 1 MiB did not end its socket");
      client.close();
      return `1 MiB, closed with ${client.code}`;
    },
  },
  {
    id: "F34",
    name: "the same send everywhere",
    async run(context) {
      const { workload, random, cluster } = context;
      const count = 20;
      const user = random.pick(workload.names);
      const to = random.pick(workload.peersOf(user));
      const pods = Array.from({ length: 3 }, (_, i) => i % cluster.pods.length);
      const clients = await Promise.all(pods.map((pod) => RawClient.open(context, user, pod)));
      for (let i = 0; i < count; i++) {
        const [text, ref] = [`everywhere ${i}`, newRef()];
        for (const client of clients) client.send(to, text, ref);
      }
      if (!(await until(() => clients.every(({ answered }) => answered >= count), 10_000)))
        context.wrong(
          `${count} sends on three sockets were answered ${clients.map(({ answered }) => answered).join(", ")} times`,
        );
      await Bun.sleep(200);
      for (const client of clients) client.close();
      return `${count} messages of ${user} on three sockets each`;
    },
  },
  {
    id: "F35",
    name: "poison among good",
    async run(context) {
      const { workload, random } = context;
      const user = random.pick(workload.names);
      const to = random.pick(workload.peersOf(user));
      const client = await RawClient.open(context, user, pickPod(context).index);
      const bad = [`{"to":"${to}","message":"a\\u0000b"}`, `{"to":"${to}","message":"\\ud800"}`]
        .concat(JSON.stringify({ to, message: "x".repeat(4_001) }), JSON.stringify({ to, message: "   " }))
        .concat(JSON.stringify({ to: "nobody-of-that-name", message: "hello" }), '{"to":7}', "[]");
      let good = 0;
      for (const frame of bad) {
        for (let i = 0; i < 5; i++, good++) client.send(to, `good ${good}`, newRef());
        client.say(frame);
      }
      if (!(await until(() => client.answered >= good && client.errors >= bad.length, 10_000)))
        context.wrong(
          `${client.answered} of ${good} good sends were answered, ${client.errors} of ${bad.length} bad ones refused`,
        );
      client.close();
      return `${bad.length} bad among ${good} good`;
    },
  },
  {
    id: "F40",
    name: "session ended elsewhere",
    async run(context) {
      const { cluster } = context;
      const user = context.spareUser();
      const clients = await Promise.all(cluster.pods.map((pod) => RawClient.open(context, user, pod.index)));
      const answer = await fetch(`http://127.0.0.1:${pickPod(context).proxy.port}/logout`, {
        headers: { cookie: cookieOf(Number(user.slice(1))) },
        redirect: "manual",
      });
      const begun = performance.now();
      const closed = await until(() => clients.every(({ code }) => code !== undefined), 4_000);
      const ms = Math.round(performance.now() - begun);
      const codes = clients.map(({ code }) => code ?? "none");
      if (!closed || ms > 2_000 || codes.some((code) => code !== 4401))
        context.wrong(`after ${ms} ms sockets were closed with ${codes.join(", ")} (the answer was ${answer.status})`);
      for (const client of clients) client.close();
      return `${clients.length} sockets closed after ${ms} ms`;
    },
  },
];
