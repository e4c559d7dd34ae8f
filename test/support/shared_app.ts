/** Servers that all tests of a file use; they stop after the last test. */

import { afterAll } from "bun:test";

import { migratedDatabase, startApp, type TestApp } from "./harness.ts";

/** Starts one server. */
export async function sharedApp(options?: Parameters<typeof startApp>[0]): Promise<TestApp> {
  const app = await startApp(options);
  afterAll(() => app.stop());
  return app;
}

/** Starts two pods on one database. */
export async function sharedPods(): Promise<{ one: TestApp; two: TestApp; database: string }> {
  const database = await migratedDatabase();
  const one = await sharedApp({ database });
  const two = await startApp({ database });
  afterAll(() => two.stop());
  return { one, two, database };
}
