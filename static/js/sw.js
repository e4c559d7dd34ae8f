/**
 * The service worker: opens the chat offline. It caches one version of the page, the document with
 * the files it loaded, and serves that document only when the server does not respond. Files under
 * a hashed path never change, so they are always served from the cache. Other requests are not
 * intercepted. It also opens the conversation of a clicked notification.
 */

// The page's type definitions lack the service worker's globals.
// oxlint-disable-next-line typescript/no-explicit-any
const worker = /** @type {any} */ (globalThis);

const CACHE_PREFIX = "chatify-"; // the page's version follows
/** After this time without a response, the cached page is shown. */
const NETWORK_TIMEOUT_MS = 2_500;

/**
 * The document last received; it is `no-store`, so no other cache has it.
 * @type {Response | undefined}
 */
let latest;

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("message", (/** @type {any} */ event) => {
  // The quota is exceeded or the network is down: the next visit tries again.
  event.waitUntil(storeVersion(event.data).catch(() => {}));
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { method, mode, url } = /** @type {Request} */ (event.request);
  const { origin, pathname } = new URL(url);
  if (origin !== worker.location.origin || method !== "GET") return;
  if (pathname.startsWith("/static/")) event.respondWith(file(event.request));
  else if (pathname === "/" && mode === "navigate") event.respondWith(page(event));
});

// Opens a clicked notification's conversation in the most recently used tab, or in a new one.
worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  const { notification } = event;
  notification.close();
  event.waitUntil(open(String(notification.data?.peer ?? "")));
});

/** @param {string} peer */
async function open(peer) {
  const tabs = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const tab = tabs.find((/** @type {any} */ { url }) => new URL(url).pathname === "/");
  if (!tab) return worker.clients.openWindow(`/#${encodeURIComponent(peer)}`);
  tab.postMessage({ open: peer }); // oxlint-disable-line unicorn/require-post-message-target-origin
  return tab.focus();
}

/**
 * The server's document, or the cached one when the server does not respond in time or responds
 * with a 5xx status.
 * @param {any} event
 * @returns {Promise<Response>}
 */
async function page(event) {
  const fetched = fetch(event.request).then(onDocument);
  event.waitUntil(fetched.catch(() => {})); // a late response still updates `latest`
  const timeout = new Promise((resolve) => setTimeout(resolve, NETWORK_TIMEOUT_MS));
  const response = await Promise.race([fetched.catch(() => {}), timeout]);
  if (response && response.status < 500) return response;
  return (await caches.match("/", { ignoreVary: true })) ?? response ?? fetched;
}

/** @param {Response} response */
async function onDocument(response) {
  if (response.ok) latest = response.clone();
  // Redirected to the login: no user is signed in.
  if (response.type === "opaqueredirect") await deleteVersions();
  return response;
}

/** @param {Request} request @returns {Promise<Response>} */
async function file(request) {
  const cached = await caches.match(request, { ignoreVary: true });
  if (cached) return cached;
  const response = await fetch(request);
  const name = CACHE_PREFIX + versionOf(request.url);
  // Loaded on demand: add it to its version's cache.
  if (isImmutable(response) && (await caches.has(name))) {
    const copy = response.clone();
    const cache = await caches.open(name);
    await cache.put(request, copy).catch(() => {});
  }
  return response;
}

/**
 * Caches a version: first its files, which are in the browser's cache already, then the document,
 * so that the document is never cached without its files. Deletes older versions.
 * @param {{ version: string, files: string[] }} page
 */
async function storeVersion({ version, files }) {
  const name = CACHE_PREFIX + version;
  const cache = await caches.open(name);
  const cached = new Set((await cache.keys()).map(({ url }) => new URL(url).pathname));
  const missing = files.filter((path) => path.startsWith(`/static/${version}/`) && !cached.has(path));
  const responses = await Promise.all(missing.map((path) => fetch(path, { cache: "force-cache" })));
  const document = cached.has("/") ? undefined : await documentOf(version);
  if (!responses.every(isImmutable) || !(document || cached.has("/"))) {
    if (!cached.has("/")) await caches.delete(name); // the server was upgraded meanwhile
    return;
  }
  await Promise.all(responses.map((response, index) => cache.put(missing[index] ?? "", response)));
  if (document) await cache.put("/", document);
  await deleteVersions(name);
}

/**
 * The document of a version; undefined when the server was upgraded or no user is signed in.
 * @param {string} version
 */
async function documentOf(version) {
  const response = latest ?? (await fetch("/"));
  latest = undefined;
  if (!response.ok || response.redirected) return undefined;
  const text = await response.clone().text();
  return text.includes(`/static/${version}/`) ? response : undefined;
}

/** Deletes every cached version except one. @param {string} [except] */
async function deleteVersions(except) {
  latest = undefined;
  for (const name of await caches.keys())
    if (name.startsWith(CACHE_PREFIX) && name !== except) await caches.delete(name);
}

/**
 * Whether the response belongs to the requested version: under an unknown hash the server serves
 * the current file.
 * @param {Response} response
 */
function isImmutable(response) {
  return response.ok && (response.headers.get("cache-control") ?? "").includes("immutable");
}

/** @param {string} url */
function versionOf(url) {
  return new URL(url).pathname.split("/")[2] ?? "";
}
