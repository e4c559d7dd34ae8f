/** A message as `/messages`, `/search` and `changed` frames show it to one of the two users. */

import type { Message } from "../db/conversations.ts";

/**
 * The JSON object of a message; fields after `seq` only when they apply.
 *
 * @param me the user it is for: a `ref` is shown to its sender only
 * @param options.peeked received messages are shown as read unless peeked at
 * @param options.hidesRead one of the two users hides read marks
 */
export function messageRow(row: Message, me: string, { peeked, hidesRead }: { peeked: boolean; hidesRead: boolean }) {
  const { sender, receiver, content, timestamp, id, seq, ref, replyTo, editedAt, isDeleted, revision } = row;
  const reactions = {
    ...(row.senderReaction !== null && { [sender]: row.senderReaction }),
    ...(row.receiverReaction !== null && { [receiver]: row.receiverReaction }),
  };
  return {
    sender,
    receiver,
    content,
    timestamp,
    read: receiver === me ? row.read || !peeked : row.read && !hidesRead,
    id,
    seq,
    ...(sender === me && ref !== null && !ref.startsWith("~") && { ref }),
    ...(replyTo !== null && { reply_to: replyTo }),
    ...(editedAt !== null && { edited_at: editedAt }),
    ...(isDeleted && { deleted: true }),
    ...(Object.keys(reactions).length > 0 && { reactions }),
    ...(revision !== null && { revision }),
  };
}
