/**
 * Names that imply speaking for the server or its admins. Sign-up rejects them; `chatify user add`
 * accepts them.
 */

import { skeleton } from "../util/unicode_security.ts";

const WORDS =
  "abuse admin administration administrator admins chatify help helpdesk hostmaster moderator moderators noreply official operator postmaster root security service staff superadmin superuser support sysadmin system team webmaster " +
  "ασφάλεια βοήθεια διαχείριση διαχειριστής διαχειρίστρια συντονιστής συντονίστρια σύστημα υποστήριξη";

/** Matches one word or several joined words, in any case. */
const RESERVED = new RegExp(
  `^(?:${WORDS.split(" ")
    .flatMap((word) => [word, word[0]?.toUpperCase() + word.slice(1)])
    .flatMap(bareSkeletonsOf)
    .join("|")})+$`,
  "u",
);

/**
 * Whether a name is or resembles a reserved one, ignoring case, accents, punctuation and leading or
 * trailing digits.
 *
 * @example isReserved("Chatify-Supp0rt24") // true
 */
export function isReserved(name: string): boolean {
  const bare = name.replace(/^[\p{Nd}_.-]+/u, "").replace(/[\p{Nd}_.-]+$/u, "");
  return [name, bare].flatMap(bareSkeletonsOf).some((form) => RESERVED.test(form));
}

/** Skeletons of a name in each case, without accents and punctuation. */
function bareSkeletonsOf(name: string): string[] {
  return [name, name.toLowerCase(), name.toUpperCase()].map((form) =>
    skeleton(form.replaceAll("ς", "σ")).replace(/[\p{M}_.-]/gu, ""),
  );
}
