import { WaggleError } from './waggle-error.ts';

export interface WaitOptions {
  /** When to give up, in milliseconds; default: never. */
  timeoutMs?: number | undefined;
  /** Ends the wait with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs something that waits under a deadline and the caller's own signal.
 * @throws WaggleError timeout, when the deadline was first
 */
export async function untilDeadline<T>(
  what: string,
  { timeoutMs, signal }: WaitOptions,
  run: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (timeoutMs === undefined) return run(signal);
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    return await run(signal === undefined ? deadline : AbortSignal.any([signal, deadline]));
  } catch (cause) {
    if (!deadline.aborted || signal?.aborted || cause instanceof WaggleError) throw cause;
    throw new WaggleError('timeout', `${what} had not ended after ${timeoutMs} ms`, { cause });
  }
}
