/**
 * Which parts of a text are links. Only what shows where it leads: http, https, `www.` and mail addresses, of hosts written in
 * ASCII. What could show one host and lead to another (a name before an @, other alphabets, invisible characters, numbers
 * in disguise) stays text. So do bare names: `notes.md`, `main.rs` and `app.py` would be links as well as `example.org`.
 *
 * Each character is looked at a few times however the text is made; no expression here can backtrack.
 */

/** @typedef {{ text: string, href?: string }} Token the texts of all tokens together are the text */

/** Everything between spaces; U+FEFF shows nothing, so it is no space. */
const RUN = /[\S\ufeff]+/g;
const INVISIBLE = /[\p{Cc}\p{Cf}]/u;
/** The same without the joiners, which Persian spelling and family emoji need. */
const DECEPTIVE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}]/u;
const START = /https?:\/\/|www\.|mailto:/gi;
/** Before a link; after anything else it is the middle of a longer word, or of an address of a kind that is not linked. */
const BEFORE = /[^\w.:/\\@#?&=%+~$!-]/;
/** No link goes on here. A bracket does not end one, for Wikipedia's addresses have them. */
const STOP = /[<>"`|«»“”„‟‹›、。，；：！？「」『』【】（）《》〈〉〔〕｡､｢｣—―…،؛؟۔।]/g;
/** Ends a sentence, not a link. The last two are the Greek question mark and semicolon. */
const TRAILING = new Set(".,;:!?'*~’‘·–\u037e\u0387");
/** Ends a host when no space follows it. Slashes and dots of other scripts are not here: they imitate parts of an address. */
const BOUNDARY = /^(?:[,;!'*)}]|(?![ -~])[\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{Extended_Pictographic}\p{RI}])$/u;
/** Begins a word in another script, as in "example.comをご覧". Latin letters would be part of the same word. */
const OTHER_SCRIPT = /^(?![ -~]|\p{Script=Latin})[\p{L}\p{N}]$/u;
/** The rest of an internationalized host. */
const MORE_LABELS = /[\p{L}\p{M}\p{N}_·\u2010-\u2012-]+\.[\p{L}\p{N}]/uy;
const OPENING = new Map([
  [")", "("],
  ["]", "["],
  ["}", "{"],
]);
const HOST = /[\w.:[\]-]*/y;
const LOCAL = /[\w.+-]/;
const DOMAIN = /[\w.-]*/y;
/** Without a scheme, a host needs a last part as the world's have. */
const WITH_TLD = /\.(?:[a-z]{2,24}|xn--[a-z\d-]{2,59})$/i;
/** The other hosts whose end is certain: IP addresses, ports, this computer. */
const CERTAIN = /(?:\.\d{1,3}|\]|:\d{1,5}|^localhost)$/i;

/**
 * Splits a text into links and what is between them.
 *
 * @example links("see www.example.org.") // [{text: "see "}, {text: "www.example.org", href: "https://www.example.org/"}, {text: "."}]
 * @param {string} text
 * @returns {Token[]}
 */
export function links(text) {
  /** @type {Token[]} */
  const tokens = [];
  let done = 0;
  for (const { 0: run, index } of text.matchAll(RUN)) {
    if (DECEPTIVE.test(run)) continue;
    for (const [from, to, href] of linksOf(run)) {
      if (index + from > done) tokens.push({ text: text.slice(done, index + from) });
      done = index + to;
      tokens.push({ text: text.slice(index + from, done), href });
    }
  }
  if (done < text.length) tokens.push({ text: text.slice(done) });
  return tokens;
}

/**
 * The links of a text without spaces. What begins as a link and is none makes the rest of it suspect: then nothing more is looked for.
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
    const most = hostEnd(run, from, match[0].toLowerCase(), lastAt) ?? STOP.exec(run)?.index ?? run.length;
    const to = endOf(run, from, most);
    const link = run.slice(from, to);
    const href = INVISIBLE.test(link) ? undefined : hrefOf(link);
    if (href === undefined) break;
    found.push([from, to, href]);
    START.lastIndex = to;
  }
  return found;
}

/**
 * Where a link's host ends, when text follows it without a space; undefined when more of the link may follow.
 *
 * @param {string} run
 * @param {number} from where the link begins
 * @param {string} start what it begins with
 * @param {number} lastAt where the last @ is: what comes before one is no host
 */
function hostEnd(run, from, start, lastAt) {
  const isMail = start === "mailto:";
  const host = isMail ? lastAt + 1 : start === "www." ? from : from + start.length;
  const end = endOfMatch(isMail ? DOMAIN : HOST, run, host);
  return from < end && lastAt < end && textFollows(run, host, end) ? end : undefined;
}

/**
 * Whether a complete host ends at `end`, and text that can be no part of the address follows.
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
  // ".ελ" may be a last label, "Δες" after a full stop begins a sentence.
  return run.charAt(end - 1) !== "." || !OTHER_SCRIPT.test(next) || /\p{Lu}/u.test(next);
}

/**
 * Where a link ends that goes to `to` at most: before the sentence's end, and before a bracket that was opened outside of it.
 *
 * @param {string} run
 * @param {number} from
 * @param {number} to
 */
function endOf(run, from, to) {
  const link = run.slice(from, to);
  const count = (/** @type {string} */ letter) => link.split(letter).length - 1;
  /** @type {Map<string, number>} closing brackets that none in the link opens */
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
 * Where a link leads; undefined when it is none, or does not show where.
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
 * The mail address that a text without spaces is, but for brackets and the sentence's end.
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
 * Where a sticky pattern that matches at `from` ends.
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
