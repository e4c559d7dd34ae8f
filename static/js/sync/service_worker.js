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

/**
 * Stores the page and the files it loads on demand; without the latter while the browser saves data.
 * Returns whether all were fetched; otherwise call it again.
 */
export async function storePage() {
  // Firefox and Safari have no `connection`.
  const savesData = /** @type {any} */ (navigator).connection?.saveData === true;
  const isComplete = savesData || (await fetchOnDemandFiles().catch(() => false));
  await cachePage();
  return isComplete;
}

/**
 * Fetches the files that the page loads on demand into the browser's cache, so that their first use
 * works offline even without a worker. One at a time, so as not to delay the user's own requests.
 */
async function fetchOnDemandFiles() {
  const root = new URL(import.meta.url.replace(/\/js\/.*/, "/"));
  /** @type {string[]} */
  const files = await (await fetch(new URL("js/on_demand.json", root))).json();
  for (const path of files) {
    const response = await fetch(new URL(path, root), { priority: "low" });
    await response.arrayBuffer(); // only complete responses are cached
    if (!response.ok) return false;
  }
  return true;
}

/** Sends the worker the list of files this page loaded. */
async function cachePage() {
  const registration = await register();
  const version = new URL(import.meta.url).pathname.split("/")[2] ?? "";
  const files = performance
    .getEntriesByType("resource")
    .map(({ name }) => new URL(name).pathname)
    .filter((path) => path.startsWith(`/static/${version}/`));
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  registration?.active?.postMessage({ version, files: [...new Set(files)] });
}

/** @type {any} */
let trustedUrl;

/** The one script URL that the page's Trusted Types policy allows. A policy can be created once. @returns {any} */
function scriptUrl() {
  const path = "/sw.js";
  const types = /** @type {any} */ (globalThis).trustedTypes;
  if (!types) return path;
  return (trustedUrl ??= types.createPolicy("service-worker", { createScriptURL: () => path }).createScriptURL(""));
}
