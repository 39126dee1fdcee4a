/**
 * The one catalogue of error codes. A code is stable; the HTTP status belongs to it and is decided nowhere else.
 * Problem documents follow RFC 9457.
 */
const catalogue = {
  validation: { status: 400, title: 'The request is not valid' },
  malformed_json: { status: 400, title: 'The body is not JSON' },
  unauthenticated: { status: 401, title: 'Authentication is required' },
  forbidden: { status: 403, title: 'The credential does not allow this' },
  not_found: { status: 404, title: 'Not found' },
  conflict: { status: 409, title: 'The request conflicts with the current state' },
  idempotency_in_progress: { status: 409, title: 'A request with this idempotency key is in progress' },
  job_not_in_state: { status: 409, title: 'The job is not in a state that allows this' },
  payload_too_large: { status: 413, title: 'The content is too large' },
  unsupported_media_type: { status: 415, title: 'The media type is not supported' },
  idempotency_key_reused: { status: 422, title: 'The idempotency key was used with another body' },
  unknown_task: { status: 422, title: 'There is no such task' },
  invalid_payload: { status: 422, title: 'The payload does not fit the task' },
  queue_full: { status: 429, title: 'The queue is full' },
  rate_limited: { status: 429, title: 'Too many requests' },
  internal: { status: 500, title: 'Internal error' },
  redis_unavailable: { status: 503, title: 'Redis is not available' },
  shutting_down: { status: 503, title: 'The server is shutting down' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof catalogue;

export interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** URI path that names the kind of problem for ever. */
  readonly type: string;
}

export interface FieldError {
  /** Where in the input, such as `payload.ms` or `jobs.3.task`; empty for the input as a whole. */
  path: string;
  message: string;
}

/** An RFC 9457 document, without the transport's own members. */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  code: ErrorCode;
  detail: string;
  instance?: string;
  errors?: FieldError[];
}

export const problems: Readonly<Record<ErrorCode, ProblemKind>> = Object.fromEntries(
  Object.entries(catalogue).map(([code, kind]) => [
    code,
    { ...kind, type: `/problems/${code.replaceAll('_', '-')}` },
  ]),
) as Record<ErrorCode, ProblemKind>;

/** A limit the caller has met, for the RateLimit fields (draft-ietf-httpapi-ratelimit-headers). */
export interface Quota {
  /** Its name, a token. */
  policy: string;
  limit: number;
  remaining: number;
  /** The time it is counted over; absent where it is no rate. */
  windowMs?: number;
}

export interface WaggleErrorOptions {
  errors?: FieldError[];
  /** How long a caller should wait before trying again, in milliseconds. */
  retryAfterMs?: number;
  quota?: Quota;
  cause?: unknown;
}

/** An error that a caller may see: `code` says what, `detail` says it in words. */
export class WaggleError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors: FieldError[] | undefined;
  readonly retryAfterMs: number | undefined;
  readonly quota: Quota | undefined;

  constructor(code: ErrorCode, detail: string, options: WaggleErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WaggleError';
    this.code = code;
    this.detail = detail;
    this.errors = options.errors;
    this.retryAfterMs = options.retryAfterMs;
    this.quota = options.quota;
  }

  get status(): number {
    return problems[this.code].status;
  }
}

/** The problem document of an error; `instance` is the id of the request it belongs to. */
export function problemDocument(error: WaggleError, instance?: string): ProblemDocument {
  const kind = problems[error.code];
  return {
    type: kind.type,
    title: kind.title,
    status: kind.status,
    code: error.code,
    detail: error.detail,
    ...(instance === undefined ? {} : { instance }),
    ...(error.errors === undefined ? {} : { errors: error.errors }),
  };
}
