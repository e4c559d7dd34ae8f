/** Static files of the newest versions, by the hash in their URLs. */

import type { Database } from "./database.ts";

/** A page older than this many upgrades gets the current files. */
const VERSIONS_MAX = 10;
/** A pod starts without them after this time. */
const GIVE_UP_AFTER_MS = 2_000;

/**
 * Stores the files of the version now served, and deletes the oldest versions.
 *
 * @param files as `load` returns them
 */
export async function save(db: Database, version: string, files: Uint8Array): Promise<void> {
  await db.run(
    (sql) => sql`
      with saved as (
        insert into page_versions (version, files)
        values (${version}, ${files})
        on conflict (version) do update
        set served_at = now()
      )
      delete from page_versions
      where version in (
        select version from page_versions where version <> ${version} order by served_at desc offset ${VERSIONS_MAX - 1}
      )
    `,
    { giveUpAfterMs: GIVE_UP_AFTER_MS },
  );
}

/** The hashes of all stored versions. */
export async function list(db: Database): Promise<string[]> {
  const rows = await db.run((sql) => sql<{ version: string }[]>`select version from page_versions`);
  return rows.map(({ version }) => version);
}

/** The files of a version; undefined if it is not stored. */
export async function load(db: Database, version: string): Promise<Uint8Array | undefined> {
  const [row] = await db.run(
    (sql) => sql<{ files: Uint8Array }[]>`select files from page_versions where version = ${version}`,
  );
  return row?.files;
}
