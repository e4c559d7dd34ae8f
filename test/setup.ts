/** Loaded before the test files: ends what the harness started, whatever the tests did. */

import { afterAll } from "bun:test";

import { endHarness } from "./harness.ts";

afterAll(endHarness);
