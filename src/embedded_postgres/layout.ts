/** Names that a `DATA_DIR` depends on. */

export const MAJOR = 18;
/** Only part of the socket's name. */
export const PORT = 5432;
/**
 * File with the superuser's password, in the cluster. When root starts PostgreSQL, it runs as a
 * user that cannot read this file.
 */
export const PASSWORD = "chatify_password";
