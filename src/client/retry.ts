import type { WaggleError } from './waggle-error.ts';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** Who is asked to stay away for longer hears of it at once, rather than after an hour. */
const LONGEST_RETRY_AFTER_MS = 60_000;

/** Answers that say something was in the way of the request, rather than wrong with it. */
const PASSING: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** What was refused before anything was done. */
const UNTOUCHED: ReadonlySet<string> = new Set(['queue_full', 'rate_limited', 'shutting_down']);

/**
 * Whether it is worth sending a request again.
 * @param repeatable whether it does no harm when it was carried out the first time; else only what surely was not is repeated
 */
export function mayRepeat({ code, status, retryAfterMs }: WaggleError, repeatable: boolean): boolean {
  if ((retryAfterMs ?? 0) > LONGEST_RETRY_AFTER_MS) return false;
  if (UNTOUCHED.has(code)) return true;
  if (!repeatable) return false;
  // Another attempt with the same key, whose answer got lost, is still at it.
  if (code === 'idempotency_in_progress') return true;
  return status === 0 || PASSING.has(status);
}

/**
 * How long to wait before another attempt: at least what the API asked for, and in addition a pause that doubles with each
 * failure, of which half is random, so that callers who failed together do not come back together.
 */
export function retryPauseMs(failures: number, retryAfterMs: number | null): number {
  const most = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
  return (retryAfterMs ?? 0) + most * (0.5 + Math.random() / 2);
}

/** Resolves after `ms`. Rejects with the reason of `signal` when that aborts. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      end();
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      end();
      resolve();
    }, ms);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
