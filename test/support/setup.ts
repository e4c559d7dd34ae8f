/** Loaded before the test files: ends what the harness started, whatever the tests did, fails those whose pages complained, and searches all logs for what is nobody's business. */

import { afterAll, afterEach } from "bun:test";

import { complaints } from "./complaints.ts";
import { endHarness } from "./harness.ts";
import { hearLogs, logs } from "./log_search.ts";

hearLogs();
afterEach(() => complaints.check());
afterAll(endHarness);
afterAll(() => logs.check({ again: true }));
