/** The text that `start` prints once chatify serves. Until there is an admin, it begins with the link to become one. */

import type { App } from "../app.ts";
import type { Config } from "../config.ts";
import { isGuessable } from "../setting_readers.ts";
import { parseConnectionString } from "../util/connection_string.ts";

/** From the manifests of the original demo; databases created with them still have it. */
const PUBLISHED_PASSWORD = "admin123";

export function banner({ url, database, adminCode }: App, config: Config, version: string): string {
  const lines = [
    ...(adminCode ? [`Sign up at ${url}/signup?code=${adminCode} to become the admin; the link works once`, ""] : []),
    `chatify ${version}`,
    "",
    `  Open      ${url}`,
    `  Database  ${database}`,
    "  Next      sign up, then open a second browser and sign up as another user",
    "  Stop      Ctrl-C",
    ...warnings(config).map((warning) => `  Warning   ${warning}`),
  ];
  return `${lines.join("\n")}\n\n`;
}

function warnings({ rateLimit, sessionSecrets, databaseUrl }: Config): string[] {
  const all: string[] = [];
  if (!rateLimit) all.push("RATE_LIMIT=off: clients may send messages and try passwords without limit");
  if (sessionSecrets?.some(isGuessable)) {
    all.push("SESSION_SECRET looks like a placeholder: anyone who guesses it can sign in as any user");
  }
  if (databaseUrl !== undefined && parseConnectionString(databaseUrl).password === PUBLISHED_PASSWORD) {
    all.push(
      "the database has the password published with the original demo: change it if others can reach the database",
    );
  }
  return all;
}
