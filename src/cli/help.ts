/** The text of `--help`. */

import { SETTINGS } from "../config.ts";
import { COMMANDS_HELP } from "./arguments.ts";

export function help(version: string): string {
  const width = Math.max(...Object.keys(SETTINGS).map((name) => name.length));
  const settings = Object.entries(SETTINGS).map(
    ([name, { default: fallback, about }]) =>
      `  ${name.padEnd(width)}  ${about.replaceAll("`", "")} (${fallback.replaceAll("`", "")})`,
  );
  const secrets = Object.entries(SETTINGS).flatMap(([name, setting]) => ("secret" in setting ? [name] : []));
  return `chatify ${version}: a self-hosted chat between two people

Usage
  bun run start                             serve on http://localhost:8000 with an embedded PostgreSQL
  PORT=9000 bun run start                   on another port
  DATABASE_URL=postgres://… bun run start   with your own PostgreSQL
  npx -y bun@1.4.5 run start                without Bun installed
  bun run chatify healthcheck               exit with 0 if the server with these settings is ready, else 1 (--alive: if it responds)
  bun run start --help, --version           print this help, or the version

Admin commands, run with the settings of the server; it need not be running
${COMMANDS_HELP}
Settings, from the environment or a file .env (default in parentheses)
${settings.join("\n")}
  ${secrets.join(", ")} can also be read from a file: SESSION_SECRET_FILE=/run/secrets/…

Exit codes
  0 success   1 internal error   2 invalid settings or arguments   3 missing packages   4 database   5 port
  6 rejected: the user name is unknown or taken, the password is invalid, or files are damaged   130 interrupted
`;
}
