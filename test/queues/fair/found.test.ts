/** What random programs found, each as a test. */
import { expect, test } from '@jest/globals';
import type { JobsOptions } from 'bullmq';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';
import { HOUR_MS } from './job-moves.ts';

const inGroup = (id: string, opts: JobsOptions = {}): JobsOptions =>
  ({ ...opts, group: { id } }) satisfies FairJobsOptions as JobsOptions;

test('the due time of a group goes when its last job is removed while it is parked', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).pauseGroup('g', HOUR_MS);
    const job = await queue.add('j', {}, inGroup('g'));
    const meta = lab.backend(queue).toKey('meta');
    expect(await lab.redis.hexists(meta, 'fair:due')).toBe(1);
    await job.remove();
    expect(await lab.redis.hexists(meta, 'fair:due')).toBe(0);
  });
});
