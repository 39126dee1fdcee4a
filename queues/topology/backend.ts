import { FlowProducer } from 'bullmq';
import type { FlowJob, Queue } from 'bullmq';
import { createFairBackend } from '../fair/index.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import type { JobEnvelope } from '../jobs/envelope.ts';

export type WaggleQueue = Queue<JobEnvelope, unknown, string, JobEnvelope, unknown, string, FairQueueBackend>;

type FlowEntries = Parameters<FairQueueBackend['addFlow']>[0];

export class WaggleFlowProducer extends FlowProducer<FairQueueBackend> {
  /** What {@link add} would add, every parent before its children, for a transaction of the caller's. */
  async entriesOf(root: FlowJob): Promise<FlowEntries> {
    const entries: FlowEntries = [];
    await this.addNode({ entries, node: root });
    return entries;
  }
}

/**
 * The backend of every queue, worker and flow producer of Waggle. All of them must use it alike: a job without a
 * priority ranks after those with one, so that priority 0 is the least urgent. Failed jobs are listed by tenant, for search.
 */
export const createWaggleBackend = createFairBackend({ unprioritized: 'last', listsFailed: true });
