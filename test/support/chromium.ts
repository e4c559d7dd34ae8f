/**
 * A real Chromium: the system's if there is one, else that of the npm package @sparticuz/chromium, unpacked once below
 * node_modules. Without a browser, tests fail rather than skip. Every context reports page errors to `page_errors.ts`.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Browser, chromium } from "playwright-core";

import { ROOT } from "./harness.ts";
import { pageErrors } from "./page_errors.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

export interface LaunchOptions {
  /** Enables the back/forward cache, which Playwright disables. */
  readonly keepsPages?: boolean;
  /** Further command-line arguments. */
  readonly args?: readonly string[];
}

/** Starts a headless browser. `CHROMIUM=path` names one; `CHROMIUM=package` insists on the package's. */
export async function launch(options: LaunchOptions = {}): Promise<Browser> {
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
    pageErrors.watch(context);
    return context;
  };
  return browser;
}

/** A browser process on a profile directory that survives `kill`. */
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
    { env: { ...env, TMPDIR: profile }, stdio: ["ignore", "ignore", "ignore"] }, // a killed browser leaves its lock there
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
  // Connecting can hang on the page that the browser is just opening.
  for (let tries = 1; ; tries++) {
    try {
      const browser = await chromium.connectOverCDP(`http://127.0.0.1:${number}`, { timeout: 5_000 });
      for (const context of browser.contexts()) pageErrors.watch(context);
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
  const named = process.env["CHROMIUM"];
  const system = named ?? NAMES.map((name) => Bun.which(name)).find(Boolean) ?? (existsSync(MAC) ? MAC : undefined);
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
    process.env["TMPDIR"] = part; // the package unpacks there
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
  // The package's own configuration looks below /tmp; without a font, the browser crashes at the first input.
  const fonts = join(place, "fonts.conf");
  // The package's own fonts have no emoji.
  const emoji = join(ROOT, "node_modules", "@expo-google-fonts", "noto-color-emoji");
  const directories = [join(place, "fonts", "fonts"), emoji].map((each) => `<dir>${each}</dir>`).join("");
  const cache = `<cachedir>${join(place, "fonts_cache")}</cachedir>`;
  writeFileSync(`${fonts}.${process.pid}`, `<?xml version="1.0"?>\n<fontconfig>${directories}${cache}</fontconfig>\n`);
  renameSync(`${fonts}.${process.pid}`, fonts); // atomically: other test files start browsers too
  return { executablePath, env: { LD_LIBRARY_PATH: join(place, "al2023", "lib"), FONTCONFIG_FILE: fonts } };
}
