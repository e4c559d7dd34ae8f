import type { Protection } from "./protection.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "a cookie given before a login goes on living (fixation)",
    file: "src/http/auth.ts",
    find: "await sessions.end(this.#db, before.id);",
    replace: "",
    test: "test/auth_test.ts",
    name: "login with a cookie ends the session of that cookie, its sockets too, and no other",
  },
];
