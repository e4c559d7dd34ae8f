/** Reads passwords: from a terminal without echo, or from the first line of the input. */

import { createInterface } from "node:readline";
import { Writable } from "node:stream";

export type Input = NodeJS.ReadStream;

/** The user pressed Ctrl-C or Ctrl-D at the prompt. */
class InterruptedError extends Error {
  constructor() {
    super("Canceled: nothing was changed");
    this.name = "InterruptedError";
  }
}

const LINE_MAX = 4_096;

/** Prompts on a terminal without echo. @throws InterruptedError on Ctrl-C and Ctrl-D */
export async function askSecret(question: string, input: Input, output: NodeJS.WritableStream): Promise<string> {
  const discard = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: discard, terminal: true, historySize: 0 });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  lines.once("line", resolve);
  lines.once("SIGINT", () => reject(new InterruptedError()));
  lines.once("close", () => reject(new InterruptedError()));
  output.write(question);
  try {
    return await promise;
  } finally {
    lines.close();
    output.write("\n");
  }
}

/**
 * The first line of the input without its line break, or undefined if it is empty. Reads at most
 * about 4,096 characters.
 */
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
