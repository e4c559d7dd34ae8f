/** Sends bytes that no client library would, such as partial requests and invalid frames, and reads the raw response. */

export interface Talk {
  /** All bytes of the server. */
  readonly heard: Buffer;
  /** Whether the server closed the connection, rather than our timeout. */
  readonly closed: boolean;
}

/** A TCP connection under the test's full control. */
export class RawSocket {
  readonly closed: Promise<void>;
  isClosed = false;
  #socket!: Bun.Socket;
  #unsent = Buffer.alloc(0);
  #heard: Buffer[] = [];
  #woken: (() => void) | undefined;

  private constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#close = () => {
      this.isClosed = true;
      this.#woken?.();
      resolve();
    };
  }

  readonly #close: () => void;

  static async connect(port: number): Promise<RawSocket> {
    const raw = new RawSocket();
    raw.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        drain: () => raw.#flush(),
        data: (_, bytes) => {
          raw.#heard.push(Buffer.from(bytes));
          raw.#woken?.();
        },
        close: () => raw.#close(),
        error: () => raw.#close(),
      },
    });
    return raw;
  }

  /** A WebSocket of a person, past its handshake; `heard` begins with the server's first frame. */
  static async upgraded(port: number, person: { name: string; cookie: string }, headers = ""): Promise<RawSocket> {
    const raw = await RawSocket.connect(port);
    raw.write(handshake(`/ws/${person.name}`, `Cookie: ${person.cookie}\r\n${headers}`));
    const head = await raw.until((heard) => heard.includes("\r\n\r\n"));
    if (!head.toString().startsWith("HTTP/1.1 101 ")) throw new Error(`No socket, but ${head.toString()}`);
    raw.#heard = [head.subarray(head.indexOf("\r\n\r\n") + 4)];
    return raw;
  }

  get heard(): Buffer {
    return Buffer.concat(this.#heard);
  }

  write(bytes: string | Uint8Array): void {
    const more = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    this.#unsent = Buffer.concat([this.#unsent, more]);
    this.#flush();
  }

  /** Waits for bytes of the server. @returns all so far, also if it closed the connection */
  async until(enough: (heard: Buffer) => boolean, withinMs = 5_000): Promise<Buffer> {
    const giveUpAt = performance.now() + withinMs;
    for (;;) {
      const { heard } = this;
      if (enough(heard) || this.isClosed) return heard;
      const leftMs = giveUpAt - performance.now();
      if (leftMs <= 0)
        throw new Error(`Not received within ${withinMs} ms, but ${JSON.stringify(heard.toString("latin1"))}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#woken = resolve;
      await Promise.race([promise, Bun.sleep(leftMs)]);
    }
  }

  /** Reads nothing until `resume`. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.terminate();
  }

  #flush(): void {
    if (this.isClosed || this.#unsent.length === 0) return;
    this.#unsent = this.#unsent.subarray(Math.max(0, this.#socket.write(this.#unsent)));
  }
}

/** Sends bytes, and collects the response until the server closes or `forMs` has passed. */
export async function talk(port: number, bytes: string | Uint8Array, forMs = 5_000): Promise<Talk> {
  const raw = await RawSocket.connect(port);
  raw.write(bytes);
  await Promise.race([raw.closed, Bun.sleep(forMs)]);
  const { isClosed: closed, heard } = raw;
  raw.end();
  return { heard, closed };
}

/** A WebSocket handshake. */
export function handshake(path: string, headers: string): string {
  return (
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`
  );
}

/** How a frame may be invalid (RFC 6455 §5.2). */
export interface FrameOptions {
  readonly fin?: boolean;
  /** RSV1 is 4, RSV2 2, RSV3 1. */
  readonly reserved?: number;
  readonly masked?: boolean;
  /** The size of the extended length, instead of the shortest. */
  readonly lengthBytes?: 0 | 2 | 8;
  /** Declared instead of the payload's length. */
  readonly length?: bigint;
}

/** A client's frame, valid without options. */
export function frame(opcode: number, payload: string | Uint8Array = "", options: FrameOptions = {}): Buffer {
  const bytes = Buffer.from(payload as string);
  const { fin = true, reserved = 0, masked = true, length = BigInt(bytes.length) } = options;
  const lengthBytes = options.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const head = Buffer.alloc(2 + lengthBytes);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) head.writeUInt16BE(Number(length), 2);
  if (lengthBytes === 8) head.writeBigUInt64BE(length, 2);
  if (!masked) return Buffer.concat([head, bytes]);
  const mask = Buffer.from([0x12, 0x34, 0x56, 0x78]);
  return Buffer.concat([head, mask, bytes.map((byte, i) => byte ^ (mask[i % 4] as number))]);
}

/** Parses a server's frames, which are neither masked nor fragmented. */
export function framesOf(heard: Buffer): { opcode: number; payload: Buffer }[] {
  const frames = [];
  for (let at = 0; at + 2 <= heard.length;) {
    const short = (heard[at + 1] as number) & 0x7f;
    const from = at + (short < 126 ? 2 : short === 126 ? 4 : 10);
    if (from > heard.length) break;
    const length =
      short < 126 ? short : short === 126 ? heard.readUInt16BE(at + 2) : Number(heard.readBigUInt64BE(at + 2));
    if (from + length > heard.length) break;
    frames.push({ opcode: (heard[at] as number) & 0x0f, payload: heard.subarray(from, from + length) });
    at = from + length;
  }
  return frames;
}

/** The code of a server's close frame, or undefined. */
export function closeCode(heard: Buffer): number | undefined {
  const close = framesOf(heard).find(({ opcode }) => opcode === OPCODE.close);
  return close && close.payload.length >= 2 ? close.payload.readUInt16BE(0) : undefined;
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
