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
