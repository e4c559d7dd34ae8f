/** A message as `/messages`, `/search` and `changed` frames show it to one of the two users. */

import type { Message } from "../db/conversations.ts";

/**
 * The JSON object of a message; fields after `seq` only when they apply.
 *
 * @param me the user it is for: a `ref` is shown to its sender only
 * @param options.marksRead the response marks received messages as read, and so shows them as read
 * @param options.hidesRead one of the two users hides read marks
 */
export function messageRow(
  row: Message,
  me: string,
  { marksRead = false, hidesRead }: { marksRead?: boolean; hidesRead: boolean },
) {
  const { sender, receiver, content, timestamp, id, seq, ref, replyTo, editedAt, isDeleted, file, revision } = row;
  const reactions = {
    ...(row.senderReaction !== null && { [sender]: row.senderReaction }),
    ...(row.receiverReaction !== null && { [receiver]: row.receiverReaction }),
  };
  return {
    sender,
    receiver,
    content,
    timestamp,
    read: receiver === me ? row.read || marksRead : row.read && !hidesRead,
    id,
    seq,
    ...(sender === me && ref !== null && !ref.startsWith("~") && { ref }),
    ...(replyTo !== null && { reply_to: replyTo }),
    ...(editedAt !== null && { edited_at: editedAt }),
    ...(isDeleted && { deleted: true }),
    ...(Object.keys(reactions).length > 0 && { reactions }),
    ...(file !== null && { file }),
    ...(revision !== null && { revision }),
  };
}
