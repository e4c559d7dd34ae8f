/**
 * Invitations and their remaining uses. src/accounts/signup_policy.ts makes and reads their links;
 * `users.create` consumes a use.
 */

import type { Database } from "./database.ts";

/**
 * Creates an invitation, and deletes expired ones.
 *
 * @param invite.by the id of the inviting account; undefined for the command line
 */
export async function add(
  db: Database,
  invite: { uses: number; expiresAt: Date; by: number | undefined },
): Promise<number> {
  const [{ id }] = await db.run(
    (sql) => sql<[{ id: number }]>`
      with over as (
        delete from invites where expires_at < now()
      )
      insert into invites (uses_left, expires_at, created_by)
      values (${invite.uses}, ${invite.expiresAt.toISOString()}, ${invite.by ?? null})
      returning id
    `,
  );
  return id;
}

/** Whether an invitation has not expired and has uses left. */
export async function isUsable(db: Database, id: number): Promise<boolean> {
  const [row] = await db.run(
    (sql) => sql`select from invites where id = ${id} and uses_left > 0 and expires_at > now()`,
  );
  return row !== undefined;
}
