/** Removes files from the browser's cache, where they could stay for a year. */

const RETRY_MS = 10_000;

/**
 * Requests a file that the server has deleted: its 404 replaces what the browser has cached. Tries
 * again until the server has answered.
 * @param {import("../store/message_window.js").MessageFile} file
 */
export async function evictFile({ id, placeholder }) {
  const paths = [`/files/${id}`, ...(placeholder === undefined ? [] : [`/files/${id}/preview`])];
  await Promise.all(paths.map(evict));
}

/** @param {string} path @returns {Promise<unknown>} */
function evict(path) {
  return fetch(path, { cache: "reload", method: "GET", headers: { accept: "application/json" } })
    .then((response) => response.status >= 500 && Promise.reject(new Error(String(response.status))))
    .catch(() => new Promise((resolve) => setTimeout(resolve, RETRY_MS)).then(() => evict(path)));
}
