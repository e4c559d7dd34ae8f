/** File sizes as text. */

import { locale } from "./translate.js";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

/** A size such as "2.4 MB", in decimal units as operating systems show it. @param {number} bytes */
export function sizeText(bytes) {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  const format = { style: "unit", unit: UNITS[power], unitDisplay: "short", maximumFractionDigits: power > 1 ? 1 : 0 };
  return new Intl.NumberFormat(locale(), /** @type {Intl.NumberFormatOptions} */ (format)).format(
    bytes / 1_000 ** power,
  );
}

/** A part of a whole, such as "45%". @param {number} part from 0 to 1 */
export function percentText(part) {
  return new Intl.NumberFormat(locale(), { style: "percent" }).format(Math.floor(part * 100) / 100);
}
