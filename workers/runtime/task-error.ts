/** What a handler throws to say how its job failed. Any other error counts as `task_failed` and is retried. */
export class TaskError extends Error {
  /** Stable, snake case; becomes the job's error code. */
  readonly code: string;
  /** Whether another attempt may help. */
  readonly retryable: boolean;
  /** The next attempt starts no sooner than this, in ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: string,
    message: string,
    options: { retryable: boolean; retryAfterMs?: number | undefined; cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TaskError';
    this.code = code;
    this.retryable = options.retryable;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/**
 * What a handler throws when the world tells its tenant to slow down, such as by a 429 with `Retry-After`: none of the
 * tenant's jobs starts for `forMs`, and this one goes back to the front of its line without losing an attempt.
 */
export class PauseTenant extends Error {
  readonly forMs: number;

  constructor(forMs: number) {
    super(`the tenant is paused for ${forMs} ms`);
    this.name = 'PauseTenant';
    this.forMs = forMs;
  }
}

/**
 * What a handler throws when the world tells its key alone to slow down: the job is delayed for `forMs` without losing an
 * attempt. It keeps its key meanwhile, so none of those behind it starts; with a `keyLimit` that is its own place, and the
 * others go on. A job without a key waits alone. What ends or promotes the job ends the pause.
 */
export class PauseKey extends Error {
  readonly forMs: number;

  constructor(forMs: number) {
    super(`the key is paused for ${forMs} ms`);
    this.name = 'PauseKey';
    this.forMs = forMs;
  }
}
