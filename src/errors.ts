/**
 * Expected failures: one class and one table. The table knows the HTTP status, the words a person sees (English; the page
 * translates by code) and whether trying again may help. Thrown where found, answered in `http/handler.ts` and `socket.ts`.
 */

export const ERRORS = {
  bad_request: { status: 400, words: "That request makes no sense here", retry: false },
  invalid_text: {
    status: 400,
    words: "A message has 1 to 4,000 characters, one of them visible, and no control character NUL",
    retry: false,
  },
  no_session: { status: 401, words: "Please sign in", retry: false },
  wrong_login: { status: 401, words: "Wrong name or password", retry: false },
  not_yours: { status: 403, words: "That belongs to someone else", retry: false },
  signup_closed: {
    status: 403,
    words: "Sign-up is closed here. Ask whoever runs this chat for an account",
    retry: false,
  },
  invite_needed: {
    status: 403,
    words: "This chat is by invitation: open the link that somebody sent you, the whole of it",
    retry: false,
  },
  invite_used: { status: 403, words: "That invitation was used already, or is too old. Ask for another", retry: false },
  bad_code: { status: 403, words: "That code is wrong, or was used already", retry: false },
  not_admin: { status: 403, words: "Only who runs this chat can do that", retry: false },
  wrong_password: { status: 403, words: "That is not your password", retry: false },
  blocked: { status: 403, words: "You block this person. Unblock them to write", retry: false },
  foreign_origin: { status: 403, words: "That request comes from another site", retry: false },
  not_found: { status: 404, words: "There is nothing here", retry: false },
  no_such_user: { status: 404, words: "Nobody has that name", retry: false },
  method_not_allowed: { status: 405, words: "That cannot be done here", retry: false },
  name_taken: { status: 409, words: "That name is taken", retry: false },
  name_similar: { status: 409, words: "That name looks like a name that is taken", retry: false },
  name_reserved: { status: 409, words: "That name is reserved", retry: false },
  ref_reused: { status: 409, words: "That ref belongs to another message", retry: false },
  too_large: { status: 413, words: "That is too large", retry: false },
  unsupported_type: { status: 415, words: "That content type is not read here", retry: false },
  bad_name: {
    status: 422,
    words: "A name has 2 to 50 letters of one script, digits, or _ - .",
    retry: false,
  },
  bad_password: { status: 422, words: "A password has 8 to 128 characters", retry: false },
  upgrade_required: { status: 426, words: "This address speaks WebSocket", retry: false },
  rate_limited: { status: 429, words: "That was a little fast. Please wait a moment", retry: true },
  internal: { status: 500, words: "Something went wrong on our side", retry: true },
  busy: { status: 503, words: "Too much at once. Please try again in a moment", retry: true },
  restarting: { status: 503, words: "The server is restarting. Please try again in a moment", retry: true },
  not_ready: { status: 503, words: "The server is not ready. Please try again in a moment", retry: true },
} as const satisfies Record<string, { status: number; words: string; retry: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

/** A failure the product expects. `words` replace the table's when the situation knows better ones. */
export class ChatError extends Error {
  readonly code: ErrorCode;
  /** Seconds after which trying again may help. */
  readonly retryAfter: number | undefined;
  /** The `ref` of the send that failed, when there was one. */
  readonly ref: string | undefined;

  constructor(
    code: ErrorCode,
    options: { words?: string; retryAfter?: number; ref?: string | undefined; cause?: unknown } = {},
  ) {
    super(options.words ?? ERRORS[code].words, "cause" in options ? { cause: options.cause } : undefined);
    this.name = "ChatError";
    this.code = code;
    this.ref = options.ref;
    this.retryAfter = options.retryAfter ?? (ERRORS[code].retry ? 1 : undefined);
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}
