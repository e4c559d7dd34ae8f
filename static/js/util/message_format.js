/**
 * Formats messages: quotes, lists, code, bold, italic and strike, as Markdown marks them. No
 * library fits: Markdown's are five to twenty times this size, produce HTML, which the page's
 * trusted types forbid, or know no stricter rule than CommonMark's, which turns `2*3*4`, `^_^ ^_^`
 * and `>_< >_<` into italics.
 *
 * Stricter than CommonMark: marks of emphasis stand at the edge of words and within one line, and a
 * quote needs a space after its mark. Unmatched marks stay text. Linear time: each level of nesting
 * examines each character a bounded number of times, and levels are bounded.
 */

import { isDeceptive, links } from "./links.js";

/** @typedef {{ tag: "blockquote" | "ul" | "ol" | "li" | "pre" | "strong" | "em" | "s", value?: number, language?: string, children: Part[] }} Element */
/** @typedef {import("./links.js").Token & { code?: true }} Text */
/** @typedef {Element | Text} Part text, or what the page shows as an element */

/** Quotes and lists within each other. */
const DEPTH_MAX = 3;
/** Whether a text may contain marks. */
const MARKS = /[*_~`>]|- |\d\. /;
const QUOTE = />[ ]+(?=\S)/y;
const QUOTED_LINE = />(?: |(?=\n|$))/y;
/** Not a second marker after the first: "- - -" is a line of dashes. */
const ITEM = / {0,3}((?:[-*]|(0|[1-9]\d{0,2})\.) +)(?![-*](?:\s|$))(?=\S)/y;
const MARGIN = / {2,}(?=\S)/y;
const FENCE = /`{3,}/g;
const LANGUAGE = /^([\w+#-]{1,20})\n/;
/** Next to a letter, a backtick is an apostrophe: don`t. A capturing group, for `split`. */
const CODE = /((?<![\p{L}\p{N}`])`[^`\n]+`(?![\p{L}\p{N}`]))/u;
const EMPHASIS = /[*_~]+/g;
/** Emphasis begins a word, or follows a script that puts no spaces between words. */
const OPENS =
  /(?<=^|[\s\p{Ps}\p{Pi}\p{Extended_Pictographic}\ufe0f"'“”…—–¿¡\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{scx=Thai}])[*_~]+(?=[^\s*_~])/uy;
/** Before a full stop, emphasis ends a sentence; in `__init__.py` it would not. */
const CLOSES =
  /(?<=[^\s*_~])[*_~]+(?=$|[\s\p{Pe}\p{Pf}\p{Extended_Pictographic}"'“;!?…—–·\u037e\u3001\u3002\uff01\uff0c\uff1f\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{scx=Thai}]|[.,:](?![\p{L}\p{N}]))/uy;
/** @type {Record<string, "strong" | "em" | "s">} */
const TAGS = { "*": "em", _: "em", "**": "strong", __: "strong", "~~": "s" };

/**
 * The parts of a message. Their texts concatenate to the message without its marks.
 *
 * @example formatted("so **it** is") // [{text: "so "}, {tag: "strong", children: [{text: "it"}]}, {text: " is"}]
 * @param {string} text
 * @returns {Part[]}
 */
export function formatted(text) {
  return MARKS.test(text) ? blocks(text, 0) : links(text);
}

/**
 * The text as previews show it, without marks except those of lists.
 * @param {string} text
 */
export function plainText(text) {
  return MARKS.test(text) ? textOf(blocks(text, 0)) : text;
}

/** @param {Part[]} parts @returns {string} */
function textOf(parts) {
  return parts
    .map((part) => {
      if (!("tag" in part)) return part.text;
      const marker = part.tag !== "li" ? "" : part.value === undefined ? "• " : `${part.value}. `;
      return marker + textOf(part.children);
    })
    .join("");
}

/**
 * @param {string} text
 * @param {number} depth
 * @returns {Part[]}
 */
function blocks(text, depth) {
  /** @type {Part[]} */
  const parts = [];
  /** The next fence; null after the last one. @type {RegExpExecArray | null | undefined} */
  let open;
  for (let at = 0; at < text.length;) {
    const start = at;
    if (depth < DEPTH_MAX && matches(QUOTE, text, at)) {
      let inside = "";
      for (let mark; (mark = matches(QUOTED_LINE, text, at)); at = lineEnd(text, at))
        inside += text.slice(at + mark[0].length, lineEnd(text, at));
      parts.push({ tag: "blockquote", children: blocks(inside, depth + 1) });
    } else if (depth < DEPTH_MAX && matches(ITEM, text, at)) {
      at = list(text, at, depth, parts);
    } else {
      at = lineEnd(text, at);
      if (open === undefined || (open && open.index < start)) open = matches(FENCE, text, start);
      if (open && open.index < at) at = fence(text, start, open, parts);
      else parts.push(...inline(text.slice(start, at)));
    }
  }
  return parts;
}

/**
 * Adds the list that begins at `at`. Returns where it ends.
 * @param {string} text
 * @param {number} at
 * @param {number} depth
 * @param {Part[]} parts
 */
function list(text, at, depth, parts) {
  /** @type {Element[]} */
  const items = [];
  const isOrdered = matches(ITEM, text, at)?.[2] !== undefined;
  for (let mark; (mark = matches(ITEM, text, at));) {
    const [all, { length: width } = "", number] = mark;
    if ((number !== undefined) !== isOrdered) break;
    let end = lineEnd(text, at);
    let inside = text.slice(at + all.length, end);
    // Indented lines belong to the item.
    for (let margin; (margin = matches(MARGIN, text, end));) {
      const next = lineEnd(text, end);
      inside += text.slice(end + Math.min(margin[0].length, width), next);
      end = next;
    }
    const children = blocks(inside, depth + 1);
    items.push({ tag: "li", children, ...(isOrdered ? { value: Number(number) } : {}) });
    at = end;
  }
  parts.push({ tag: isOrdered ? "ol" : "ul", children: items });
  return at;
}

/**
 * Adds a line with fences, and the lines of code between them. Returns where they end.
 * @param {string} text
 * @param {number} at
 * @param {RegExpExecArray} open
 * @param {Part[]} parts
 */
function fence(text, at, open, parts) {
  const from = open.index + open[0].length;
  const close = matches(FENCE, text, from);
  const inside = close ? text.slice(from, close.index) : "";
  if (!close || inside.trim() === "") {
    const end = close ? close.index : lineEnd(text, at);
    parts.push(...inline(text.slice(at, end)));
    return end;
  }
  parts.push(...inline(text.slice(at, open.index)));
  const language = LANGUAGE.exec(inside)?.[1];
  const code = inside.slice(language?.length ?? 0).replace(/^\n/, "");
  const end = close.index + close[0].length;
  const hasMore = text.charAt(end) === "\n";
  /** @type {Part[]} */
  const children = [{ text: code.endsWith("\n") ? code.slice(0, -1) : code, code: true }];
  if (end < text.length) children.push({ text: "\n" }); // the block ends its own line
  parts.push({ tag: "pre", children, ...(language ? { language } : {}) });
  return hasMore ? end + 1 : end;
}

/**
 * The parts of a text without blocks.
 * @param {string} text
 * @returns {Part[]}
 */
function inline(text) {
  return text.split(/(?<=\n)/).flatMap(emphasized);
}

/**
 * The parts of a line: code, links, and emphasis around them.
 * @param {string} line
 */
function emphasized(line) {
  /** @type {Text[]} */
  const tokens = line.split(CODE).flatMap((piece, index) => {
    const code = piece.slice(1, -1);
    return index % 2 === 1 && code.trim() !== "" ? [{ text: code, code: true }] : links(piece);
  });
  const marks = marksOf(line, tokens);
  match(marks);
  return nest(line, tokens, marks);
}

/** @typedef {{ at: number, mark: string, opens: boolean, closes: boolean, role?: "open" | "close" }} Mark */

/** The length of a token in its line, with the backticks. @param {Text} token */
const lengthOf = ({ text, code }) => text.length + (code ? 2 : 0);

/**
 * What may be marks of emphasis in a line, except in code and links. Adjacent marks, as in `**_a_**`,
 * are judged together.
 * @param {string} line
 * @param {Text[]} tokens
 */
function marksOf(line, tokens) {
  /** @type {Mark[]} */
  const marks = [];
  let index = -1;
  let end = 0;
  for (const { 0: all, index: from } of line.matchAll(EMPHASIS)) {
    for (let token; end <= from && (token = tokens[++index]);) end += lengthOf(token);
    const isText = tokens[index]?.href === undefined && !tokens[index]?.code;
    const opens = isText && matches(OPENS, line, from) !== null;
    const closes = isText && matches(CLOSES, line, from) !== null;
    if (!opens && !closes) continue;
    let at = from;
    for (const [run] of all.matchAll(/\*+|_+|~+/g)) {
      // Three are bold and italic; more are a line of stars.
      for (const length of run.length === 3 ? (opens ? [2, 1] : [1, 2]) : [run.length]) {
        const mark = run.slice(0, length);
        if (mark in TAGS && run !== "~~~") marks.push({ at, mark, opens, closes });
        at += length;
      }
    }
  }
  return marks;
}

/**
 * Pairs the marks: each closing one with the nearest opening one of its kind. Marks between them
 * that have no partner stay text.
 * @param {Mark[]} marks
 */
function match(marks) {
  /** @type {Mark[]} */
  const open = [];
  /** @type {Record<string, number>} how many of each kind are open */
  const count = {};
  for (const mark of marks) {
    const kind = mark.mark;
    if (mark.closes && (count[kind] ?? 0) > 0) {
      let opening = open.pop();
      for (; opening && opening.mark !== kind; opening = open.pop())
        count[opening.mark] = (count[opening.mark] ?? 0) - 1;
      count[kind] = (count[kind] ?? 0) - 1;
      if (opening) opening.role = "open";
      mark.role = "close";
    } else if (mark.opens) {
      open.push(mark);
      count[kind] = (count[kind] ?? 0) + 1;
    }
  }
}

/**
 * Builds the parts of a line from its tokens and paired marks.
 * @param {string} line
 * @param {Text[]} tokens
 * @param {Mark[]} marks
 * @returns {Part[]}
 */
function nest(line, tokens, marks) {
  const paired = marks.filter(({ role }) => role);
  if (paired.length === 0) return tokens;
  const findsLinks = !isDeceptive(line);
  /** @type {Part[][]} the parts within each open element */
  const stack = [[]];
  /** @type {string[]} the tags of these elements; "" within an element of the same tag */
  const tags = [];
  const push = (/** @type {Part} */ part) => stack.at(-1)?.push(part);
  let next = 0;
  let at = 0;
  for (const token of tokens) {
    const end = at + lengthOf(token);
    if (token.code || token.href !== undefined) push(token);
    else {
      for (; at < end;) {
        const mark = paired[next];
        const to = mark && mark.at < end ? mark.at : end;
        const text = line.slice(at, to);
        // Within emphasis, marks hid the edges of links.
        if (text !== "") for (const part of tags.length > 0 && findsLinks ? links(text) : [{ text }]) push(part);
        at = to;
        if (!mark || to === end) continue;
        at += mark.mark.length;
        next++;
        const tag = TAGS[mark.mark] ?? "em";
        if (mark.role === "open") {
          const isNew = !tags.includes(tag);
          tags.push(isNew ? tag : "");
          if (isNew) stack.push([]);
        } else if (tags.pop() !== "") {
          const children = stack.pop() ?? [];
          push({ tag, children });
        }
      }
    }
    at = end;
  }
  return stack[0] ?? [];
}

/**
 * The match of a sticky pattern at `at`, or of a global one from there on.
 * @param {RegExp} pattern
 * @param {string} text
 * @param {number} at
 */
function matches(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/**
 * Where the next line begins.
 * @param {string} text
 * @param {number} at
 */
function lineEnd(text, at) {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end + 1;
}
