/** What keeps the connection to PostgreSQL and its password safe. */

import type { Protection } from "./protection.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "another server poses as the database, with a certificate of another CA",
    file: "src/db/tls.ts",
    find: 'rejectUnauthorized: rootCert !== undefined || mode === "verify-full",',
    replace: "rejectUnauthorized: false,",
    test: "test/connection_test.ts",
    name: "TLS sslmode=verify-ca with another CA to localhost: UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  },
  {
    against: "another server poses as the database, with a certificate for another name",
    file: "src/db/tls.ts",
    find: "if (wrong) fail(wrong);",
    replace: "if (wrong === null) fail(wrong);",
    test: "test/connection_test.ts",
    name: "TLS verifies the host name although hostaddr says where to connect",
  },
  {
    against: "the database is reached without the TLS that the address requires",
    file: "src/db/server_socket.ts",
    find: 'if (word === NO && encryption === "if-offered") return plain;',
    replace: "if (word === NO) return plain;",
    test: "test/connection_test.ts",
    name: "TLS follows pg_hba.conf as far as sslmode allows",
  },
  {
    against: "a piece of a password that is not encoded is printed",
    file: "src/connection_string.ts",
    find: 'parts.after.includes("@")',
    replace: "partsOf(text) === undefined",
    test: "src/connection_string_test.ts",
    name: "connection string rejects postgres://ann:12?hunter=22@db/chat: cannot be read: encode # / ? @ in the password as %23 %2F %3F %40",
  },
];
