import type { z } from 'zod';
import type { CancelRequest, JobPatch } from '../shared/control-schemas.ts';
import type { BatchResponse, BatchResult, Job, JobListQuery, JobPage } from '../shared/schemas.ts';
import type { JobRequest, Why } from '../shared/schemas.ts';
import type { JobStreamEvent, LogLine, LogPage, LogQuery } from '../shared/stream-schemas.ts';
import { batchLines } from './batch-lines.ts';
import { follow } from './follow.ts';
import type { FollowOptions } from './follow.ts';
import { itemsOf } from './pages.ts';
import { pathOf } from './transport.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import { untilDeadline } from './waiting.ts';
import type { WaitOptions } from './waiting.ts';

export type JobInput = z.input<typeof JobRequest>;
type JobFilter = Partial<Omit<JobListQuery, 'cursor'>>;

export interface EnqueueOptions extends CallOptions {
  /** Default: one made for this call, so that its retries enqueue nothing twice. */
  idempotencyKey?: string | undefined;
  /** Follows what comes of it. */
  correlationId?: string | undefined;
}

export interface CreateOptions extends EnqueueOptions {
  /** How long the answer may be held back until the job has ended, in whole seconds, at most 60. */
  waitSeconds?: number | undefined;
}

/** What one request is held open for at most; the wait as a whole may be of any length. */
const POLL_SECONDS = 30;

/** Jobs of the caller's tenant. */
export class JobsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Enqueues a job. With `dedupe` it may be an earlier one that stands for it. */
  create(job: JobInput, { waitSeconds, ...options }: CreateOptions = {}): Promise<Job> {
    return this.#transport.json({
      method: 'POST',
      path: '/v1/jobs',
      body: job,
      headers: {
        ...enqueueHeaders(options),
        Prefer: waitSeconds === undefined ? undefined : `wait=${waitSeconds}`,
      },
      heldMs: (waitSeconds ?? 0) * 1000,
      signal: options.signal,
    });
  }

  /** Enqueues up to 1,000 jobs; each has an outcome of its own, in order. */
  async batch(jobs: JobInput[], options: EnqueueOptions = {}): Promise<BatchResponse['results']> {
    const { results } = await this.#transport.json<BatchResponse>({
      method: 'POST',
      path: '/v1/jobs/batch',
      body: { jobs },
      headers: enqueueHeaders(options),
      signal: options.signal,
    });
    return results;
  }

  /**
   * Enqueues any number of jobs and gives the outcome of each, in order, while they are sent.
   * @throws BatchEndedError when it ended early: its `resumeAt` says with which job to go on
   */
  batchLines(
    jobs: Iterable<JobInput> | AsyncIterable<JobInput>,
    options: CallOptions = {},
  ): AsyncGenerator<z.output<typeof BatchResult>, void, undefined> {
    return batchLines(this.#transport, jobs, options);
  }

  /** @param options `waitSeconds` holds the answer back until the job has ended, at most 60 s */
  get(id: string, { signal, waitSeconds }: CallOptions & { waitSeconds?: number } = {}): Promise<Job> {
    return this.#transport.json({
      method: 'GET',
      path: pathOf`/v1/jobs/${id}`,
      query: { wait: waitSeconds },
      heldMs: (waitSeconds ?? 0) * 1000,
      signal,
    });
  }

  /**
   * The job when it has ended, well or not: `state` says which.
   * @throws WaggleError timeout
   */
  waitFor(id: string, options: WaitOptions = {}): Promise<Job> {
    return untilDeadline(`job ${id}`, options, async (signal) => {
      for (;;) {
        const job = await this.get(id, { waitSeconds: POLL_SECONDS, ...(signal && { signal }) });
        if (job.finishedAt !== null) return job;
      }
    });
  }

  /** The jobs that match, newest first, in pages of `limit` as they are needed. */
  list(filter: JobFilter = {}, options: CallOptions = {}): AsyncGenerator<Job, void, undefined> {
    return itemsOf(async (cursor) => {
      const page = await this.page({ ...filter, ...(cursor !== undefined && { cursor }) }, options);
      return { items: page.jobs, nextCursor: page.nextCursor };
    });
  }

  /** One page of {@link list}. */
  page(query: Partial<JobListQuery> = {}, { signal }: CallOptions = {}): Promise<JobPage> {
    return this.#transport.json({ method: 'GET', path: '/v1/jobs', query, signal });
  }

  /** What happens to a job, as it happens, to its `result` or `error`. Broken connections are made again. */
  stream(id: string, options: FollowOptions = {}): AsyncGenerator<JobStreamEvent, void, undefined> {
    return follow(this.#transport, id, options);
  }

  /** The lines its handlers wrote, oldest first. */
  logs(
    id: string,
    query: Partial<Omit<LogQuery, 'cursor'>> = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<LogLine, void, undefined> {
    return itemsOf(async (cursor) => {
      const page = await this.#transport.json<LogPage>({
        method: 'GET',
        path: pathOf`/v1/jobs/${id}/logs`,
        query: { ...query, cursor },
        signal,
      });
      return { items: page.lines, nextCursor: page.nextCursor };
    });
  }

  /** Ends it: at once if it does not run, else its signal is aborted and it ends after `graceMs` at the latest. */
  cancel(
    id: string,
    request: z.input<typeof CancelRequest> = {},
    { signal }: CallOptions = {},
  ): Promise<Job> {
    return this.#transport.json({
      method: 'POST',
      path: pathOf`/v1/jobs/${id}/cancel`,
      body: request,
      signal,
    });
  }

  /** Lets one that failed, expired or was cancelled wait again. */
  retry(id: string, { signal }: CallOptions = {}): Promise<Job> {
    return this.#transport.json({ method: 'POST', path: pathOf`/v1/jobs/${id}/retry`, signal });
  }

  /** Lets one that is delayed run now. */
  promote(id: string, { signal }: CallOptions = {}): Promise<Job> {
    return this.#transport.json({ method: 'POST', path: pathOf`/v1/jobs/${id}/promote`, signal });
  }

  /** Changes one that waits or is delayed. */
  change(id: string, patch: z.input<typeof JobPatch>, { signal }: CallOptions = {}): Promise<Job> {
    return this.#transport.json({ method: 'PATCH', path: pathOf`/v1/jobs/${id}`, body: patch, signal });
  }

  /** Removes one that does not run. */
  async remove(id: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#transport.json({ method: 'DELETE', path: pathOf`/v1/jobs/${id}`, signal });
  }

  /** What keeps it from running, until when, and its place in line. */
  why(id: string, { signal }: CallOptions = {}): Promise<Why> {
    return this.#transport.json({ method: 'GET', path: pathOf`/v1/jobs/${id}/why`, signal });
  }
}

/** What makes a request that enqueues safe to repeat. */
export function enqueueHeaders({
  idempotencyKey,
  correlationId,
}: EnqueueOptions): NonNullable<Call['headers']> {
  return {
    'Idempotency-Key': idempotencyKey ?? globalThis.crypto.randomUUID(),
    'X-Correlation-Id': correlationId,
  };
}
