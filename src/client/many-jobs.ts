import type { z } from 'zod';
import type { BulkAnswer, BulkCancel, BulkRetry, DeadLetterQuery, Redrive } from '../shared/bulk-schemas.ts';
import type { Job, JobPage } from '../shared/schemas.ts';
import { itemsOf } from './pages.ts';
import type { CallOptions, Transport } from './transport.ts';

type DeadLetterFilter = Partial<Omit<z.output<typeof DeadLetterQuery>, 'cursor'>>;

/** What is done to all jobs of a filter. The answer has the job that does it; wait for that to know the outcome. */
export class BulkClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Cancels those that have not ended. With `dryRun` it only counts them. */
  cancel(request: z.input<typeof BulkCancel>, { signal }: CallOptions = {}): Promise<BulkAnswer> {
    return this.#transport.json({ method: 'POST', path: '/v1/jobs/bulk/cancel', body: request, signal });
  }

  /** Runs those again that failed, expired or were cancelled. */
  retry(request: z.input<typeof BulkRetry>, { signal }: CallOptions = {}): Promise<BulkAnswer> {
    return this.#transport.json({ method: 'POST', path: '/v1/jobs/bulk/retry', body: request, signal });
  }
}

/** Jobs that failed for good. */
export class DeadLettersClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Those that match, newest first, in pages of `limit` as they are needed. */
  list(filter: DeadLetterFilter = {}, { signal }: CallOptions = {}): AsyncGenerator<Job, void, undefined> {
    return itemsOf(async (cursor) => {
      const query = { ...filter, cursor };
      const path = '/v1/dead-letters';
      const page = await this.#transport.json<JobPage>({ method: 'GET', path, query, signal });
      return { items: page.jobs, nextCursor: page.nextCursor };
    });
  }

  /** Runs them again, so many a second if `ratePerSecond` says so. */
  redrive(request: z.input<typeof Redrive> = {}, { signal }: CallOptions = {}): Promise<BulkAnswer> {
    return this.#transport.json({ method: 'POST', path: '/v1/dead-letters/redrive', body: request, signal });
  }
}
