/** docker-compose.yml on an empty host: two users chat in Chromium while services are restarted and upgraded. */

import { expect } from "bun:test";

import type { Page } from "playwright-core";

import { signUp } from "../../support/browser.ts";
import { launch } from "../../support/chromium.ts";
import { freePort, ROOT } from "../../support/harness.ts";
import { until } from "../../support/until.ts";
import { docker, inspect } from "./docker.ts";
import type { Scenario } from "./scenario.ts";

const BACK_MS = 60_000;
const WRITE_EVERY_MS = 700;

export const chat: Scenario = {
  about: "docker-compose up on an empty host; restarts, an upgrade, down and up lose nothing",
  async run({ results, compose, image, provide }) {
    await provide("postgres:18");
    const port = freePort();
    const project = compose("chat", { PORT: `${port}` });
    const url = `http://localhost:${port}`;
    const browser = await launch();
    try {
      await results.check("chat: the original demo's .env works, without a profile", async () => {
        const config = await compose("original", { PORT: `${port}` }, "original.env").do("config");
        const { services } = Bun.YAML.parse(config) as { services: Record<string, { environment: object }> };
        const DATABASE_URL = "postgresql://chatuser:admin123@db:5432/chatdb";
        expect(services["web"]?.environment).toMatchObject({ DATABASE_URL });
      });
      await results.check("chat: up on an empty host, without .env", () => up(url, () => project.do("up", "--detach")));
      await results.check("chat: only web publishes a port", async () => {
        const [db = ""] = await project.containers("db");
        expect((await project.do("ps")).match(/->(\d+)\/tcp/g)).toContain("->8000/tcp");
        const ports = await project.do("port", "db", "5432").catch(() => "");
        expect(ports.replace(":0", "").trim(), db).toBe("");
      });

      const contexts = await Promise.all([browser.newContext(), browser.newContext()]);
      const [ann, bob] = (await Promise.all(contexts.map((context) => context.newPage()))) as [Page, Page];
      const written = { Ann: [] as string[], Bob: [] as string[] };
      const write = async (page: Page, user: keyof typeof written, text: string) => {
        written[user].push(text);
        await page.fill("message-composer textarea", text);
        await page.press("message-composer textarea", "Enter");
      };
      const all = () => [...written.Ann, ...written.Bob].toSorted();
      const hasAll = (page: Page) => async () => (await texts(page)).length >= all().length;

      await results.check("chat: two users sign up and write", async () => {
        await signUp(ann, url, "Ann");
        await signUp(bob, url, "Bob");
        await ann.goto(`${url}/#Bob`);
        await bob.goto(`${url}/#Ann`);
        for (const page of [ann, bob]) await page.waitForSelector("message-composer textarea:visible");
        await write(ann, "Ann", "hello Bob");
        await write(bob, "Bob", "hello Ann");
        for (const page of [ann, bob]) await until("both have both", hasAll(page));
      });
      /** Both write during an event; then both have every message once, in the same order. */
      const writeDuring = async (label: string, event: () => Promise<unknown>) => {
        const turn = { over: false };
        const writing = (async () => {
          for (let i = 0; !turn.over; i++) {
            await write(ann, "Ann", `${label} ${i}`);
            await Bun.sleep(WRITE_EVERY_MS / 2);
            await write(bob, "Bob", `${label} too ${i}`);
            await Bun.sleep(WRITE_EVERY_MS / 2);
          }
        })();
        await Bun.sleep(WRITE_EVERY_MS);
        await Promise.all([event().finally(() => (turn.over = true)), writing]);
        const startedAt = performance.now();
        for (const page of [ann, bob]) await until("both have every message", hasAll(page), BACK_MS);
        await expectSame(ann, bob, written);
        return `${all().length} messages, all delivered after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`;
      };
      await results.check("chat: restart web", () => writeDuring("web restarts", () => project.do("restart", "web")));
      await results.check("chat: restart db", () => writeDuring("db restarts", () => project.do("restart", "db")));
      await results.check("chat: upgrade web to a new image", async () => {
        const note = await writeDuring("web is upgraded", async () => {
          await docker("build", "--quiet", "--build-arg", "REVISION=the-next-one", "--tag", image, ROOT);
          await project.do("up", "--detach");
        });
        const [web = ""] = await project.containers("web");
        const labels = await inspect<Record<string, string>>(web, ".Config.Labels");
        expect(labels["org.opencontainers.image.revision"]).toBe("the-next-one");
        return note;
      });
      await results.check("chat: down and up again: no message is lost, and both are still signed in", async () => {
        await project.do("down");
        await write(ann, "Ann", "written while everything is down");
        await up(url, () => project.do("up", "--detach"));
        for (const page of [ann, bob]) await until("both have every message", hasAll(page), BACK_MS);
        for (const page of [ann, bob]) await page.reload();
        for (const page of [ann, bob]) await until("a reload shows every message", hasAll(page), BACK_MS);
        await expectSame(ann, bob, written);
        return `${all().length} messages`;
      });
    } finally {
      await browser.close();
      await project.remove();
    }
  },
};

/** @returns the time until the chat is ready */
async function up(url: string, start: () => Promise<unknown>): Promise<string> {
  const startedAt = performance.now();
  await start();
  const isReady = () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until("the chat is ready", isReady, BACK_MS);
  return `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`;
}

const texts = (page: Page) => page.locator("chat-thread .message .text").allTextContents();

/** Both pages show the same messages, each once, each user's in the order written. */
async function expectSame(one: Page, other: Page, written: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const shown = await texts(one);
  expect(await texts(other)).toEqual(shown);
  expect(shown.toSorted()).toEqual(Object.values(written).flat().toSorted());
  for (const mine of Object.values(written)) expect(shown.filter((text) => mine.includes(text))).toEqual([...mine]);
}
