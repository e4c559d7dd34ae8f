/**
 * Loaded before the test files: ends what the harness started, fails tests whose pages reported errors, and searches all logs for
 * private data.
 */

import { afterAll, afterEach } from "bun:test";

import { endHarness } from "./harness.ts";
import { hearLogs, logs } from "./log_search.ts";
import { pageErrors } from "./page_errors.ts";

hearLogs();
afterEach(() => pageErrors.check());
afterAll(endHarness);
afterAll(() => logs.check({ again: true }));
