/**
 * A real Chromium for the page's tests: the system's if there is one, else the one inside the npm package @sparticuz/chromium,
 * unpacked once below node_modules. Nothing is downloaded and nothing is skipped: without a browser the tests fail.
 */

import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

import { PASSWORD, ROOT } from "./harness.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

/**
 * Starts a headless browser. `CHROMIUM=path` names one; `CHROMIUM=package` insists on the package's.
 *
 * @param options.keepsPages whether pages that were left stay in memory for going back, as in everybody's browser; Playwright has none
 */
export async function launch(options: { keepsPages?: boolean } = {}): Promise<Browser> {
  const asked = process.env["CHROMIUM"];
  const system = asked ?? NAMES.map((name) => Bun.which(name)).find(Boolean) ?? (existsSync(MAC) ? MAC : undefined);
  const { executablePath, env } =
    system && system !== "package" ? { executablePath: system, env: {} } : await unpacked();
  return chromium.launch({
    executablePath,
    headless: true,
    ignoreDefaultArgs: options.keepsPages ? ["--disable-back-forward-cache"] : [],
    env: { ...(process.env as Record<string, string>), ...env },
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-quic", "--disable-background-networking"],
  });
}

async function unpacked(): Promise<{ executablePath: string; env: Record<string, string> }> {
  const place = join(ROOT, "node_modules", ".cache", "chromium-153");
  const executablePath = join(place, "chromium");
  if (!existsSync(executablePath)) {
    const part = `${place}.${process.pid}`;
    mkdirSync(part, { recursive: true });
    const { inflate } = await import("@sparticuz/chromium");
    const archives = join(ROOT, "node_modules", "@sparticuz", "chromium", "bin");
    const before = process.env["TMPDIR"];
    process.env["TMPDIR"] = part; // where it unpacks
    try {
      for (const name of ["chromium.br", "fonts.tar.br", "swiftshader.tar.br", "al2023.tar.br"]) {
        await inflate(join(archives, name));
      }
    } finally {
      if (before === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = before;
    }
    if (existsSync(executablePath)) rmSync(part, { recursive: true });
    else renameSync(part, place);
  }
  return {
    executablePath,
    env: { LD_LIBRARY_PATH: join(place, "al2023", "lib"), FONTCONFIG_PATH: join(place, "fonts") },
  };
}

/** What a page should never do: errors on the console, exceptions, violations of its own policy, requests to other hosts. */
export class Complaints {
  readonly heard: string[] = [];

  listen(context: BrowserContext): void {
    context.on("console", (message) => {
      const text = message.text();
      // What some tests are about: the network going away, forms refused.
      const expected = /ERR_(CONNECTION|INTERNET|FAILED|EMPTY)|WebSocket connection|status of (401|409|422|503)/;
      if (message.type() === "error" && !expected.test(text)) this.heard.push(text);
    });
    context.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (/^(http|ws)s?:$/.test(protocol) && hostname !== "localhost") this.heard.push(`asked ${request.url()}`);
    });
    context.on("weberror", (error) => this.heard.push(String(error.error())));
  }
}

/** Signs somebody up through the form and waits for the chat. */
export async function signUp(page: Page, url: string, name: string): Promise<void> {
  await page.goto(`${url}/signup`);
  await page.fill('input[name="username"]', name);
  await page.fill('input[name="password"]', PASSWORD);
  await page.fill('input[name="confirm"]', PASSWORD);
  await page.click('button[type="submit"], form button:not([type])');
  await page.waitForURL(`${url}/`);
  await page.waitForSelector("people-list");
}
