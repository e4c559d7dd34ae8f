/** Conversations of thousands of messages, and which of them are on screen. */

import type { Page } from "playwright-core";

import type { TestApp } from "./harness.ts";
import { until } from "./until.ts";

/** The time between messages; the last one is from now. */
const EVERY_MS = 15 * 60_000;

/**
 * Writes a conversation of two users into the tables, read by both: “message” and its number, or the text in `special` by seq. The
 * first user wrote the even ones.
 */
export async function fillConversation(
  { sql }: TestApp,
  [low, high]: readonly [string, string],
  { count, special }: { count: number; special: Record<number, string> },
): Promise<void> {
  const contents = Array.from({ length: count }, (_, i) => special[i + 1] ?? `message ${i + 1}`);
  await sql`
    with c as (
      insert into conversations (low, high, last_seq, last_at, low_read_seq, high_read_seq, low_delivered_seq, high_delivered_seq)
      values (${low}, ${high}, ${count}, now(), ${count}, ${count}, ${count}, ${count})
      returning id
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select
      c.id, n, case when n % 2 = 0 then ${low} else ${high} end, case when n % 2 = 0 then ${high} else ${low} end, t.content,
      now() - (${count} - n) * ${EVERY_MS} * interval '1 millisecond', true
    from c, unnest(${contents}::text[]) with ordinality as t (content, n)
  `;
}

/** The seqs of the messages in the document. */
export const seqs = (page: Page) =>
  page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>(".message")].map(({ dataset }) => Number(dataset["seq"])),
  );

export const isContiguous = (all: readonly number[]) => all.every((seq, i) => i === 0 || seq === all[i - 1]! + 1);

/** Whether a message is within the viewport of the thread. */
export const isSeen = (page: Page, seq: number) =>
  page.evaluate((seq) => {
    const row = document.querySelector(`.message[data-seq="${seq}"]`)?.getBoundingClientRect();
    const view = document.querySelector("chat-thread .scroller")!.getBoundingClientRect();
    return row !== undefined && row.top >= view.top && row.bottom <= view.bottom;
  }, seq);

export const focusedSeq = (page: Page) =>
  page.evaluate(() => Number(document.activeElement?.closest<HTMLElement>(".message")?.dataset["seq"] ?? 0));

/** Waits until a message has the focus. */
export const focusAt = (page: Page, seq: number) =>
  until(`message ${seq} is focused`, async () => (await focusedSeq(page)) === seq);
