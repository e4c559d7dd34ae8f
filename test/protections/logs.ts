import type { Protection } from "./protection.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "what a parser quotes of a frame",
    file: "src/log.ts",
    find: "error instanceof SyntaxError || ",
    replace: "",
    test: "test/logs_test.ts",
    name: "the log holds no text of a message in a frame that cannot be read, is too long, or meets a bug",
  },
  {
    against: "the hash of a password that PostgreSQL quotes",
    file: "src/log.ts",
    find: "QUOTING.test(codeOf(error))",
    replace: 'codeOf(error) === "" && QUOTING.test("")',
    test: "test/logs_test.ts",
    name: "the log holds no password, cookie or token of a form that fails, however it fails",
  },
  {
    against: "rows in the log of the embedded PostgreSQL",
    file: "src/db/embedded_cluster.ts",
    find: "log_error_verbosity = terse",
    replace: "log_error_verbosity = default",
    test: "test/logs_test.ts",
    name: "the log holds no text of a message that PostgreSQL refuses with the whole row, or the key of one",
  },
];
