/** Starts TLS and verifies certificates as libpq does (manual §34.19). */

import { readFileSync } from "node:fs";
import { isIP, type Socket } from "node:net";
import tls from "node:tls";

import type { TlsSettings } from "../util/connection_string.ts";

/** A connection could not be opened, or broke. `code`: the system's, OpenSSL's, or one of ours. */
export class ConnectionError extends Error {
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.name = "ConnectionError";
    this.code = code;
  }
}

/** TLS failed; in some modes the connection continues without it. */
export class TlsError extends ConnectionError {}

/** Wraps any failure of a socket, keeping its code. */
export function asConnectionError(error: unknown): ConnectionError {
  if (error instanceof ConnectionError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return new ConnectionError(error instanceof Error ? error.message : String(error), code || "CONNECTION_FAILED");
}

/** As libpq, verifies the chain if a root certificate is given, and the name if `verify-full`. */
export function startTls(
  plain: Socket,
  name: string,
  settings: TlsSettings,
  begun: (socket: Socket) => void,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const fail = (error: unknown) => {
    const { message, code } = asConnectionError(error);
    reject(new TlsError(message, code));
  };
  try {
    plain.removeAllListeners();
    plain.on("error", fail);
    plain.resume();
    const socket = tls.connect({
      socket: plain,
      host: name,
      ...contextOf(settings, name),
      checkServerIdentity: () => undefined,
    });
    begun(socket);
    socket.once("secureConnect", () => {
      const wrong =
        settings.mode === "verify-full" ? tls.checkServerIdentity(name, socket.getPeerCertificate()) : undefined;
      if (wrong) fail(wrong);
      else resolve(socket);
    });
    socket.on("error", fail);
    socket.on("close", () =>
      fail(new ConnectionError("the server closed the connection during the TLS handshake", "TLS_CLOSED")),
    );
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    reject(error instanceof ConnectionError ? error : new ConnectionError(message, "TLS_FILES"));
  }
  return promise;
}

function contextOf(settings: TlsSettings, name: string): tls.ConnectionOptions {
  const { mode, rootCert, revoked, cert, key, keyPassword, sni, minVersion = "TLSv1.2", maxVersion, direct } = settings;
  return {
    // mutation: certificates are verified
    rejectUnauthorized: rootCert !== undefined || mode === "verify-full",
    ...(rootCert === undefined || rootCert === "system" ? {} : { ca: contentOf("sslrootcert", rootCert) }),
    ...(rootCert === "system" ? { ca: [...tls.getCACertificates("default"), ...tls.getCACertificates("system")] } : {}),
    ...(revoked === undefined ? {} : { crl: contentOf("sslcrl", revoked) }),
    ...(cert === undefined || key === undefined
      ? {}
      : { cert: contentOf("sslcert", cert), key: contentOf("sslkey", key) }),
    ...(keyPassword === undefined ? {} : { passphrase: keyPassword }),
    ...(sni && !isIP(name) ? { servername: name } : {}),
    ...(direct ? { ALPNProtocols: ["postgresql"] } : {}),
    minVersion,
    ...(maxVersion === undefined ? {} : { maxVersion }),
  };
}

function contentOf(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new ConnectionError(`The file ${file} in ${name} cannot be read (${code})`, "TLS_FILE");
  }
}
