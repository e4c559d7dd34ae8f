/** The server's routes for uploads as functions. */

import { get, post, request } from "./api.js";

/** @typedef {{ begin: typeof begin, status: typeof status, put: typeof put, remove: typeof remove }} FileRequests */

/**
 * Begins an upload.
 * @param {{ name: string, type: string, size: number, original: boolean }} file original: keep every byte, also metadata
 * @returns {Promise<{ id: string, chunk_size: number }>}
 */
export function begin(file) {
  return post("/files", file);
}

/**
 * The chunks that the server has.
 * @param {string} id
 * @returns {Promise<{ have: number[], chunk_size: number, complete: boolean }>}
 */
export function status(id) {
  return get(`/files/${id}/status`);
}

/**
 * Sends a chunk; the last missing one completes the file.
 * @param {string} id
 * @param {number} n
 * @param {Blob} bytes
 * @param {AbortSignal} signal
 */
export async function put(id, n, bytes, signal) {
  await request(`/files/${id}/${n}`, { method: "PUT", body: bytes, signal });
}

/** Ends an upload. @param {string} id */
export function remove(id) {
  return post(`/files/${id}/remove`, {});
}
