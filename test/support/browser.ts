/**
 * A real Chromium for the page's tests: the system's if there is one, else the one inside the npm package @sparticuz/chromium,
 * unpacked once below node_modules. Nothing is downloaded and nothing is skipped: without a browser the tests fail. What pages
 * complain of is heard wherever they are opened (`complaints.ts`).
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Browser, chromium, type Page } from "playwright-core";

import { complaints } from "./complaints.ts";
import { PASSWORD, ROOT } from "./harness.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

/**
 * Starts a headless browser. `CHROMIUM=path` names one; `CHROMIUM=package` insists on the package's.
 *
 * @param options.keepsPages whether pages that were left stay in memory for going back, as in everybody's browser; Playwright has none
 * @param options.args further arguments of the program
 */
export async function launch(options: { keepsPages?: boolean; args?: readonly string[] } = {}): Promise<Browser> {
  const { executablePath, env } = await program();
  const ignoreDefaultArgs = options.keepsPages ? ["--disable-back-forward-cache"] : [];
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    ignoreDefaultArgs,
    env,
    args: [...ARGS, ...(options.args ?? [])],
  });
  const newContext = browser.newContext.bind(browser);
  browser.newContext = async (options) => {
    const context = await newContext(options);
    complaints.listen(context);
    return context;
  };
  return browser;
}

/** A browser process of a test's own, which can be killed and started again on the same profile. */
export async function launchProcess(profile: string): Promise<{ browser: Browser; kill: () => Promise<void> }> {
  const { executablePath, env } = await program();
  const port = join(profile, "DevToolsActivePort");
  rmSync(port, { force: true });
  const child = Bun.spawn(
    [
      executablePath,
      "--headless",
      `--user-data-dir=${profile}`,
      "--remote-debugging-port=0",
      "--no-first-run",
      ...ARGS,
      "about:blank",
    ],
    { env: { ...env, TMPDIR: profile }, stdio: ["ignore", "ignore", "ignore"] }, // killed, it leaves its lock
  );
  for (let tries = 0; !existsSync(port) || !readFileSync(port, "utf8").includes("\n"); tries++) {
    if (tries > 1_000) throw new Error("the browser did not start within 20 s");
    await Bun.sleep(20);
  }
  const [number] = readFileSync(port, "utf8").split("\n");
  const kill = async () => {
    child.kill("SIGKILL");
    await child.exited;
  };
  // It may hang on the page that the browser is just opening; the next time that is there.
  for (let tries = 1; ; tries++) {
    try {
      const browser = await chromium.connectOverCDP(`http://127.0.0.1:${number}`, { timeout: 5_000 });
      for (const context of browser.contexts()) complaints.listen(context);
      return { browser, kill };
    } catch (error) {
      if (tries < 4) continue;
      await kill();
      throw error;
    }
  }
}

const ARGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-quic", "--disable-background-networking"];

async function program(): Promise<{ executablePath: string; env: Record<string, string> }> {
  const asked = process.env["CHROMIUM"];
  const system = asked ?? NAMES.map((name) => Bun.which(name)).find(Boolean) ?? (existsSync(MAC) ? MAC : undefined);
  const { executablePath, env } =
    system && system !== "package" ? { executablePath: system, env: {} } : await unpacked();
  return { executablePath, env: { ...(process.env as Record<string, string>), ...env } };
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
  // The package's own configuration looks below /tmp; without any font the browser crashes at the first field.
  const fonts = join(place, "fonts.conf");
  const directories = `<dir>${join(place, "fonts", "fonts")}</dir><cachedir>${join(place, "fonts_cache")}</cachedir>`;
  writeFileSync(`${fonts}.${process.pid}`, `<?xml version="1.0"?>\n<fontconfig>${directories}</fontconfig>\n`);
  renameSync(`${fonts}.${process.pid}`, fonts); // whole at any moment: other tests start their browsers too
  return { executablePath, env: { LD_LIBRARY_PATH: join(place, "al2023", "lib"), FONTCONFIG_FILE: fonts } };
}

/** Waits until a page's scripts are at work, those of a form too: they wait for the words, and `goto` does not. */
export async function scripted(page: Page): Promise<void> {
  await page.waitForSelector("language-choice:defined", { state: "attached" });
}

/** Closes what a test has left open, or a page of one that failed goes on and complains in the next. */
export async function closeWindows(browser: Browser): Promise<void> {
  for (const context of browser.contexts()) {
    // Answers that a test holds back find nobody any more.
    for (const page of context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
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

/** A server process that can be killed and started again on the same port and database. */
export class Server {
  readonly url: string;
  readonly #env: Record<string, string>;
  readonly #root: string;
  #process: Bun.Subprocess | undefined;

  /** @param root whose program and pages: another one is another version @param env further settings */
  constructor(port: number, database: string, root = ROOT, env: Record<string, string> = {}) {
    this.#root = root;
    this.url = `http://localhost:${port}`;
    this.#env = { PORT: String(port), HOST: "127.0.0.1", DATABASE_URL: database, RATE_LIMIT: "off", ...env };
  }

  async start(): Promise<void> {
    this.#process = Bun.spawn([process.execPath, join(this.#root, "src", "main.ts")], {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "inherit"],
    });
    for (let i = 0; i < 500; i++) {
      const ready = await fetch(`${this.url}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
      if (ready) return;
      await Bun.sleep(20);
    }
    throw new Error("the server did not become ready within 10 s");
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#process?.kill(signal);
    this.pause(false); // or it would never hear
    await this.#process?.exited;
  }

  /** Takes the time out of it, or gives it back: it holds its connections and says nothing. */
  pause(stopped: boolean): void {
    this.#process?.kill(stopped ? "SIGSTOP" : "SIGCONT");
  }
}
