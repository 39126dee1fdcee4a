import type { FlowProducer, Queue } from 'bullmq';
import { createFairBackend } from '../fair/index.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import type { JobEnvelope } from '../jobs/envelope.ts';

export type WaggleQueue = Queue<JobEnvelope, unknown, string, JobEnvelope, unknown, string, FairQueueBackend>;
export type WaggleFlowProducer = FlowProducer<FairQueueBackend>;

/**
 * The backend of every queue, worker and flow producer of Waggle. All of them must use it alike: a job without a
 * priority ranks after those with one, so that priority 0 is the least urgent.
 */
export const createWaggleBackend = createFairBackend({ unprioritized: 'last' });
