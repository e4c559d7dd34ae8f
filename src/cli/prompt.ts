/** Asks for passwords: on a terminal without showing them, else from the first line of what comes in. */

import { createInterface } from "node:readline";
import { Writable } from "node:stream";

/** Where answers come from; `isTTY` when a person types them. */
export type Input = NodeJS.ReadStream;

/** Somebody pressed Ctrl-C instead of answering. */
class InterruptedError extends Error {
  constructor() {
    super("Nothing was done");
    this.name = "InterruptedError";
  }
}

const LINE_MAX = 4_096;

/**
 * Asks a person at a terminal; what they type is not shown.
 *
 * @throws InterruptedError at Ctrl-C, and at Ctrl-D
 */
export async function askSecret(question: string, input: Input, shown: NodeJS.WritableStream): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: nowhere, terminal: true, historySize: 0 });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  lines.once("line", resolve);
  lines.once("SIGINT", () => reject(new InterruptedError()));
  lines.once("close", () => reject(new InterruptedError()));
  shown.write(question);
  try {
    return await promise;
  } finally {
    lines.close();
    shown.write("\n");
  }
}

/** The first line of what comes in, without its end; undefined when nothing does, or no end of it. */
export async function firstLine(input: Input): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of input) {
    text += typeof chunk === "string" ? chunk : decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.includes("\n") || text.length > LINE_MAX) break;
  }
  const [line = ""] = text.split("\n");
  return line.replace(/\r$/, "") || undefined;
}
