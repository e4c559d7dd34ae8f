/**
 * What people decide about themselves and others: blocks, mutes, what they show. Stores it and lets the person's own sockets ask anew; nobody
 * else is told. What follows from a choice is decided where it matters: in the statements of `db/insert_messages.ts`, and in presence.
 */

import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/client.ts";
import * as choices from "../db/relationships.ts";
import type { PrivacyChanges, PrivacySettings, Relation, UserAndPeer } from "../db/relationships.ts";
import type { Session } from "../db/sessions.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import { Batcher } from "../util/batcher.ts";
import { nameKey } from "../util/text.ts";

/** Look-ups in one statement, one for each who begins to type. */
const PAIRS_MAX = 200;
/** Look-ups that wait; more would mean that PostgreSQL does not answer. */
const PAIRS_WAITING_MAX = 10_000;

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
    this.#lookups = new Batcher((pairs) => this.#db.run((sql) => choices.reachableKeys(sql, pairs)), {
      max: PAIRS_MAX,
    });
  }

  /** Blocks or mutes somebody, or no longer. @param peer the name as its owner wrote it */
  async setRelation(choice: Relation, me: Session, peer: string, on: boolean): Promise<void> {
    await choices.setRelation(this.#db, choice, me.username, peer, on);
    this.#delivery.sync([me.nameKey]);
    if (choice !== "blocks") return;
    const nameKeys = [me.nameKey, nameKey(peer)];
    void this.#presence.blockChanged(nameKeys);
    this.#bus.publish([{ kind: "block", nameKeys }]);
  }

  /** Keys of the peers that a user blocks or is blocked by. */
  async blockedEitherWay(name: string): Promise<ReadonlySet<string>> {
    const [peers] = await this.#db.run((sql) => choices.blockedEitherWay(sql, [name]));
    return peers ?? new Set();
  }

  /** Whom somebody blocks: a page, in the order of names. */
  blockedPage(me: Session, after: string | undefined, limit: number): Promise<string[]> {
    return choices.listRelated(this.#db, "blocks", me.username, after, limit);
  }

  /** Hides or shows. @returns how it is now */
  async setPrivacy(me: Session, changes: PrivacyChanges): Promise<PrivacySettings> {
    const shows = await choices.updatePrivacy(this.#db, me.username, changes);
    this.#veil(me, shows.hidesLastSeen);
    this.#delivery.sync([me.nameKey]);
    return shows;
  }

  /** A user deleted their account: others see that it is gone, so it need not stay online to hide when. */
  stopHiding(me: Session): void {
    this.#veil(me, false);
  }

  #veil({ nameKey }: Session, on: boolean): void {
    this.#presence.setHidesLastSeen(nameKey, on);
    this.#bus.publish([{ kind: "privacy", nameKey, hidesLastSeen: on }]);
  }

  /**
   * The stored key of a peer whom `name` may send a hint such as typing. Other pods trust the names in events, so none is published that
   * only a client wrote.
   *
   * @returns undefined when nobody has that name, when one blocks the other, and when too many look-ups wait
   */
  async reachablePeer(name: string, peerKey: string): Promise<string | undefined> {
    return this.#lookups.size >= PAIRS_WAITING_MAX ? undefined : this.#lookups.add({ name, peerKey });
  }
}
