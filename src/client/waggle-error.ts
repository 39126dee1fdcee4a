import type { ErrorCode } from '../shared/errors.ts';
import type { Problem } from '../shared/schemas.ts';

/**
 * What a call may fail with. The API's own codes are those of its problems. The client's: `unreachable`, no answer came or it
 * broke off; `timeout`, it took too long; `unexpected_answer`, what came is not of this API (a proxy, most often).
 */
export type WaggleErrorCode = ErrorCode | 'unreachable' | 'timeout' | 'unexpected_answer';

export interface WaggleErrorDetails {
  status?: number;
  problem?: Problem | null;
  retryAfterMs?: number | null;
  cause?: unknown;
}

/** A call failed. `code` says why, and is what to decide by: messages may change. */
export class WaggleError extends Error {
  readonly code: WaggleErrorCode;
  /** The HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What the API said (RFC 9457), fields at fault included; null when it said nothing. */
  readonly problem: Problem | null;
  /** How long the API wants to be left alone, in milliseconds; null when it did not say. */
  readonly retryAfterMs: number | null;

  constructor(
    code: WaggleErrorCode,
    message: string,
    { status = 0, problem = null, retryAfterMs = null, cause }: WaggleErrorDetails = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'WaggleError';
    this.code = code;
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A batch that was sent as lines ended early. The outcomes before `resumeAt` are final. */
export class BatchEndedError extends WaggleError {
  /** The index of the first job to send again. Later ones may be stored already, unless they have a `dedupe` id. */
  readonly resumeAt: number;

  constructor(error: WaggleError, resumeAt: number) {
    super(error.code, error.message, { ...error, cause: error });
    this.name = 'BatchEndedError';
    this.resumeAt = resumeAt;
  }
}

/** The error an answer stands for that is no 2xx. */
export async function errorOf(call: string, response: Response): Promise<WaggleError> {
  const problem = asProblem(await response.text().catch(() => ''));
  const message = problem === null ? 'no problem document' : `${problem.code}: ${problem.detail}`;
  return new WaggleError(
    (problem?.code as WaggleErrorCode | undefined) ?? 'unexpected_answer',
    `${call} was answered with ${response.status}, ${message}`,
    { status: response.status, problem, retryAfterMs: retryAfterMs(response.headers.get('Retry-After')) },
  );
}

function asProblem(text: string): Problem | null {
  try {
    const value = JSON.parse(text) as Partial<Problem> | null;
    return typeof value?.code === 'string' ? (value as Problem) : null;
  } catch {
    return null;
  }
}

/** Seconds, or a date (RFC 9110, section 10.2.3). */
function retryAfterMs(header: string | null): number | null {
  if (header === null) return null;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now());
}
