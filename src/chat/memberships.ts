/**
 * How users arrange their conversations: mutes, pins, the archive, unread marks. Stores a change and
 * shows it to the user's own sockets; other users are not notified.
 */

import type { Database } from "../db/database.ts";
import { changeMembership, type MembershipChanges, type MembershipSettings, PINS_MAX } from "../db/memberships.ts";
import type { Session } from "../db/sessions.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { ChatError } from "../errors.ts";
import { membershipFrame } from "../protocol.ts";

export class Memberships {
  readonly #db: Database;
  readonly #delivery: Delivery;

  constructor({ db, delivery }: { db: Database; delivery: Delivery }) {
    this.#db = db;
    this.#delivery = delivery;
  }

  /**
   * @param peer the stored username
   * @returns how the conversation is arranged after the change
   * @throws ChatError `not_found` without a message that the user can see, unless only the mute
   *   changes; `too_many_pins`
   */
  async change(me: Session, peer: string, changes: MembershipChanges): Promise<MembershipSettings> {
    const outcome = await changeMembership(this.#db, [me.username, peer], changes);
    if (outcome === "not_found") throw new ChatError(outcome, { message: "You have no conversation with that user" });
    if (outcome === "too_many_pins")
      throw new ChatError(outcome, { message: `You can pin ${PINS_MAX} conversations. Unpin one first` });
    if (typeof outcome === "string") throw new ChatError(outcome);
    this.#delivery.send([me.nameKey], membershipFrame(peer, membershipRow(outcome)));
    // Older clients learn of mutes only from the list.
    if (changes.muted !== undefined) this.#delivery.sync([me.nameKey]);
    return outcome;
  }
}

/** How a conversation is arranged, as clients read it. */
export function membershipRow(settings: MembershipSettings) {
  const { settingsRevision, muted, mutedUntil, pinnedAt, archivedSeq, markedUnreadSeq } = settings;
  return {
    settings_revision: settingsRevision,
    muted,
    muted_until: mutedUntil,
    pinned_at: pinnedAt,
    archived_seq: archivedSeq,
    marked_unread_seq: markedUnreadSeq,
  };
}
