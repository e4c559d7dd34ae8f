/**
 * Finds links in a text. Links show where they lead: http, https, `www.` and mail addresses with
 * ASCII hosts. Text that could display one host and lead to another (a name before an @, other
 * alphabets, invisible characters, obfuscated numbers) stays text. So do bare names, because
 * `notes.md`, `main.rs` and `app.py` look like `example.org`.
 *
 * Linear time: each character is examined a bounded number of times, and no expression backtracks.
 */

/** @typedef {{ text: string, href?: string }} Token the tokens' texts concatenate to the input */

/** Text between spaces; U+FEFF is invisible and counts as no space. */
const RUN = /[\S\ufeff]+/g;
const INVISIBLE = /[\p{Cc}\p{Cf}]/u;
/** The same except joiners, which Persian spelling and family emoji need. */
const DECEPTIVE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}]/u;
const START = /https?:\/\/|www\.|mailto:/gi;
/**
 * Characters that may precede a link; after others it is part of a longer word or of an unsupported
 * address.
 */
const BEFORE = /[^\w.:/\\@#?&=%+~$!-]/;
/** Ends a link. Brackets do not, because Wikipedia's addresses contain them. */
const STOP = /[<>"`|«»“”„‟‹›、。，；：！？「」『』【】（）《》〈〉〔〕｡､｢｣—―…،؛؟۔।]/g;
/**
 * Punctuation after a link that belongs to the sentence. The last two are the Greek question mark
 * and semicolon.
 */
const TRAILING = new Set(".,;:!?'*_~’‘·–\u037e\u0387");
/**
 * Ends a host that no space follows. Slashes and dots of other scripts are excluded: they imitate
 * parts of an address.
 */
const BOUNDARY = /^(?:[,;!'*)}]|(?![ -~])[\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{Extended_Pictographic}\p{RI}])$/u;
/**
 * Begins a word in another script, as in "example.comをご覧"; Latin letters would continue the same
 * word.
 */
const OTHER_SCRIPT = /^(?![ -~]|\p{Script=Latin})[\p{L}\p{N}]$/u;
/** Further labels of an internationalized host. */
const MORE_LABELS = /[\p{L}\p{M}\p{N}_·\u2010-\u2012-]+\.[\p{L}\p{N}]/uy;
const OPENING = new Map([
  [")", "("],
  ["]", "["],
  ["}", "{"],
]);
const HOST = /[\w.:[\]-]*/y;
const LOCAL = /[\w.+-]/;
const DOMAIN = /[\w.-]*/y;
/** Without a scheme, a host needs a plausible top-level domain. */
const WITH_TLD = /\.(?:[a-z]{2,24}|xn--[a-z\d-]{2,59})$/i;
/** Hosts without a top-level domain whose end is unambiguous: IP addresses, ports, localhost. */
const CERTAIN = /(?:\.\d{1,3}|\]|:\d{1,5}|^localhost)$/i;

/**
 * Splits a text into links and the text between them.
 *
 * @example links("see www.example.org.") // [{text: "see "}, {text: "www.example.org", href: "https://www.example.org/"}, {text: "."}]
 * @param {string} text
 * @returns {Token[]}
 */
export function links(text) {
  /** @type {Token[]} */
  const tokens = [];
  let end = 0;
  for (const { 0: run, index } of text.matchAll(RUN)) {
    if (DECEPTIVE.test(run)) continue;
    for (const [from, to, href] of linksOf(run)) {
      if (index + from > end) tokens.push({ text: text.slice(end, index + from) });
      end = index + to;
      tokens.push({ text: text.slice(index + from, end), href });
    }
  }
  if (end < text.length) tokens.push({ text: text.slice(end) });
  return tokens;
}

/**
 * Whether a text has invisible characters that could hide where a link leads.
 * @param {string} text
 */
export function isDeceptive(text) {
  return DECEPTIVE.test(text);
}

/**
 * The links of a text without spaces. Stops at an invalid link, because it makes the rest suspect.
 *
 * @param {string} run
 * @returns {[from: number, to: number, href: string][]}
 */
function linksOf(run) {
  /** @type {[number, number, string][]} */
  const found = [];
  START.lastIndex = 0;
  let match = START.exec(run);
  if (!match) return mailIn(run);
  const lastAt = run.lastIndexOf("@");
  for (; match; match = START.exec(run)) {
    const from = match.index;
    if (from > 0 && !BEFORE.test(run.charAt(from - 1))) continue;
    STOP.lastIndex = from;
    const limit = hostEnd(run, from, match[0].toLowerCase(), lastAt) ?? STOP.exec(run)?.index ?? run.length;
    const to = endOf(run, from, limit);
    const link = run.slice(from, to);
    const href = INVISIBLE.test(link) ? undefined : hrefOf(link);
    if (href === undefined) break;
    found.push([from, to, href]);
    START.lastIndex = to;
  }
  return found;
}

/**
 * The end of a link's host if text follows without a space; undefined if more of the link may
 * follow.
 *
 * @param {string} run
 * @param {number} from where the link begins
 * @param {string} start its prefix
 * @param {number} lastAt index of the last @; text before it is no host
 */
function hostEnd(run, from, start, lastAt) {
  const isMail = start === "mailto:";
  const host = isMail ? lastAt + 1 : start === "www." ? from : from + start.length;
  const end = endOfMatch(isMail ? DOMAIN : HOST, run, host);
  return from < end && lastAt < end && textFollows(run, host, end) ? end : undefined;
}

/**
 * Whether a complete host ends at `end`, followed by text that cannot be part of the address.
 *
 * @param {string} run
 * @param {number} from
 * @param {number} end
 */
function textFollows(run, from, end) {
  const next = String.fromCodePoint(run.codePointAt(end) ?? 0x20).normalize("NFKC");
  if (!BOUNDARY.test(next) && !OTHER_SCRIPT.test(next)) return false;
  const host = run.slice(from, endOf(run, from, end));
  if (!WITH_TLD.test(host) && !CERTAIN.test(host)) return false;
  if (endOfMatch(MORE_LABELS, run, end) > end) return false;
  // ".ελ" may be a last label; "Δες" after a full stop begins a sentence.
  return run.charAt(end - 1) !== "." || !OTHER_SCRIPT.test(next) || /\p{Lu}/u.test(next);
}

/**
 * The end of a link that extends to `to` at most: before trailing punctuation and before a bracket
 * opened outside the link.
 *
 * @param {string} run
 * @param {number} from
 * @param {number} to
 */
function endOf(run, from, to) {
  const link = run.slice(from, to);
  const count = (/** @type {string} */ letter) => link.split(letter).length - 1;
  /** @type {Map<string, number>} closing brackets opened outside the link */
  const outside = new Map();
  for (; to > from; to--) {
    const last = run.charAt(to - 1);
    const opening = OPENING.get(last);
    if (opening !== undefined) {
      const left = outside.get(last) ?? count(last) - count(opening);
      if (left <= 0) break;
      outside.set(last, left - 1);
    } else if (!TRAILING.has(last)) break;
  }
  return to;
}

/**
 * A link's target; undefined when the text is no link or does not show its target.
 *
 * @param {string} link
 */
function hrefOf(link) {
  if (/^mailto:/i.test(link)) return isMail(link.slice(7)) ? `mailto:${link.slice(7)}` : undefined;
  const bare = /^www/i.test(link);
  const address = bare ? `https://${link}` : link;
  const authority = address.slice(address.indexOf("//") + 2).split(/[/?#]/, 1)[0] ?? "";
  const host = authority.replace(/:\d*$/, "");
  const isHost = endOfMatch(HOST, authority, 0) === authority.length;
  if (!isHost || link.includes("\\") || (bare && !WITH_TLD.test(host))) return undefined;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  return url?.hostname === host.toLowerCase() ? url.href : undefined;
}

/**
 * The mail address in a text without spaces, apart from brackets and punctuation around it.
 *
 * @param {string} run
 * @returns {[from: number, to: number, href: string][]}
 */
function mailIn(run) {
  const at = run.indexOf("@");
  if (at < 1 || run.includes("@", at + 1)) return [];
  let from = at;
  while (from > 0 && LOCAL.test(run.charAt(from - 1))) from--;
  const end = endOfMatch(DOMAIN, run, at + 1);
  const to = endOf(run, from, end);
  const address = run.slice(from, to);
  const alone =
    /^[([{<"'«„“‘*]*$/.test(run.slice(0, from)) &&
    (/^[)\]}>"'»”’*.,;:!?…·]*$/.test(run.slice(to)) || textFollows(run, at + 1, end));
  return alone && isMail(address) ? [[from, to, `mailto:${address}`]] : [];
}

/**
 * The end of a sticky pattern's match at `from`.
 *
 * @param {RegExp} pattern
 * @param {string} text
 * @param {number} from
 */
function endOfMatch(pattern, text, from) {
  pattern.lastIndex = from;
  pattern.test(text);
  return Math.max(from, pattern.lastIndex);
}

/** @param {string} text */
function isMail(text) {
  const [local = "", domain = "", ...more] = text.split("@");
  if (more.length > 0 || local.length > 64 || domain.length > 253) return false;
  return /^\w[\w.+-]*$/.test(local) && /^[a-z\d][a-z\d.-]*$/i.test(domain) && WITH_TLD.test(domain);
}
