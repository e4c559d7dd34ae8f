/** Pods as PostgreSQL knows them: by the names of their sessions. */

import type { Database } from "./client.ts";

/** `application_name` of pods; a migration's and a command's differ. */
export const POD_SESSIONS = "^chatify-[0-9a-f]{8}$";
/** A pod that has just started meets the others within this time. */
const MEETS_WITHIN = "5 s";
/** A pod's sessions are at rest for less than that while it serves users. */
const ACTIVE_WITHIN = "6 s";

/** The `application_name` of a pod's sessions. */
export function sessionNameOf(pod: string): string {
  return `chatify-${pod.slice(0, 8)}`;
}

export interface ServingPod {
  readonly name: string;
  /** Whether it has been here for a while and asked something lately: a session of a machine that died has not. */
  readonly isActive: boolean;
}

/** Pods with a session in this database, by the names of those. Other roles' sessions may bear any name, and do not count. */
export async function servingPods(db: Database): Promise<ServingPod[]> {
  return db.run(
    (sql) => sql<ServingPod[]>`
      select
        application_name as name,
        min(backend_start) < clock_timestamp() - ${MEETS_WITHIN}::interval
          and max(state_change) > clock_timestamp() - ${ACTIVE_WITHIN}::interval as "isActive"
      from pg_stat_activity
      where datname = current_database() and usename = current_user and application_name ~ ${POD_SESSIONS}
      group by application_name
    `,
    { giveUpAfterMs: 0 },
  );
}
