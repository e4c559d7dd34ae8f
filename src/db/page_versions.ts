/** The pages' files of the newest versions, by the hash in their addresses. */

import type { Database } from "./client.ts";

/** A page older than so many upgrades gets the current files. */
const VERSIONS_MAX = 10;
/** A pod starts all the same. */
const GIVE_UP_AFTER_MS = 2_000;

/** Keeps the files of a version that is served from now on, and removes the oldest ones. @param files as `load` returns them */
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

/** The hashes of all kept versions. */
export async function list(db: Database): Promise<string[]> {
  const rows = await db.run((sql) => sql<{ version: string }[]>`select version from page_versions`);
  return rows.map(({ version }) => version);
}

/** The files of a version, undefined when it is not kept. */
export async function load(db: Database, version: string): Promise<Uint8Array | undefined> {
  const [row] = await db.run(
    (sql) => sql<{ files: Uint8Array }[]>`select files from page_versions where version = ${version}`,
  );
  return row?.files;
}
