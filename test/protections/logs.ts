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
  {
    against: "numbers in the log that a stranger gave his requests",
    file: "src/http/handler.ts",
    find: 'isProxied(request, trust) ? request.headers.get("x-request-id") : null',
    replace: 'request.headers.get("x-request-id")',
    test: "test/logs_test.ts",
    name: "a request that fails has a number of our own, whatever a stranger says it is",
  },
  {
    against: "texts that pass for the number of a request",
    file: "src/http/handler.ts",
    find: "given !== null && REQUEST_ID.test(given) ? given",
    replace: "given !== null ? given",
    test: "test/logs_test.ts",
    name: "a request that fails has a number that our proxy gave it, unless it is none",
  },
];
