/**
 * Blocks and privacy settings: stores them and asks the user's own pages to resync; other users are
 * not notified. A block also changes the presence that both users see. Blocks take effect in
 * `db/insert_messages.ts`; privacy in the list of conversations, `mark_read` and presence.
 */

import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import * as relationships from "../db/relationships.ts";
import type { PrivacyChanges, PrivacySettings, UserAndPeer } from "../db/relationships.ts";
import type { Session } from "../db/sessions.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import { Batcher } from "../util/batcher.ts";
import { nameKey } from "../util/text.ts";

/** Look-ups per statement; there is one for each typing notification. */
const PAIRS_MAX = 200;
/** Waiting look-ups; reaching this cap means the database has stalled. */
const PENDING_PAIRS_MAX = 10_000;

export class Relationships {
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #bus: Bus;
  readonly #presence: PresenceSubscriptions;
  readonly #lookups: Batcher<UserAndPeer, string | undefined>;

  constructor(parts: { db: Database; delivery: Delivery; bus: Bus; presence: PresenceSubscriptions }) {
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#bus = parts.bus;
    this.#presence = parts.presence;
    this.#lookups = new Batcher((pairs) => this.#db.run((sql) => relationships.reachableKeys(sql, pairs)), {
      max: PAIRS_MAX,
    });
  }

  /** Blocks or unblocks a peer. @param peer the stored username */
  async setBlock(me: Session, peer: string, on: boolean): Promise<void> {
    await relationships.setBlock(this.#db, me.username, peer, on);
    this.#delivery.sync([me.nameKey]);
    const nameKeys = [me.nameKey, nameKey(peer)];
    void this.#presence.blockChanged(nameKeys);
    this.#bus.publish([{ kind: "block", nameKeys }]);
  }

  /** Name keys of the peers that a user blocks or is blocked by. */
  async blockedEitherWay(name: string): Promise<ReadonlySet<string>> {
    const [peers] = await this.#db.run((sql) => relationships.blockedEitherWay(sql, [name]));
    return peers ?? new Set();
  }

  /**
   * A page of the peers that a user blocks, in name order.
   *
   * @param after the last name of the previous page
   */
  blockedPage(me: Session, after: string | undefined, limit: number): Promise<string[]> {
    return relationships.listRelated(this.#db, "block", me.username, after, limit);
  }

  /** @returns the settings after the change */
  async setPrivacy(me: Session, changes: PrivacyChanges): Promise<PrivacySettings> {
    const settings = await relationships.updatePrivacy(this.#db, me.username, changes);
    this.#setHidesLastSeen(me, settings.hidesLastSeen);
    this.#delivery.sync([me.nameKey]);
    return settings;
  }

  /**
   * Call when a user deletes their account: others see the deletion, so the long grace period that
   * hides last seen is pointless.
   */
  stopHiding(me: Session): void {
    this.#setHidesLastSeen(me, false);
  }

  #setHidesLastSeen({ nameKey }: Session, hidesLastSeen: boolean): void {
    this.#presence.setHidesLastSeen(nameKey, hidesLastSeen);
    this.#bus.publish([{ kind: "privacy", nameKey, hidesLastSeen }]);
  }

  /**
   * The stored key of a peer to whom `name` may send a hint such as typing. Other pods trust the
   * names in events, so a name that only a client sent is never published.
   *
   * @returns undefined when no user has that name, when one blocks the other, and when too many
   *   look-ups are waiting
   */
  async reachablePeer(name: string, peerKey: string): Promise<string | undefined> {
    return this.#lookups.size >= PENDING_PAIRS_MAX ? undefined : this.#lookups.add({ name, peerKey });
  }
}
