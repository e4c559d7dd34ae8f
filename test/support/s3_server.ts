/** An S3 server in this process, and a proxy before it that fails on demand. */

import { startFauxqs } from "fauxqs";

import type { S3Settings } from "../../src/setting_readers.ts";

/** What the proxy does: forward, answer 500, never answer, or close the connection in the middle of a body. */
export type S3Behavior = "forward" | "fail" | "hang" | "cut";

export interface S3Server extends AsyncDisposable {
  readonly settings: S3Settings;
  readonly endpoint: string;
  /** Of the next requests; the last one stays. */
  behaviors: S3Behavior[];
  /** Requests since the start. */
  requests: number;
}

export async function startS3(prefix = "files/"): Promise<S3Server> {
  const server = await startFauxqs({ port: 0, host: "127.0.0.1", logger: false });
  server.createBucket("chat");
  const proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      s3.requests++;
      const behavior = s3.behaviors.length > 1 ? s3.behaviors.shift() : s3.behaviors[0];
      if (behavior === "fail") return new Response("<Error><Code>InternalError</Code></Error>", { status: 500 });
      if (behavior === "hang") return new Promise<Response>(() => {});
      const url = new URL(request.url);
      const body = await request.bytes();
      const answer = await fetch(`http://127.0.0.1:${server.port}${url.pathname}${url.search}`, {
        method: request.method,
        headers: request.headers,
        ...(body.length > 0 && { body }),
      });
      if (behavior !== "cut") return answer;
      const whole = await answer.bytes();
      return new Response(
        new ReadableStream({
          type: "direct",
          async pull(controller: ReadableStreamDirectController) {
            await controller.write(whole.subarray(0, whole.length >> 1));
            await controller.flush();
            await Bun.sleep(50);
            controller.close(new Error("cut"));
          },
        } as unknown as UnderlyingSource),
        { status: answer.status },
      );
    },
  });
  const endpoint = `http://127.0.0.1:${proxy.port}`;
  const s3: S3Server = {
    settings: {
      bucket: "chat",
      prefix,
      endpoint,
      region: undefined,
      accessKeyId: "test",
      secretAccessKey: "test secret",
    },
    endpoint,
    behaviors: ["forward"],
    requests: 0,
    async [Symbol.asyncDispose]() {
      await proxy.stop(true);
      await server.stop();
    },
  };
  return s3;
}
