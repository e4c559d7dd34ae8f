/**
 * What no page may do: log errors, throw, violate its policy, or request another host. Every context is watched (`chromium.ts`), and an
 * error fails the test in which it occurs (`setup.ts`).
 */

import type { BrowserContext } from "playwright-core";

/** Logged by the browser itself when the network fails or a form is refused. */
const EXPECTED =
  /ERR_(CONNECTION|INTERNET|NETWORK|FAILED|EMPTY|INCOMPLETE|CONTENT_LENGTH)|WebSocket connection|(error occurred|response code \(503\) was received) when fetching the script|status of (401|409|422|503)/;

class PageErrors {
  #errors: string[] = [];
  #allowed: RegExp[] = [];

  watch(context: BrowserContext): void {
    context.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !EXPECTED.test(text)) this.#errors.push(text);
    });
    context.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (/^(http|ws)s?:$/.test(protocol) && hostname !== "localhost") this.#errors.push(`requested ${request.url()}`);
    });
    context.on("weberror", (error) => this.#errors.push(String(error.error())));
  }

  /** Allows errors that match, until the test ends. */
  allow(pattern: RegExp): void {
    this.#allowed.push(pattern);
  }

  /** @throws if an error occurred since the last check */
  check(): void {
    const [errors, allowed] = [this.#errors, this.#allowed];
    [this.#errors, this.#allowed] = [[], []];
    const unexpected = errors.filter((text) => !allowed.some((pattern) => pattern.test(text)));
    if (unexpected.length > 0) throw new Error(`A page reported: ${unexpected.join("\n")}`);
  }
}

export const pageErrors = new PageErrors();
