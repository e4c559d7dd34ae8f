/** Faults of clients: those who read slowly, flood, send nonsense, or say the same thing everywhere. */

import { cookieOf } from "../../support/people.ts";
import { until } from "../town.ts";
import { anyPod, connectionsOf, type Fault } from "./fault.ts";
import { Guest, newRef } from "./guest.ts";

/** A message of 5.6 kB: as much as a notification carries to another pod. */
const LARGE = "🪨".repeat(1_400);
const AT_ONCE = 60;
/** More than the kernel keeps for a reader: 5 MB or so, but up to 37 where `net.ipv4.tcp_rmem` and `tcp_wmem` let it. */
const TOO_MANY = Math.ceil(56e6 / Buffer.byteLength(LARGE));

export const clientFaults: readonly Fault[] = [
  {
    id: "F27",
    name: "slow reader",
    async run(scene) {
      const { town, random } = scene;
      const slow = random.pick(town.names.filter((name) => connectionsOf(scene, name).length > 0));
      const peer = random.pick(town.peersOf(slow));
      const connections = connectionsOf(scene, slow);
      town.held.add(slow);
      for (const connection of connections) connection.set({ down: "stall" });
      let count = 0;
      while (count < TOO_MANY && !connections.every(({ left }) => left)) {
        if (!(await until(() => (town.pagesOf(peer)[0]?.waiting ?? 0) < AT_ONCE, 15_000))) break;
        town.say(peer, slow, `${count++} ${LARGE}`);
        if (count % 20 === 0) await Bun.sleep(20);
      }
      const cut = await until(() => connections.every(({ left }) => left), 3_000);
      if (!cut) scene.wrong(`${slow} was not cut off after ${count} messages of 5.6 kB`);
      await Bun.sleep(1_000);
      for (const connection of connections) connection.set({ down: "pass" });
      town.held.delete(slow);
      return `${slow}, ${cut ? "cut off within" : "not cut off after"} ${count} messages of 5.6 kB`;
    },
  },
  {
    id: "F28",
    name: "flood from one client",
    async run(scene) {
      const { town, random } = scene;
      const who = random.pick(town.names);
      const to = random.pick(town.peersOf(who));
      const guest = await Guest.open(scene, who, anyPod(scene).index);
      const count = 3_000;
      for (let i = 0; i < count; i++) guest.send(to, `flood ${i}`, newRef());
      await until(() => guest.answered >= count, 15_000);
      guest.close();
      return `${count} messages at once from ${who}, ${guest.refused} refused`;
    },
  },
  {
    id: "F30",
    name: "many sign in at once",
    async run(scene) {
      const pod = anyPod(scene);
      const codes = await Promise.all(
        Array.from({ length: 60 }, async (_, i) => {
          const body = new URLSearchParams({ username: `nobody${i}`, password: "not the password" });
          const answer = await fetch(`http://127.0.0.1:${pod.link.port}/login`, { method: "POST", body }).catch(
            () => undefined,
          );
          return answer?.status ?? 0;
        }),
      );
      const count = (code: number) => codes.filter((other) => other === code).length;
      const others = codes.filter((code) => ![401, 429, 503].includes(code));
      if (others.length > 0) scene.wrong(`a wrong password was answered ${others[0]}`);
      return `60 at ${pod.name}: ${count(401)} wrong, ${count(429)} too many, ${count(503)} busy`;
    },
  },
  {
    id: "F31",
    name: "requests that never end",
    async run(scene) {
      const pod = anyPod(scene);
      const socket = { data: () => {}, error: () => {}, connectError: () => {} };
      const guests = await Promise.all(
        Array.from({ length: 200 }, () => Bun.connect({ hostname: "127.0.0.1", port: pod.port, socket })),
      );
      for (const guest of guests) guest.write("GET / HTTP/1.1\r\nHost: x\r\n");
      const lasts = scene.seconds(4);
      for (let i = 0; i < lasts * 2; i++) {
        await Bun.sleep(500);
        for (const guest of guests) guest.write(`X-${i}: y\r\n`);
      }
      for (const guest of guests) guest.terminate();
      return `200 at ${pod.name}, for ${lasts.toFixed(0)} s`;
    },
  },
  {
    id: "F33",
    name: "frames far too large",
    async run(scene) {
      const guest = await Guest.open(scene, scene.random.pick(scene.town.names), anyPod(scene).index);
      guest.say(JSON.stringify({ to: "p00000", message: "x".repeat(2 ** 20) }));
      if (!(await until(() => guest.code !== undefined, 3_000))) scene.wrong("a frame of 1 MiB did not end its socket");
      guest.close();
      return `1 MiB, closed with ${guest.code}`;
    },
  },
  {
    id: "F34",
    name: "the same send everywhere",
    async run(scene) {
      const { town, random, stage } = scene;
      const count = 20;
      const who = random.pick(town.names);
      const to = random.pick(town.peersOf(who));
      const pods = Array.from({ length: 3 }, (_, i) => i % stage.pods.length);
      const guests = await Promise.all(pods.map((pod) => Guest.open(scene, who, pod)));
      for (let i = 0; i < count; i++) {
        const [text, ref] = [`everywhere ${i}`, newRef()];
        for (const guest of guests) guest.send(to, text, ref);
      }
      if (!(await until(() => guests.every(({ answered }) => answered >= count), 10_000)))
        scene.wrong(
          `${count} sends on three sockets were answered ${guests.map(({ answered }) => answered).join(", ")} times`,
        );
      await Bun.sleep(200);
      for (const guest of guests) guest.close();
      return `${count} messages of ${who} on three sockets each`;
    },
  },
  {
    id: "F35",
    name: "poison among good",
    async run(scene) {
      const { town, random } = scene;
      const who = random.pick(town.names);
      const to = random.pick(town.peersOf(who));
      const guest = await Guest.open(scene, who, anyPod(scene).index);
      const bad = [`{"to":"${to}","message":"a\\u0000b"}`, `{"to":"${to}","message":"\\ud800"}`]
        .concat(JSON.stringify({ to, message: "x".repeat(4_001) }), JSON.stringify({ to, message: "   " }))
        .concat(JSON.stringify({ to: "nobody-of-that-name", message: "hello" }), '{"to":7}', "[]");
      let good = 0;
      for (const frame of bad) {
        for (let i = 0; i < 5; i++, good++) guest.send(to, `good ${good}`, newRef());
        guest.say(frame);
      }
      if (!(await until(() => guest.answered >= good && guest.errors >= bad.length, 10_000)))
        scene.wrong(
          `${guest.answered} of ${good} good sends were answered, ${guest.errors} of ${bad.length} bad ones refused`,
        );
      guest.close();
      return `${bad.length} bad among ${good} good`;
    },
  },
  {
    id: "F40",
    name: "session ended elsewhere",
    async run(scene) {
      const { stage } = scene;
      const who = scene.visitor();
      const guests = await Promise.all(stage.pods.map((pod) => Guest.open(scene, who, pod.index)));
      const answer = await fetch(`http://127.0.0.1:${anyPod(scene).link.port}/logout`, {
        headers: { cookie: cookieOf(Number(who.slice(1))) },
        redirect: "manual",
      });
      const begun = performance.now();
      const closed = await until(() => guests.every(({ code }) => code !== undefined), 4_000);
      const ms = Math.round(performance.now() - begun);
      const codes = guests.map(({ code }) => code ?? "none");
      if (!closed || ms > 2_000 || codes.some((code) => code !== 4401))
        scene.wrong(`after ${ms} ms sockets were closed with ${codes.join(", ")} (the answer was ${answer.status})`);
      for (const guest of guests) guest.close();
      return `${guests.length} sockets closed after ${ms} ms`;
    },
  },
];
