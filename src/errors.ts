/**
 * Expected failures: one class and one table of HTTP status, English message (pages translate by
 * code) and whether a retry may help. Turned into responses in `http/request.ts` and
 * `chat/socket.ts`.
 */

export const ERRORS = {
  bad_request: { status: 400, message: "The request is invalid", retry: false },
  invalid_text: {
    status: 400,
    message: "A message has 1 to 4,000 characters, at least one of them visible, and no NUL character",
    retry: false,
  },
  no_session: { status: 401, message: "Please sign in", retry: false },
  wrong_login: { status: 401, message: "Wrong name or password", retry: false },
  not_yours: { status: 403, message: "You do not have access to this", retry: false },
  signup_closed: {
    status: 403,
    message: "Sign-up is closed. Ask the admin of this chat for an account",
    retry: false,
  },
  invite_needed: {
    status: 403,
    message: "Sign-up is by invitation only. Open the full link you were sent",
    retry: false,
  },
  invite_used: {
    status: 403,
    message: "That invitation has been used or has expired. Ask for another one",
    retry: false,
  },
  bad_code: { status: 403, message: "That code is wrong or has been used already", retry: false },
  not_admin: { status: 403, message: "Only an admin can do that", retry: false },
  too_late: { status: 403, message: "That message can no longer be changed", retry: false },
  wrong_password: { status: 403, message: "The password is wrong", retry: false },
  blocked: { status: 403, message: "You have blocked this user. Unblock them first", retry: false },
  foreign_origin: { status: 403, message: "The request comes from another site", retry: false },
  not_found: { status: 404, message: "There is nothing at this address", retry: false },
  no_such_file: { status: 404, message: "You have no such file, or have sent it already", retry: false },
  no_such_message: { status: 404, message: "There is no such message in that conversation", retry: false },
  no_such_user: { status: 404, message: "No user has that name", retry: false },
  method_not_allowed: { status: 405, message: "This address does not support that method", retry: false },
  name_taken: { status: 409, message: "That name is taken", retry: false },
  name_similar: { status: 409, message: "That name looks too much like one that is taken", retry: false },
  name_reserved: { status: 409, message: "That name is reserved", retry: false },
  ref_reused: { status: 409, message: "That ref belongs to another message", retry: false },
  too_many_pins: { status: 409, message: "Too many conversations are pinned. Unpin one first", retry: false },
  file_too_large: { status: 413, message: "The file is too large", retry: false },
  too_large: { status: 413, message: "The request is too large", retry: false },
  bad_range: { status: 416, message: "The file has no such range of bytes", retry: false },
  unsupported_type: { status: 415, message: "That content type is not supported here", retry: false },
  bad_name: {
    status: 422,
    message: "A name has 2 to 50 letters, digits, or _ - . and all its letters are of one script",
    retry: false,
  },
  bad_display_name: {
    status: 422,
    message: "A display name has 1 to 50 characters, at least one of them visible, and no @",
    retry: false,
  },
  bad_photo: { status: 422, message: "The photo must be a JPEG, PNG or WebP image", retry: false },
  bad_image: { status: 422, message: "The image is damaged or incomplete. Send it as a file", retry: false },
  file_damaged: { status: 422, message: "The bytes that arrived are not those of the file", retry: false },
  bad_password: { status: 422, message: "A password has 8 to 128 characters", retry: false },
  upgrade_required: { status: 426, message: "This address accepts only WebSocket connections", retry: false },
  rate_limited: { status: 429, message: "Too many requests. Please wait a moment", retry: true },
  internal: { status: 500, message: "Something went wrong on our side", retry: true },
  busy: { status: 503, message: "The server is busy. Please try again in a moment", retry: true },
  restarting: { status: 503, message: "The server is restarting. Please try again in a moment", retry: true },
  not_ready: { status: 503, message: "The server is not ready. Please try again in a moment", retry: true },
  quota_exceeded: { status: 507, message: "Your files take up all the space you have", retry: false },
} as const satisfies Record<string, { status: number; message: string; retry: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

/** An expected failure. `message` replaces the table's where a more specific one is known. */
export class ChatError extends Error {
  readonly code: ErrorCode;
  /** Seconds after which a retry may succeed. */
  readonly retryAfter: number | undefined;
  /** The `ref` of the send that failed, if it had one. */
  readonly ref: string | undefined;

  constructor(
    code: ErrorCode,
    options: { message?: string; retryAfter?: number; ref?: string | undefined; cause?: unknown } = {},
  ) {
    super(options.message ?? ERRORS[code].message, "cause" in options ? { cause: options.cause } : undefined);
    this.name = "ChatError";
    this.code = code;
    this.ref = options.ref;
    this.retryAfter = options.retryAfter ?? (ERRORS[code].retry ? 1 : undefined);
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}
