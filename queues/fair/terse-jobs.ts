import { raw2NextJobData, RedisQueueBackend } from 'bullmq';
import type { JobJson } from 'bullmq';

/** What a claim answers: the job's fields, its id, and two times. */
type NextJob = [JobJson | null | undefined, ...unknown[]];

/**
 * BullMQ's Redis backend, for jobs whose hash has no `delay` and no `priority` while they are 0, as `add.lua` stores them.
 * BullMQ's scripts take the absence for 0; its decoder makes NaN of it.
 */
export class TerseJobsBackend extends RedisQueueBackend {
  override async moveToActive(
    ...args: Parameters<RedisQueueBackend['moveToActive']>
  ): ReturnType<RedisQueueBackend['moveToActive']> {
    return withZeros(await super.moveToActive(...args));
  }

  override async moveToFinished(
    ...args: Parameters<RedisQueueBackend['moveToFinished']>
  ): ReturnType<RedisQueueBackend['moveToFinished']> {
    return withZeros(await super.moveToFinished(...args));
  }

  override async moveToDelayed(
    ...args: Parameters<RedisQueueBackend['moveToDelayed']>
  ): ReturnType<RedisQueueBackend['moveToDelayed']> {
    return withZeros(await super.moveToDelayed(...args));
  }

  override async getJobData(
    ...args: Parameters<RedisQueueBackend['getJobData']>
  ): ReturnType<RedisQueueBackend['getJobData']> {
    const json = await super.getJobData(...args);
    if (json) setZeros(json);
    return json;
  }

  /** What a lean script's reply says of the next job. */
  protected nextJobOf(reply: unknown): NextJob {
    return withZeros(raw2NextJobData(reply as unknown[]) as NextJob);
  }
}

function withZeros<T>(next: T): T {
  const json = Array.isArray(next) ? (next as unknown as NextJob)[0] : null;
  if (json) setZeros(json);
  return next;
}

function setZeros(json: JobJson): void {
  json.delay ||= 0;
  json.priority ||= 0;
}
