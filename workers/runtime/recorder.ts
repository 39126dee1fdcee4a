import { setTimeout as delay } from 'node:timers/promises';
import { ErrorCode } from 'bullmq';
import { encodeFailure } from '../../queues/jobs/failure.ts';
import type { Failure } from '../../queues/jobs/failure.ts';
import { isRedisUnavailable } from '../../queues/topology/redis-errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { Outcome } from './outcome.ts';
import { saysLockLost } from './source.ts';
import type { Claimed, Job, ShardSource } from './source.ts';

export interface RecordRequest {
  source: ShardSource;
  job: Job;
  token: string;
  outcome: Outcome;
  /** Asked right before each try: whether the next job shall be claimed in the same script. */
  fetchNext: () => boolean;
  /** Aborted when the lock is lost or the worker gives up waiting for Redis. */
  stopped: AbortSignal;
}

export interface Recorded {
  /** What was really recorded; `abandon` when it was not ours to write. */
  outcome: Outcome;
  /** What came with it, or null when nothing was fetched. */
  next: Claimed | null;
}

/** A script that fails again and again is a defect, not an outage: the job is left to the stalled check. */
const MAX_DEFECTS = 5;
const MAX_PAUSE_MS = 2000;

/** Writes outcomes to Redis and keeps at it while Redis is away, until the outcome is stored or the job is not ours. */
export class Recorder {
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  async record(request: RecordRequest): Promise<Recorded> {
    let { outcome } = request;
    let defects = 0;
    for (let tries = 0; !request.stopped.aborted; tries += 1) {
      try {
        return { outcome, next: await write({ ...request, outcome }) };
      } catch (error) {
        if (saysLockLost(error)) return await this.#lost(request, outcome);
        const verdict = childrenVerdict(error);
        if (verdict) {
          outcome = { kind: 'fail', failure: verdict };
          continue;
        }
        if (!isRedisUnavailable(error) && ++defects >= MAX_DEFECTS) {
          this.#logger.error(
            { err: error, jobId: request.job.id },
            'outcome could not be recorded; job left to recovery',
          );
          break;
        }
        await pause(tries, request.stopped);
      }
    }
    return { outcome: { kind: 'abandon' }, next: null };
  }

  /**
   * A reply that was lost with its connection makes the client send the script again, which then finds the lock gone
   * because the first one did its work. The job's own record tells this from a real loss.
   */
  async #lost({ source, job }: RecordRequest, outcome: Outcome): Promise<Recorded> {
    const ended = outcome.kind === 'complete' || outcome.kind === 'fail';
    if (ended && (await wasRecorded(source, job))) return { outcome, next: null };
    return { outcome: { kind: 'abandon' }, next: null };
  }
}

async function write(request: RecordRequest): Promise<Claimed | null> {
  const { source, job, token, outcome } = request;
  switch (outcome.kind) {
    case 'complete':
      return source.complete(job, token, outcome.result, request.fetchNext());
    case 'fail':
      return source.fail(job, token, encodeFailure(outcome.failure), request.fetchNext());
    case 'retry':
      return source.retry(job, token, encodeFailure(outcome.failure), outcome.delayMs, request.fetchNext());
    case 'hand-back':
      await source.handBack(job, token);
      return null;
    case 'pause-tenant':
      await source.pauseTenant(job, outcome.forMs);
      await source.handBack(job, token);
      return null;
    case 'pause-key':
      return source.pauseKey(job, token, outcome.forMs, request.fetchNext());
    case 'abandon':
      return null;
  }
}

/** Only the owner of a start can end it, so an ended job that was started no more often was ended by us. */
async function wasRecorded(source: ShardSource, job: Job): Promise<boolean> {
  try {
    const stored = await source.backend.getJobData(job.id ?? '');
    if (stored?.finishedOn === undefined || stored.attemptsStarted !== job.attemptsStarted) return false;
    job.finishedOn = stored.finishedOn;
    return true;
  } catch {
    return false;
  }
}

/** A job cannot complete while children are pending or after one failed it. */
function childrenVerdict(error: unknown): Failure | null {
  const code = (error as { code?: unknown } | null)?.code;
  if (code === ErrorCode.JobHasFailedChildren) {
    return { code: 'child_failed', message: 'A job this one depends on has failed', retryable: false };
  }
  if (code === ErrorCode.JobPendingChildren) {
    return {
      code: 'children_pending',
      message: 'Jobs this one depends on have not finished',
      retryable: false,
    };
  }
  return null;
}

async function pause(tries: number, stopped: AbortSignal): Promise<void> {
  const ms = Math.min(50 * 2 ** tries, MAX_PAUSE_MS);
  await delay(ms, undefined, { signal: stopped }).catch(() => undefined);
}
