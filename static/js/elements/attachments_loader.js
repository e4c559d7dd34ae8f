/** Loads what attaches and uploads files when the user attaches one, or when one waits to be sent. */

import { find, importAgain } from "../util/dom.js";
import { t } from "../util/translate.js";

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {import("./message_composer.js").MessageComposer} composer
 */
export function loadAttachmentsWhenNeeded(chat, composer) {
  /** @type {Promise<import("./attachments.js").Attachments | undefined> | undefined} */
  let loading;
  const load = () =>
    (loading ??= importAgain(() => import("./attachments.js"), "elements/attachments.js")
      .then((module) => module.startAttachments(chat, composer))
      .catch(() => (loading = undefined)));
  const loadForUser = async () => {
    const attachments = await load();
    if (!attachments) composer.showError("no_connection", t("no_connection"));
    return attachments;
  };
  const loadIfWaiting = () => void (loading ?? (chat.outbox.files.all().length > 0 && load()));
  chat.outbox.on("changed", loadIfWaiting);
  chat.connection.on("state", loadIfWaiting);
  find(composer, ".attach-button").addEventListener("click", async () => (await loadForUser())?.openMenu());
  document.addEventListener("paste", async (event) => {
    const { files = [], types = /** @type {string[]} */ ([]) } = event.clipboardData ?? {};
    const isText = types.includes("text/plain") && types.includes("text/html"); // of an office program, with a picture of it
    if (files.length === 0 || isText) return;
    event.preventDefault();
    const pasted = [...files];
    const peer = chat.conversations.open;
    (await loadForUser())?.add(peer, pasted);
  });
  // Wherever files are dropped, the browser must not open them in place of the page.
  let depth = 0; // of the elements that they are over
  for (const type of /** @type {const} */ (["dragenter", "dragover", "dragleave", "drop"])) {
    document.addEventListener(type, async (event) => {
      const { dataTransfer } = event;
      if (!dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (type === "dragover") return;
      depth = type === "drop" ? 0 : depth + (type === "dragenter" ? 1 : -1);
      const dropped = type === "drop" ? droppedFiles(dataTransfer) : undefined;
      const peer = chat.conversations.open;
      const attachments = await (dropped ? loadForUser() : load());
      if (dropped) attachments?.add(peer, dropped.files, dropped);
      else attachments?.dragged(depth > 0);
    });
  }
}

/** @param {DataTransfer} data */
function droppedFiles({ items }) {
  const dropped = [...items].filter(({ kind }) => kind === "file");
  const files = dropped.filter((item) => !item.webkitGetAsEntry()?.isDirectory);
  return {
    files: files.flatMap((item) => item.getAsFile() ?? []),
    hasFolders: files.length < dropped.length,
  };
}
