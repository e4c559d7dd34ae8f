/** The load generator: a process of its own that plays everybody's browsers. */

import type { Pair } from "../../support/people.ts";
import { work } from "../worker.ts";
import { type Counts, Crowd } from "./crowd.ts";
import { ask, rush, swallow } from "./http.ts";
import { Talk, type TalkOptions } from "./talk.ts";

/** By the port of their server, the first of several. */
const talks = new Map<number, Talk>();
const crowds = new Map<number, Crowd>();

const jobs = {
  async openTalk({ ports, pairs }: { ports: readonly number[]; pairs: readonly Pair[] }) {
    const talk = new Talk();
    talks.set(ports[0] as number, talk);
    await talk.open(ports, pairs);
  },
  talk: ({ port, ...options }: TalkOptions & { port: number }) => found(talks, port).run(options),
  audit: ({ port, database }: { port: number; database: string }) => found(talks, port).audit(database),
  closeTalk({ port }: { port: number }) {
    found(talks, port).close();
    talks.delete(port);
  },

  gather(options: { port: number; size: number; watching: boolean; greets: boolean }) {
    crowds.set(options.port, new Crowd(options));
  },
  arrive: ({ port, people }: { port: number; people: readonly number[] }) => found(crowds, port).arrive(people),
  leave: ({ port, people }: { port: number; people: readonly number[] }) => found(crowds, port).leave(people),
  churn: ({ port, ...options }: { port: number; seconds: number; perSecond: number; awayMs: number }) =>
    found(crowds, port).churn(options),
  count: ({ port }: { port: number }): Counts & { faults: string[] } => {
    const crowd = found(crowds, port);
    return { ...crowd.counts, faults: crowd.faults };
  },
  disperse({ port }: { port: number }) {
    found(crowds, port).close();
    crowds.delete(port);
  },

  ask,
  rush,
  swallow,
};

export type GeneratorJobs = typeof jobs;

await work(jobs);

function found<Load>(loads: Map<number, Load>, port: number): Load {
  const load = loads.get(port);
  if (!load) throw new RangeError(`Nobody has been sent to port ${port}`);
  return load;
}
