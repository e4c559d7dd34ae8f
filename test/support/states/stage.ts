/** Servers on which every state of the pages can be shown. */

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { addSession, localhost, scripted } from "../browser.ts";
import { cookieOf, PASSWORD, Person, post, startApp, type Tab, type TestApp } from "../harness.ts";
import { populateFiles } from "./files.ts";
import { populateLongChats } from "./long_chats.ts";
import { populate } from "./stage_users.ts";

type User = "Ann" | "Iris" | "Newcomer" | "Petros" | "Host" | "Ended" | "First" | "Nina";

export interface State {
  readonly name: string;
  /** The signed-in user. */
  readonly user?: User;
  readonly path: string;
  /** The server's sign-up policy; open by default. */
  readonly server?: "invite" | "closed";
  /** A selector that matches once the state is shown. */
  readonly shows: string;
  /** Changes the browser or the network before the page loads. */
  readonly prepare?: (page: Page, stage: Stage) => Promise<unknown>;
  /** Brings the loaded page into the state. */
  readonly act?: (page: Page, stage: Stage) => Promise<unknown>;
  /** The same, for a reload; `shows` by default. */
  readonly reloaded?: string;
  /** The state needs a mouse and a keyboard; phones never show it. */
  readonly needsMouse?: true;
  /** The page's script does not load. */
  readonly lacksScript?: true;
}

/** Servers on which every state can be shown. */
export class Stage {
  readonly #apps: Readonly<Record<"open" | "invite" | "closed", TestApp>>;
  readonly #people: ReadonlyMap<string, Person>;
  /** A device of Bob, with whom Ann has a conversation. */
  readonly bob: Tab;
  /** The link of a used invitation. */
  readonly usedInvitation: string;

  private constructor(
    apps: Record<"open" | "invite" | "closed", TestApp>,
    people: readonly Person[],
    { bob, usedInvitation }: Pick<Stage, "bob" | "usedInvitation">,
  ) {
    this.#apps = apps;
    this.#people = new Map(people.map((person) => [person.name, person]));
    this.bob = bob;
    this.usedInvitation = usedInvitation;
  }

  static async start(): Promise<Stage> {
    const [open, invite, closed] = await Promise.all([
      startApp(),
      startApp({ env: { SIGNUP: "invite" } }),
      startApp({ env: { SIGNUP: "closed" } }),
    ]);
    const [host, first] = [await open.admin("Host"), await invite.admin("First")];
    const [ann, ...others] = await open.people("Ann", "Newcomer", "Petros", "Ended");
    await others.at(-1)!.get("/logout");
    const bob = await populate(open, ann!);
    await (await host.open()).send("Petros", "Welcome! Where are you?");
    const iris = await populateLongChats(open);
    const nina = await populateFiles(open);
    const usedInvitation = await useInvitation(invite, first);
    return new Stage({ open, invite, closed }, [ann!, iris, nina, ...others, host, first], { bob, usedInvitation });
  }

  get url(): string {
    return this.#apps.open.url;
  }

  /** A blank page, signed in as the state's user. Without a service worker, routes reach every request. */
  async page(browser: Browser, state: State, options: BrowserContextOptions): Promise<Page> {
    const context = await browser.newContext({ reducedMotion: "reduce", serviceWorkers: "block", ...options });
    context.setDefaultTimeout(15_000);
    if (state.user) await addSession(context, this.#people.get(state.user)!, this.#urlOf(state));
    return context.newPage();
  }

  /** Signs a user in on a page, in a session of its own. */
  async logIn(page: Page, user: User): Promise<void> {
    await addSession(page.context(), await this.#people.get(user)!.logIn(), localhost(this.url));
  }

  /** Ends the sessions that `logIn` started. */
  async endOtherSessions(user: User): Promise<void> {
    await this.#people.get(user)!.post("/sessions/end_others");
  }

  /** Brings a page into a state, whatever it showed before. */
  async show(page: Page, state: State): Promise<void> {
    await release(page);
    await page.goto("about:blank");
    await state.prepare?.(page, this);
    await page.goto(this.#urlOf(state) + state.path, { waitUntil: state.prepare ? "commit" : "load" });
    await state.act?.(page, this);
    await page.waitForSelector(state.shows);
    if (state.path !== "/nothing" && !state.lacksScript) await scripted(page); // forms show their untranslated text first
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.#apps).map((app) => app.stop()));
  }

  #urlOf(state: State): string {
    return localhost(this.#apps[state.server ?? "open"].url);
  }
}

/** Undoes what a state does to the network. */
export async function release(page: Page): Promise<void> {
  await page.context().setOffline(false);
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

/** Spends an invitation of `host` on a user who then deletes the account. @returns its link */
async function useInvitation(app: TestApp, host: Person): Promise<string> {
  const { url } = (await (await host.post("/invites")).json()) as { url: string };
  const { pathname, search, searchParams } = new URL(url);
  const fields = { username: "Invited", password: PASSWORD, invite: searchParams.get("invite") ?? "" };
  const invited = new Person(app.url, "Invited", cookieOf(await post(`${app.url}/signup`, fields)));
  await invited.post("/me/delete", { password: PASSWORD });
  return localhost(app.url) + pathname + search;
}
