import { setTimeout as delay } from 'node:timers/promises';
import type { BulkAnswer, BulkOrder, BulkProgress, JobFilter } from '../../src/shared/bulk-schemas.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Job } from '../../src/shared/schemas.ts';
import { bulk } from '../tasks/bulk.ts';
import type { JobControl } from './control.ts';
import type { EnqueueContext, Jobs } from './types.ts';

/** Jobs that are counted before the work begins: a second or so at most. */
const COUNTED = 10_000;
const PAGE = 200;
/** Jobs under way at once. */
const AT_ONCE = 10;

const STATES: Record<BulkOrder['action'], ReadonlySet<Job['state']>> = {
  cancel: new Set(['waiting', 'delayed', 'active', 'waiting-children'] as const),
  retry: new Set(['failed', 'cancelled', 'expired'] as const),
};

export interface BulkRun {
  signal: AbortSignal;
  onProgress: (progress: BulkProgress) => Promise<void>;
}

/** Does the same to all jobs of a filter, as a job of their tenant. */
export class BulkControl {
  readonly #jobs: Jobs;
  readonly #control: JobControl;

  constructor(jobs: Jobs, control: JobControl) {
    this.#jobs = jobs;
    this.#control = control;
  }

  /**
   * Counts the jobs that are meant and, unless it is to be dry, enqueues the job that does it.
   * @throws WaggleError as enqueueing a job does
   */
  async start(
    tenant: string,
    order: BulkOrder,
    dryRun: boolean,
    context: EnqueueContext,
  ): Promise<BulkAnswer> {
    let [matched, isExact] = [0, true];
    for await (const jobs of this.#meant(tenant, order)) {
      matched += jobs.length;
      isExact = matched < COUNTED;
      if (!isExact) break;
    }
    if (dryRun) return { matched, isExact, job: null };
    const job = await this.#jobs.enqueue(tenant, { task: bulk.name, payload: order }, context);
    return { matched, isExact, job };
  }

  /** Does it. @throws whatever `signal` is aborted with, WaggleError redis_unavailable */
  async run(tenant: string, order: BulkOrder, { signal, onProgress }: BulkRun): Promise<BulkProgress> {
    const progress: BulkProgress = { done: 0, skipped: 0 };
    const startedAt = performance.now();
    for await (const jobs of this.#meant(tenant, order)) {
      for (let from = 0; from < jobs.length; from += AT_ONCE) {
        signal.throwIfAborted();
        const some = jobs.slice(from, from + AT_ONCE);
        const changed = await Promise.all(some.map((job) => this.#change(tenant, job, order)));
        progress.done += changed.filter(Boolean).length;
        progress.skipped += changed.filter((each) => !each).length;
        await keepRate(order, progress.done, startedAt, signal);
      }
      await onProgress(progress);
    }
    return progress;
  }

  /** @returns false when its state does not allow it (any more) */
  async #change(tenant: string, { id }: Job, order: BulkOrder): Promise<boolean> {
    try {
      if (order.action === 'cancel') await this.#control.cancel(tenant, id, order);
      else await this.#control.retry(tenant, id);
      return true;
    } catch (error) {
      const isOver = error instanceof WaggleError && ['job_not_in_state', 'not_found'].includes(error.code);
      if (isOver) return false;
      throw error;
    }
  }

  /** Pages of jobs that an order means, newest first; never those that carry out orders. */
  async *#meant(tenant: string, { action, filter, before }: BulkOrder): AsyncGenerator<Job[]> {
    const states = STATES[action];
    if (filter.state !== undefined && !states.has(filter.state)) return;
    const isMeant = (job: Job): boolean => {
      const since = action === 'cancel' ? job.createdAt : job.finishedAt;
      return states.has(job.state) && job.task !== bulk.name && since !== null && since <= before;
    };
    for (const each of filtersOf(action, filter)) {
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await this.#jobs.list(tenant, { ...each, limit: PAGE, ...(cursor ? { cursor } : {}) });
        const jobs = page.jobs.filter(isMeant);
        if (jobs.length > 0) yield jobs;
        cursor = page.nextCursor;
      }
    }
  }
}

/** What failed is listed by itself, so asking for the states one by one spares going through all that completed. */
function filtersOf(action: BulkOrder['action'], filter: JobFilter): JobFilter[] {
  if (action === 'cancel' || filter.state !== undefined) return [filter];
  return [...STATES.retry].map((state) => ({ ...filter, state }));
}

async function keepRate(
  order: BulkOrder,
  done: number,
  startedAt: number,
  signal: AbortSignal,
): Promise<void> {
  if (order.action !== 'retry' || order.ratePerSecond === undefined) return;
  const due = startedAt + (done / order.ratePerSecond) * 1000;
  const early = due - performance.now();
  if (early > 0) await delay(early, undefined, { signal });
}
