/** The publish/subscribe transport that a `PacketBus` needs from PostgreSQL or Valkey. */

/** Delays between attempts to connect or send, doubled after each. */
export const RETRY_FIRST_MS = 50;
export const RETRY_MOST_MS = 1_000;

/** Broadcasts packets to every pod, including the sender. */
export interface Transport {
  /** The largest packet, and how many packets one `send` may carry. */
  readonly maxBytes: number;
  readonly maxPackets: number;
  /** Opens a receiving connection. `on.closed` is called once, when the connection breaks. */
  subscribe(on: { packet(text: string): void; closed(): void }): Subscriber;
  /** Opens a sending connection, at the latest when the first packet is sent. */
  publisher(): Publisher;
  /** A publisher to the channel of older pods, whose packets are not encrypted. */
  olderPublisher(): Publisher;
}

/** A receiving connection. */
export interface Subscriber {
  /** Resolves once every packet sent from then on is received; rejects if connecting failed. */
  readonly ready: Promise<unknown>;
  end(): Promise<void> | void;
}

/** A sending connection. */
export interface Publisher {
  /** Sends packets in order. Rejects unless all of them are known to be sent. */
  send(packets: readonly string[]): Promise<unknown>;
  end(): Promise<void> | void;
}

/**
 * Resolves like `promise`, or rejects after `ms`, and up to a tenth later: after a suspension the
 * reply may already be there, but timers run first.
 */
export async function withReplyTimeout<T>(ms: number, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const fail = () => late.reject(new Error(`no reply from the bus within ${ms} ms`));
  let timer = setTimeout(() => {
    timer = setTimeout(fail, ms / 10);
  }, ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a connection in any state; ignores errors. */
export async function endQuietly(connection: Subscriber | Publisher): Promise<void> {
  try {
    await connection.end();
  } catch {
    // already closed
  }
}
