/** Serving pods, identified by the names of their PostgreSQL sessions. */

import type { Database } from "./database.ts";

/** `application_name` of pods; those of migrations and commands differ. */
export const POD_SESSIONS = "^chatify-[0-9a-f]{8}$";
/** A new pod discovers its peers within this time. */
const DISCOVERED_WITHIN = "5 s";
/** The sessions of a pod that serves users are never idle for this long. */
const ACTIVE_WITHIN = "6 s";

/** The `application_name` of a pod's sessions. */
export function sessionNameOf(pod: string): string {
  return `chatify-${pod.slice(0, 8)}`;
}

export interface ServingPod {
  readonly name: string;
  /** It started a while ago and ran a statement recently, which excludes sessions of crashed machines. */
  readonly isActive: boolean;
}

/** Pods with a session in this database. Ignores sessions of other roles, which may have any name. */
export async function servingPods(db: Database): Promise<ServingPod[]> {
  return db.run(
    (sql) => sql<ServingPod[]>`
      select
        application_name as name,
        min(backend_start) < clock_timestamp() - ${DISCOVERED_WITHIN}::interval
          and max(state_change) > clock_timestamp() - ${ACTIVE_WITHIN}::interval as "isActive"
      from pg_stat_activity
      where datname = current_database() and usename = current_user and application_name ~ ${POD_SESSIONS}
      group by application_name
    `,
    { giveUpAfterMs: 0 },
  );
}
