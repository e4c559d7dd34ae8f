/** The one list of what exists: every path, its methods, and who answers. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { nameKey } from "../util/text.ts";
import type { Account } from "./account.ts";
import type { Auth } from "./login.ts";
import type { Api } from "./messages.ts";
import type { OtherVersions } from "./other_versions.ts";
import type { Pages } from "./pages.ts";
import {
  checkOrigin,
  DATA_HEADERS,
  failure,
  guard,
  httpsOnly,
  isSecure,
  json,
  type Methods,
  type Request,
  type Trust,
} from "./request.ts";

export interface Parts {
  readonly account: Account;
  readonly api: Api;
  readonly auth: Auth;
  readonly otherVersions: OtherVersions;
  readonly pages: Pages;
  readonly log: Log;
  readonly trust: Trust;
  readonly version: string;
  /** Why this pod accepts no socket, undefined when it does. */
  readonly full: () => ChatError | undefined;
  /** Resolves when a user's socket may open. */
  readonly opening: (session: Session) => Promise<void>;
  readonly ready: () => Promise<boolean>;
  readonly metrics: Metrics;
  readonly figures: (request: Request, server: Server<SocketData>) => Response;
}

/** Bun's routes. Bun answers no 405 and gives files no headers, so every path goes through `guard`. */
export function routes(parts: Parts) {
  const guarded = Object.entries(paths(parts)).map(
    ([path, methods]) => [path, guard(methods, parts, parts.metrics.route(path))] as const,
  );
  return Object.fromEntries(guarded);
}

/** Every path and who answers there. */
export function paths(parts: Parts): Record<string, Methods> {
  const { account, api, auth, otherVersions, pages } = parts;
  return {
    "/": { GET: (request) => auth.page(request, "chat") },
    "/account": { GET: (request) => auth.page(request, "account") },
    "/login": { GET: (request) => auth.loginPage(request), POST: (request) => auth.logIn(request) },
    "/signup": { GET: (request) => auth.signUpPage(request), POST: (request) => auth.signUp(request) },
    "/logout": { GET: (request) => auth.logOut(request), POST: (request) => auth.logOut(request) },
    "/static/*": { GET: (request) => pages.file(request, otherVersions) },
    "/sw.js": { GET: (request) => pages.worker(request) },

    "/invites": { POST: (request) => api.invite(request) },
    "/me": { GET: (request) => account.me(request) },
    "/me/settings": { POST: (request) => account.settings(request) },
    "/me/password": { POST: (request) => account.password(request) },
    "/me/delete": { POST: (request) => account.remove(request) },
    "/sessions": { GET: (request) => account.sessions(request) },
    "/sessions/end_others": { POST: (request) => account.endOtherSessions(request) },
    "/sessions/:id/end": { POST: (request) => account.endSession(request) },
    "/blocks": { GET: (request, server) => account.blocks(request, server), POST: (request) => account.block(request) },
    "/mutes": { POST: (request) => account.mute(request) },
    "/export": { GET: (request, server) => account.export(request, server) },
    "/drafts": { GET: (request, server) => account.drafts(request, server) },
    "/messages/:a/:b": { GET: (request, server) => api.messages(request, server) },
    "/unread_counts/:me": { GET: (request, server) => api.unreadCounts(request, server) },
    "/conversations": { GET: (request, server) => api.conversations(request, server) },
    "/online": { GET: (request, server) => api.online(request, server) },
    "/get_users": { GET: (request, server) => api.users(request, server) },
    "/sockets": { GET: (request) => sockets(request, parts) },
    "/ws/:username": { GET: (request, server) => upgrade(request, server, parts) },

    "/test": { GET: () => json({ message: "ok" }) },
    "/healthz": { GET: () => json({ status: "ok" }) },
    "/readyz": {
      GET: async () => ((await parts.ready()) ? json({ status: "ready" }) : failure(new ChatError("not_ready"))),
    },
    "/version": { GET: () => json({ name: "chatify", version: parts.version }) },
    "/metrics": { GET: parts.figures },
  };
}

/** The answer to any other path: a page for people, JSON for programs. */
export function notFound(request: globalThis.Request, trust: Trust): Response {
  const error = new ChatError("not_found");
  const forPeople = request.headers.get("accept")?.includes("text/html");
  const answer = forPeople
    ? new Response(`${error.message}. The chat is at /\n`, {
        status: error.status,
        headers: { ...DATA_HEADERS, "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" },
      })
    : failure(error);
  return isSecure(request, trust) ? httpsOnly(answer) : answer;
}

/** Whether this pod accepts a further socket. A page cannot read why its upgrade was refused. */
async function sockets(request: Request, parts: Parts): Promise<Response> {
  await parts.auth.who(request, "history");
  return json({ accepts: parts.full() === undefined });
}

/** Lets a person's own browser through to `/ws/{username}`; the order of the checks is the contract's. */
async function upgrade(request: Request, server: Server<SocketData>, parts: Parts): Promise<Response | undefined> {
  const session = await parts.auth.who(request);
  const { username } = request.params as { username: string };
  // mutation: own socket only
  if (nameKey(username) !== session.nameKey) throw new ChatError("not_yours");
  // mutation: origin of sockets
  checkOrigin(request, parts.trust);
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return failure(new ChatError("upgrade_required"), { Upgrade: "websocket" });
  }
  await parts.opening(session);
  const full = parts.full();
  if (full) throw full;
  if (server.upgrade(request, { data: { session } })) return undefined;
  throw new ChatError("bad_request", { words: "That is no WebSocket handshake" });
}
