/** Validity of display names (docs/protocol.md §1). Anyone may show any; the username identifies. */

import { ChatError } from "../errors.ts";
import { isVisible, searchKey } from "./text.ts";

export const DISPLAY_NAME_MAX = 50;
/** What is worth cleaning; bounds the work. */
const RAW_MAX_UNITS = 1_000;
/** Marks on one letter: Vietnamese and polytonic Greek need three. More would cover other lines. */
const MARKS_MAX = 4;

/**
 * Characters that show nothing, or change how the text around them is shown: controls, formats such
 * as bidi overrides, default-ignorables, private use, unassigned. ZERO WIDTH JOINER and NON-JOINER
 * and variation selectors belong to emoji and to Persian and Indian words.
 */
const HIDDEN = /(?!\u200c|\u200d|\ufe0e|\ufe0f)[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;
/** Joiners and selectors that belong to nothing: at the start, after a space or another joiner. */
const STRAY = /(?<=^| |\u200c|\u200d)(?:\u200c|\u200d|\ufe0e|\ufe0f)+/gu;
const STACKED_MARKS = new RegExp(`(\\p{M}{${MARKS_MAX}})\\p{M}+`, "gu");

/**
 * Cleans and validates a display name: NFC, without hidden characters, with single spaces.
 *
 * @returns the name, or undefined for "", which removes it
 * @throws ChatError `bad_display_name`: not 1–50 characters, nothing visible, or an `@`, which
 *   marks a username beside it
 * @example checkDisplayName(" Ann\u202e  Smith ") // "Ann Smith"
 */
export function checkDisplayName(raw: string): { name: string; key: string } | undefined {
  if (raw === "") return undefined;
  if (raw.length > RAW_MAX_UNITS || !raw.isWellFormed()) throw new ChatError("bad_display_name");
  const name = raw
    .replace(/\p{White_Space}+/gu, " ")
    .replace(HIDDEN, "")
    .normalize("NFC")
    .replace(STACKED_MARKS, "$1")
    .replace(STRAY, "")
    .replace(/ {2,}/g, " ")
    .replace(/^(?:\p{M}| |\u200c|\u200d)+|(?: |\u200c|\u200d)+$/gu, "");
  if (!isVisible(name) || /[@\ufe6b\uff20]/u.test(name) || [...name].length > DISPLAY_NAME_MAX) {
    throw new ChatError("bad_display_name");
  }
  return { name, key: searchKey(name) };
}
