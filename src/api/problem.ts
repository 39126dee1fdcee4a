import type { ServerResponse } from 'node:http';
import { isRedisUnavailable, redisUnavailable } from '../../queues/topology/redis-errors.ts';
import { problemDocument, problems, WaggleError } from '../shared/errors.ts';
import type { Quota } from '../shared/errors.ts';

const DEFAULT_RETRY_AFTER_MS = 1000;
/** A batch of wrong jobs must not be answered with more bytes than it took to send. */
const MAX_FIELD_ERRORS = 50;

/** Any thrown value as an error a caller may see; what is unknown becomes `internal` and says nothing. */
export function toWaggleError(error: unknown): WaggleError {
  if (error instanceof WaggleError) return error;
  if (isRedisUnavailable(error)) return redisUnavailable(error);
  // The router and the file server report a path that cannot be percent-decoded in this way.
  if (error instanceof URIError) {
    return new WaggleError('validation', 'The path is not valid percent-encoding.', {
      errors: [{ path: 'path', message: 'cannot be decoded' }],
    });
  }
  return new WaggleError(
    'internal',
    'Something went wrong on our side; the request id says which request it was.',
    {
      cause: error,
    },
  );
}

/** Writes `error` as a problem document (RFC 9457) with the headers its status asks for. */
export function sendProblem(res: ServerResponse, error: WaggleError, requestId: string): void {
  const body = problemDocument(error, requestId);
  if (body.errors !== undefined && body.errors.length > MAX_FIELD_ERRORS)
    body.errors.length = MAX_FIELD_ERRORS;
  res.statusCode = problems[error.code].status;
  if (res.statusCode === 429 || res.statusCode === 503 || error.retryAfterMs !== undefined) {
    const seconds = Math.max(1, Math.ceil((error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS) / 1000));
    res.setHeader('Retry-After', seconds);
    if (error.quota !== undefined) setRateLimit(res, error.quota, seconds);
  }
  if (res.statusCode === 401 && !res.hasHeader('WWW-Authenticate')) {
    res.setHeader('WWW-Authenticate', 'Bearer realm="waggle"');
  }
  // The rest of a body that is far too large, or comes too late, is not worth reading to keep the connection.
  if (!res.req.complete) res.shouldKeepAlive = false;
  res.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  res.setHeader('Cache-Control', 'no-store');
  res.end(JSON.stringify(body));
}

/** The RateLimit fields of draft-ietf-httpapi-ratelimit-headers-09; a quota that is no rate has no window. */
function setRateLimit(
  res: ServerResponse,
  { policy, limit, remaining, windowMs }: Quota,
  seconds: number,
): void {
  const window = windowMs === undefined ? '' : `;w=${Math.ceil(windowMs / 1000)}`;
  res.setHeader('RateLimit-Policy', `"${policy}";q=${limit}${window}`);
  res.setHeader('RateLimit', `"${policy}";r=${remaining};t=${seconds}`);
}
