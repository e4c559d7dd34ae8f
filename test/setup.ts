/** Loaded before the test files: ends what the harness started, whatever the tests did. */

import { afterAll, setDefaultTimeout } from "bun:test";

import { endHarness } from "./harness.ts";

setDefaultTimeout(20_000); // presence is slow by design, and so are machines under load
afterAll(endHarness);
