/** Edge cases: values that programs often mishandle, as JSON and as text. */

import type { Random } from "../chaos/random.ts";

const TEXTS = [
  "",
  " ",
  "\n",
  "null",
  "undefined",
  "NaN",
  "-1",
  "__proto__",
  "constructor",
  "toString",
  "'; drop table messages; --",
  '" or 1=1 --',
  "\\'); select pg_sleep(9); --",
  "%00",
  "%",
  "${7*7}",
  "{{7*7}}",
  "<script>alert(1)</script>",
  '<img src=x onerror="alert(1)">',
  "javascript:alert(1)",
  "../../etc/passwd",
  "..",
  "/",
  "\\",
  "a|b",
  "a\nb",
  "a\tb",
  "\t",
  "\r\n",
  "\0",
  '"',
  '","',
  '"],["',
  "\\u0000",
  "~pod~1",
  "\u202eevil",
  "a\u200bb",
  "\ufeff",
  "\u{1f600}",
  "e\u0301",
  "\u0301".repeat(200),
  "\u2800\u3164",
  "\u200bann\u00a0",
  "ﬁ",
  "Αnn",
  "ǅ",
  "İ",
  "ß",
  "\u{10ffff}",
  "\ufdfa".repeat(50), // 18 times as long in NFKC
];

/** JSON strings that no well-formed JavaScript string encodes to. */
const ESCAPES = [
  '"\\u0000"',
  '"a\\u0000b"',
  '"\\ud800"',
  '"\\udc00x"',
  '"\\ud83d\\ud83d\\ude00"',
  '"\\u202e"',
  '"\\u0001"',
];

/** JSON values other than strings. */
const OTHERS = [
  ..."0,1,-1,-0,0.5,1e3,1e308,1e309,-1e309,1e-400,9007199254740991,9007199254740993,18446744073709551616,2147483648".split(
    ",",
  ),
  ..."true,false,null,{},[],[null],[[]]".split(","),
  '{"length":1,"0":"ann"}',
  '{"__proto__":{"x":1}}',
  '{"toString":null,"valueOf":null}',
  '{"toJSON":"x"}',
];

/** Invalid JSON in place of a value. */
const BROKEN = [..."NaN Infinity undefined 01 +1 .5 1. 0x10 1_0 'x' { ]".split(" "), "", '"\n"', '"\\x41"', '"\\u12"'];

/**
 * Names that end their field and continue as something else, in formats that do not quote them: a former bus format,
 * JSON, SQL.
 *
 * @param victim a user on another pod @param other the supposed sender
 */
export function injection(random: Random, victim: string, other: string): string {
  const message = JSON.stringify({ type: "message", from: other, to: victim, message: "forged", id: 1, seq: 1 });
  const end = random.pick(["\t", "\n", "\r\n", "\0", '"', '"]', '"],', "'", "\\", "\u2028", "}", "\u0001"]);
  return random.pick([
    `${victim}${end}`,
    `${end}${victim}`,
    `${other}${end}${victim}`,
    `x\t{}\nf\t${victim}\t${message}\nf\ty`,
    `x\t{}\nf\t${victim}\t{"type":"typing","user":"${other}"}\nf\ty`,
    `x\t{}\ne\t${victim}\t${random.below(200)}\nf\ty`,
    "x\t{}\nc\tghost\tghost\nf\ty",
    "x\t{}\np\t1\nc\tghost\tghost\nf\ty",
    "x\t{}\nu\tghost\nl\nf\ty",
    `x"],{}],["frame",["${victim}"],${message}],["frame",["y`,
    'x"],{}],["online","ghost","ghost"],["user","ghost"],["frame",["y',
    `x"],{}],["end","${victim}",${random.below(200)}],["frame",["y`,
    `{"${victim}","${other}"}`,
    `${victim}' or true --`,
  ]);
}

const LENGTHS = [50, 51, 64, 65, 200, 201, 3_999, 4_000, 4_001, 8_001, 30_000];

export function edgeCaseText(random: Random): string {
  const roll = random.next();
  if (roll < 0.8) return random.pick(TEXTS);
  if (roll < 0.85) return random.pick(["x", "é", "\u{1f600}"]).repeat(random.pick(LENGTHS.slice(0, -2)));
  return randomText(random, 1 + random.below(20));
}

/** Nearly valid values for each field of a frame. */
const BY_FIELD = new Map<string, readonly (() => string)[]>(
  Object.entries({
    type: [() => '"Message"', () => '"ack"', () => '"toString"', () => '["ping"]', () => '"ping "', () => "null"],
    to: [() => '"a\\u0000"', () => `"${"x".repeat(201)}"`, () => '""', () => '"\\ud800"'],
    peer: [() => '"a\\u0000"', () => `"${"x".repeat(201)}"`, () => '""', () => '"\\ud800"'],
    message: [
      () => `"${"x".repeat(4_001)}"`,
      () => `"${"\u{1f600}".repeat(4_001)}"`,
      () => `"${"\u{1f600}".repeat(4_000)}"`,
      () => '"a\\u0000"',
      () => '"\\ud800"',
      () => '" \\u200b\\u00ad "',
      () => '""',
    ],
    ref: [
      () => '"short"',
      () => `"${"x".repeat(65)}"`,
      () => '"with a space"',
      () => '"~prefix~of~a~pod"',
      () => "12345678",
      () => '"ρεφερανς"',
    ],
    emoji: [
      ..."👍👍,a,1,#,👍a,🏽🏽,👍\u200d👍,🇬,🇬🇬🇬,#️,👨‍👩‍👧‍👦‍,☺︎,\u200d,\ufe0f,🏴󠁧󠁿"
        .split(",")
        .map((text) => () => JSON.stringify(text)),
      () => '"\\ud83d"',
      () => '"👍\\u0000"',
      () => JSON.stringify("👨‍".repeat(50)),
    ],
    reply_to: "0 1 -1 0.5 1e309 -0 9007199254740993 1e308"
      .split(" ")
      .map((json) => () => json)
      .concat([() => '"1"', () => "null"]),
    seq: "-1 0.5 1e309 -0 1e-3 9007199254740993 1e308"
      .split(" ")
      .map((json) => () => json)
      .concat([() => '"1"']),
    users: [
      () => `[${'"x",'.repeat(200)}"x"]`,
      () => `[${'"x",'.repeat(199)}"x"]`,
      () => '["x",1]',
      () => '"x"',
      () => '{"length":1,"0":"x"}',
      () => '["a\\u0000","\\ud800",""]',
    ],
  }),
);

/** A value for a field of a frame; half of them nearly valid. */
export function edgeCaseField(name: string, random: Random): string {
  const near = BY_FIELD.get(name);
  return near && random.next() < 0.5 ? random.pick(near)() : edgeCaseJson(random);
}

/** A JSON value of any kind; one in forty is invalid. */
export function edgeCaseJson(random: Random): string {
  const roll = random.next();
  if (roll < 0.4) return JSON.stringify(edgeCaseText(random).toWellFormed());
  if (roll < 0.5) return random.pick(ESCAPES);
  if (roll < 0.95) return random.pick(OTHERS);
  if (roll < 0.975) return random.pick(BROKEN);
  if (roll < 0.985) return nested(random.pick([10, 100, 1_000, 10_000]), random);
  if (roll < 0.99) return `[${Array.from({ length: 10_000 }, () => "1").join()}]`;
  if (roll < 0.995) return `[${'"x",'.repeat(random.pick([198, 199, 200, 5_000]))}"x"]`;
  return JSON.stringify("x".repeat(random.pick(LENGTHS)));
}

function nested(depth: number, random: Random): string {
  const isClosed = random.next() < 0.8;
  return "[".repeat(depth) + (isClosed ? "]".repeat(depth) : "");
}

/** Random code points except lone surrogates, most of them low. */
export function randomText(random: Random, length: number): string {
  let text = "";
  for (let i = 0; i < length; i++) {
    const code = random.below(random.pick([128, 0x800, 0xd800, 0x110000]));
    text += String.fromCodePoint(code >= 0xd800 && code <= 0xdfff ? 0x20 : code);
  }
  return text;
}

export function randomBytes(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = random.below(256);
  return bytes;
}
