/** The load generator: a process of its own that plays everybody's browsers. */

import type { Pair } from "../../support/users.ts";
import { work } from "../worker.ts";
import { ConnectionLoad, type Counts } from "./connection_load.ts";
import { ask, rush, swallow } from "./http.ts";
import { type LoadOptions, MessageLoad } from "./message_load.ts";

/** By the port of their server, the first of several. */
const messageLoads = new Map<number, MessageLoad>();
const connectionLoads = new Map<number, ConnectionLoad>();

const jobs = {
  async openMessageLoad({ ports, pairs }: { ports: readonly number[]; pairs: readonly Pair[] }) {
    const talk = new MessageLoad();
    messageLoads.set(ports[0] as number, talk);
    await talk.open(ports, pairs);
  },
  talk: ({ port, ...options }: LoadOptions & { port: number }) => found(messageLoads, port).run(options),
  audit: ({ port, database }: { port: number; database: string }) => found(messageLoads, port).audit(database),
  closeMessageLoad({ port }: { port: number }) {
    found(messageLoads, port).close();
    messageLoads.delete(port);
  },

  gather(options: { port: number; size: number; watching: boolean; greets: boolean }) {
    connectionLoads.set(options.port, new ConnectionLoad(options));
  },
  arrive: ({ port, people }: { port: number; people: readonly number[] }) =>
    found(connectionLoads, port).arrive(people),
  leave: ({ port, people }: { port: number; people: readonly number[] }) => found(connectionLoads, port).leave(people),
  churn: ({ port, ...options }: { port: number; seconds: number; perSecond: number; awayMs: number }) =>
    found(connectionLoads, port).churn(options),
  count: ({ port }: { port: number }): Counts & { problems: string[] } => {
    const load = found(connectionLoads, port);
    return { ...load.counts, problems: load.problems };
  },
  disperse({ port }: { port: number }) {
    found(connectionLoads, port).close();
    connectionLoads.delete(port);
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
