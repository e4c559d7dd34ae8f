/** Constructs the HTTP handlers of all routes, for `Bun.serve`. */

import type { AccountPurge } from "../accounts/account_purge.ts";
import type { Limits } from "../accounts/limits.ts";
import type { SessionRenewals } from "../accounts/session_renewals.ts";
import type { SignupPolicy } from "../accounts/signup_policy.ts";
import type { Memberships } from "../chat/memberships.ts";
import type { Profiles } from "../chat/profiles.ts";
import type { Receipts } from "../chat/receipts.ts";
import type { Relationships } from "../chat/relationships.ts";
import type { Bus } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { UnsentBudget } from "../delivery/unsent_budget.ts";
import type { PreviewCache } from "../files/preview_cache.ts";
import type { Stores } from "../files/stores.ts";
import type { Uploads } from "../files/uploads.ts";
import type { PresenceRegistry } from "../presence/registry.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import type { FairQueue } from "../util/fair_queue.ts";
import { Account } from "./account.ts";
import { Conversations } from "./conversations.ts";
import { Cookies } from "./cookies.ts";
import { Files } from "./files.ts";
import { Login } from "./login.ts";
import { Messages } from "./messages.ts";
import { Passwords } from "./passwords.ts";
import { Profiles as ProfileRoutes } from "./profiles.ts";
import { notFound, type Parts as RouterParts, routes } from "./router.ts";
import { Search } from "./search.ts";
import { Sessions } from "./sessions.ts";
import { Streams } from "./stream.ts";
import { Users } from "./users.ts";

type Handlers =
  "account" | "conversations" | "files" | "login" | "messages" | "profiles" | "search" | "sessions" | "users";

interface Parts extends Omit<RouterParts, Handlers> {
  readonly bus: Bus;
  readonly db: Database;
  /** The queue of all image decoding. */
  readonly decoders: FairQueue;
  readonly delivery: Delivery;
  readonly limits: Limits;
  readonly memberships: Memberships;
  readonly presence: PresenceSubscriptions;
  readonly profiles: Profiles;
  readonly previews: PreviewCache;
  readonly purge: AccountPurge;
  readonly receipts: Receipts;
  readonly registry: PresenceRegistry;
  readonly relationships: Relationships;
  readonly renewals: SessionRenewals;
  readonly secrets: readonly string[];
  readonly signupPolicy: SignupPolicy;
  readonly stores: Stores;
  readonly unsent: UnsentBudget;
  readonly uploads: Uploads;
}

export function httpRoutes(parts: Parts) {
  const { metrics } = parts;
  const cookies = new Cookies(parts);
  const streams = new Streams(parts);
  const sessions = new Sessions({ ...parts, cookies });
  const limits = parts.limits.logins;
  const passwords = new Passwords({ ...parts, limits, failures: metrics.loginFailures });
  const login = new Login({ ...parts, limits, sessions, passwords, cookies });
  const shared = { ...parts, sessions, streams };
  return {
    routes: routes({
      ...shared,
      account: new Account({ ...shared, login, passwords }),
      conversations: new Conversations(shared),
      files: new Files(shared),
      login,
      messages: new Messages(shared),
      profiles: new ProfileRoutes(shared),
      search: new Search(shared),
      users: new Users(shared),
    }),
    fetch(request: Request): Response {
      const response = notFound(request, parts);
      metrics.unknownRoute.count(request.method, response.status, 0);
      return response;
    },
  };
}
