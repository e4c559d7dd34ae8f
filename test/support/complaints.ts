/**
 * What a page should never do: errors on the console, exceptions, violations of its own policy, requests to other hosts. Every browser
 * of the tests is listened to (`browser.ts`), and what is heard fails the test it is heard in (`setup.ts`): no file can forget to ask.
 */

import type { BrowserContext } from "playwright-core";

/** What some tests are about: the network going away, forms refused. */
const EXPECTED =
  /ERR_(CONNECTION|INTERNET|NETWORK|FAILED|EMPTY|INCOMPLETE|CONTENT_LENGTH)|WebSocket connection|status of (401|409|422|503)/;

class Complaints {
  #heard: string[] = [];
  #allowed: RegExp[] = [];

  listen(context: BrowserContext): void {
    context.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !EXPECTED.test(text)) this.#heard.push(text);
    });
    context.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (/^(http|ws)s?:$/.test(protocol) && hostname !== "localhost") this.#heard.push(`asked ${request.url()}`);
    });
    context.on("weberror", (error) => this.#heard.push(String(error.error())));
  }

  /** What the test under way is about, and may be heard until it ends. */
  allow(what: RegExp): void {
    this.#allowed.push(what);
  }

  /** @throws if anything was heard since the last time */
  check(): void {
    const [heard, allowed] = [this.#heard, this.#allowed];
    [this.#heard, this.#allowed] = [[], []];
    const unforeseen = heard.filter((text) => !allowed.some((what) => what.test(text)));
    if (unforeseen.length > 0) throw new Error(`A page complained: ${unforeseen.join("\n")}`);
  }
}

export const complaints = new Complaints();
