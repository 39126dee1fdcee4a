/** What happens to jobs that end in one turn of the event loop; see batches.property.test.ts. */
import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

async function add(queue: Queue, id: string, count: number): Promise<void> {
  const opts = { removeOnComplete: true, group: { id } } satisfies FairJobsOptions as JobsOptions;
  for (let i = 0; i < count; i += 1) await queue.add(id, {}, opts);
}

async function start(worker: Worker, count: number): Promise<Job[]> {
  const jobs: Job[] = [];
  for (let i = 0; i < count; i += 1) jobs.push((await take(worker)) as Job);
  return jobs;
}

/** All of them end together; resolves with the names of the jobs that come next, '-' for none. */
async function finish(jobs: readonly Job[]): Promise<string[]> {
  const next = await Promise.all(jobs.map((job) => job.moveToCompleted(1, 't', true)));
  return next.map((each) => (Array.isArray(each) && each[1] ? (each[0] as { name: string }).name : '-'));
}

test('a group that is served twice and then leaves is not put back into the ring', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const base = lab.backend(queue).toKey('');
    await lab.backend(queue).setGroupLimits('fast', { weight: 100 });
    await add(queue, 'slow', 6);
    const running = await start(worker, 3);
    await add(queue, 'fast', 2);
    expect(await finish(running)).toEqual(['slow', 'fast', 'fast']);
    expect(brokenInvariants(await fairState(lab.redis, base))).toEqual([]);
  });
});
