import type { Protection } from "./protection.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "other services of the user that the embedded PostgreSQL runs as",
    file: "src/db/embedded_user.ts",
    find: "const dedicated = isOurs ? owner : unusedUser();",
    replace: "const dedicated = isOurs ? owner : undefined;",
    test: "test/embedded_user_test.ts",
    name: "started by root PostgreSQL runs as a user that no other process has",
  },
  {
    against: "the password of the superuser in a file that PostgreSQL's user can read",
    file: "src/db/embedded_cluster.ts",
    find: "keepFromPostgres(join(data, PASSWORD));",
    replace: "",
    test: "test/embedded_user_test.ts",
    name: "started by root no other user can read the data or reach the socket, and PostgreSQL's own not the password",
  },
];
