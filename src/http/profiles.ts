/** The routes for display names and photos, and the fields by which other routes show them. */

import type { Profiles as ProfileStore } from "../chat/profiles.ts";
import type { Database } from "../db/database.ts";
import type { RowPages } from "../db/paging.ts";
import { type Profile, shownPhoto, shownProfiles } from "../db/profiles.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import type { FairQueue } from "../util/fair_queue.ts";
import { makePhoto } from "../util/photo.ts";
import { keyOfReference } from "../util/text.ts";
import { pathParameter, urlOf } from "./parameters.ts";
import { HEADERS, json, readBytes, readJson, type Request } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import { IMMUTABLE, matches } from "./static_file.ts";
import { isSecureContext, type Trust } from "./trust.ts";

/** The page sends less than 200 KB. */
export const UPLOAD_MAX_BYTES = 5 * 1024 * 1024;
/** Uploads in memory at a time on this pod; one per user. */
const UPLOADS_MAX = 16;

const PHOTO_HEADERS = {
  ...HEADERS,
  "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
  "Content-Type": "image/webp",
} as const;

export class Profiles {
  readonly #sessions: Sessions;
  readonly #profiles: ProfileStore;
  readonly #db: Database;
  readonly #trust: Trust;
  /** Name keys of users whose upload is under way. */
  readonly #uploading = new Set<string>();
  readonly #decoders: FairQueue;

  /** @param parts.decoders the queue of all image decoding in this pod */
  constructor(parts: { sessions: Sessions; profiles: ProfileStore; db: Database; decoders: FairQueue; trust: Trust }) {
    this.#decoders = parts.decoders;
    this.#sessions = parts.sessions;
    this.#profiles = parts.profiles;
    this.#db = parts.db;
    this.#trust = parts.trust;
  }

  async setDisplayName(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "profile");
    const { display_name: name } = await readJson(request);
    if (typeof name !== "string") throw new ChatError("bad_request", { message: "display_name must be a string" });
    return respond(await this.#profiles.setDisplayName(me, name));
  }

  /** Sets the photo from the image in the body. */
  async upload(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "profile");
    if (!/^image\//i.test(request.headers.get("content-type") ?? "")) throw new ChatError("unsupported_type");
    if (this.#uploading.has(me.nameKey) || this.#uploading.size >= UPLOADS_MAX) {
      throw new ChatError("busy", { retryAfter: 2 });
    }
    this.#uploading.add(me.nameKey);
    try {
      const image = await readBytes(request, UPLOAD_MAX_BYTES);
      const photo = await this.#decoders.run([me.nameKey], () => makePhoto(image));
      return respond(await this.#profiles.setPhoto(me, photo));
    } finally {
      this.#uploading.delete(me.nameKey);
    }
  }

  async removePhoto(request: Request): Promise<Response> {
    return respond(await this.#profiles.setPhoto(await this.#sessions.require(request, "profile"), undefined));
  }

  /**
   * A user's photo. Cached forever if the request names its version, else revalidated; not cached
   * over plain http, where sign-out could not remove it from the browser.
   */
  async photo(request: Request): Promise<Response> {
    // mutation: photos need a session
    const me = await this.#sessions.require(request, "photos");
    const key = keyOfReference(pathParameter(request, "name"));
    const photo = key === undefined ? undefined : await shownPhoto(this.#db, me.username, key);
    if (!photo) throw new ChatError("not_found");
    const isVersion = urlOf(request).searchParams.get("v") === photo.version;
    const policy = isVersion ? IMMUTABLE : "no-cache";
    const cache = isSecureContext(request, this.#trust) ? `private, ${policy}` : "no-store";
    const etag = `"${photo.version}"`;
    const headers = { ...PHOTO_HEADERS, ETag: etag, "Cache-Control": cache };
    const known = request.headers.get("if-none-match");
    if (known !== null && matches(known, etag)) return new Response(null, { status: 304, headers });
    return new Response(photo.bytes as Uint8Array<ArrayBuffer>, { headers });
  }
}

function respond(profile: Profile): Response {
  return json({ display_name: profile.displayName, photo: profile.photo });
}

/** The fields of a profile in a list; absent if there is none. */
export function profileJson({ displayName, photo }: Profile = { displayName: null, photo: null }) {
  return { ...(displayName !== null && { display_name: displayName }), ...(photo !== null && { photo }) };
}

/** Whether a list of names is requested with profiles. */
export function wantsProfiles(query: URLSearchParams): boolean {
  return query.get("profiles") === "1";
}

/**
 * Pages of usernames with the profiles that `viewer` may see.
 *
 * @param namesOf the usernames in a page
 */
export async function* withProfiles<Row = string>(
  db: Database,
  viewer: Session,
  pages: RowPages<Row>,
  namesOf: (page: Row[]) => string[] = (page) => page as string[],
): RowPages<{ username: string; display_name?: string; photo?: string }> {
  for (;;) {
    const { done, value } = await pages.next();
    const names = namesOf(value);
    const profiles = await shownProfiles(db, viewer.username, names);
    const page = names.map((username, i) => Object.assign({ username }, profileJson(profiles[i])));
    if (done) return page;
    yield page;
  }
}
