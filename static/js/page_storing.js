/** Decides when the page is stored for offline use. */

import { importAgain } from "./util/dom.js";

/** Storing the page waits this long after it has loaded. */
const IDLE_AFTER_LOAD_MS = 1_000;

/**
 * Stores the page for offline use shortly after it has loaded, so as not to delay it. Retries at the
 * next connection after a failure.
 * @param {Pick<import("./sync/connection.js").Connection, "on">} connection
 */
export function storeForOffline(connection) {
  let isStored = false;
  let isStoring = false;
  const store = async () => {
    if (isStoring || isStored) return;
    isStoring = true;
    const load = importAgain(() => import("./sync/service_worker.js"), "sync/service_worker.js");
    isStored = await load.then(({ storePage }) => storePage()).catch(() => false);
    isStoring = false;
  };
  const storeLater = () => setTimeout(store, IDLE_AFTER_LOAD_MS);
  connection.on("state", (state) => state === "open" && storeLater());
  if (document.readyState === "complete") storeLater();
  else addEventListener("load", storeLater);
}
