/** How packets travel: what a PostgreSQL and a Valkey have to offer to a `PacketBus`. */

/** What carries packets to every pod, the sender included. */
export interface Transport {
  /** The largest packet, and how many may leave together. */
  readonly maxBytes: number;
  readonly maxPackets: number;
  /** Opens a connection that receives. `on.closed` is called when it broke, at most once. */
  subscribe(on: { packet(text: string): void; closed(): void }): Subscriber;
  /** Opens a connection that sends, at the first packet at the latest. */
  publisher(): Publisher;
  /** The same to the channel of pods from before packets were sealed. */
  olderPublisher(): Publisher;
}

/** A connection that receives. */
export interface Subscriber {
  /** Resolves when it receives everything sent from now on; rejects when it never will. */
  readonly ready: Promise<unknown>;
  end(): Promise<void> | void;
}

/** A connection that sends. */
export interface Publisher {
  /** Sends them in their order. Rejects when it is not known that all of them left. */
  send(packets: readonly string[]): Promise<unknown>;
  end(): Promise<void> | void;
}

/** The answer, or an error when it takes too long. */
export async function withTimeout<T>(ms: number, answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const fail = () => late.reject(new Error(`no answer within ${ms} ms`));
  let timer = setTimeout(() => {
    timer = setTimeout(fail, ms / 10); // in a process that stood still the answer may be there, and timers come first
  }, ms);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a connection, whatever state it is in. */
export async function endQuietly(connection: Subscriber | Publisher): Promise<void> {
  try {
    await connection.end();
  } catch {
    // it was over already
  }
}
