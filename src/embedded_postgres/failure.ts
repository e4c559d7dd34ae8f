/** Why the embedded PostgreSQL cannot be started, with a remedy. */

import { MAJOR } from "./layout.ts";
import { currentUser } from "./system_user.ts";

export const INSTEAD = "Or set DATABASE_URL to a PostgreSQL of your own.";

/** The database cannot be started. The message has two lines: the problem, and a remedy. */
export class EmbeddedError extends Error {
  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(`${what}\n${remedy}`, options);
    this.name = "EmbeddedError";
  }
}

/** Explains why the database cannot be started. */
export function explain(error: unknown, directory: string): EmbeddedError {
  if (error instanceof EmbeddedError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const failure = (what: string, remedy: string) => new EmbeddedError(what, `${remedy} ${INSTEAD}`, { cause: error });
  if (/ENOSPC|EDQUOT|No space left|quota exceeded|SQLITE_FULL|Check free disk space/i.test(text))
    return failure(
      `The disk with ${directory} is full`,
      "Free some space (a new database needs 150 MB), or set DATA_DIR.",
    );
  if (/EROFS|Read-only file system/i.test(text))
    return failure(`${directory} is on a read-only file system`, "Set DATA_DIR to a writable directory.");
  if (/is needed by initdb but was not found/.test(text))
    return failure(
      "The path of chatify contains \", $ or `, and PostgreSQL's initdb cannot run there",
      "Rename that directory.",
    );
  if (/ENAMETOOLONG|name too long/i.test(text))
    return failure(`The path ${directory} is too long`, "Set DATA_DIR to a shorter one.");
  if (/ENOTDIR|EEXIST|Not a directory/.test(text))
    return failure(
      `${directory} cannot hold the database: a file is in the way`,
      "Move it, or set DATA_DIR to a directory.",
    );
  if (
    /EACCES|EPERM|Permission denied|not permitted|SQLITE_(READONLY|CANTOPEN|PERM)|unable to open database/i.test(text)
  ) {
    const user = `user ${currentUser().uid}`;
    return failure(
      `${directory} cannot be written by ${user}`,
      `Make ${user} its owner (chown), or set DATA_DIR to a writable directory.`,
    );
  }
  return failure(
    `The database in ${directory} cannot be started: ${text.trim()}`,
    `The log is in ${directory}/pg${MAJOR}/log.`,
  );
}
