/** The JSON routes by which people arrange their account: what they show of themselves, and whom they block or mute. */

import type { Choices } from "../choices.ts";
import type { Choice, Shows } from "../db/choices.ts";
import type { Database } from "../db/client.ts";
import * as drafts from "../db/drafts.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError } from "../errors.ts";
import type { Act, Limits } from "../limits.ts";
import { keyOfReference } from "../text.ts";
import type { Auth } from "./auth.ts";
import { json, readJson, type Request } from "./handler.ts";

export class Account {
  readonly #auth: Auth;
  readonly #choices: Choices;
  readonly #db: Database;

  readonly #limits: Limits;

  constructor(parts: { auth: Auth; choices: Choices; db: Database; limits: Limits }) {
    this.#auth = parts.auth;
    this.#limits = parts.limits;
    this.#choices = parts.choices;
    this.#db = parts.db;
  }

  async me(request: Request): Promise<Response> {
    const me = await this.#auth.who(request);
    return this.#told(me, me);
  }

  async settings(request: Request): Promise<Response> {
    const me = await this.#who(request, "account");
    const body = await readJson(request);
    const changes = { hidesRead: readFlag(body, "hide_read"), hidesLastSeen: readFlag(body, "hide_last_seen") };
    return this.#told(me, await this.#choices.show(me, changes));
  }

  async #told({ userId, username }: Session, { hidesRead, hidesLastSeen }: Shows): Promise<Response> {
    const admin = await users.isAdmin(this.#db, userId);
    return json({ username, admin, hide_read: hidesRead, hide_last_seen: hidesLastSeen });
  }

  async blocks(request: Request): Promise<Response> {
    return json(await this.#choices.blocked(await this.#who(request, "history")));
  }

  block(request: Request): Promise<Response> {
    return this.#choose(request, "blocks", "blocked");
  }

  mute(request: Request): Promise<Response> {
    return this.#choose(request, "muted", "muted");
  }

  async drafts(request: Request): Promise<Response> {
    const { username } = await this.#who(request, "history");
    return json(await drafts.list(this.#db, username));
  }

  /** Who asks, and asks not too often. */
  async #who(request: Request, act: Act): Promise<Session> {
    const session = await this.#auth.who(request);
    this.#limits.spend(act, session.nameKey);
    return session;
  }

  async #choose(request: Request, choice: Choice, field: "blocked" | "muted"): Promise<Response> {
    const me = await this.#who(request, "account");
    const body = await readJson(request);
    const on = readFlag(body, field);
    const { name } = body;
    if (typeof name !== "string" || on === undefined) {
      throw new ChatError("bad_request", { words: `name must be a text and ${field} true or false` });
    }
    const key = keyOfReference(name);
    const peer = key === undefined ? undefined : await users.find(this.#db, key);
    if (!peer) throw new ChatError("no_such_user");
    if (choice === "blocks" && peer.id === me.userId) {
      throw new ChatError("bad_request", { words: "Nobody can block themselves" });
    }
    await this.#choices.choose(choice, me, peer.username, on);
    return json({ name: peer.username, [field]: on });
  }
}

/** Undefined when absent. @throws ChatError `bad_request` */
function readFlag(body: Record<string, unknown>, name: string): boolean | undefined {
  const value = body[name];
  if (value === undefined || typeof value === "boolean") return value;
  throw new ChatError("bad_request", { words: `${name} must be true or false` });
}
