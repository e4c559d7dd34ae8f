/** Names that claim to speak for the server or its admins. Sign-up refuses them; `chatify user add` accepts them. */

import { skeleton } from "../util/unicode_security.ts";

const WORDS =
  "abuse admin administration administrator admins chatify help helpdesk hostmaster moderator moderators noreply official operator postmaster root security service staff superadmin superuser support sysadmin system team webmaster " +
  "ασφάλεια βοήθεια διαχείριση διαχειριστής διαχειρίστρια συντονιστής συντονίστρια σύστημα υποστήριξη";

/** One word or several joined, in any case. */
const RESERVED = new RegExp(
  `^(?:${WORDS.split(" ")
    .flatMap((word) => [word, word[0]?.toUpperCase() + word.slice(1)])
    .flatMap(looks)
    .join("|")})+$`,
  "u",
);

/**
 * Whether a name is reserved or looks like one that is, ignoring case, accents, signs and a number in front or behind.
 *
 * @example isReserved("Chatify-Supp0rt24") // true
 */
export function isReserved(name: string): boolean {
  const bare = name.replace(/^[\p{Nd}_.-]+/u, "").replace(/[\p{Nd}_.-]+$/u, "");
  return [name, bare].flatMap(looks).some((look) => RESERVED.test(look));
}

/** Skeletons of a name in each case, without accents and the signs between letters. */
function looks(name: string): string[] {
  return [name, name.toLowerCase(), name.toUpperCase()].map((form) =>
    skeleton(form.replaceAll("ς", "σ")).replace(/[\p{M}_.-]/gu, ""),
  );
}
