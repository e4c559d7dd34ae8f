/**
 * A light WebSocket client. The load generator shares two cores with what it measures, so a frame costs it one
 * `Bun.connect` callback and one slice. Frames are masked with zeros, which leaves their bytes unchanged (RFC 6455
 * requires a mask, not a random one).
 */

import type { Socket } from "bun";

export interface Listener {
  /** A text frame, in latin1. The first may arrive before `open` returns. */
  text(frame: string, client: SocketClient): void;
  /** After the frames of each chunk. */
  chunk?(): void;
  /** The server closed, or the connection broke. Not called after `close`. */
  closed?(code: number): void;
}

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export class SocketClient {
  /** Text frames and all bytes received after the handshake. */
  frames = 0;
  bytes = 0;
  readonly #listener: Listener;
  readonly #opened = Promise.withResolvers<void>();
  #socket: Socket<SocketClient> | undefined;
  #rest: Buffer | undefined;
  #unsent: Buffer | undefined;
  #request: string | undefined;
  #isHandshaking = true;
  #code = 1006;
  #closing = false;

  private constructor(listener: Listener, request: string) {
    this.#listener = listener;
    this.#request = request;
  }

  /** @throws Error with the server's answer when it rejects the handshake */
  static async open(options: {
    port: number;
    name: string;
    cookie: string;
    listener: Listener;
  }): Promise<SocketClient> {
    const { port, name, cookie, listener } = options;
    const lines = [
      `GET /ws/${name} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
      `Cookie: ${cookie}`,
    ];
    const client = new SocketClient(listener, `${lines.join("\r\n")}\r\n\r\n`);
    try {
      await Bun.connect({ hostname: "127.0.0.1", port, data: client, socket: HANDLERS });
      await client.#opened.promise;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
      throw new Error(`No socket for ${name}: ${error instanceof Error ? error.message : error}${code}`, {
        cause: error,
      });
    }
    return client;
  }

  /** Sends bytes made by `frame`. */
  write(bytes: Buffer): void {
    if (this.#unsent) {
      this.#unsent = Buffer.concat([this.#unsent, bytes]);
      return;
    }
    const written = this.#socket?.write(bytes) ?? 0;
    if (written < bytes.length) this.#unsent = Buffer.from(bytes.subarray(Math.max(0, written)));
  }

  send(text: string): void {
    this.write(frame(text));
  }

  /** Resets the connection, as a browser does when its page is closed. */
  close(): void {
    this.#closing = true;
    this.#socket?.terminate();
  }

  /** One object for all clients. */
  static readonly handlers = {
    binaryType: "buffer" as const,
    open(socket: Socket<SocketClient>) {
      socket.data.#socket = socket;
      socket.write(socket.data.#request ?? "");
      socket.data.#request = undefined;
    },
    data(socket: Socket<SocketClient>, bytes: Buffer) {
      socket.data.#receive(bytes);
    },
    drain(socket: Socket<SocketClient>) {
      const unsent = socket.data.#unsent;
      socket.data.#unsent = undefined;
      if (unsent) socket.data.write(unsent);
    },
    close(socket: Socket<SocketClient>) {
      socket.data.#onEnd(new Error("The connection was closed"));
    },
    error(socket: Socket<SocketClient>, error: Error) {
      socket.data.#onEnd(error);
    },
    connectError() {}, // Bun.connect rejects, too
  };

  #onEnd(error: Error): void {
    this.#opened.reject(error);
    if (!this.#isHandshaking && !this.#closing) this.#listener.closed?.(this.#code);
    this.#closing = true;
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
    this.#rest = undefined;
    let at = this.#isHandshaking ? this.#handshake(bytes) : 0;
    if (this.#isHandshaking) {
      this.#rest = Buffer.from(bytes);
      return;
    }
    const start = at;
    while (bytes.length - at >= 2) {
      let body = at + 2;
      let length = (bytes[at + 1] as number) & 127;
      if (length === 126) {
        if (bytes.length - at < 4) break;
        length = bytes.readUInt16BE(body);
        body += 2;
      } else if (length === 127) {
        if (bytes.length - at < 10) break;
        length = bytes.readUInt32BE(body + 4);
        body += 8;
      }
      if (bytes.length < body + length) break;
      this.#frame((bytes[at] as number) & 15, bytes, body, body + length);
      at = body + length;
    }
    this.bytes += at - start;
    if (at < bytes.length) this.#rest = Buffer.from(bytes.subarray(at)); // a copy: Bun reuses the chunk
    this.#listener.chunk?.();
  }

  #frame(opcode: number, bytes: Buffer, from: number, to: number): void {
    if (opcode === TEXT) {
      this.frames++;
      this.#listener.text(bytes.toString("latin1", from, to), this);
    } else if (opcode === PING) this.write(masked(PONG, bytes.toString("latin1", from, to)));
    else if (opcode === CLOSE && to - from >= 2) this.#code = bytes.readUInt16BE(from);
  }

  /** Reads the handshake's response. @returns where frames begin */
  #handshake(bytes: Buffer): number {
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    const answer = bytes.toString("latin1", 0, end);
    if (!answer.startsWith("HTTP/1.1 101 ")) {
      this.#opened.reject(new Error(`The server rejected the handshake: ${answer.split("\r\n")[0]}`));
      this.close();
      return 0;
    }
    this.#isHandshaking = false;
    this.#opened.resolve();
    return end + 4;
  }
}

const HANDLERS = SocketClient.handlers;

/** A text frame; `text` must be ASCII. */
export function frame(text: string): Buffer {
  return masked(TEXT, text);
}

function masked(opcode: number, text: string): Buffer {
  const extended = text.length > 125;
  const bytes = Buffer.alloc((extended ? 8 : 6) + text.length); // the four bytes of the mask stay zero
  bytes[0] = 128 | opcode;
  bytes[1] = 128 | (extended ? 126 : text.length);
  if (extended) bytes.writeUInt16BE(text.length, 2);
  bytes.write(text, extended ? 8 : 6, "latin1");
  return bytes;
}
