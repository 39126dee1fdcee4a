import type { WaggleError } from '../../src/shared/errors.ts';
import type { Job, JobListQuery, JobPage, JobRequest, Why } from '../../src/shared/schemas.ts';
import type { Once } from '../once/types.ts';

export interface EnqueueContext {
  /** Follows the job unless the request names one of its own. */
  correlationId: string;
  /** What the job descends from, in traces (W3C). */
  traceparent?: string | undefined;
  /** Of a request with an idempotency key; when it was sent before, nothing is added and {@link SentBeforeError} is thrown. */
  once?: Once | undefined;
  /** What adds jobs of the same tenant before these: they need no room any more when it has ended. */
  after?: Promise<unknown> | undefined;
  /** Takes the job though as many wait as the tenant may have: it is one that makes room. */
  evenIfFull?: boolean;
}

/** An accepted job; not a new one where another stands for it. */
export interface Accepted {
  job: Job;
  isNew: boolean;
}

export type BatchOutcome = { id: string } | { problem: WaggleError };

/** What can be done with single jobs. Every call is bound to one tenant and never sees another's. */
export interface Jobs {
  /**
   * Accepts a job. It is stored when this resolves.
   * @throws WaggleError unknown_task, invalid_payload, payload_too_large, validation, redis_unavailable, conflict
   * @throws SentBeforeError; WaggleError idempotency_key_reused, idempotency_in_progress, with `context.once`
   */
  enqueue(tenant: string, request: JobRequest, context: EnqueueContext): Promise<Job>;
  /** The same, and whether a new job came to be. */
  accept(tenant: string, request: JobRequest, context: EnqueueContext): Promise<Accepted>;
  /** Accepts many jobs in one round trip; outcomes by index. Each item is validated here: give it as it came in. */
  enqueueBatch(
    tenant: string,
    requests: readonly unknown[],
    context: EnqueueContext,
  ): Promise<BatchOutcome[]>;
  /** @throws WaggleError not_found */
  get(tenant: string, id: string): Promise<Job>;
  /**
   * The job as it is when it finished, when `timeoutMs` passed or when `signal` aborted, whichever is first.
   * @throws WaggleError not_found
   */
  waitUntilFinished(tenant: string, id: string, timeoutMs: number, signal?: AbortSignal): Promise<Job>;
  /** What keeps the job from running, until when, and its place in line. @throws WaggleError not_found */
  why(tenant: string, id: string): Promise<Why>;
  /** A page of the tenant's jobs, newest first. It may hold fewer than `limit` and still name a next one. */
  list(tenant: string, query: JobListQuery): Promise<JobPage>;
}
