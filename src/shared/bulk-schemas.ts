import { z } from 'zod';
import { CancelRequest } from './control-schemas.ts';
import { Job, JobListQuery, Timestamp } from './schemas.ts';

/** The wire types of what is done to many jobs at once. */

const MAX_REDRIVE_PER_SECOND = 10_000;
/** One in a quarter of an hour; timers know no pause of more than 24 days. */
const MIN_REDRIVE_PER_SECOND = 0.001;

export const JobFilter = JobListQuery.omit({ limit: true, cursor: true }).meta({
  id: 'JobFilter',
  description: 'As the list of jobs takes them; ANDed.',
  examples: [{ task: 'echo', tag: 'import-7' }],
});
export type JobFilter = z.output<typeof JobFilter>;

const dryRun = z.boolean().default(false).meta({ description: 'Only counts, and changes nothing.' });

export const BulkCancel = z
  .strictObject({
    filter: JobFilter,
    dryRun,
    reason: CancelRequest.shape.reason,
    graceMs: CancelRequest.shape.graceMs,
  })
  .meta({ id: 'BulkCancel', examples: [{ filter: { tag: 'import-7' }, reason: 'wrong file' }] });
export type BulkCancel = z.output<typeof BulkCancel>;

const ratePerSecond = z.number().min(MIN_REDRIVE_PER_SECOND).max(MAX_REDRIVE_PER_SECOND).optional().meta({
  description: 'How many jobs a second are let in again at most; as fast as it goes unless given.',
});

export const BulkRetry = z
  .strictObject({ filter: JobFilter, dryRun, ratePerSecond })
  .meta({ id: 'BulkRetry', examples: [{ filter: { state: 'failed', task: 'echo' }, ratePerSecond: 50 }] });
export type BulkRetry = z.output<typeof BulkRetry>;

export const Redrive = z
  .strictObject({ filter: JobFilter.omit({ state: true }).prefault({}), dryRun, ratePerSecond })
  .meta({ id: 'Redrive', examples: [{ filter: { queue: 'mail' }, ratePerSecond: 50 }] });
export type Redrive = z.output<typeof Redrive>;

export const DeadLetterQuery = JobListQuery.omit({ state: true }).meta({ id: 'DeadLetterQuery' });

export const BulkAnswer = z
  .strictObject({
    matched: z.int().meta({ description: 'Jobs that are meant, as far as they were counted.' }),
    isExact: z.boolean().meta({ description: 'False when there are more than were counted.' }),
    job: Job.nullable().meta({
      description: 'The job that does it, with how far it is as its progress; null when nothing is done.',
    }),
  })
  .meta({ id: 'BulkAnswer' });
export type BulkAnswer = z.output<typeof BulkAnswer>;

/** The payload of the job that does it. */
export const BulkOrder = z
  .discriminatedUnion('action', [
    z.strictObject({
      action: z.literal('cancel'),
      filter: JobFilter,
      before: Timestamp,
      reason: CancelRequest.shape.reason,
      graceMs: CancelRequest.shape.graceMs,
    }),
    z.strictObject({ action: z.literal('retry'), filter: JobFilter, before: Timestamp, ratePerSecond }),
  ])
  .meta({
    id: 'BulkOrder',
    description: 'Concerns jobs that were created (cancel), or had ended (retry), before that time.',
  });
export type BulkOrder = z.output<typeof BulkOrder>;

/** How far such a job is, and its result. */
export interface BulkProgress {
  /** Jobs that were changed; after the loss of a worker without those of its last second. */
  done: number;
  /** Jobs that were in another state by then, or that this cannot be done to, such as nodes of flows. */
  skipped: number;
}
