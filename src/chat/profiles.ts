/**
 * Display names and photos: stores them, and shows each change to the user's own pages and to those
 * that watch the user. One event per pod and change, however many conversations the user has; pages
 * that do not watch the user fetch the profile with the conversation.
 */

import { isReserved } from "../accounts/reserved_names.ts";
import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import * as profiles from "../db/profiles.ts";
import type { PersonProfile, Profile } from "../db/profiles.ts";
import type { Session } from "../db/sessions.ts";
import type { Hub, Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import { profileFrame } from "../protocol.ts";
import { checkDisplayName } from "../util/display_name.ts";
import type { Photo } from "../util/photo.ts";

/** Longer than a page takes from its request for conversations until it watches their users. */
const RECENT_MS = 30_000;
/** Frames kept for that time. */
const RECENT_MAX = 1_000;

export class Profiles {
  readonly #db: Database;
  readonly #hub: Hub;
  readonly #bus: Bus;
  readonly #presence: PresenceSubscriptions;
  readonly #log: Log;
  /** The last frame of each user, by name key, for `RECENT_MS`. */
  readonly #recent = new Map<string, string>();

  constructor(parts: { db: Database; hub: Hub; bus: Bus; presence: PresenceSubscriptions; log: Log }) {
    this.#db = parts.db;
    this.#hub = parts.hub;
    this.#bus = parts.bus;
    this.#presence = parts.presence;
    this.#log = parts.log;
  }

  /**
   * Sets the display name; "" removes it.
   *
   * @throws ChatError `bad_display_name`, `name_reserved`, `no_session`
   */
  async setDisplayName(me: Session, raw: string): Promise<Profile> {
    const display = checkDisplayName(raw);
    if (display && isReserved(display.name.replaceAll(" ", "_"))) throw new ChatError("name_reserved");
    return this.#changed(me, await profiles.setDisplayName(this.#db, me.userId, display));
  }

  /** Sets the photo; undefined removes it. @throws ChatError `no_session` */
  async setPhoto(me: Session, photo: Photo | undefined): Promise<Profile> {
    return this.#changed(me, await profiles.setPhoto(this.#db, me.userId, photo));
  }

  /** To be called when a user deletes their account. */
  deleted({ nameKey, username }: Session): void {
    this.#publish({ nameKey, username, displayName: null, photo: null });
  }

  /** Shows a profile to the sockets of this pod that may see it. */
  show({ nameKey, username, displayName, photo }: PersonProfile): void {
    const frame = profileFrame(username, { displayName, photo });
    this.#remember(nameKey, frame);
    this.#hub.deliver(nameKey, frame);
    this.#presence.profileChanged(nameKey, frame);
  }

  /** Sends an opened socket its user's own profile, if that has changed since the session was read. */
  opened(socket: Socket): void {
    const frame = this.#recent.get(socket.nameKey);
    if (frame !== undefined) socket.send(frame);
  }

  /** Sends a socket the profiles of users that it watches, if they changed after its client may have fetched them. */
  watched(socket: Socket): void {
    this.#presence.sendProfiles(socket, this.#recent);
  }

  /** Shows the changes within this time again, because events of other pods may have been lost. Never rejects. */
  async refresh(lookBackMs: number): Promise<void> {
    try {
      for (const profile of await profiles.recentProfiles(this.#db, lookBackMs)) this.show(profile);
    } catch (error) {
      this.#log.warn("recent profiles could not be read; pages show them when they reconnect", {
        error: errorText(error),
      });
    }
  }

  #remember(nameKey: string, frame: string): void {
    this.#recent.delete(nameKey); // so that the oldest stays the first
    this.#recent.set(nameKey, frame);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > RECENT_MAX && oldest !== undefined) this.#recent.delete(oldest);
    setTimeout(() => {
      if (this.#recent.get(nameKey) === frame) this.#recent.delete(nameKey);
    }, RECENT_MS).unref();
  }

  #changed({ nameKey, username }: Session, profile: Profile | undefined): Profile {
    if (!profile) throw new ChatError("no_session"); // the account was deleted meanwhile
    this.#publish({ nameKey, username, ...profile });
    return profile;
  }

  #publish({ nameKey, username, displayName, photo }: PersonProfile): void {
    this.show({ nameKey, username, displayName, photo });
    this.#bus.publish([{ kind: "profile", nameKey, username, displayName, photo }]);
  }
}
