import { WaggleError } from '../../src/shared/errors.ts';

/** When a caller may try again. Nobody can know when there will be room; this keeps callers from hammering. */
const RETRY_AFTER_MS = 1000;

/** What of a tenant's waiting room a caller may fill now. */
export interface Room {
  /** Jobs for which there is room, at most as many as were asked for. */
  jobs: number;
  /** Jobs that may wait at all; null = no limit. */
  most: number | null;
}

/** @throws WaggleError queue_full */
export function assertFits(count: number, room: Room): void {
  if (room.jobs < count) throw queueFull(room);
}

/** What a batch or a flow says of jobs there is no room for, and a single job as well. */
export function queueFull({ jobs, most }: Room): WaggleError {
  return new WaggleError('queue_full', 'The tenant has as many jobs waiting as it may have.', {
    retryAfterMs: RETRY_AFTER_MS,
    ...(most === null ? {} : { quota: { policy: 'max-waiting', limit: most, remaining: jobs } }),
  });
}
