/** The list of all routes: every path, its methods and their handlers. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import { CHUNK_BYTES } from "../files/chunk_store.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { nameKey } from "../util/text.ts";
import type { Account } from "./account.ts";
import type { Conversations } from "./conversations.ts";
import type { Files } from "./files.ts";
import type { Login } from "./login.ts";
import type { Messages } from "./messages.ts";
import { mayReadMetrics } from "./metrics_access.ts";
import type { OtherVersions } from "./other_versions.ts";
import type { Pages } from "./pages.ts";
import { type Profiles, UPLOAD_MAX_BYTES } from "./profiles.ts";
import { DATA_HEADERS, errorResponse, guard, json, type Methods, type Request, withHsts } from "./request.ts";
import type { Search } from "./search.ts";
import type { Sessions } from "./sessions.ts";
import { checkOrigin, isSecure, type Trust } from "./trust.ts";
import type { Users } from "./users.ts";

export interface Parts {
  readonly account: Account;
  readonly conversations: Conversations;
  readonly files: Files;
  readonly login: Login;
  readonly messages: Messages;
  readonly otherVersions: OtherVersions;
  readonly pages: Pages;
  readonly profiles: Profiles;
  readonly search: Search;
  readonly users: Users;
  readonly sessions: Sessions;
  readonly log: Log;
  readonly trust: Trust;
  readonly version: string;
  /** Why this pod accepts no more sockets, or undefined when it does. */
  readonly socketRejection: () => ChatError | undefined;
  /** Resolves when the user's socket may open. */
  readonly beforeOpen: (session: Session) => Promise<void>;
  readonly isReady: () => Promise<boolean>;
  readonly metrics: Metrics;
  /** Undefined when `/metrics` answers programs on this machine only. */
  readonly metricsToken: string | undefined;
}

/**
 * All routes, for `Bun.serve`. Bun sends neither 405 nor our headers, so every handler is wrapped
 * in `guard`.
 */
export function routes(parts: Parts) {
  const guarded = Object.entries(paths(parts)).map(
    ([path, methods]) => [path, guard(methods, parts, parts.metrics.route(path))] as const,
  );
  return Object.fromEntries(guarded);
}

export function paths(parts: Parts): Record<string, Methods> {
  const { account, conversations, files, login, messages, otherVersions, pages, profiles, search, sessions, users } =
    parts;
  return {
    "/": { GET: (request) => sessions.page(request, "chat") },
    "/account": { GET: (request) => sessions.page(request, "account") },
    "/login": { GET: (request) => login.loginPage(request), POST: (request) => login.logIn(request) },
    "/signup": { GET: (request) => login.signUpPage(request), POST: (request) => login.signUp(request) },
    "/logout": { GET: (request) => login.logOut(request), POST: (request) => login.logOut(request) },
    "/static/*": { GET: (request) => pages.file(request, otherVersions) },
    "/sw.js": { GET: (request) => pages.worker(request) },

    "/invites": { POST: (request) => users.invite(request) },
    "/me": { GET: (request) => account.me(request) },
    "/me/settings": { POST: (request) => account.settings(request) },
    "/me/password": { POST: (request) => account.password(request) },
    "/me/profile": { POST: (request) => profiles.setDisplayName(request) },
    "/me/photo": { POST: (request) => profiles.upload(request), bodyMaxBytes: UPLOAD_MAX_BYTES },
    "/me/photo/remove": { POST: (request) => profiles.removePhoto(request) },
    "/me/delete": { POST: (request) => account.remove(request) },
    "/sessions": { GET: (request) => account.sessions(request) },
    "/sessions/end_others": { POST: (request) => account.endOtherSessions(request) },
    "/sessions/:id/end": { POST: (request) => account.endSession(request) },
    "/blocks": { GET: (request, server) => account.blocks(request, server), POST: (request) => account.block(request) },
    "/mutes": { POST: (request) => account.mute(request) },
    "/export": { GET: (request, server) => account.export(request, server) },
    "/drafts": { GET: (request, server) => account.drafts(request, server) },
    "/messages/:a/:b": { GET: (request, server) => messages.list(request, server) },
    "/unread_counts/:me": { GET: (request, server) => conversations.unreadCounts(request, server) },
    "/conversations": {
      GET: (request, server) => conversations.list(request, server),
      POST: (request) => conversations.change(request),
    },
    "/search": { GET: (request, server) => search.list(request, server) },
    "/online": { GET: (request, server) => users.online(request, server) },
    "/get_users": { GET: (request, server) => users.list(request, server) },
    "/photos/:name": { GET: (request) => profiles.photo(request) },
    "/me/files": { GET: (request) => files.usage(request) },
    "/files": { POST: (request) => files.begin(request) },
    "/files/:id": { GET: (request, server) => files.get(request, server) },
    "/files/:id/preview": { GET: (request, server) => files.preview(request, server) },
    "/files/:id/status": { GET: (request) => files.status(request) },
    "/files/:id/copy": { POST: (request) => files.copy(request) },
    "/files/:id/remove": { POST: (request) => files.remove(request) },
    "/files/:id/:n": { PUT: (request) => files.put(request), bodyMaxBytes: CHUNK_BYTES },
    "/sockets": { GET: (request) => sockets(request, parts) },
    "/ws/:username": { GET: (request, server) => upgrade(request, server, parts) },

    "/test": { GET: () => json({ message: "ok" }) },
    "/healthz": { GET: () => json({ status: "ok" }) },
    "/readyz": {
      GET: async () =>
        (await parts.isReady()) ? json({ status: "ready" }) : errorResponse(new ChatError("not_ready")),
    },
    "/version": { GET: () => json({ name: "chatify", version: parts.version }) },
    "/metrics": { GET: (request, server) => metricsPage(request, server, parts) },
  };
}

/** The response for any other path: a page for browsers, JSON for programs. */
export function notFound(request: globalThis.Request, { pages, trust }: Pick<Parts, "pages" | "trust">): Response {
  const isBrowser = request.headers.get("accept")?.includes("text/html");
  const response = isBrowser ? pages.notFound(request) : errorResponse(new ChatError("not_found"));
  return isSecure(request, trust) ? withHsts(response) : response;
}

function metricsPage(request: Request, server: Server<SocketData>, { metrics, metricsToken }: Parts): Response {
  if (!mayReadMetrics(request, server.requestIP(request)?.address, metricsToken))
    return errorResponse(new ChatError("not_yours"));
  return new Response(metrics.render(), {
    headers: { ...DATA_HEADERS, "Content-Type": "text/plain; version=0.0.4" },
  });
}

/**
 * Whether this pod accepts another socket: a page cannot read why its upgrade was rejected, so it
 * asks here.
 */
async function sockets(request: Request, parts: Parts): Promise<Response> {
  await parts.sessions.require(request, "history");
  return json({ accepts: parts.socketRejection() === undefined });
}

/**
 * Upgrades a user's own request to `/ws/{username}`. The order of the checks is part of the wire
 * contract.
 */
async function upgrade(request: Request, server: Server<SocketData>, parts: Parts): Promise<Response | undefined> {
  const session = await parts.sessions.require(request);
  const { username } = request.params as { username: string };
  // mutation: own socket only
  if (nameKey(username) !== session.nameKey) throw new ChatError("not_yours");
  // mutation: origin of sockets
  checkOrigin(request, parts.trust);
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return errorResponse(new ChatError("upgrade_required"), { Upgrade: "websocket" });
  }
  await parts.beforeOpen(session);
  const rejection = parts.socketRejection();
  if (rejection) throw rejection;
  if (server.upgrade(request, { data: { session } })) return undefined;
  throw new ChatError("bad_request", { message: "The WebSocket handshake is invalid" });
}
