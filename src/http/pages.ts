/** The pages and their files, read once: fills forms, names versions. */

import { join } from "node:path";

import type { Signup } from "../config.ts";
import { ChatError } from "../errors.ts";
import { onDemandFiles } from "./on_demand_files.ts";
import type { OtherVersions, VersionFiles } from "./other_versions.ts";
import { bundledScripts, bundledStyles } from "./page_bundles.ts";
import { errorResponse, type Request } from "./request.ts";
import { type CachePolicy, digest, IMMUTABLE, PAGE_HEADERS, StaticFile } from "./static_file.ts";

/** A version in the path of a file. Older releases used 16 characters. */
const HASH = /^[\w-]{11,16}$/;
/** A script that a page loads, below `static/`. */
const SCRIPT = /<script\b[^>]* src="\/static\/([^"]+)"/g;
const WORKER = "js/sw.js";
/** The files that the chat page fetches in idle time, so that each part works offline on first use. */
const ON_DEMAND = { list: "js/on_demand.json", script: "js/chat.js" };

export type PageName = "login" | "signup" | "chat" | "account";
const PERSONAL = new Set<PageName>(["chat", "account"]);
/** `no_signup` replaces the sign-up form for visitors who cannot sign up. */
type FormName = "login" | "signup" | "no_signup";

/** An error shown in a form, beside a field or for the form as a whole. */
export interface FormError {
  readonly field: "username" | "password" | "form" | "why";
  readonly error: ChatError;
}

/** Inserted as an attribute, so it must never contain client input. */
const FOCUS = "autofocus";

/** The error on the sign-up page without an invitation or code. */
const NO_SIGNUP_ERROR = { invite: "invite_needed", closed: "signup_closed" } as const;

export class Pages {
  readonly #files: Map<string, StaticFile>;
  /** HTML with placeholders, for forms. */
  readonly #templates: Map<string, string>;
  readonly #signup: Signup;
  readonly #hash: string;

  private constructor(files: Map<string, StaticFile>, templates: Map<string, string>, signup: Signup, hash: string) {
    this.#files = files;
    this.#templates = templates;
    this.#signup = signup;
    this.#hash = hash;
  }

  /**
   * Reads `static/` and bundles its scripts and styles. Links to them contain a hash of all files as
   * served, so one change renames all, and pods of one version serve the same bytes.
   */
  static async load(directory: string, signup: Signup): Promise<Pages> {
    const paths = [...new Bun.Glob("**").scanSync(directory)].map((path) => path.replaceAll("\\", "/")).toSorted();
    const contents = new Map<string, Buffer>();
    const read = async (path: string) =>
      void contents.set(path, Buffer.from(await Bun.file(join(directory, path)).arrayBuffer()));
    await Promise.all(paths.filter((path) => !/\.(?:js|css)$/.test(path)).map(read));
    const html = [...contents].filter(([path]) => path.endsWith(".html")).map(([, bytes]) => bytes.toString());
    const scripts = html.flatMap((text) => [...text.matchAll(SCRIPT)].map(([, path = ""]) => path));
    const styles = paths.filter((path) => path.endsWith(".css"));
    const bundles = await Promise.all([
      bundledScripts(directory, [...new Set([...scripts, WORKER])]),
      bundledStyles(directory, styles),
    ]);

    const all = new Map([contents, ...bundles].flatMap((files) => Array.from(files)));
    all.set(ON_DEMAND.list, Buffer.from(JSON.stringify(onDemandFiles(all, ON_DEMAND.script))));
    const sorted = [...all].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const hash = digest(Buffer.concat(sorted.flatMap(([path, bytes]) => [Buffer.from(path), bytes])));
    const templates = new Map<string, string>();
    const why = signup === "open" ? undefined : new ChatError(NO_SIGNUP_ERROR[signup]);
    const constants = { signup, username_focus: FOCUS, ...(why && { why_error: why.message, why_code: why.code }) };
    const files = sorted.map(([path, bytes]): [string, StaticFile] => {
      if (!path.endsWith(".html")) return [path, new StaticFile(path, bytes)];
      const html = bytes.toString().replace(/\n\s+/g, "\n");
      const template = html.replaceAll('"/static/', `"/static/${hash}/`);
      templates.set(path, template);
      return [path, new StaticFile(path, Buffer.from(fill(template, constants)))];
    });
    const pages = new Pages(new Map(files), templates, signup, hash);
    void pages.#compress();
    return pages;
  }

  /**
   * Changes with any file of the pages. It is the directory in `/static/{version}/…`, by which a
   * page knows its own version.
   */
  get version(): string {
    return this.#hash;
  }

  /**
   * A page, with any form empty. Pages that fill with personal data are `no-store`: from the
   * back/forward cache they would show it after logout.
   */
  page(request: Request, name: PageName): Response {
    const file = name === "signup" && this.#signup !== "open" ? "no_signup" : name;
    return this.#file(`${file}.html`).respond(request, PERSONAL.has(name) ? "no-store" : "no-cache");
  }

  /**
   * The service worker, served at the root because that is its scope. Browsers revalidate it on
   * each visit.
   */
  worker(request: Request): Response {
    return this.#file(WORKER).respond(request, "no-cache");
  }

  /** A form filled with values from a link or a rejected submission, and its error. */
  form(
    name: FormName,
    values: Record<string, string>,
    fault?: FormError,
    status = fault?.error.status ?? 200,
  ): Response {
    const { field, error } = fault ?? {};
    // The name is filled in, the password never is.
    const passwordIsNext = field === "password" || field === "form";
    const html = fill(this.#templates.get(`${name}.html`) ?? "", {
      signup: this.#signup,
      ...values,
      username_focus: passwordIsNext ? "" : FOCUS,
      password_focus: passwordIsNext ? FOCUS : "",
      ...(error && {
        [`${field}_error`]: error.message,
        [`${field}_code`]: error.code,
        [`${field}_invalid`]: "true",
        [`${field}_wait`]: String(error.retryAfter ?? ""),
      }),
    });
    const headers: Record<string, string> = { ...PAGE_HEADERS, "Cache-Control": "no-store" };
    if (error?.retryAfter !== undefined) headers["Retry-After"] = String(error.retryAfter);
    return new Response(html, { status, headers });
  }

  /** The page for unknown addresses, in the browser's language and chosen colors; it has no scripts. */
  notFound({ headers }: globalThis.Request): Response {
    const cookies = headers.get("cookie") ?? "";
    const html = fill(this.#templates.get("not_found.html") ?? "", {
      language: /\bchatify_language=(en|el)\b/.exec(cookies)?.[1] ?? preferredLanguage(headers.get("accept-language")),
      theme: /\bchatify_theme=(light|dark)\b/.exec(cookies)?.[1] ?? "",
    });
    return new Response(html, { status: 404, headers: { ...PAGE_HEADERS, "Cache-Control": "no-store" } });
  }

  /** The files that `file` serves under the current version, for pods of other versions. */
  get files(): VersionFiles {
    const files = [...this.#files].filter(([, { isPage }]) => !isPage);
    return new Map(files.map(([path, { bytes }]) => [path, bytes]));
  }

  /**
   * A file below `/static/`. Under a stored version it is that version's file, which is immutable.
   * Under an unknown one it is the current file, `no-store`; but no script, because minified exports
   * have other names in each version.
   */
  file(request: Request, others: OtherVersions): Response | Promise<Response> {
    const path = pathBelowStatic(request.url);
    const slash = path.indexOf("/");
    const hash = path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (hash === this.#hash) return this.#fileNamed(request, name, IMMUTABLE);
    if (!HASH.test(hash)) return errorResponse(new ChatError("not_found"));
    return this.#fileOfOther(request, name, others.filesOf(hash));
  }

  async #fileOfOther(request: Request, name: string, stored: Promise<VersionFiles | undefined>): Promise<Response> {
    const bytes = (await stored)?.get(name);
    if (!bytes) return this.#fileNamed(request, name.endsWith(".js") ? "" : name, "no-store");
    const file = new StaticFile(name, bytes);
    await file.compress();
    return file.respond(request, IMMUTABLE);
  }

  #fileNamed(request: Request, name: string, cache: CachePolicy): Response {
    const file = this.#files.get(name);
    return !file || file.isPage ? errorResponse(new ChatError("not_found")) : file.respond(request, cache);
  }

  #file(path: string): StaticFile {
    const file = this.#files.get(path);
    if (!file) throw new RangeError(`Cannot show page: static/${path} is missing`);
    return file;
  }

  async #compress(): Promise<void> {
    for (const file of this.#files.values()) await file.compress();
  }
}

/** The first language of `Accept-Language` that the pages have, or English. */
function preferredLanguage(accepted: string | null): string {
  return /\b(en|el)\b/i.exec(accepted ?? "")?.[1]?.toLowerCase() ?? "en";
}

/** Sliced, because `URL.parse` takes longer than the rest of the response. */
function pathBelowStatic(url: string): string {
  const from = url.indexOf("/static/", url.startsWith("/") ? 0 : "https://".length) + "/static/".length;
  const query = url.indexOf("?", from);
  return query < 0 ? url.slice(from) : url.slice(from, query);
}

/**
 * Fills the placeholders of a form with escaped text. Fields are valid by default, missing values
 * are empty.
 */
function fill(template: string, values: Record<string, string>): string {
  const all: Record<string, string> = { username_invalid: "false", password_invalid: "false", ...values };
  return template.replace(/\{\{(\w+)\}\}/g, (_, key: string) => Bun.escapeHTML(all[key] ?? ""));
}
