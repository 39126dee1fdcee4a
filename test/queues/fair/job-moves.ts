/** What happens to active jobs other than their end, as workers, a crash or a lost key do it; one way for all walks. */
import type { Job, Worker } from 'bullmq';
import type { Repairs } from '../../../queues/fair/repairs.ts';
import type { Lab } from './bullmq-lab.ts';

export const HOUR_MS = 3_600_000;

/** The worker of an active job is gone: its lock expires. */
export async function loseLock(lab: Lab, job: Job): Promise<void> {
  await lab.redis.del(`${jobKey(lab, job)}:lock`);
}

/** The next stalled check, whenever the one before was. It recovers what the one before has marked, and marks anew. */
export async function checkStalled(lab: Lab, worker: Worker): Promise<void> {
  await lab.redis.del(`${worker.toKey('')}stalled-check`);
  await lab.redis.hdel(`${worker.opts.prefix ?? ''}::fair:repaired`, worker.name);
  await worker['moveStalledJobsToWait']();
}

/** The lock of an active job expires, and the stalled check that had marked it comes by again. */
export async function stall(lab: Lab, worker: Worker, job: Job): Promise<void> {
  await loseLock(lab, job);
  await lab.redis.sadd(`${worker.toKey('')}stalled`, job.id ?? '');
  await checkStalled(lab, worker);
}

/** The hash of an active job and its place are gone: its slot and its key are all that is left of it. */
export async function vanish(lab: Lab, worker: Worker, job: Job): Promise<Repairs> {
  await lab.redis.del(jobKey(lab, job), `${jobKey(lab, job)}:lock`);
  await lab.redis.lrem(`${worker.toKey('')}active`, 0, job.id ?? '');
  return lab.backend(worker).repairSlots();
}

/** A worker gives a job back that it has not begun. */
export async function handBack(lab: Lab, worker: Worker, job: Job, token: string): Promise<void> {
  await lab.backend(worker).moveJobFromActiveToWait(job.id ?? '', token);
}

/** A job fails and has attempts left. */
export async function retry(job: Job, token: string): Promise<void> {
  await job.moveToFailed(new Error('again'), token, false);
}

/** A job goes back to be delayed by its handler. */
export async function postpone(job: Job, token: string): Promise<void> {
  await job.moveToDelayed(Date.now() + HOUR_MS, token);
}

const jobKey = (lab: Lab, job: Job): string => `${lab.prefix}:${job.queueName}:${job.id}`;
