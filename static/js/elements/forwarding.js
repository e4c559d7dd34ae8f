/** Forwards messages as new ones. Loaded on demand. */

import { t } from "../util/translate.js";
import { chooseRecipients } from "./forward_dialog.js";
import { nameInList } from "./list_entry.js";
import { toast } from "./toast.js";

/** @import { Chat } from "../chat_model.js" */

/**
 * Sends the texts to each recipient. Returns whether the user is done with them: not after
 * cancelling, or without room in the outbox.
 * @param {Chat} chat
 * @param {readonly { seq: number, text: string }[]} messages of the open conversation, as they were when the user chose them
 * @param {readonly string[]} [recipients] otherwise the user chooses them
 */
export async function forward(chat, messages, recipients) {
  const { conversations, outbox, sync } = chat;
  const from = conversations.getOrCreate(conversations.open ?? "");
  const peers = recipients ?? (await chooseRecipients(chat));
  if (!peers) return false;
  // Others may have edited or deleted them while the user was choosing.
  const texts = messages.map((each) => from.message(each.seq) ?? each).flatMap((each) => each.text || []);
  if (texts.length === 0) {
    toast.show(t("message_deleted"));
    return true;
  }
  if (texts.length * peers.length > outbox.room) {
    toast.show(t("outbox_full"));
    return false;
  }
  for (const peer of peers) for (const text of texts) sync.write(peer, text);
  const [peer = "", ...others] = peers;
  const button = { name: t("open"), run: () => void (location.hash = encodeURIComponent(peer)) };
  if (others.length > 0) toast.show(t("forwarded_to_many", { count: peers.length }));
  else {
    const text = peer === chat.me ? t("saved_to_notes") : t("forwarded_to", { name: nameInList(chat, peer) });
    toast.show(text, peer === conversations.open ? {} : { button });
  }
  return true;
}
