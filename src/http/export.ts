/** The export of all data of a user: one JSON text, one message per line. Marks nothing as read. */

import { messageRow } from "../chat/message_row.ts";
import type { Message } from "../db/conversations.ts";
import type { Database } from "../db/database.ts";
import * as drafts from "../db/drafts.ts";
import * as exportRows from "../db/export.ts";
import type { ExportPart } from "../db/export.ts";
import { type ArrangedConversation, arrangedConversations } from "../db/memberships.ts";
import { pagesOf, type RowPages, ROWS_MAX } from "../db/paging.ts";
import { shownPhoto } from "../db/profiles.ts";
import * as relationships from "../db/relationships.ts";
import type { Session } from "../db/sessions.ts";
import { type Pieces, toPieces } from "./stream.ts";

const CONVERSATIONS = 250;

export async function* exportOf(db: Database, me: Session): Pieces {
  const photo = await shownPhoto(db, me.username, me.nameKey);
  const about = {
    chatify: "export",
    username: me.username,
    display_name: me.displayName,
    photo: photo ? `data:image/webp;base64,${Buffer.from(photo.bytes).toString("base64")}` : null,
    exported_at: new Date().toISOString(),
    hide_read: me.hidesRead,
    hide_last_seen: me.hidesLastSeen,
  };
  yield JSON.stringify(about).slice(0, -1);
  for (const [field, relation] of [
    ["blocks", "block"],
    ["mutes", "mute"],
  ] as const) {
    const names = pagesOf<string>((after, limit) => relationships.listRelated(db, relation, me.username, after, limit));
    yield yield* toPieces(names, { show: JSON.stringify, open: `,"${field}":[` });
  }
  const arranged = pagesOf<ArrangedConversation>((after, limit) =>
    arrangedConversations(db, me.username, after?.peer, limit),
  );
  yield yield* toPieces(arranged, { show: arrangedJson, open: ',"conversations":[' });
  yield yield* toPieces(drafts.pages(db, me.username), { show: draftJson, open: ',"drafts":[' });
  return yield* toPieces(messagePages(db, me), {
    show: (row) => `\n${JSON.stringify(row)}`,
    open: ',"messages":[',
    close: "\n]}\n",
  });
}

export function draftJson({ peer, text, at }: Pick<drafts.Draft, "peer" | "text" | "at">): string {
  return JSON.stringify({ peer, text, at });
}

function arrangedJson({ peer, muted, mutedUntil, pinnedAt, isArchived, isMarkedUnread }: ArrangedConversation): string {
  return JSON.stringify({
    peer,
    muted,
    muted_until: mutedUntil,
    pinned_at: pinnedAt,
    archived: isArchived,
    marked_unread: isMarkedUnread,
  });
}

/** All messages of a user, conversation by conversation. */
async function* messagePages(db: Database, me: Session): RowPages<ReturnType<typeof shown>> {
  let pending: ExportPart[] = [];
  let after = 0;
  for (let isLast = false; !isLast || pending.length > 0;) {
    const [now, later] = splitAt(pending, ROWS_MAX);
    if (later.length === 0 && !isLast) {
      const found = await exportRows.conversations(db, me.username, after, CONVERSATIONS);
      isLast = found.length < CONVERSATIONS;
      after = found.at(-1)?.id ?? after;
      for (const conversation of found) pending.push({ conversation, after: 0, to: conversation.lastSeq });
      continue;
    }
    const rows = await exportRows.messages(db, now);
    pending = later;
    const last = rows.at(-1);
    if (last && rows.length < last.count) {
      pending = [{ ...(now[last.part] as ExportPart), after: last.seq }, ...now.slice(last.part + 1), ...later];
    }
    yield rows.map((row) => shown(row, me, (now[row.part] as ExportPart).conversation.hidesRead));
  }
  return [];
}

/** Splits parts: the first list spans at most `most` sequence numbers, the second is the rest. */
function splitAt(parts: readonly ExportPart[], most: number): [ExportPart[], ExportPart[]] {
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

/** As in `/messages`, without `ref` and `revision`, which mean nothing elsewhere. */
function shown(row: Message, me: Session, hidesRead: boolean) {
  const options = { hidesRead: hidesRead || me.hidesRead };
  const { ref: _ref, revision: _revision, ...shown } = messageRow(row, me.username, options);
  return shown;
}

/**
 * `Content-Disposition` of the export (RFC 6266): the user name, with an ASCII fallback for clients
 * that need one.
 */
export function attachment(username: string, date: Date): string {
  const day = date.toISOString().slice(0, 10);
  if (/^[\w.-]+$/.test(username)) return `attachment; filename="chatify-${username}-${day}.json"`;
  return `attachment; filename="chatify-${day}.json"; filename*=UTF-8''${encodeURIComponent(`chatify-${username}-${day}.json`)}`;
}
