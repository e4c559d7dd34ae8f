/**
 * For users with a socket on this pod, the peers they block or are blocked by: presence is not
 * shared across a block.
 */

import type { Database } from "../db/database.ts";
import { blockedEitherWay } from "../db/relationships.ts";
import { Batcher } from "../util/batcher.ts";

const LOOKUPS_MAX = 200;
const RETRY_MS = 1_000;

interface ConnectedUser {
  readonly username: string;
  /** Name keys; undefined until loaded. */
  peers: ReadonlySet<string> | undefined;
  /** Incremented by each change, so that a look-up in flight is repeated. */
  version: number;
  loading: Promise<readonly string[]> | undefined;
}

export class BlockedPairs {
  readonly #users = new Map<string, ConnectedUser>();
  readonly #lookups: Batcher<string, ReadonlySet<string>>;

  constructor({ db }: { db: Database }) {
    this.#lookups = new Batcher((names) => db.run((sql) => blockedEitherWay(sql, names)), { max: LOOKUPS_MAX });
  }

  /** To be called for every socket that opens. */
  connect(nameKey: string, username: string): void {
    if (this.#users.has(nameKey)) return;
    this.#users.set(nameKey, { username, peers: undefined, version: 0, loading: undefined });
    void this.refresh(nameKey);
  }

  /** To be called when the user's last socket closes. */
  disconnect(nameKey: string): void {
    this.#users.delete(nameKey);
  }

  /**
   * Name keys of the peers that a user blocks or is blocked by. Undefined until loaded: until then,
   * no peer may be shown.
   */
  of(nameKey: string): ReadonlySet<string> | undefined {
    return this.#users.get(nameKey)?.peers;
  }

  /** As `of`, once loaded. Undefined for a user without a socket. */
  async loaded(nameKey: string): Promise<ReadonlySet<string> | undefined> {
    return this.of(nameKey) ?? (await this.#users.get(nameKey)?.loading, this.of(nameKey));
  }

  /**
   * Reloads a user's peers, retrying until the database answers.
   *
   * @returns the peers that were added or removed
   */
  refresh(nameKey: string): Promise<readonly string[]> {
    const user = this.#users.get(nameKey);
    if (!user) return Promise.resolve([]);
    user.version++;
    return (user.loading ??= this.#load(nameKey, user).finally(() => (user.loading = undefined)));
  }

  /** Stops all look-ups. */
  stop(): void {
    this.#users.clear();
  }

  async #load(nameKey: string, user: ConnectedUser): Promise<readonly string[]> {
    while (this.#users.get(nameKey) === user) {
      const { version } = user;
      try {
        const peers = await this.#lookups.add(user.username);
        if (version !== user.version) continue;
        const changed = user.peers?.symmetricDifference(peers) ?? [];
        user.peers = peers;
        return [...changed];
      } catch {
        await Bun.sleep(RETRY_MS);
      }
    }
    return [];
  }
}
