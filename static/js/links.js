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
const START = /https?:\/\/|www\.|mailto:/gi;
/** Before a link; after anything else it is the middle of a longer word, or of an address of a kind that is not linked. */
const BEFORE = /[^\w.:/\\@#?&=%+~$!-]/;
/** No link goes on here. A bracket does not end one, for Wikipedia's addresses have them. */
const STOP = /[<>"`|«»“”„‟‹›、。，；：！？「」『』【】（）《》]/g;
/** Ends a sentence, not a link. */
const TRAILING = new Set(".,;:!?'*~’‘…·");
const OPENING = new Map([
  [")", "("],
  ["]", "["],
  ["}", "{"],
]);
const HOST = /^[\w.:[\]-]+$/;
const LOCAL = /[\w.+-]/;
const DOMAIN = /[\w.-]/;
/** Without a scheme, a host needs a last part as the world's have. */
const WITH_TLD = /\.[a-z]{2,24}$/i;

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
    if (INVISIBLE.test(run)) continue;
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
  for (; match; match = START.exec(run)) {
    const from = match.index;
    if (from > 0 && !BEFORE.test(run.charAt(from - 1))) continue;
    STOP.lastIndex = from;
    const to = endOf(run, from, STOP.exec(run)?.index ?? run.length);
    const href = hrefOf(run.slice(from, to));
    if (href === undefined) break;
    found.push([from, to, href]);
    START.lastIndex = to;
  }
  return found;
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
  if (!HOST.test(authority) || link.includes("\\") || (bare && !WITH_TLD.test(host))) return undefined;
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
  if (at < 1) return [];
  let from = at;
  while (from > 0 && LOCAL.test(run.charAt(from - 1))) from--;
  let to = at + 1;
  while (to < run.length && DOMAIN.test(run.charAt(to))) to++;
  to = endOf(run, from, to);
  const address = run.slice(from, to);
  const alone = /^[([{<"'«„“‘*]*$/.test(run.slice(0, from)) && /^[)\]}>"'»”’*.,;:!?…·]*$/.test(run.slice(to));
  return alone && isMail(address) ? [[from, to, `mailto:${address}`]] : [];
}

/** @param {string} text */
function isMail(text) {
  const [local = "", domain = "", ...more] = text.split("@");
  if (more.length > 0 || local.length > 64 || domain.length > 253) return false;
  return /^\w[\w.+-]*$/.test(local) && /^[a-z\d][a-z\d.-]*$/i.test(domain) && WITH_TLD.test(domain);
}
