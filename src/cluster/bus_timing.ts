/** Heartbeat, lease and retry times of a packet bus, in milliseconds. */

export interface BusTiming {
  /** An idle pod sends a heartbeat this often. */
  readonly heartbeatMs: number;
  /** After this silence of a peer, its events may have been missed. */
  readonly lateMs: number;
  /** After this silence a peer counts as stopped; within 6 s its last messages are fetched. */
  readonly leaseMs: number;
  /** A pod that misses its own packets for this long reconnects. Also the timeout of sends. */
  readonly echoTimeoutMs: number;
  /** While the bus is down, all pods query the database this often. */
  readonly repeatMs: number;
}

export const DEFAULT_TIMING: BusTiming = {
  heartbeatMs: 500,
  lateMs: 2_000,
  leaseMs: 5_000,
  echoTimeoutMs: 3_000,
  repeatMs: 5_000,
};
