/**
 * Stores the page for offline use through the service worker, which browsers support on https and
 * localhost only.
 */

/**
 * Registers the worker. Call it before the user signs in, so that the worker sees the chat's
 * document.
 */
export async function register() {
  if (!("serviceWorker" in navigator)) return undefined;
  try {
    await navigator.serviceWorker.register(scriptUrl());
    return await navigator.serviceWorker.ready;
  } catch {
    return undefined; // forbidden, or no network
  }
}

/** Sends the worker the list of files this page loaded. */
export async function cachePage() {
  const registration = await register();
  const version = new URL(import.meta.url).pathname.split("/")[2] ?? "";
  const files = performance
    .getEntriesByType("resource")
    .map(({ name }) => new URL(name).pathname)
    .filter((path) => path.startsWith(`/static/${version}/`));
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  registration?.active?.postMessage({ version, files: [...new Set(files)] });
}

/** The one script URL that the page's Trusted Types policy allows. @returns {any} */
function scriptUrl() {
  const path = "/sw.js";
  const types = /** @type {any} */ (globalThis).trustedTypes;
  return types ? types.createPolicy("service-worker", { createScriptURL: () => path }).createScriptURL("") : path;
}
