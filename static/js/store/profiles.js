/**
 * Display names and photos of users, as the server sent them last. Anyone may choose any display
 * name, so places where the identity matters show the name (“@ann”) beside it.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";

/** @typedef {{ displayName?: string, photo?: string }} Profile photo: its version */
/** @typedef {{ display_name?: string | null, photo?: string | null }} ProfileFields as the server sends it */

/**
 * - `changed`: the profile of the user with this name changed
 * @extends {Emitter<{ changed: string }>}
 */
export class Profiles extends Emitter {
  /** @type {Map<string, Profile>} by name key */
  #profiles = new Map();

  /** @param {string} name @returns {Profile} */
  of(name) {
    return this.#profiles.get(nameKey(name)) ?? {};
  }

  /** What a user is called. @param {string} name */
  shown(name) {
    return this.of(name).displayName ?? name;
  }

  /** The name of a user who has a display name, to show beside it; else "". @param {string} name */
  handle(name) {
    return this.of(name).displayName === undefined ? "" : `@${name}`;
  }

  /** Both, where the identity matters. @param {string} name */
  full(name) {
    const { displayName } = this.of(name);
    // Isolated, so that a right-to-left display name does not reorder the rest.
    return displayName === undefined ? name : `\u2068${displayName}\u2069 (@${name})`;
  }

  /** The server's fields. @param {string} name @returns {ProfileFields} */
  fields(name) {
    const { displayName, photo } = this.of(name);
    return { ...(displayName !== undefined && { display_name: displayName }), ...(photo && { photo }) };
  }

  /**
   * Applies the fields of a row or a frame; absent ones are empty.
   * @param {string} name
   * @param {ProfileFields} fields
   */
  apply(name, { display_name: displayName, photo }) {
    const before = this.of(name);
    if ((displayName ?? undefined) === before.displayName && (photo ?? undefined) === before.photo) return;
    this.#profiles.set(nameKey(name), { ...(displayName && { displayName }), ...(photo && { photo }) });
    this.emit("changed", name);
  }
}
