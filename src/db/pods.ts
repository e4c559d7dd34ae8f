/** Serving pods, identified by the names of their PostgreSQL sessions. */

import type { Database } from "./database.ts";

/** `application_name` of pods; those of migrations and commands differ. */
export const POD_APPLICATION_NAME = "^chatify-[0-9a-f]{8}$";
/** A new pod discovers its peers within this time. */
export const DISCOVERED_WITHIN_MS = 5_000;

/** The `application_name` of a pod's sessions. */
export function applicationNameOf(pod: string): string {
  return `chatify-${pod.slice(0, 8)}`;
}

export interface ServingPod {
  readonly name: string;
  /**
   * It ran a statement recently, which excludes sessions of crashed machines, and had time to be
   * discovered.
   */
  readonly isActive: boolean;
}

/**
 * Pods with a session in this database. Ignores sessions of other roles, which may have any name.
 *
 * @param activeWithinMs a pod is active if it ran a statement within this time
 */
export async function servingPods(db: Database, activeWithinMs = 6_000): Promise<ServingPod[]> {
  return db.run(
    (sql) => sql<ServingPod[]>`
      select
        application_name as name,
        min(backend_start) < clock_timestamp() - ${DISCOVERED_WITHIN_MS} * interval '1 millisecond'
          and max(state_change) > clock_timestamp() - ${activeWithinMs} * interval '1 millisecond' as "isActive"
      from pg_stat_activity
      where datname = current_database() and usename = current_user and application_name ~ ${POD_APPLICATION_NAME}
      group by application_name
    `,
    { giveUpAfterMs: 0 },
  );
}
