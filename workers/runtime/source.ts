import { ErrorCode, Worker } from 'bullmq';
import type { Job as BullJob, JobJson } from 'bullmq';
import type { Charged, FairJobsOptions, FairQueueBackend } from '../../queues/fair/index.ts';
import { createWaggleBackend } from '../../queues/topology/backend.ts';
import type { RedisConnection } from '../../queues/topology/connections.ts';

export type Job = BullJob<unknown, unknown, string> & Charged;

/**
 * How often a job may lose its worker before it is failed for good. A job that kills its process also takes the others
 * there with it, so one crash must not condemn them; a job that keeps killing must not come back for ever.
 */
const MAX_STALLED = 3;

/** What a claim, or the fetch at the end of a job, brought. */
export interface Claimed {
  job: Job | null;
  /** When the queue expects work again (ms epoch): its next delayed job, or the end of a rate limit. 0 = unknown. */
  nextAt: number;
}

export interface SourceOptions {
  shard: number;
  queue: string;
  /** The shard's BullMQ prefix, `{wg:<n>}`. */
  prefix: string;
  /** The process's patient command connection; it stays open when the source is closed. */
  connection: RedisConnection;
  lockMs: number;
  stalledMs: number;
  /** Shown as `processedBy` of its jobs. */
  workerName: string;
}

/**
 * One queue of one shard, as a BullMQ worker in manual mode: it claims and finishes jobs when told, and owns neither a
 * loop nor a connection. BullMQ's own loop would hold jobs in a process-wide budget it knows nothing of.
 */
export class ShardSource extends Worker<unknown, unknown, string, FairQueueBackend> {
  readonly shard: number;
  /** When a job was last claimed here (ms epoch); 0 = never. */
  claimedAt = 0;

  constructor(options: SourceOptions) {
    super(
      options.queue,
      null,
      {
        connection: options.connection,
        prefix: options.prefix,
        autorun: false,
        name: options.workerName,
        lockDuration: options.lockMs,
        stalledInterval: options.stalledMs,
        maxStalledCount: MAX_STALLED,
        // Locks are renewed by the process's LockKeeper, which also knows when one is lost.
        skipLockRenewal: true,
      },
      createWaggleBackend,
    );
    this.shard = options.shard;
  }

  /** The list of waiting work rings here: member `0` = due now, member `1` = due at its score (ms epoch). */
  get markerKey(): string {
    return this.toKey('marker');
  }

  /** The summed weight of the tenants with runnable jobs; 0 when nothing can run. */
  runnableWeight(): Promise<number> {
    return this.backend.getRunnableWeight();
  }

  /** Takes the next job, if there is one, under a lock that belongs to `token`. */
  async claim(token: string): Promise<Claimed> {
    return this.#claimed(await this.backend.moveToActive(token, this.opts.name), token);
  }

  /**
   * Records the result. With `fetchNext` the next job is claimed in the same script, under the same token.
   * @returns what was fetched, or null when nothing was asked for
   */
  async complete(job: Job, token: string, result: unknown, fetchNext: boolean): Promise<Claimed | null> {
    const next: unknown = await job.moveToCompleted(result, token, fetchNext);
    return this.#fetched(next, token, fetchNext);
  }

  /** Records that the job failed for good. */
  async fail(job: Job, token: string, reason: string, fetchNext: boolean): Promise<Claimed | null> {
    const fields = failureFields(reason);
    const moved = await this.backend.moveToFailed(
      job,
      reason,
      job.opts.removeOnFail ?? false,
      token,
      fetchNext,
      fields,
    );
    job.finishedOn = moved.finishedOn;
    return this.#fetched(moved.result, token, fetchNext);
  }

  /** Spends the attempt and puts the job back: at the front of its line, or there after `delayMs`. */
  async retry(
    job: Job,
    token: string,
    reason: string,
    delayMs: number,
    fetchNext: boolean,
  ): Promise<Claimed | null> {
    const id = jobId(job);
    const fieldsToUpdate = failureFields(reason);
    if (delayMs <= 0) {
      await this.backend.retryJob(id, true, token, { fieldsToUpdate });
      return null;
    }
    const next = await this.backend.moveToDelayed(id, Date.now(), delayMs, token, {
      fieldsToUpdate,
      fetchNext,
    });
    return this.#fetched(next, token, fetchNext);
  }

  /** Gives the job back to the front of its line. No attempt is spent. */
  async handBack(job: Job, token: string): Promise<void> {
    await this.backend.moveJobFromActiveToWait(jobId(job), token);
  }

  /** Lets no job of the job's tenant start for `forMs`, in no queue. */
  async pauseTenant(job: Job, forMs: number): Promise<void> {
    await this.backend.extendGroupPause(groupIdOf(job), forMs);
  }

  /** Delays the job for `forMs`, in which it keeps its key and so holds up those behind it. No attempt is spent. */
  async pauseKey(job: Job, token: string, forMs: number, fetchNext: boolean): Promise<Claimed | null> {
    if (forMs <= 0) {
      await this.handBack(job, token);
      return null;
    }
    const next = await this.backend.moveToDelayed(jobId(job), Date.now(), forMs, token, {
      skipAttempt: true,
      fetchNext,
    });
    return this.#fetched(next, token, fetchNext);
  }

  /** No BZPOPMIN per source: one connection per process listens for all of them. */
  protected override createBackend(): void {
    this.backend = this.backendFactory(this.name, this.opts, { withBlockingConnection: false });
  }

  protected override createJob(json: JobJson & Charged, id: string): BullJob {
    const job: BullJob & Charged = this.#jobOf(json, id);
    if (json.charge) job.charge = json.charge;
    return job;
  }

  /** A job whose body is not JSON must still become a job, or nobody could ever fail it. */
  #jobOf(json: JobJson, id: string): BullJob {
    try {
      return super.createJob(json, id);
    } catch {
      return super.createJob({ ...json, data: 'null' }, id);
    }
  }

  async #fetched(next: unknown, token: string, fetchNext: boolean): Promise<Claimed | null> {
    if (!fetchNext) return null;
    return this.#claimed(Array.isArray(next) ? next : [], token);
  }

  async #claimed(reply: readonly unknown[], token: string): Promise<Claimed> {
    const [json, id, limitMs, delayedAt] = reply as [JobJson | null, string, number, number];
    const job = await this.nextJobFromJobData(json ?? undefined, id, token);
    if (job) this.claimedAt = Date.now();
    const limitedUntil = limitMs > 0 ? Date.now() + limitMs : 0;
    return { job: job ?? null, nextAt: limitedUntil || (delayedAt > 0 ? Math.ceil(delayedAt) : 0) };
  }
}

/** Whether the error says that the job is not ours any more: another worker has it, or it is gone. */
export function saysLockLost(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return (
    code === ErrorCode.JobNotExist ||
    code === ErrorCode.JobLockNotExist ||
    code === ErrorCode.JobLockMismatch ||
    code === ErrorCode.JobNotInState
  );
}

/** Who pays for a job: its tenant, as the fair backend knows it. */
export function groupIdOf(job: Pick<Job, 'opts'>): string {
  return (job.opts as FairJobsOptions).group?.id ?? '';
}

/** What a job takes of its tenant's share when it starts; see also {@link unitsOfRun}. */
export function unitsOf(job: Pick<Job, 'opts'>): number {
  return (job.opts as FairJobsOptions).group?.cost ?? 1;
}

/**
 * What so many ms of a job's run take of it in addition, once they are over; 0 where time is not charged. Redis charges the
 * group by its own clock and by the limit it has in the end; this is the same to within a round trip, but where the limit
 * has changed meanwhile.
 */
export function unitsOfRun({ charge }: Charged, ranMs: number): number {
  return charge === undefined ? 0 : ranMs / charge.runMs;
}

/** The stack stays out of Redis: it is in the worker's log. */
function failureFields(reason: string): Record<string, string> {
  return { failedReason: reason, stacktrace: '[]' };
}

function jobId(job: Job): string {
  if (job.id === undefined) throw new Error('A claimed job has no id');
  return job.id;
}
