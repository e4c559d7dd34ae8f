/** What a failed start says of PostgreSQL's errors. */

import { expect, test } from "bun:test";

import { explain } from "../../src/db/start_failure.ts";
import { ChatError } from "../../src/errors.ts";

test("a lock timeout does not blame the original demo", () => {
  const timeout = Object.assign(new Error("canceling statement due to lock timeout"), { code: "55P03" });
  const error = new ChatError("not_ready", { cause: timeout });
  expect(explain(error, "postgres://ann@localhost/chat")).toMatchObject({
    name: "DatabaseError",
    message: "Another session holds a lock that chatify needs: end it, then try again",
  });
});
