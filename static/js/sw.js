/**
 * The service worker: lets the chat open without a network. It keeps one version of the page, the document together with the
 * files it was seen with, and hands out that document only when the server does not answer. Files under a hashed path never
 * change, so the kept ones are as good as any. Everything else goes past it.
 * It also shows the conversation of a notification that was chosen.
 */

// The types of the page do not know the worker's surroundings.
// oxlint-disable-next-line typescript/no-explicit-any
const worker = /** @type {any} */ (globalThis);

const KEPT_AS = "chatify-"; // and the version
/** Who waits longer for the server sees the kept page. */
const PATIENCE_MS = 2_500;

/** The document as the server sent it last: it is `no-store`, so no other cache has it. @type {Response | undefined} */
let latest;

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("message", (/** @type {any} */ event) => {
  event.waitUntil(keep(event.data).catch(() => {})); // no room, or no network any more: the next visit tries again
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { method, mode, url } = /** @type {Request} */ (event.request);
  const { origin, pathname } = new URL(url);
  if (origin !== worker.location.origin || method !== "GET") return;
  if (pathname.startsWith("/static/")) event.respondWith(file(event.request));
  else if (pathname === "/" && mode === "navigate") event.respondWith(page(event));
});

// A notification was chosen: its conversation is shown in the tab that was used last, or in a new one.
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
 * The document: the server's, and the kept one only when it does not answer in time, or answers that it is not itself.
 * @param {any} event
 * @returns {Promise<Response>}
 */
async function page(event) {
  const asked = fetch(event.request).then(heard);
  event.waitUntil(asked.catch(() => {})); // what comes too late is kept for the next time
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const answer = await Promise.race([asked.catch(() => {}), patience]);
  if (answer && answer.status < 500) return answer;
  return (await caches.match("/", { ignoreVary: true })) ?? answer ?? asked;
}

/** @param {Response} answer */
async function heard(answer) {
  if (answer.ok) latest = answer.clone();
  if (answer.type === "opaqueredirect") await forget(); // to the login: nobody is signed in
  return answer;
}

/** @param {Request} request @returns {Promise<Response>} */
async function file(request) {
  const kept = await caches.match(request, { ignoreVary: true });
  if (kept) return kept;
  const answer = await fetch(request);
  const name = KEPT_AS + versionOf(request.url);
  // Loaded on demand: it joins the others of its version.
  if (isForEver(answer) && (await caches.has(name))) {
    const copy = answer.clone();
    const cache = await caches.open(name);
    await cache.put(request, copy).catch(() => {});
  }
  return answer;
}

/**
 * Keeps a version: its files, which the browser has already, and last the document, so that it is there with all of them or
 * not at all. Older versions go.
 * @param {{ version: string, files: string[] }} page
 */
async function keep({ version, files }) {
  const name = KEPT_AS + version;
  const cache = await caches.open(name);
  const kept = new Set((await cache.keys()).map(({ url }) => new URL(url).pathname));
  const missing = files.filter((path) => path.startsWith(`/static/${version}/`) && !kept.has(path));
  const answers = await Promise.all(missing.map((path) => fetch(path, { cache: "force-cache" })));
  const document = kept.has("/") ? undefined : await documentOf(version);
  if (!answers.every(isForEver) || !(document || kept.has("/"))) {
    if (!kept.has("/")) await caches.delete(name); // the server has gone on to another version meanwhile
    return;
  }
  await Promise.all(answers.map((answer, index) => cache.put(missing[index] ?? "", answer)));
  if (document) await cache.put("/", document);
  await forget(name);
}

/**
 * The document of a version; undefined when the server has another one by now, or nobody is signed in.
 * @param {string} version
 */
async function documentOf(version) {
  const answer = latest ?? (await fetch("/"));
  latest = undefined;
  if (!answer.ok || answer.redirected) return undefined;
  const text = await answer.clone().text();
  return text.includes(`/static/${version}/`) ? answer : undefined;
}

/** Forgets every version but one. @param {string} [but] */
async function forget(but) {
  latest = undefined;
  for (const name of await caches.keys()) if (name.startsWith(KEPT_AS) && name !== but) await caches.delete(name);
}

/** Whether it is the file of this very version: under an old hash the server hands out the current one. @param {Response} answer */
function isForEver(answer) {
  return answer.ok && (answer.headers.get("cache-control") ?? "").includes("immutable");
}

/** @param {string} url */
function versionOf(url) {
  return new URL(url).pathname.split("/")[2] ?? "";
}
