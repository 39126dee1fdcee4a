import type { BulkAnswer, BulkOrder, BulkProgress, JobFilter } from '../../src/shared/bulk-schemas.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Job } from '../../src/shared/schemas.ts';
import { bulk } from '../tasks/bulk.ts';
import type { JobControl } from './control.ts';
import { SteadyRate } from './steady-rate.ts';
import type { EnqueueContext, Jobs } from './types.ts';

/** Jobs that are counted before the work begins: a second or so at most. */
const COUNTED = 10_000;
const PAGE = 200;
/** Jobs under way at once. */
const AT_ONCE = 10;
const REPORT_MS = 1000;
/** While fewer orders wait, one to cancel is taken from a tenant that may have no more jobs waiting: it makes room. */
const EVEN_IF_FULL = 10;
/** Before all else of its tenant: what it is to cancel would otherwise run before it. */
const PRIORITY = 9;

const STATES: Record<BulkOrder['action'], ReadonlySet<Job['state']>> = {
  cancel: new Set(['waiting', 'delayed', 'active', 'waiting-children'] as const),
  retry: new Set(['failed', 'cancelled', 'expired'] as const),
};

export interface BulkRun {
  /** The job that does it. */
  id: string;
  signal: AbortSignal;
  /** Told each second at least while it goes on, and after each page. */
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
    const request = { task: bulk.name, payload: order, priority: PRIORITY };
    const evenIfFull = order.action === 'cancel' && (await this.#hasFewOrders(tenant));
    return { matched, isExact, job: await this.#jobs.enqueue(tenant, request, { ...context, evenIfFull }) };
  }

  /**
   * Does it, or what is left of it after a run that was lost: its count goes on from the last report, so that what it did
   * after that is done, but not counted.
   * @throws when `signal` is aborted; WaggleError redis_unavailable, queue_full
   */
  async run(tenant: string, order: BulkOrder, { id, signal, onProgress }: BulkRun): Promise<BulkProgress> {
    const progress: BulkProgress = { done: await this.#doneBefore(tenant, id), skipped: 0 };
    const rate = new SteadyRate((order.action === 'retry' ? order.ratePerSecond : undefined) ?? Infinity);
    let reportAt = performance.now() + REPORT_MS;
    for await (const jobs of this.#meant(tenant, order)) {
      for (const some of portions(jobs, rate.portion(AT_ONCE))) {
        await rate.free(signal);
        const changed = await Promise.all(some.map((job) => this.#change(tenant, job, order)));
        const done = changed.filter(Boolean).length;
        progress.done += done;
        progress.skipped += changed.length - done;
        rate.spend(done);
        if (performance.now() < reportAt) continue;
        await onProgress(progress);
        reportAt = performance.now() + REPORT_MS;
      }
      await onProgress(progress);
    }
    return progress;
  }

  async #hasFewOrders(tenant: string): Promise<boolean> {
    const query = { task: bulk.name, state: 'waiting' as const, limit: EVEN_IF_FULL };
    return (await this.#jobs.list(tenant, query)).jobs.length < EVEN_IF_FULL;
  }

  /** What was skipped is met again, and counted then. */
  async #doneBefore(tenant: string, id: string): Promise<number> {
    const { progress } = await this.#jobs.get(tenant, id);
    return (progress as BulkProgress | null)?.done ?? 0;
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

function* portions(jobs: readonly Job[], size: number): Generator<Job[]> {
  for (let from = 0; from < jobs.length; from += size) yield jobs.slice(from, from + size);
}
