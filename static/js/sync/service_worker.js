/** Has the service worker keep the page for when there is no network. On plain http there is none, except on this machine. */

/** Puts the worker in its place. Before somebody signs in, so that it sees the chat's document go by. */
export async function register() {
  if (!("serviceWorker" in navigator)) return undefined;
  try {
    await navigator.serviceWorker.register(address());
    return await navigator.serviceWorker.ready;
  } catch {
    return undefined; // forbidden, or no network any more
  }
}

/** Hands the worker the list of what this page was made of. */
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

/** The one address that the page's policy lets become a script of its own. @returns {any} */
function address() {
  const path = "/sw.js";
  const types = /** @type {any} */ (globalThis).trustedTypes;
  return types ? types.createPolicy("service-worker", { createScriptURL: () => path }).createScriptURL("") : path;
}
