/** Everything of a person in one JSON text, a message a line. It tells, and marks nothing. */

import * as choices from "../db/choices.ts";
import type { Database } from "../db/client.ts";
import * as drafts from "../db/drafts.ts";
import * as everything from "../db/export.ts";
import type { Part } from "../db/export.ts";
import type { Message } from "../db/messages.ts";
import type { Session } from "../db/sessions.ts";
import { ROWS_FIRST, rowsLike } from "./stream.ts";

const CONVERSATIONS = 250;

/** The text in parts. */
export async function* exported(db: Database, me: Session): AsyncGenerator<string, void> {
  const about = {
    chatify: "export",
    username: me.username,
    exported_at: new Date().toISOString(),
    hide_read: me.hidesRead,
    hide_last_seen: me.hidesLastSeen,
    blocks: await choices.chosen(db, "blocks", me.username),
    mutes: await choices.chosen(db, "muted", me.username),
    drafts: await drafts.list(db, me.username),
  };
  yield `${JSON.stringify(about).slice(0, -1)},"messages":[`;
  let before = "\n";
  let most = ROWS_FIRST;
  let waiting: Part[] = [];
  let after = 0;
  for (let isLast = false; !isLast || waiting.length > 0;) {
    const [now, later] = cut(waiting, most);
    if (later.length === 0 && !isLast) {
      const found = await everything.conversations(db, me.username, after, CONVERSATIONS);
      isLast = found.length < CONVERSATIONS;
      after = found.at(-1)?.id ?? after;
      for (const conversation of found) waiting.push({ conversation, after: 0, to: conversation.lastSeq });
      continue;
    }
    waiting = later;
    const rows = await everything.messages(db, now);
    const text = rows
      .map((row) => JSON.stringify(told(row, me, (now[row.part] as Part).conversation.hidden)))
      .join(",\n");
    if (text === "") continue;
    most = rowsLike(rows.length, text.length);
    yield before + text;
    before = ",\n";
  }
  yield "\n]}\n";
}

/** Parts of at most so many numbers together, and what is left. */
function cut(parts: readonly Part[], most: number): [Part[], Part[]] {
  const now: Part[] = [];
  let room = most;
  for (const [i, part] of parts.entries()) {
    const length = part.to - part.after;
    if (length <= room) {
      now.push(part);
      room -= length;
      continue;
    }
    if (room > 0) now.push({ ...part, to: part.after + room });
    return [now, [{ ...part, after: part.after + room }, ...parts.slice(i + 1)]];
  }
  return [now, []];
}

/** As `/messages` tells it: whether others read mine is told unless one of the two hides it. */
function told(row: Message, me: Session, hidden: boolean) {
  const { sender, receiver, content, timestamp, id, seq } = row;
  const isOther = sender === me.username && receiver !== me.username;
  return { sender, receiver, content, timestamp, read: row.read && !(isOther && (hidden || me.hidesRead)), id, seq };
}

/** `Content-Disposition` of a file of somebody's (RFC 6266): the name as it is, and one for whoever reads ASCII only. */
export function attachment(username: string, date: Date): string {
  const day = date.toISOString().slice(0, 10);
  if (/^[\w.-]+$/.test(username)) return `attachment; filename="chatify-${username}-${day}.json"`;
  return `attachment; filename="chatify-${day}.json"; filename*=UTF-8''${encodeURIComponent(`chatify-${username}-${day}.json`)}`;
}
