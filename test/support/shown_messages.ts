/** The messages that a page shows, and those that it should show according to the database. */

import type { Page } from "playwright-core";
import type { Sql } from "postgres";

export interface ShownMessage {
  readonly seq: number;
  readonly mine: boolean;
  readonly text: string;
  readonly isEdited: boolean;
  /** The text of the answered message. */
  readonly quote: string | null;
  /** The words of each reaction's label, sorted: emoji, count if several, names. */
  readonly reactions: readonly string[];
}

/** The rendered messages of the open conversation. */
export async function shownMessages(page: Page): Promise<ShownMessage[]> {
  const shown = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("chat-thread .message")].map((row) => ({
      seq: Number(row.dataset["seq"]),
      mine: row.classList.contains("mine"),
      text: row.querySelector(".text")!.textContent!,
      isEdited: row.classList.contains("edited"),
      quote: row.querySelector(".quote .line")?.textContent ?? null,
      reactions: [...row.querySelectorAll(".reaction")].map((each) => each.getAttribute("aria-label")!),
    })),
  );
  return shown.map(({ reactions, ...rest }) =>
    Object.assign(rest, { reactions: reactions.map(sortedWords).toSorted() }),
  );
}

interface Row {
  seq: number;
  sender: string;
  content: string;
  isDeleted: boolean;
  isEdited: boolean;
  replyTo: number | null;
  senderReaction: string | null;
  receiverReaction: string | null;
}

/** The stored messages as an English page of `me` should show them. */
export async function storedMessages(sql: Sql, me: string, peer: string): Promise<ShownMessage[]> {
  const rows = await sql<Row[]>`
    select
      seq::int, sender, content, deleted_at is not null as "isDeleted", edited_at is not null as "isEdited",
      reply_to::int as "replyTo", sender_reaction as "senderReaction", receiver_reaction as "receiverReaction"
    from messages
    where (sender = ${me} and receiver = ${peer}) or (sender = ${peer} and receiver = ${me})
    order by seq
  `;
  const textOf = ({ content, isDeleted }: Row) => (isDeleted ? "Message deleted" : content);
  return rows.map((row) => {
    const answered = rows.find(({ seq }) => seq === row.replyTo);
    return {
      seq: row.seq,
      mine: row.sender === me,
      text: textOf(row),
      isEdited: row.isEdited && !row.isDeleted,
      quote: answered && !row.isDeleted ? textOf(answered) : null,
      reactions: row.isDeleted ? [] : reactionLabels(row, me, peer),
    };
  });
}

function reactionLabels(row: Row, me: string, peer: string): string[] {
  const names = new Map<string, string[]>();
  for (const [emoji, isMine] of [
    [row.senderReaction, row.sender === me],
    [row.receiverReaction, row.sender !== me],
  ] as const)
    if (emoji) names.set(emoji, [...(names.get(emoji) ?? []), isMine ? "You" : peer]);
  return [...names]
    .map(([emoji, who]) => sortedWords([emoji, who.length > 1 ? who.length : "", ...who].join(" ")))
    .toSorted();
}

const sortedWords = (label: string) =>
  label
    .split(/[ ,]+/)
    .filter((word) => word !== "")
    .toSorted()
    .join(" ");
