/** The duration of searches among a hundred thousand messages of a user in a table of a million, and what they cost sends. */

import { type Latency, median, medianLatency } from "../../support/statistics.ts";
import { cookieOf, type Pair, pairs } from "../../support/users.ts";
import type { TimedRequest } from "../load/http.ts";
import type { Part } from "../part.ts";

const CONVERSATIONS = 2_000;

export const search: Part = {
  seconds: ({ short }) => (short ? 15 : 55),

  async run({ sandbox, report, progress, short }) {
    const add = report.section("search");
    progress.step("filling a table");
    const [long, each] = short ? [5_000, 3] : [50_000, 25];
    const strangers = pairs(450, CONVERSATIONS + 100);
    const writers = strangers.slice(0, 50);
    const database = await sandbox.database(CONVERSATIONS + 1_100);
    await database.addConversations([[0, 1]], long);
    const others = Array.from({ length: CONVERSATIONS }, (_, i): Pair => [0, i + 2]);
    await database.addConversations(others, each);
    await database.addConversations(strangers, short ? 200 : 2_000);
    await database.sql`
      update messages
      set content = content || case when seq % 1000 = 0 then ' with a rare zebra' else ' και ένας καφές' end
      where conversation_id = (select min(id) from conversations) and seq % 100 = 0
    `;
    await database.settle();
    const server = await sandbox.serve({ database });
    const { port, pid } = server;
    const [generator, ...searchers] = [sandbox.generator(), sandbox.generator(), sandbox.generator()];

    progress.step("searching");
    const kinds = [
      { kind: "a common word", path: "/search?q=typical", rows: 20 },
      { kind: "a Greek word", path: `/search?q=${encodeURIComponent("ΚΑΦΕΣ")}`, rows: 20 },
      { kind: "a rare word", path: "/search?q=zebra&limit=50", rows: Math.min(50, long / 1_000) },
      { kind: "an absent word", path: "/search?q=xylophone", rows: 0 },
      { kind: "a common word, one conversation", path: "/search?q=typical&peer=p00001", rows: 20 },
    ];
    const requests = kinds.map(({ kind: name, path, rows }): TimedRequest => {
      return { name, port, path, cookie: cookieOf(0), rows };
    });
    const { times, problems } = await generator.ask("timeRequests", { requests, rounds: short ? 10 : 40 });
    add.check("every search finds the expected number of messages", problems);
    for (const [i, { kind }] of kinds.entries()) {
      const { p50, p95 } = times[kind] as Latency;
      const bound = i < 2 && !short ? { bound: { most: 200 } } : {};
      add.figure(`${kind}, p50`, { value: p50, unit: "ms", note: `p95 ${p95.toFixed(1)} ms`, ...bound });
    }

    await generator.ask("openMessageLoad", { ports: [port], pairs: writers });
    const sends = async () => {
      const lastSeqs = await database.lastSeqs(writers);
      const options = { pairs: writers, lastSeqs, window: 1, warmUpSeconds: 0.3, seconds: short ? 1 : 2, marks: false };
      return generator.ask("runMessageLoad", { port, ...options, pids: { server: [pid] } });
    };
    const samples = { alone: [] as Latency[], beside: [] as Latency[] };
    const rates = { alone: [] as number[], beside: [] as number[] };
    const wrong: string[] = [];
    for (let round = 1; round <= 3; round++) {
      for (const turn of ["alone", "beside"] as const) {
        progress.step(`sending, round ${round} of 3, ${turn}`);
        const searching = searchers.map((searcher, user) => {
          const options = { port, paths: ["/search?q=xylophone"], headers: { Cookie: cookieOf(user) }, connections: 1 };
          return turn === "beside"
            ? searcher.ask("measureThroughput", { ...options, seconds: short ? 1.3 : 2.3 })
            : undefined;
        });
        const result = await sends();
        for (const found of await Promise.all(searching)) wrong.push(...(found?.problems ?? []));
        samples[turn].push(result.ack);
        rates[turn].push(result.perSecond);
        wrong.push(...result.problems);
      }
    }
    add.check("every frame and every search is right while both run", wrong);
    const [alone, beside] = [medianLatency(samples.alone), medianLatency(samples.beside)];
    for (const share of ["p50", "p99"] as const) {
      add.figure(`100 users send while two search, ack ${share}`, {
        value: beside[share],
        unit: "ms",
        baseline: { name: "without searches", value: alone[share] },
      });
    }
    add.figure("messages stored while two search", {
      value: median(rates.beside),
      unit: "/s",
      baseline: { name: "without searches", value: median(rates.alone) },
    });
  },
};
