/** Loaded before the test files: ends what the harness started, whatever the tests did, and searches all logs for what is nobody's business. */

import { afterAll } from "bun:test";

import { endHarness } from "./harness.ts";
import { hearLogs, logs } from "./log_search.ts";

hearLogs();
afterAll(endHarness);
afterAll(() => logs.check({ again: true }));
