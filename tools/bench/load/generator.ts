/** The load generator: a process that acts as all users' browsers. */

import type { Pair } from "../../support/users.ts";
import { work } from "../worker.ts";
import { ConnectionLoad, type Counts } from "./connection_load.ts";
import { measureThroughput, readStream, timeRequests } from "./http.ts";
import { type LoadOptions, MessageLoad } from "./message_load.ts";

/** By the port of their server, or the first of several. */
const messageLoads = new Map<number, MessageLoad>();
const connectionLoads = new Map<number, ConnectionLoad>();

const jobs = {
  async openMessageLoad({ ports, pairs }: { ports: readonly number[]; pairs: readonly Pair[] }) {
    const load = new MessageLoad();
    messageLoads.set(ports[0] as number, load);
    await load.open(ports, pairs);
  },
  runMessageLoad: ({ port, ...options }: LoadOptions & { port: number }) => get(messageLoads, port).run(options),
  audit: ({ port, database }: { port: number; database: string }) => get(messageLoads, port).audit(database),

  openConnectionLoad(options: { port: number; size: number; watching: boolean; greets: boolean }) {
    connectionLoads.set(options.port, new ConnectionLoad(options));
  },
  connect: ({ port, users }: { port: number; users: readonly number[] }) => get(connectionLoads, port).connect(users),
  disconnect: ({ port, users }: { port: number; users: readonly number[] }) =>
    get(connectionLoads, port).disconnect(users),
  churn: ({ port, ...options }: { port: number; seconds: number; perSecond: number; awayMs: number }) =>
    get(connectionLoads, port).churn(options),
  count: ({ port }: { port: number }): Counts & { problems: string[] } => {
    const { counts, problems } = get(connectionLoads, port);
    return { ...counts, problems };
  },
  closeConnectionLoad({ port }: { port: number }) {
    get(connectionLoads, port).close();
    connectionLoads.delete(port);
  },

  timeRequests,
  measureThroughput,
  readStream,
};

export type GeneratorJobs = typeof jobs;

await work(jobs);

function get<Load>(loads: Map<number, Load>, port: number): Load {
  const load = loads.get(port);
  if (!load) throw new RangeError(`There is no load on port ${port}`);
  return load;
}
