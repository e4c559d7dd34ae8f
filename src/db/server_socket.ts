/**
 * The driver's socket: tries the servers of a connection string in turn and, like libpq, resolves
 * names, applies timeouts and negotiates TLS. Sessions and queries are the driver's.
 */

import { promises as dns } from "node:dns";
import { EventEmitter } from "node:events";
import { existsSync } from "node:fs";
import { isIP, Socket } from "node:net";
import { join } from "node:path";

import type { ConnectionSettings, ServerAddress, TlsSettings } from "../util/connection_string.ts";
import { withTimeout } from "../util/timeout.ts";
import { asConnectionError, ConnectionError, startTls, TlsError } from "./tls.ts";

/** Default socket directories: Debian's, then PostgreSQL's own. */
const SOCKET_DIRECTORIES = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
/** A proxy accepts connections and closes them at once while the server behind it restarts. */
const HUNG_UP_RETRY_MS = 200;

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
const YES = 0x53;
const NO = 0x4e;
const ERROR_RESPONSE = 0x45;
const AUTHENTICATION = 0x52;
/** Authentication methods on which the driver would wait forever (manual §54.7). */
const UNKNOWN_AUTHENTICATION: Readonly<Record<number, string>> = { 2: "Kerberos", 6: "SCM", 7: "GSSAPI", 9: "SSPI" };
/** SQLSTATE of a rejection by pg_hba.conf, which may require or forbid TLS. */
const NOT_ALLOWED = "28000";

type Place = { readonly path: string } | { readonly host: string; readonly port: number };
type Encryption = "none" | "if-offered" | "required";

interface Options {
  readonly settings: ConnectionSettings;
  /** Asked only when there are several servers. */
  readonly isPrimary: (server: ServerAddress) => Promise<boolean>;
}

/**
 * All sockets of a client. A driver (3.4.9) that is ended while opening a socket leaks it: after a
 * database restart of 15 s, five pods held 11 to 29 extra connections each and had exhausted
 * PostgreSQL.
 */
export class Sockets {
  readonly #options: Options;
  readonly #open = new Set<ServerSocket>();
  #closed = false;

  constructor(options: Options) {
    this.#options = options;
  }

  readonly open = (): ServerSocket => {
    if (this.#closed) throw Object.assign(new Error("This client has ended"), { code: "CONNECTION_ENDED" }); // the driver's own code
    const socket = new ServerSocket(this.#options);
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    return socket;
  };

  /** Closes all sockets and opens no more. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#open) socket.destroySoon(); // after sending the driver's Terminate message
  }
}

/** Looks connected to the driver at once; holds its startup message until a server is found. */
class ServerSocket extends EventEmitter {
  /** Shown in the driver's errors. */
  readonly host: string;
  readonly port: number;
  readonly #options: Options;
  readonly #startupMessage = Promise.withResolvers<Uint8Array>();
  #socket: Socket | undefined;
  /** The connection attempt in progress. */
  #attempt: Socket | undefined;
  #closed = false;
  #keepAliveMs = 0;

  constructor(options: Options) {
    super();
    const [first] = options.settings.servers as [ServerAddress];
    this.host = first.name;
    this.port = first.port;
    this.#options = options;
    void this.#open();
  }

  get readyState(): "opening" | "open" | "closed" {
    if (this.#closed) return "closed";
    return this.#socket ? "open" : "opening";
  }

  setKeepAlive(on: boolean, ms: number): void {
    this.#keepAliveMs = on ? ms : 0;
  }

  write(bytes: Uint8Array, written?: () => void): boolean {
    if (this.#socket) return this.#socket.write(bytes, written);
    this.#startupMessage.resolve(Uint8Array.from(bytes));
    return true;
  }

  end(bytes: Uint8Array): void {
    this.#socket?.end(bytes);
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  destroy(): void {
    this.#attempt?.destroy();
    if (this.#socket) this.#socket.destroy();
    else this.#close();
  }

  /** Closes the socket after flushing pending writes. */
  destroySoon(): void {
    if (this.#socket) this.#socket.destroySoon();
    else this.destroy();
  }

  async #open(): Promise<void> {
    const { settings } = this.#options;
    const startupMessage = await this.#startupMessage.promise;
    let failure = new ConnectionError("None of the servers is the primary", "NO_PRIMARY");
    for (const server of settings.shuffled ? shuffled(settings.servers) : settings.servers) {
      if (this.#closed) return;
      try {
        if (settings.servers.length > 1 && !(await this.#options.isPrimary(server))) continue;
        for (const place of await placesOf(server, settings.connectTimeoutMs)) {
          if (this.#closed) return;
          try {
            return await this.#openAt(place, server, startupMessage);
          } catch (error) {
            failure = asConnectionError(error);
          }
        }
      } catch (error) {
        failure = asConnectionError(error);
      }
    }
    this.#fail(failure);
  }

  /** Connects to one address with the encryption that `sslmode` prefers, then with its fallback. */
  async #openAt(place: Place, server: ServerAddress, startupMessage: Uint8Array): Promise<void> {
    const { settings } = this.#options;
    const ways = "path" in place ? (["none"] as const) : encryptionsOf(settings.tls);
    const until = performance.now() + settings.connectTimeoutMs;
    for (const [i, encryption] of ways.entries()) {
      const another = i < ways.length - 1;
      try {
        const { socket, answer } = await this.#greet(place, { server, encryption, startupMessage, until });
        if (!another || sqlstateOf(answer) !== NOT_ALLOWED) return this.#adopt(socket, answer);
        socket.destroy();
      } catch (error) {
        if (!another || !(error instanceof TlsError)) throw error;
      }
    }
  }

  /** Sends the startup message, returns the first reply; retries if the server hangs up. */
  async #greet(
    place: Place,
    options: { server: ServerAddress; encryption: Encryption; startupMessage: Uint8Array; until: number },
  ): Promise<{ socket: Socket; answer: Buffer }> {
    for (;;) {
      const late = setTimeout(() => this.#attempt?.destroy(timedOut()), Math.max(0, options.until - performance.now()));
      try {
        const plain = await connected(place, (socket) => (this.#attempt = socket));
        const socket = await this.#secured(plain, options);
        socket.setKeepAlive(this.#keepAliveMs > 0, this.#keepAliveMs);
        const answer = answerOf(socket);
        socket.write(options.startupMessage);
        checkAuthentication(await answer);
        return { socket, answer: await answer };
      } catch (error) {
        this.#attempt?.destroy();
        if (!(error instanceof HungUp)) throw error;
        if (this.#closed || performance.now() + HUNG_UP_RETRY_MS > options.until) throw timedOut();
        await Bun.sleep(HUNG_UP_RETRY_MS);
      } finally {
        clearTimeout(late);
      }
    }
  }

  async #secured(
    plain: Socket,
    { server, encryption }: { server: ServerAddress; encryption: Encryption },
  ): Promise<Socket> {
    const settings = this.#options.settings.tls;
    if (encryption === "none") return plain;
    if (!settings.direct) {
      const answer = answerOf(plain);
      plain.write(SSL_REQUEST);
      const [word, ...more] = await answer;
      if (word === NO && encryption === "if-offered") return plain;
      if (word === NO || word === ERROR_RESPONSE)
        throw new TlsError("The server does not support TLS", "TLS_NOT_OFFERED");
      // Not PostgreSQL, or bytes injected before TLS (CVE-2021-23222).
      if (word !== YES || more.length > 0) throw new HungUp();
    }
    return startTls(plain, server.name, settings, (socket) => (this.#attempt = socket));
  }

  #adopt(socket: Socket, answer: Buffer): void {
    this.#attempt = undefined;
    if (this.#closed) return void socket.destroy();
    this.#socket = socket;
    socket.removeAllListeners();
    socket.on("error", (error) => {
      // The driver removes its listeners before the last error, which would end the process.
      if (this.listenerCount("error") > 0) this.emit("error", asConnectionError(error));
    });
    socket.on("close", () => this.#close());
    socket.on("drain", () => this.emit("drain"));
    socket.on("data", (bytes) => this.emit("data", bytes));
    this.emit("data", answer);
    socket.resume();
  }

  #fail(error: ConnectionError): void {
    if (this.#closed) return;
    if (this.listenerCount("error") > 0) this.emit("error", error);
    this.#close(true);
  }

  #close(failed = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#startupMessage.resolve(new Uint8Array());
    this.emit("close", failed);
  }
}

/** The connection was closed without a reply, or the reply was not PostgreSQL's. */
class HungUp extends Error {}

function timedOut(): ConnectionError {
  return new ConnectionError("The server did not respond in time", "CONNECT_TIMEOUT");
}

/** The servers in random order, all orders equally likely (Fisher–Yates). */
function shuffled(servers: readonly ServerAddress[]): ServerAddress[] {
  const order = [...servers];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j] as ServerAddress, order[i] as ServerAddress];
  }
  return order;
}

/** Resolves the name for every connection, so a moved server is found as soon as DNS is updated. */
async function placesOf({ name, ip, port }: ServerAddress, timeoutMs: number): Promise<Place[]> {
  const file = `.s.PGSQL.${port}`;
  if (name.startsWith("/")) return [{ path: join(name, file) }];
  if (name === "" && !ip) {
    const directory = SOCKET_DIRECTORIES.find((directory) => existsSync(join(directory, file)));
    return [directory === undefined ? { host: "localhost", port } : { path: join(directory, file) }];
  }
  const host = ip ?? name;
  if (isIP(host)) return [{ host, port }];
  return (await lookUp(host, timeoutMs)).map(({ address }) => ({ host: address, port }));
}

/**
 * One lookup per name at a time: a hanging one blocks a thread of the pool that hashes passwords.
 */
const lookUps = new Map<string, Promise<{ address: string }[]>>();

function lookUp(host: string, timeoutMs: number): Promise<{ address: string }[]> {
  const underWay = lookUps.get(host) ?? dns.lookup(host, { all: true }).finally(() => lookUps.delete(host));
  lookUps.set(host, underWay);
  return withTimeout(underWay, timeoutMs, timedOut);
}

function encryptionsOf({ mode }: TlsSettings): readonly Encryption[] {
  if (mode === "disable") return ["none"];
  if (mode === "allow") return ["none", "required"];
  return mode === "prefer" ? ["if-offered", "none"] : ["required"];
}

/** Opens a socket. @param begun is passed the socket before it is connected */
function connected(place: Place, begun: (socket: Socket) => void): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = new Socket();
  begun(socket);
  socket.once("connect", () => resolve(socket));
  socket.on("error", reject);
  socket.on("close", () => reject(new HungUp()));
  if ("path" in place) socket.connect(place.path);
  else socket.connect(place.port, place.host);
  return promise;
}

/** Reads the server's first bytes, then pauses the socket. @throws HungUp if it closes first */
function answerOf(socket: Socket): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  socket.once("data", (bytes: Buffer) => {
    socket.pause();
    resolve(bytes);
  });
  socket.on("error", reject);
  socket.on("end", () => reject(new HungUp()));
  socket.on("close", () => reject(new HungUp()));
  socket.resume();
  return promise;
}

function checkAuthentication(answer: Buffer): void {
  const kind = answer[0] === AUTHENTICATION && answer.length >= 9 ? answer.readUInt32BE(5) : 0;
  const unknown = UNKNOWN_AUTHENTICATION[kind];
  if (unknown !== undefined) throw new ConnectionError(unknown, "AUTHENTICATION");
}

/** The SQLSTATE of an ErrorResponse (manual §54.7); undefined for other messages. */
function sqlstateOf(answer: Buffer): string | undefined {
  return answer[0] === ERROR_RESPONSE ? /\0C(\w{5})\0/.exec(answer.toString("latin1"))?.[1] : undefined;
}
