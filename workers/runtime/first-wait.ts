import type { Run } from './run.ts';

/**
 * How long a job waited for a worker, in ms: from when it was due to its claim. Null where that is not what kept it: only
 * the first start tells, and a node of a flow waited for other nodes.
 */
export function firstWaitMs({ job, envelope }: Run): number | null {
  if (job.attemptsStarted > 1 || job.processedOn === undefined || envelope?.flow) return null;
  // The clocks of who enqueued and who claimed may differ.
  return Math.max(job.processedOn - job.timestamp - (job.opts.delay ?? 0), 0);
}
