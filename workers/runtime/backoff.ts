/** How long a failed job waits before its next attempt. */
export interface BackoffPolicy {
  type: 'fixed' | 'exponential';
  delayMs: number;
  maxDelayMs: number;
  /** 0 = exactly the delay, 1 = anything from nothing to the delay. */
  jitter: number;
}

/**
 * The delay in ms before the attempt after `attempt` (which starts at 1). Jitter only ever shortens a delay, so
 * `maxDelayMs` holds with it.
 * @param random a number in [0, 1)
 */
export function backoffDelay(
  policy: BackoffPolicy,
  attempt: number,
  random: () => number = Math.random,
): number {
  const factor = policy.type === 'exponential' ? 2 ** Math.max(attempt - 1, 0) : 1;
  const whole = Math.min(policy.delayMs * factor, policy.maxDelayMs);
  return Math.round(whole * (1 - policy.jitter * random()));
}

const NO_BOUND = Number.MAX_SAFE_INTEGER;

/**
 * The policy in a BullMQ job's `opts.backoff`, as Waggle writes it (`{ type: 'waggle', delay, options }`) or as BullMQ
 * users do (a number, or `{ type, delay, jitter }`). Null when there is none: the retry is immediate.
 */
export function backoffPolicy(stored: unknown): BackoffPolicy | null {
  if (typeof stored === 'number') return { type: 'fixed', delayMs: stored, maxDelayMs: NO_BOUND, jitter: 0 };
  if (typeof stored !== 'object' || stored === null) return null;
  const outer = stored as Record<string, unknown>;
  const inner = typeof outer.options === 'object' && outer.options !== null ? outer.options : outer;
  const { type, delayMs, delay, maxDelayMs, jitter } = inner as Record<string, unknown>;
  return {
    type: type === 'exponential' ? 'exponential' : 'fixed',
    delayMs: positive(delayMs) ?? positive(delay) ?? positive(outer.delay) ?? 0,
    maxDelayMs: positive(maxDelayMs) ?? NO_BOUND,
    jitter: Math.min(positive(jitter) ?? 0, 1),
  };
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value) ? value : undefined;
}
