/** Certificates for tests, made with openssl. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The files of a certificate and its key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A CA with its files in `directory`. */
export class Authority {
  readonly #directory: string;
  readonly #own: Certificate;

  constructor(directory: string, name = "authority") {
    this.#directory = directory;
    this.#own = this.#files(name);
    openssl("req", "-x509", ...NEW_KEY, this.#own.key, "-out", this.#own.cert, "-days", "30", "-subj", `/CN=${name}`);
  }

  /** The CA's certificate file. */
  get root(): string {
    return this.#own.cert;
  }

  /** The CA's own certificate, self-signed, for use by a server. */
  get itself(): Certificate {
    return this.#own;
  }

  /** Revokes a certificate. @returns the file of the revocation list */
  revoke({ cert }: Certificate): string {
    const [config, index, list] = ["revoke.cnf", "revoked.txt", "revoked.pem"].map((name) =>
      join(this.#directory, name),
    );
    const lines = ["[ca]", "default_ca=own", "[own]", `database=${index}`, "default_md=sha256", "default_crl_days=30"];
    writeFileSync(config as string, lines.join("\n"));
    writeFileSync(index as string, "");
    const own = ["ca", "-config", config as string, "-cert", this.#own.cert, "-keyfile", this.#own.key];
    openssl(...own, "-revoke", cert);
    openssl(...own, "-gencrl", "-out", list as string);
    return list as string;
  }

  /** @param options.names subject alternative names, as in `DNS:localhost,IP:127.0.0.1` @param options.days validity; negative: expired */
  sign(name: string, options: { names?: string; days?: number } = {}): Certificate {
    const { cert, key } = this.#files(name);
    const request = join(this.#directory, `${name}.csr`);
    const authority = ["-CA", this.#own.cert, "-CAkey", this.#own.key, "-CAcreateserial"];
    const names = options.names === undefined ? [] : ["-addext", `subjectAltName=${options.names}`];
    openssl("req", ...NEW_KEY, key, "-out", request, "-subj", `/CN=${name}`, ...names);
    const days = String(options.days ?? 30);
    openssl("x509", "-req", "-in", request, ...authority, "-copy_extensions", "copy", "-out", cert, "-days", days);
    return { cert, key };
  }

  #files(name: string): Certificate {
    return { cert: join(this.#directory, `${name}.crt`), key: join(this.#directory, `${name}.key`) };
  }
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"];

function openssl(...words: string[]): void {
  const { success, stderr } = Bun.spawnSync(["openssl", ...words]);
  if (!success) throw new Error(`openssl ${words[0]}: ${stderr}`);
}
