/** Uploads and downloads of files, as a client makes them. */

import type { Person } from "./harness.ts";

export const CHUNK = 256 * 1024;

/** Random bytes of this length. */
export function content(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** Sends a chunk of a file's bytes. */
export function putChunk(who: Person, id: string, n: number, bytes: Uint8Array): Promise<Response> {
  return who.put(`/files/${id}/${n}`, bytes.subarray(n * CHUNK, (n + 1) * CHUNK));
}

/** Uploads a file, chunk after chunk. @param rest of the announcement @returns its id, and the last answer */
export async function upload(
  who: Person,
  bytes: Uint8Array,
  rest: object = {},
): Promise<{ id: string; last: Response }> {
  const answer = await who.post("/files", { name: "a.bin", size: bytes.length, ...rest });
  if (answer.status !== 201) throw new Error(`POST /files answered ${answer.status}: ${await answer.text()}`);
  const { id } = (await answer.json()) as { id: string };
  let last = answer;
  for (let n = 0; n * CHUNK < bytes.length; n++) last = await putChunk(who, id, n, bytes);
  return { id, last };
}

/** Downloads a file. @param path `/preview`, or nothing @throws unless it answers 200 or 206, with all its bytes */
export async function fetchFile(
  who: Person,
  id: string,
  path: "" | "/preview" = "",
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; bytes: Buffer }> {
  const answer = await who.get(`/files/${id}${path}`, headers);
  if (answer.status !== 200 && answer.status !== 206) {
    throw new Error(`/files/${id}${path} answered ${answer.status}: ${await answer.text()}`);
  }
  return { status: answer.status, headers: answer.headers, bytes: Buffer.from(await answer.bytes()) };
}
