/** Names a device by its `User-Agent`, so that users recognize their sessions. */

/** In this order, since most browsers also name the ones they derive from. */
const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bEdg(e|A|iOS)?\//, "Edge"],
  [/\b(OPR|Opera)\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\bVivaldi\//, "Vivaldi"],
  [/\b(Firefox|FxiOS)\//, "Firefox"],
  [/\b(Chrome|CriOS|Chromium)\//, "Chrome"],
  [/\bVersion\/[\d.]+.*\bSafari\//, "Safari"],
];

const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/\biPhone\b/, "iPhone"],
  [/\biPad\b/, "iPad"],
  [/\bAndroid\b/, "Android"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b|\bMacintosh\b/, "Mac"],
  [/\bLinux\b/, "Linux"],
];

/**
 * The browser and its system, or the name of another program, or "Browser".
 *
 * @param agent the `User-Agent` of a request
 * @example deviceName("Mozilla/5.0 (X11; Linux x86_64; …) … Firefox/145.0") // "Firefox on Linux"
 */
export function deviceName(agent: string | null): string {
  if (!agent) return "Browser";
  const program = /^([A-Za-z][\w.-]{0,30})(\/|$)/.exec(agent)?.[1];
  if (program !== undefined && program !== "Mozilla" && program !== "Opera") return program;
  const [browser, system] = [BROWSERS, SYSTEMS].map(
    (patterns) => patterns.find(([pattern]) => pattern.test(agent))?.[1],
  );
  return system === undefined ? (browser ?? "Browser") : `${browser ?? "Browser"} on ${system}`;
}
