/** Forwards messages as new ones. Loaded on demand. */

import { failureText, post } from "../sync/api.js";
import { caption } from "../util/file_text.js";
import { t } from "../util/translate.js";
import { chooseRecipients } from "./forward_dialog.js";
import { nameInList } from "./list_entry.js";
import { toast } from "./toast.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { MessageFile } from "../store/message_window.js" */

/**
 * Sends the messages to each recipient, with copies of their files. Returns whether the user is done with them: not after
 * cancelling, or without room in the outbox.
 * @param {Chat} chat
 * @param {readonly { seq: number, text: string, file?: MessageFile }[]} messages of the open conversation, as they were when the user chose them
 * @param {readonly string[]} [recipients] otherwise the user chooses them
 */
export async function forward(chat, messages, recipients) {
  const { conversations, outbox, sync } = chat;
  const from = conversations.getOrCreate(conversations.open ?? "");
  const peers = recipients ?? (await chooseRecipients(chat));
  if (!peers) return false;
  // Others may have edited or deleted them while the user was choosing.
  const now = messages.map((each) => from.message(each.seq) ?? each);
  const existing = now.filter(({ text }) => text !== "");
  if (existing.length === 0) {
    toast.show(t("message_deleted"));
    return true;
  }
  if (existing.length * peers.length > outbox.room) {
    toast.show(t("outbox_full"));
    return false;
  }
  try {
    for (const peer of peers)
      for (const message of existing) {
        const file = message.file && (await copyOf(message.file));
        sync.write(peer, caption(message), { file });
      }
  } catch (error) {
    toast.show(failureText(error));
    return false;
  }
  const [peer = "", ...others] = peers;
  const button = { name: t("open"), run: () => void (location.hash = encodeURIComponent(peer)) };
  if (others.length > 0) toast.show(t("forwarded_to_many", { count: peers.length }));
  else {
    const text = peer === chat.me ? t("saved_to_notes") : t("forwarded_to", { name: nameInList(chat, peer) });
    toast.show(text, peer === conversations.open ? {} : { button });
  }
  return true;
}

/**
 * A copy of a file on the server, to be sent.
 * @param {MessageFile} file
 * @returns {Promise<import("../store/pending.js").PendingFile>}
 */
async function copyOf(file) {
  const { id } = await post(`/files/${encodeURIComponent(file.id)}/copy`, {});
  return { ...file, id, key: `copy-${id}` };
}
