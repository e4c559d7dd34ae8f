import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ConfigError, loadConfig } from "../../src/config.ts";
import { isGuessable } from "../../src/setting_readers.ts";

const directory = mkdtempSync(join(tmpdir(), "chatify-config-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** The faults of an environment, [] if it is valid. */
function faults(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults;
  }
}

/** Writes a file with this content and returns its path. */
function file(content: string): string {
  const path = join(directory, crypto.randomUUID());
  writeFileSync(path, content);
  return path;
}

const URL_FORM = "DATABASE_URL must look like postgres://user:password@host:5432/database";
const BUS_FORM = "BUS must be postgres, or look like valkey://user:password@host:6379 (valkeys:// with TLS)";
const SECRET = "0123456789abcdef0123456789abcdef";
const RANDOM = "9b1f6c0de2a74853b6d0f1c7e8a93524d06be1a7f3c95820";
const TOO_SHORT =
  "must have at least 32 characters, got 8; commas and spaces separate secrets; openssl rand -hex 32 generates a good one";
const PLACEHOLDER =
  "looks like a placeholder: anyone who guesses it can sign in as any user; openssl rand -hex 32 generates a good one, " +
  "or leave it unset and chatify generates and keeps one";

describe("config", () => {
  test("config needs no settings", () => {
    expect(loadConfig({})).toEqual({
      port: 8000,
      host: "0.0.0.0",
      databaseUrl: undefined,
      dataDir: "./data",
      sessionSecrets: undefined,
      bus: "postgres",
      signup: "open",
      rateLimit: true,
      limits: {
        sends: { burst: 20, perSecond: 5 },
        changes: { burst: 40, perSecond: 5 },
        bytes: 50_000_000,
        typing: { burst: 10, perSecond: 2 },
        watch: { burst: 20, perSecond: 1 },
        frames: { burst: 200, perSecond: 50 },
        sockets: 10,
        signUps: { burst: 30, perSecond: 30 / 3_600 },
        failedLogins: { burst: 10, perSecond: 10 / 900 },
        failedLoginsName: { burst: 50, perSecond: 50 / 900 },
        failedLoginsAddress: { burst: 100, perSecond: 100 / 900 },
        successfulLogins: { burst: 100, perSecond: 100 / 900 },
        successfulLoginsAddress: { burst: 500, perSecond: 500 / 900 },
        searches: { burst: 30, perSecond: 5 },
        history: { burst: 200, perSecond: 20 },
        messageSearches: { burst: 30, perSecond: 1 },
        drafts: { burst: 30, perSecond: 5 },
        profile: { burst: 10, perSecond: 30 / 3_600 },
        photos: { burst: 500, perSecond: 50 },
        account: { burst: 30, perSecond: 1 },
        files: { burst: 60, perSecond: 1 },
        fileRequests: { burst: 1_000, perSecond: 100 },
      },
      trustProxy: "off",
      allowedOrigins: undefined,
      drainSeconds: 0,
      editWindow: 86_400,
      deleteWindow: Number.POSITIVE_INFINITY,
      fileStore: undefined,
      fileMax: 25_000_000,
      filesQuota: 1_000_000_000,
      unsentMax: undefined,
      logLevel: "info",
      logFormat: "auto",
      metricsToken: undefined,
      unsafeDatabase: false,
    });
  });

  test.each([
    [{ PORT: "0" }, { port: 0 }],
    [{ PORT: " 65535 " }, { port: 65_535 }],
    [{ PORT: "" }, { port: 8000 }], // what compose files make of an unset variable
    [{ HOST: "::1" }, { host: "::1" }],
    [{ DATABASE_URL: "postgres://ann:x@db/chat" }, { databaseUrl: "postgres://ann:x@db/chat" }],
    [
      { DATABASE_URL: "host=/run dbname=chat", DATABASE_PASSWORD: "a&b" },
      { databaseUrl: "postgres:///?host=%2Frun&dbname=chat&password=a%26b" },
    ],
    [
      { DATABASE_URL: "postgres://ann@db/chat", DATABASE_PASSWORD: "a%b@c" },
      { databaseUrl: "postgres://ann:a%25b%40c@db/chat" },
    ],
    [{ DATABASE_URL: "postgres://ann:x@db/chat", DATABASE_PASSWORD: "y" }, { databaseUrl: "postgres://ann:x@db/chat" }],
    [
      { DATABASE_PASSWORD: "y", BUS_PASSWORD: "y" },
      { databaseUrl: undefined, bus: "postgres" },
    ],
    [{ BUS: "valkey://valkey:6379", BUS_PASSWORD: "y" }, { bus: "valkey://:y@valkey:6379" }],
    [{ BUS: "valkey://:x@valkey:6379", BUS_PASSWORD: "y" }, { bus: "valkey://:x@valkey:6379" }],
    [{ DATABASE_URL: "postgresql://db/chat?sslmode=require" }, { databaseUrl: "postgresql://db/chat?sslmode=require" }],
    [
      { DATABASE_URL: "postgres://ann@/chat?host=/run/postgresql" },
      { databaseUrl: "postgres://ann@localhost/chat?host=/run/postgresql" },
    ],
    [{ DATA_DIR: "/var/lib/chatify" }, { dataDir: "/var/lib/chatify" }],
    [{ SESSION_SECRET: SECRET }, { sessionSecrets: [SECRET] }],
    [{ SESSION_SECRET: `${SECRET},${RANDOM}` }, { sessionSecrets: [SECRET, RANDOM] }],
    [{ SESSION_SECRET: ` ${RANDOM} ,\n ${SECRET}\r\n` }, { sessionSecrets: [RANDOM, SECRET] }],
    [{ SESSION_SECRET: RANDOM, NODE_ENV: "production" }, { sessionSecrets: [RANDOM] }],
    [{ NODE_ENV: "production" }, { sessionSecrets: undefined }], // one is made and kept
    [{ BUS: "Postgres" }, { bus: "postgres" }],
    [{ BUS: "redis://bus:6379" }, { bus: "redis://bus:6379" }],
    [{ BUS: "rediss://:x@bus/2" }, { bus: "rediss://:x@bus/2" }],
    [{ BUS: "valkey://ann:x@bus" }, { bus: "valkey://ann:x@bus" }],
    [{ BUS: "valkeys://[::1]:6380" }, { bus: "valkeys://[::1]:6380" }],
    [{ RATE_LIMIT: "OFF" }, { rateLimit: false }],
    [{ TRUST_PROXY: "ON" }, { trustProxy: "on" as const }],
    [{ TRUST_PROXY: "10.0.0.0/8, FD00::/8,192.0.2.7" }, { trustProxy: ["10.0.0.0/8", "fd00::/8", "192.0.2.7"] }],
    [{ LIMIT_SENDS: "7/s" }, { limits: { sends: { burst: 7, perSecond: 7 } } }],
    [{ LIMIT_BYTES: "2 GiB / D" }, { limits: { bytes: 2_147_483_648 } }],
    [{ LIMIT_BYTES: "20000" }, { limits: { bytes: 20_000 } }],
    [{ LIMIT_LOGINS: "3/30S Burst 9" }, { limits: { failedLogins: { burst: 9, perSecond: 0.1 } } }],
    [{ LIMIT_SIGNUPS: " 90 / 2h " }, { limits: { signUps: { burst: 90, perSecond: 1 / 80 } } }],
    [{ LIMIT_SOCKETS: "3" }, { limits: { sockets: 3 } }],
    [
      { ALLOWED_ORIGINS: "https://Chat.example.org/, http://localhost:3000" },
      { allowedOrigins: ["https://chat.example.org", "http://localhost:3000"] },
    ],
    [{ DRAIN_SECONDS: "20" }, { drainSeconds: 20 }],
    [{ EDIT_WINDOW: "0" }, { editWindow: 0 }],
    [{ EDIT_WINDOW: "30M" }, { editWindow: 1_800 }],
    [{ EDIT_WINDOW: "90 s" }, { editWindow: 90 }],
    [{ DELETE_WINDOW: "7d" }, { deleteWindow: 604_800 }],
    [{ FILES: "Postgres" }, { fileStore: undefined }],
    [
      { FILES: "s3://chat", S3_ACCESS_KEY_ID: "a", S3_SECRET_ACCESS_KEY: "b" },
      { fileStore: { bucket: "chat", prefix: "", endpoint: undefined, accessKeyId: "a", secretAccessKey: "b" } },
    ],
    [
      {
        FILES: "s3://chat-files/of/ann/",
        S3_ENDPOINT: "http://s3:9000",
        S3_REGION: "eu-1",
        S3_ACCESS_KEY_ID: "a",
        S3_SECRET_ACCESS_KEY: "b",
      },
      { fileStore: { bucket: "chat-files", prefix: "of/ann/", endpoint: "http://s3:9000", region: "eu-1" } },
    ],
    [{ FILE_MAX: "100 MB" }, { fileMax: 100_000_000 }],
    [{ FILES_QUOTA: "2GiB" }, { filesQuota: 2_147_483_648 }],
    [{ DELETE_WINDOW: "Unlimited" }, { deleteWindow: Number.POSITIVE_INFINITY }],
    [{ UNSENT_MAX: "64 MiB" }, { unsentMax: 67_108_864 }],
    [{ UNSENT_MAX: "1.5gb" }, { unsentMax: 1_500_000_000 }],
    [{ UNSENT_MAX: "2000000" }, { unsentMax: 2_000_000 }],
    [{ LOG_LEVEL: "debug" }, { logLevel: "debug" as const }],
    [{ LOG_FORMAT: "json" }, { logFormat: "json" as const }],
    [{ METRICS_TOKEN: "0123456789abcdef" }, { metricsToken: "0123456789abcdef" }],
    [{ UNSAFE_DATABASE: "on" }, { unsafeDatabase: true }],
  ])("config accepts %p", (env, meant) => {
    expect(loadConfig(env)).toMatchObject(meant);
  });

  test.each([
    [{ PORT: "eighty" }, 'PORT must be a whole number from 0 to 65535, got "eighty"'],
    [{ PORT: "65536" }, 'PORT must be a whole number from 0 to 65535, got "65536"'],
    [{ PORT: "-1" }, 'PORT must be a whole number from 0 to 65535, got "-1"'],
    [{ LIMIT_BYTES: "50MB/h" }, 'LIMIT_BYTES must look like 50MB/d, 500kB/d or 2GiB/d, got "50MB/h"'],
    [{ LIMIT_BYTES: "0" }, 'LIMIT_BYTES must look like 50MB/d, 500kB/d or 2GiB/d, got "0"'],
    [{ UNSENT_MAX: "much" }, 'UNSENT_MAX must be a size of at least 1000000 bytes, such as 128MB or 64MiB, got "much"'],
    [{ UNSENT_MAX: "-5MB" }, 'UNSENT_MAX must be a size of at least 1000000 bytes, such as 128MB or 64MiB, got "-5MB"'],
    [
      { UNSENT_MAX: "900kB" },
      'UNSENT_MAX must be a size of at least 1000000 bytes, such as 128MB or 64MiB, got "900kB"',
    ],
    [{ PORT: "80.5" }, 'PORT must be a whole number from 0 to 65535, got "80.5"'],
    [{ DATABASE_URL: "mysql://ann:hunter22@db/chat" }, `DATABASE_URL begins with mysql://, but ${URL_FORM.slice(13)}`],
    [{ DATABASE_URL: "hunter22" }, URL_FORM],
    [
      { DATABASE_URL: "postgres://ann:hunter22@db" },
      "DATABASE_URL names no database: add one at the end, as in postgres://user:password@host:5432/chatify",
    ],
    [{ DATABASE_URL: "postgres://ann:hunter22%@db/chat" }, "DATABASE_URL contains a bare %: write it as %25"],
    [{ SESSION_SECRET: "hunter22" }, `SESSION_SECRET ${TOO_SHORT}`],
    [{ SESSION_SECRET: `${RANDOM},hunter22` }, `SESSION_SECRET (2 of 2) ${TOO_SHORT}`],
    [{ SESSION_SECRET: " , ,," }, "SESSION_SECRET contains only separators"],
    [{ SESSION_SECRET: `${RANDOM} `.repeat(9) }, "SESSION_SECRET must list at most 8 secrets, got 9"],
    [
      { SESSION_SECRET: "hunter22-change-me-hunter22-hunter2", NODE_ENV: "production" },
      `SESSION_SECRET ${PLACEHOLDER}`,
    ],
    [
      { SESSION_SECRET: `${RANDOM}\nhunter22-hunter22-hunter22-hunter22-`, NODE_ENV: "production" },
      `SESSION_SECRET (2 of 2) ${PLACEHOLDER}`,
    ],
    [{ BUS: "nats://ann:hunter22@bus" }, BUS_FORM],
    [{ BUS: "valkey://" }, BUS_FORM],
    [{ BUS: "hunter22" }, BUS_FORM],
    [
      { BUS: "redis://bus/hunter22" },
      "BUS may end with a database number and nothing else, as in valkey://host:6379/0",
    ],
    ...["#", "/", "?"].map((sign): [Record<string, string>, string] => [
      { BUS: `redis://ann:12${sign}hunter22@bus` },
      "BUS is not a valid URL: encode # / ? in the password as %23 %2F %3F",
    ]),
    [
      { DATABASE_URL: "postgres://ann:hunter22@db/chat?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem" },
      "DATABASE_URL names \"/nowhere/ca.pem\" in sslrootcert, which cannot be read: ENOENT: no such file or directory, open '/nowhere/ca.pem'",
    ],
    [{ BUS: "redis://ann:hunter22%@bus" }, "BUS contains an unencoded %: write it as %25"],
    [{ RATE_LIMIT: "none" }, 'RATE_LIMIT must be on or off, got "none"'],
    ...[
      "true",
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0/8",
      "::/129",
      "10.0.0.1:80",
      "proxy",
      "1.2.3.4/8/8",
      "fe80::1%eth0",
    ].map((given): [Record<string, string>, string] => [
      { TRUST_PROXY: `192.0.2.7, ${given}` },
      `TRUST_PROXY must be on, off, or a list of the proxies' addresses and networks such as 10.0.0.0/8, got "${given}"`,
    ]),
    ...["0/s", "5", "5/d", "5/0s", "-5/s", "5/s burst", "5/s burst 0", "5/s, burst 20", "fast", "1.5/s"].map(
      (given): [Record<string, string>, string] => [
        { LIMIT_SENDS: given },
        `LIMIT_SENDS must look like 5/s, 30/h or 10/15m, or 5/s burst 20, got "${given}"`,
      ],
    ),
    [{ LIMIT_SOCKETS: "0" }, 'LIMIT_SOCKETS must be a whole number from 1 to 1000, got "0"'],
    [
      { ALLOWED_ORIGINS: "https://a.example, *" },
      'ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "*"',
    ],
    [
      { ALLOWED_ORIGINS: "https://ann:hunter2@a.example" },
      'ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "https://…@a.example"',
    ],
    [
      { ALLOWED_ORIGINS: "https://a.example/chat" },
      'ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "https://a.example/chat"',
    ],
    [{ DRAIN_SECONDS: "21" }, 'DRAIN_SECONDS must be a whole number from 0 to 20, got "21"'],
    [{ EDIT_WINDOW: "a day" }, 'EDIT_WINDOW must look like 30m, 24h or 7d, or be 0 or unlimited, got "a day"'],
    [
      { FILES: "/var/files", S3_ACCESS_KEY_ID: "a", S3_SECRET_ACCESS_KEY: "b" },
      'FILES must be postgres, or look like s3://bucket/prefix, got "/var/files"',
    ],
    [{ FILES: "s3://chat" }, "FILES names a bucket, but S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is not set"],
    [
      { FILES: "s3://chat", S3_ENDPOINT: "s3.example.org", S3_ACCESS_KEY_ID: "a", S3_SECRET_ACCESS_KEY: "b" },
      "S3_ENDPOINT must look like https://s3.example.org, without keys",
    ],
    [{ FILE_MAX: "1TB" }, 'FILE_MAX must be a size from 1000 to 2000000000 bytes, such as 25MB or 1GiB, got "1TB"'],
    [{ DELETE_WINDOW: "0h" }, 'DELETE_WINDOW must look like 30m, 24h or 7d, or be 0 or unlimited, got "0h"'],
    [{ LOG_LEVEL: "all" }, 'LOG_LEVEL must be debug, info, warn or error, got "all"'],
    [{ LOG_FORMAT: "xml" }, 'LOG_FORMAT must be auto, text or json, got "xml"'],
    [
      { METRICS_TOKEN: "hunter22" },
      "METRICS_TOKEN must have at least 16 characters, got 8; openssl rand -hex 32 generates a good one",
    ],
    [{ UNSAFE_DATABASE: "yes" }, 'UNSAFE_DATABASE must be on or off, got "yes"'],
  ])("config rejects %p and prints no secret", (env, fault) => {
    expect(faults(env)).toEqual([fault]);
    expect(fault).not.toContain("hunter22");
  });

  test("config reports all faults at once", () => {
    const env = {
      PORT: "x",
      DATABASE_URL: "x",
      SESSION_SECRET: "x",
      RATE_LIMIT: "x",
      LOG_LEVEL: "x",
      DRAIN_SECONDS: "x",
    };
    const names = faults(env).map((fault) => fault.split(" ")[0]);
    expect(names.toSorted()).toEqual(Object.keys(env).toSorted());
  });

  test.each([
    ["words of an example", "please-change-me-before-you-go-live-1"],
    ["other such words", "changeme8f2kd93jd7s6a5l4k3j2h1g0f9d8"],
    ["a placeholder", "PLACEHOLDER_8f2kd93jd7s6a5l4k3j2h1g0"],
    ["yours", "your-32-character-key-goes-here-ok"],
    ["what it is", "my-super-secret-key-for-sessions-1!"],
    ["a word that is no secret", "Password8f2kd93jd7s6a5l4k3j2h1g0f9d"],
    ["a row of x", "XXXXXXXX-4f2a-9b1c-6d8e-0a7f5c3b2e19"],
    ["a row of digits", "0123456789abcdef0123456789abcdef"],
    ["a row of keys", "qwertyuiopasdfghjklzxcvbnm123456.;/"],
    ["one character", "a".repeat(64)],
    ["a short pattern", "k8#Qz!".repeat(6)],
    ["half of it twice", "9b1f6c0de2a748539b1f6c0de2a74853"],
    ["a pattern cut off", "k8#Qz!mN4p".repeat(4).slice(0, 37)],
    ["seven characters", "abcdefgfedcbaabcdefggfedcbaabcfdeg"],
  ])("config considers %s a placeholder, rejected in production", (_, secret) => {
    expect(isGuessable(secret)).toBeTrue();
    expect(faults({ SESSION_SECRET: secret, NODE_ENV: "production" })).toEqual([`SESSION_SECRET ${PLACEHOLDER}`]);
    expect(faults({ SESSION_SECRET: secret })).toEqual([]); // elsewhere the banner warns
  });

  test("config does not mistake a random secret for a placeholder", () => {
    for (let i = 0; i < 5_000; i++) {
      const bytes = new Bun.CryptoHasher("sha256").update(`${i}`).digest(); // as good as random, and the same each time
      for (const format of ["hex", "base64", "base64url"] as const)
        expect(isGuessable(bytes.toString(format))).toBeFalse();
    }
  });

  test("config reads every secret from a file, without the trailing newline", () => {
    const url = "postgres://ann:x@db/chat";
    const config = loadConfig({
      DATABASE_URL_FILE: file(`${url}\n`),
      SESSION_SECRET_FILE: file(`${SECRET}\n`),
      BUS_FILE: file("postgres\n"),
      METRICS_TOKEN_FILE: file(`${SECRET}\n`),
    });
    expect(config).toMatchObject({ databaseUrl: url, sessionSecrets: [SECRET], bus: "postgres", metricsToken: SECRET });
  });

  test("config rejects a secret's file that is missing, empty, too short, or set together with the secret", () => {
    const [missing, empty, short] = [join(directory, "none"), file("\n"), file("hunter22")];
    expect(faults({ SESSION_SECRET_FILE: missing })[0]).toStartWith(
      `SESSION_SECRET_FILE names "${missing}", which cannot be read: ENOENT`,
    );
    expect(faults({ SESSION_SECRET_FILE: empty })).toEqual([`SESSION_SECRET_FILE names "${empty}", which is empty`]);
    expect(faults({ SESSION_SECRET_FILE: short })[0]).toStartWith(
      "SESSION_SECRET must have at least 32 characters, got 8",
    );
    expect(faults({ SESSION_SECRET: SECRET, SESSION_SECRET_FILE: file(SECRET) })).toEqual([
      "SESSION_SECRET and SESSION_SECRET_FILE are both set; keep one of them",
    ]);
  });
});
