/** docker-compose.yml from nothing: two people in Chromium chat on while what serves them is restarted, ended and begun again. */

import { expect } from "bun:test";

import type { Page } from "playwright-core";

import { launch, signUp } from "../../support/browser.ts";
import { freePort, ROOT } from "../../support/harness.ts";
import { until } from "../../support/until.ts";
import { docker, inspect } from "./docker.ts";
import type { Proof } from "./proof.ts";

const BACK_MS = 60_000;
const WRITE_EVERY_MS = 700;

export const chat: Proof = {
  about: "docker-compose up from nothing; restarts, an upgrade, down and up lose nothing",
  async run({ tally, compose, image, provide }) {
    await provide("postgres:18");
    const port = freePort();
    const project = compose("chat", { PORT: `${port}` });
    const url = `http://localhost:${port}`;
    const browser = await launch();
    try {
      await tally.check("chat: the .env of the original demo is taken, and no profile is needed", async () => {
        const config = await compose("original", { PORT: `${port}` }, "original.env").do("config");
        const { services } = Bun.YAML.parse(config) as { services: Record<string, { environment: object }> };
        const DATABASE_URL = "postgresql://chatuser:admin123@db:5432/chatdb";
        expect(services["web"]?.environment).toMatchObject({ DATABASE_URL });
      });
      await tally.check("chat: up from nothing, without .env", () => up(url, () => project.do("up", "--detach")));
      await tally.check("chat: only web is published", async () => {
        const [db = ""] = await project.containers("db");
        expect((await project.do("ps")).match(/->(\d+)\/tcp/g)).toContain("->8000/tcp");
        const ports = await project.do("port", "db", "5432").catch(() => "");
        expect(ports.replace(":0", "").trim(), db).toBe("");
      });

      const people = await Promise.all([browser.newContext(), browser.newContext()]);
      const [ann, bob] = (await Promise.all(people.map((context) => context.newPage()))) as [Page, Page];
      const wrote = { Ann: [] as string[], Bob: [] as string[] };
      const write = async (page: Page, who: keyof typeof wrote, text: string) => {
        wrote[who].push(text);
        await page.fill("message-composer textarea", text);
        await page.press("message-composer textarea", "Enter");
      };
      const all = () => [...wrote.Ann, ...wrote.Bob].toSorted();
      const whole = (page: Page) => async () => (await texts(page)).length >= all().length;

      await tally.check("chat: two people sign up and write", async () => {
        await signUp(ann, url, "Ann");
        await signUp(bob, url, "Bob");
        await ann.goto(`${url}/#Bob`);
        await bob.goto(`${url}/#Ann`);
        for (const page of [ann, bob]) await page.waitForSelector("message-composer textarea:visible");
        await write(ann, "Ann", "hello Bob");
        await write(bob, "Bob", "hello Ann");
        for (const page of [ann, bob]) await until("both have both", whole(page));
      });
      /** Both write while something happens; then both have everything, once, in the same order. */
      const meanwhile = async (what: string, happens: () => Promise<unknown>) => {
        const turn = { over: false };
        const writing = (async () => {
          for (let i = 0; !turn.over; i++) {
            await write(ann, "Ann", `${what} ${i}`);
            await Bun.sleep(WRITE_EVERY_MS / 2);
            await write(bob, "Bob", `${what} too ${i}`);
            await Bun.sleep(WRITE_EVERY_MS / 2);
          }
        })();
        await Bun.sleep(WRITE_EVERY_MS);
        await Promise.all([happens().finally(() => (turn.over = true)), writing]);
        const begun = performance.now();
        for (const page of [ann, bob]) await until("everybody has everything", whole(page), BACK_MS);
        await same(ann, bob, wrote);
        return `${all().length} messages, everything there ${((performance.now() - begun) / 1_000).toFixed(1)} s after it`;
      };
      await tally.check("chat: restart web", () => meanwhile("web restarts", () => project.do("restart", "web")));
      await tally.check("chat: restart db", () => meanwhile("db restarts", () => project.do("restart", "db")));
      await tally.check("chat: upgrade web to another image", async () => {
        const said = await meanwhile("web is upgraded", async () => {
          await docker("build", "--quiet", "--build-arg", "REVISION=the-next-one", "--tag", image, ROOT);
          await project.do("up", "--detach");
        });
        const [web = ""] = await project.containers("web");
        const labels = await inspect<Record<string, string>>(web, ".Config.Labels");
        expect(labels["org.opencontainers.image.revision"]).toBe("the-next-one");
        return said;
      });
      await tally.check("chat: down and up again: everything is there, and both are still signed in", async () => {
        await project.do("down");
        await write(ann, "Ann", "written while there is nothing");
        await up(url, () => project.do("up", "--detach"));
        for (const page of [ann, bob]) await until("everybody has everything", whole(page), BACK_MS);
        for (const page of [ann, bob]) await page.reload();
        for (const page of [ann, bob]) await until("a reload shows it all", whole(page), BACK_MS);
        await same(ann, bob, wrote);
        return `${all().length} messages`;
      });
    } finally {
      await browser.close();
      await project.remove();
    }
  },
};

/** Waits for the chat to be there. */
async function up(url: string, start: () => Promise<unknown>): Promise<string> {
  const begun = performance.now();
  await start();
  const serves = () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until("the chat is there", serves, BACK_MS);
  return `${((performance.now() - begun) / 1_000).toFixed(1)} s`;
}

const texts = (page: Page) => page.locator("chat-thread .message .text").allTextContents();

/** Both pages show the same, each text once, everybody's own in the order they were written. */
async function same(one: Page, other: Page, wrote: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const [shown, too] = [await texts(one), await texts(other)];
  expect(shown).toEqual(too);
  expect(shown.toSorted()).toEqual(Object.values(wrote).flat().toSorted());
  for (const mine of Object.values(wrote)) expect(shown.filter((text) => mine.includes(text))).toEqual([...mine]);
}
