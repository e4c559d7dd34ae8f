/** Names of files: cleaned when they are announced, and written into `Content-Disposition`. */

const NAME_MAX_CODE_POINTS = 150;
/** What of a name is kept at its end when it is cut, so that its extension remains. */
const EXTENSION = /\.[\p{L}\p{N}]{1,10}$/u;
const FALLBACK = "file";

/**
 * A name that is safe to show and to store on any system: without directories, controls, formats
 * (the bidirectional ones disguise an extension), characters that Windows forbids, surrounding space and dots.
 * At most 150 characters, the extension kept. Never empty.
 *
 * @example cleanFileName("../../etc/p\u202egnp.exe") // "pgnp.exe"
 */
export function cleanFileName(raw: string): string {
  const last = raw.slice(Math.max(raw.lastIndexOf("/"), raw.lastIndexOf("\\")) + 1);
  const cleaned = last
    .toWellFormed()
    .normalize("NFC")
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}<>:"|?*]/gu, "")
    .replace(/\p{White_Space}+/gu, " ")
    .replace(/^[ .]+|[ .]+$/g, "");
  const characters = [...cleaned];
  const extension = [...(EXTENSION.exec(cleaned)?.[0] ?? "")];
  const cut =
    characters.length <= NAME_MAX_CODE_POINTS
      ? cleaned
      : [...characters.slice(0, NAME_MAX_CODE_POINTS - extension.length), ...extension].join("");
  return /[\p{L}\p{N}\p{S}]/u.test(cut) ? cut : FALLBACK;
}

/**
 * `Content-Disposition` (RFC 6266): the name in ASCII for old clients, and encoded as in RFC 8187 if
 * that differs.
 */
export function contentDisposition(type: "inline" | "attachment", name: string): string {
  const ascii = name
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .replace(/[^\x20-\x7e]/g, "_")
    .replace(/["\\%]/g, "_"); // some browsers decode %xx in the plain form
  const plain = `${type}; filename="${ascii}"`;
  return ascii === name ? plain : `${plain}; filename*=UTF-8''${encoded(name)}`;
}

/** RFC 8187 `value-chars`: `encodeURIComponent` leaves four characters that are not among them. */
function encoded(name: string): string {
  return encodeURIComponent(name).replace(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}
