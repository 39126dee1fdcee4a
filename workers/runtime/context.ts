import type { Logger } from '../../src/shared/logger.ts';

/** What a handler is given: its job, and everything it may do with it. */
export interface JobContext<P = unknown> {
  readonly job: RunningJob<P>;
  readonly tenant: string;
  readonly correlationId: string;
  /** Who is called for the job is to be told this, in W3C's header of that name; undefined outside of any trace. */
  readonly traceparent: string | undefined;
  /** Writes the worker's log with the job's, the tenant's and the correlation id on every line. */
  readonly logger: Logger;
  /** Aborted on timeout, shutdown and loss of the job's lock; a handler must stop then. Its reason is an AttemptAborted. */
  readonly signal: AbortSignal;
  /** Starts at 1; an attempt that was handed back or lost its worker is not counted. */
  readonly attempt: number;
  /** Results of the nodes this one waited for, by node name. */
  readonly parents: Readonly<Record<string, unknown>>;
  /** Grows with every start of the job, so that a store can refuse writes of an earlier one. */
  readonly fence: number;
  /** Stores how far the job is; any JSON of up to 16,384 characters. @throws RangeError when it is larger */
  progress(value: unknown): Promise<void>;
  /** Adds a line to the job's log, which keeps the last 1000 of up to 8192 characters. */
  log(line: string): Promise<void>;
  /**
   * Passes a piece of the result on to whoever follows the job: text, of which long pieces are cut into several, or JSON of
   * up to 16,384 characters. The last 1000 of all that the job wrote are kept.
   * @throws RangeError when JSON is larger
   */
  chunk(value: unknown): Promise<void>;
}

export interface RunningJob<P = unknown> {
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly payload: P;
  readonly tags: readonly string[];
  /** Attempts in all, the first included. */
  readonly maxAttempts: number;
}
