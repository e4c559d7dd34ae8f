/** Machines with only IPv4 or only IPv6: the listening address, and reachability. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ROOT } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const base = mkdtempSync(join(tmpdir(), "chatify-families-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const ONLY = {
  IPv6: "ip link set lo up && ip addr del 127.0.0.1/8 dev lo",
  IPv4: "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set lo up",
};
const PORT = "8000";
const MAIN = join(ROOT, "src/main.ts");

/** Runs a program in a network of its own. */
function within(network: string, command: string[], env: Record<string, string> = {}) {
  const { PATH = "" } = Bun.env;
  return Bun.spawn(["unshare", "--net", "sh", "-c", `${network} && exec "$@"`, "sh", ...command], {
    env: { PATH, HOME: base, PORT, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

const possible = (await within(`${ONLY.IPv6} && ${ONLY.IPv4}`, ["true"]).exited) === 0;

test.if(possible).each([
  { only: "IPv6", host: {}, found: "[::1]" },
  { only: "IPv6", host: { HOST: "::" }, found: "[::1]" },
  { only: "IPv4", host: {}, found: "127.0.0.1" },
  { only: "IPv4", host: { HOST: "::" }, found: "127.0.0.1" },
] as const)("with $only alone and $host, chatify serves at $found", async ({ only, host, found }) => {
  const env = { ...host, DATA_DIR: join(base, "data") };
  const chatify = within(ONLY[only], [process.execPath, MAIN], env);
  try {
    let said = "";
    void chatify.stdout.pipeTo(new WritableStream({ write: (part) => void (said += new TextDecoder().decode(part)) }));
    await until("it serves", () => said.includes("Ctrl-C"));
    const { PATH = "" } = Bun.env;
    const inside = (...command: string[]) =>
      Bun.spawnSync(["nsenter", `--net=/proc/${chatify.pid}/ns/net`, process.execPath, ...command], {
        env: { PATH, HOME: base, PORT, ...env },
      }).stdout.toString();
    expect(inside("-e", `console.log((await fetch("http://${found}:${PORT}/test")).status)`)).toBe("200\n");
    expect(inside(MAIN, "healthcheck")).toBe(`chatify is ready at ${found}:${PORT}\n`);
  } finally {
    chatify.kill("SIGINT");
    await chatify.exited;
  }
});
