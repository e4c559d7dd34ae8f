/** The fault run's arguments, random numbers, fault proxy and mutants. Whole runs are in `test/tools/`. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { FaultProxy } from "../../tools/chaos/fault_proxy.ts";
import { MUTANT_SQL, mutated, mutatedFiles } from "../../tools/chaos/mutants.ts";
import { type MutantName, MUTANTS, readOptions } from "../../tools/chaos/options.ts";
import { Random } from "../../tools/chaos/random.ts";
import { runCommand } from "../support/command.ts";
import { ROOT } from "../support/harness.ts";

const chaos = (args: string[]) => runCommand("chaos/main.ts", args);

test("chaos rejects unknown arguments with a message", async () => {
  const fault = await chaos(["--faults", "F01,F99"]);
  expect(fault.code).toBe(2);
  expect(fault.err).toContain('There is no fault "F99"; there are F01, F02');
  expect((await chaos(["--short", "--minutes", "3"])).err).toContain("mutually exclusive");
  const help = await chaos(["--help"]);
  expect([help.code, help.err]).toEqual([0, ""]);
  expect(help.out).toContain("F22  answers of PostgreSQL do not arrive");
});

test("chaos reads its options", () => {
  const known = ["F01", "F02"];
  expect(readOptions(["--seed=7", "--short"], known)).toMatchObject({ seed: 7, short: true, pods: 3, bus: "postgres" });
  expect(readOptions(["--faults", "F02, F01"], known)?.faults).toEqual(["F02", "F01"]);
  for (const words of [
    ["--seed", "x"],
    ["--pods", "0"],
    ["--bus", "kafka"],
    ["--mutant", "none"],
    ["--keep=yes"],
    ["now"],
  ])
    expect(() => readOptions(words, known)).toThrow();
  expect(readOptions(["-h"], known)).toBeUndefined();
});

test("chaos repeats random numbers from a seed", () => {
  const [one, other] = [new Random(42), new Random(42)];
  expect(one.shuffled([1, 2, 3, 4, 5, 6, 7])).toEqual(other.shuffled([1, 2, 3, 4, 5, 6, 7]));
  expect(one.next()).toBe(other.next());
  expect(new Random(43).next()).not.toBe(new Random(42).next());
});

/** An echo server behind a proxy, and a client. */
async function echo() {
  const heard: string[] = [];
  const reached: string[] = [];
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, bytes) {
        reached.push(bytes.toString());
        socket.write(bytes);
      },
    },
  });
  const proxy = new FaultProxy(() => ({ hostname: "127.0.0.1", port: server.port }));
  const client = await Bun.connect({
    hostname: "127.0.0.1",
    port: proxy.port,
    socket: { data: (_, bytes) => void heard.push(bytes.toString()), close: () => close(), error: () => {} },
  });
  const say = (text: string) => void client.write(text);
  const holds = async (list: string[], texts: string[]) => {
    for (let tries = 0; list.length < texts.length && tries < 250; tries++) await Bun.sleep(20);
    expect(list).toEqual(texts);
  };
  const hears = (...texts: string[]) => holds(heard, texts);
  const reaches = (...texts: string[]) => holds(reached, texts);
  /** Long enough for bytes in flight to arrive. */
  const settles = () => Bun.sleep(50);
  client.write("hello");
  await hears("hello");
  const end = () => {
    client.terminate();
    proxy.close();
    server.stop(true);
  };
  return { proxy, heard, reached, say, hears, reaches, settles, closed, [Symbol.dispose]: end };
}

test("chaos proxy forwards both ways", async () => {
  using way = await echo();
  expect([way.reached, way.heard]).toEqual([["hello"], ["hello"]]);
  expect(way.proxy.connections[0]?.requestHead).toBe("hello");
});

test("chaos proxy stalls one direction and loses nothing", async () => {
  using way = await echo();
  way.proxy.set({ downstream: "stall" });
  way.say("one");
  await way.reaches("hello", "one");
  await way.settles();
  expect(way.heard).toEqual(["hello"]);
  way.proxy.heal();
  await way.hears("hello", "one");
  way.proxy.set({ upstream: "stall" });
  way.say("two");
  await way.settles();
  expect(way.reached).toEqual(["hello", "one"]);
  way.proxy.heal();
  await way.hears("hello", "one", "two");
});

test("chaos proxy drops one direction, and resets connections that lost bytes when it heals", async () => {
  using way = await echo();
  way.proxy.set({ downstream: "drop" });
  way.say("one");
  await way.reaches("hello", "one");
  await way.settles();
  expect(way.heard).toEqual(["hello"]);
  way.proxy.heal();
  await way.closed;
  expect(way.heard).toEqual(["hello"]);
});

test("chaos proxy resets connections, and refuses them without a target", async () => {
  using way = await echo();
  expect(way.proxy.reset()).toBe(1);
  await way.closed;
  const proxy = new FaultProxy(() => undefined);
  const { promise: refused, resolve } = Promise.withResolvers<void>();
  await Bun.connect({
    hostname: "127.0.0.1",
    port: proxy.port,
    socket: { data() {}, close: () => resolve(), error: () => resolve() },
  });
  await refused;
  proxy.close();
});

for (const name of Object.keys(MUTANTS) as MutantName[]) {
  test(`chaos mutant ${name} matches the sources exactly once`, () => {
    const statement = MUTANT_SQL[name]?.(); // throws for a piece that does not
    expect(statement === undefined && mutatedFiles(name).length === 0).toBe(false);
    for (const file of mutatedFiles(name)) {
      const source = readFileSync(join(ROOT, "src", file), "utf8");
      const text = mutated(name, file, source);
      expect(text).not.toBe(source);
      expect(() => new Bun.Transpiler({ loader: "ts" }).transformSync(text)).not.toThrow();
      expect(() => mutated(name, file, `${source}${source}`)).toThrow("2 times");
    }
  });
}
