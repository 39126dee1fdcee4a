import { WaggleError } from '../../src/shared/errors.ts';

const RETRY_AFTER_MS = 1000;

const CONNECTION_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'NR_CLOSED',
]);

/** What ioredis and BullMQ say, without a code of their own, when there is no connection. */
const CONNECTION_MESSAGES =
  /connection is closed|isn't writeable|command timed out|socket timeout|max retries per request|failed to refresh slots|all startup nodes|none of startup nodes|connection is not yet|too many cluster redirections/i;

/** Replies of a server that is there and cannot serve: starting, read-only, out of memory, unable to save. */
const UNABLE_REPLIES =
  /\b(LOADING|READONLY|OOM|MISCONF|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|UNKILLABLE|NOAUTH|WRONGPASS)\b/;

/** Whether an error means that Redis cannot be reached or cannot serve for now. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  if (typeof code === 'string' && CONNECTION_CODES.has(code)) return true;
  if (error instanceof AggregateError) return error.errors.some(isRedisUnavailable);
  return CONNECTION_MESSAGES.test(error.message) || UNABLE_REPLIES.test(error.message);
}

/** The error a caller may see: `redis_unavailable` for an outage, any other error as it is. */
export function asCallerError(error: unknown): unknown {
  return isRedisUnavailable(error) ? redisUnavailable(error) : error;
}

export function redisUnavailable(cause?: unknown): WaggleError {
  return new WaggleError('redis_unavailable', 'Redis cannot be reached or cannot serve at the moment.', {
    retryAfterMs: RETRY_AFTER_MS,
    cause,
  });
}

/** Runs `work`; an outage of Redis surfaces as WaggleError `redis_unavailable`. */
export async function withRedis<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asCallerError(error);
  }
}
