/** Everything of a person in one JSON text, a message a line. It tells, and marks nothing. */

import type { Database } from "../db/client.ts";
import type { Message } from "../db/conversations.ts";
import * as drafts from "../db/drafts.ts";
import * as everything from "../db/export.ts";
import type { ExportPart } from "../db/export.ts";
import { type Pages, pagesOf, ROWS_MAX } from "../db/pages.ts";
import * as choices from "../db/relationships.ts";
import type { Session } from "../db/sessions.ts";
import { inPieces, type Pieces } from "./stream.ts";

const CONVERSATIONS = 250;

/** The text in pieces. */
export async function* exported(db: Database, me: Session): Pieces {
  const about = {
    chatify: "export",
    username: me.username,
    exported_at: new Date().toISOString(),
    hide_read: me.hidesRead,
    hide_last_seen: me.hidesLastSeen,
  };
  yield JSON.stringify(about).slice(0, -1);
  for (const [field, choice] of [
    ["blocks", "blocks"],
    ["mutes", "muted"],
  ] as const) {
    const names = pagesOf<string>((after, limit) => choices.listRelated(db, choice, me.username, after, limit));
    yield yield* inPieces(names, { show: JSON.stringify, open: `,"${field}":[` });
  }
  yield yield* inPieces(drafts.pages(db, me.username), { show: showDraft, open: ',"drafts":[' });
  return yield* inPieces(messagePages(db, me), {
    show: (row) => `\n${JSON.stringify(row)}`,
    open: ',"messages":[',
    close: "\n]}\n",
  });
}

/** A draft in JSON. */
export function showDraft({ peer, text, at }: Pick<drafts.Draft, "peer" | "text" | "at">): string {
  return JSON.stringify({ peer, text, at });
}

/** All messages of a person, conversation by conversation. */
async function* messagePages(db: Database, me: Session): Pages<ReturnType<typeof told>> {
  let waiting: ExportPart[] = [];
  let after = 0;
  for (let isLast = false; !isLast || waiting.length > 0;) {
    const [now, later] = cut(waiting, ROWS_MAX);
    if (later.length === 0 && !isLast) {
      const found = await everything.conversations(db, me.username, after, CONVERSATIONS);
      isLast = found.length < CONVERSATIONS;
      after = found.at(-1)?.id ?? after;
      for (const conversation of found) waiting.push({ conversation, after: 0, to: conversation.lastSeq });
      continue;
    }
    const rows = await everything.messages(db, now);
    waiting = later;
    const last = rows.at(-1);
    if (last && rows.length < last.count) {
      waiting = [{ ...(now[last.part] as ExportPart), after: last.seq }, ...now.slice(last.part + 1), ...later];
    }
    yield rows.map((row) => told(row, me, (now[row.part] as ExportPart).conversation.hidden));
  }
  return [];
}

/** Parts of at most so many numbers together, and what is left. */
function cut(parts: readonly ExportPart[], most: number): [ExportPart[], ExportPart[]] {
  const now: ExportPart[] = [];
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
