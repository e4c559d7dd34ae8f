/** Faults of clients: slow readers, floods, malformed frames, the same send on several sockets. */

import { cookieOf } from "../../support/users.ts";
import { until } from "../workload.ts";
import { connectionsOf, type Fault, type FaultContext, last, pickPod } from "./fault.ts";
import { newRef, RawClient } from "./raw_client.ts";

/** A message of 5.6 kB, which a notification can carry to another pod. */
const LARGE = "🪨".repeat(1_400);
const PENDING_MAX = 60;
/** More than the kernel buffers for a reader: about 5 MB, up to 37 by `net.ipv4.tcp_rmem` and `tcp_wmem`. */
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
      const areClosed = () => connections.every(({ closedByServer }) => closedByServer);
      workload.noReload.add(slow);
      for (const connection of connections) connection.set({ downstream: "stall" });
      let count = 0;
      while (count < TOO_MANY && !areClosed()) {
        if (!(await until(() => (workload.pagesOf(peer)[0]?.pendingCount ?? 0) < PENDING_MAX, 15_000))) break;
        workload.write(peer, slow, `${count++} ${LARGE}`);
        if (count % 20 === 0) await Bun.sleep(20);
      }
      const closed = await until(areClosed, 3_000);
      if (!closed) context.violation(`${slow} was not disconnected after ${count} messages of 5.6 kB`);
      await Bun.sleep(1_000);
      for (const connection of connections) connection.set({ downstream: "pass" });
      workload.noReload.delete(slow);
      return `${slow}, ${closed ? "disconnected within" : "not disconnected after"} ${count} messages of 5.6 kB`;
    },
  },
  {
    id: "F28",
    name: "flood from one client",
    async run(context) {
      const { user, peer } = pickPair(context);
      const client = await RawClient.open(context, user, pickPod(context).index);
      const count = 3_000;
      for (let i = 0; i < count; i++) client.sendMessage(peer, `flood ${i}`, newRef());
      await until(() => client.answered >= count, 15_000);
      client.close();
      return `${count} messages at once from ${user}, ${client.rejected} rejected`;
    },
  },
  {
    id: "F30",
    name: "many logins at once",
    async run(context) {
      const pod = pickPod(context);
      const logins = Array.from({ length: 60 }, async (_, i) => {
        const body = new URLSearchParams({ username: `nobody${i}`, password: "not the password" });
        const url = `http://127.0.0.1:${pod.proxy.port}/login`;
        const response = await fetch(url, { method: "POST", body }).catch(() => undefined);
        return response?.status ?? 0;
      });
      const codes = await Promise.all(logins);
      const count = (code: number) => codes.filter((other) => other === code).length;
      const others = codes.filter((code) => ![401, 429, 503].includes(code));
      if (others.length > 0) context.violation(`a wrong password was answered ${others[0]}`);
      return `60 at ${pod.name}: ${count(401)} wrong, ${count(429)} rate limited, ${count(503)} busy`;
    },
  },
  {
    id: "F31",
    name: "requests that never end",
    async run(context) {
      const pod = pickPod(context);
      const socket = { data: () => {}, error: () => {}, connectError: () => {} };
      const connect = () => Bun.connect({ hostname: "127.0.0.1", port: pod.port, socket });
      const clients = await Promise.all(Array.from({ length: 200 }, connect));
      for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: x\r\n");
      const seconds = context.seconds(4);
      for (let i = 0; i < seconds * 2; i++) {
        await last(0.5);
        for (const client of clients) client.write(`X-${i}: y\r\n`);
      }
      for (const client of clients) client.terminate();
      return `200 at ${pod.name}, for ${seconds.toFixed(0)} s`;
    },
  },
  {
    id: "F33",
    name: "oversized frames",
    async run(context) {
      const user = context.random.pick(context.workload.names);
      const client = await RawClient.open(context, user, pickPod(context).index);
      client.send(JSON.stringify({ to: "p00000", message: "x".repeat(2 ** 20) }));
      if (!(await until(() => client.closeCode !== undefined, 3_000)))
        context.violation("a frame of 1 MiB did not close its socket");
      client.close();
      return `1 MiB, closed with ${client.closeCode}`;
    },
  },
  {
    id: "F34",
    name: "same send or change on several sockets",
    async run(context) {
      const count = 20;
      const { user, peer } = pickPair(context);
      const pods = Array.from({ length: 3 }, (_, i) => i % context.cluster.pods.length);
      const clients = await Promise.all(pods.map((pod) => RawClient.open(context, user, pod)));
      for (let i = 0; i < count; i++) {
        const [text, ref] = [`everywhere ${i}`, newRef()];
        for (const client of clients) client.sendMessage(peer, text, ref);
      }
      if (!(await until(() => clients.every(({ answered }) => answered >= count), 10_000))) {
        const answers = clients.map(({ answered }) => answered).join(", ");
        context.violation(`${count} sends on three sockets were answered ${answers} times`);
      }
      const sent = clients[0]?.acked ?? [];
      for (const seq of sent) {
        const changes = ["edited", "edited again"].map((how) => {
          return { peer, ref: newRef(), kind: "edit", seq, text: `everywhere ${seq}, ${how}` } as const;
        });
        for (const client of clients) for (const change of changes) client.sendChange(change);
      }
      const total = count + 2 * sent.length;
      if (!(await until(() => clients.every(({ answered }) => answered >= total), 10_000))) {
        const answers = clients.map(({ answered }) => answered).join(", ");
        context.violation(`${total} sends and changes on three sockets were answered ${answers} times`);
      }
      await Bun.sleep(200);
      for (const client of clients) client.close();
      return `${count} messages and ${2 * sent.length} changes of ${user} on three sockets each`;
    },
  },
  {
    id: "F35",
    name: "invalid frames among valid ones",
    async run(context) {
      const { user, peer: to } = pickPair(context);
      const client = await RawClient.open(context, user, pickPod(context).index);
      const invalid = [`{"to":"${to}","message":"a\\u0000b"}`, `{"to":"${to}","message":"\\ud800"}`]
        .concat(JSON.stringify({ to, message: "x".repeat(4_001) }), JSON.stringify({ to, message: "   " }))
        .concat(JSON.stringify({ to: "nobody-of-that-name", message: "hello" }), '{"to":7}', "[]");
      let valid = 0;
      for (const frame of invalid) {
        for (let i = 0; i < 5; i++, valid++) client.sendMessage(to, `valid ${valid}`, newRef());
        client.send(frame);
      }
      if (!(await until(() => client.answered >= valid && client.errors >= invalid.length, 10_000)))
        context.violation(
          `${client.answered} of ${valid} valid sends were answered, ${client.errors} of ${invalid.length} invalid ones rejected`,
        );
      client.close();
      return `${invalid.length} invalid among ${valid} valid`;
    },
  },
  {
    id: "F40",
    name: "logout on another pod",
    async run(context) {
      const user = context.spareUser();
      const clients = await Promise.all(context.cluster.pods.map((pod) => RawClient.open(context, user, pod.index)));
      const { status } = await fetch(`http://127.0.0.1:${pickPod(context).proxy.port}/logout`, {
        headers: { cookie: cookieOf(Number(user.slice(1))) },
        redirect: "manual",
      });
      const startedAt = performance.now();
      const closed = await until(() => clients.every(({ closeCode }) => closeCode !== undefined), 4_000);
      const ms = Math.round(performance.now() - startedAt);
      const codes = clients.map(({ closeCode }) => closeCode ?? "none");
      if (!closed || ms > 2_000 || codes.some((code) => code !== 4401))
        context.violation(`after ${ms} ms sockets were closed with ${codes.join(", ")} (the answer was ${status})`);
      for (const client of clients) client.close();
      return `${clients.length} sockets closed after ${ms} ms`;
    },
  },
];

function pickPair({ workload, random }: FaultContext): { user: string; peer: string } {
  const user = random.pick(workload.names);
  return { user, peer: random.pick(workload.peersOf(user)) };
}
