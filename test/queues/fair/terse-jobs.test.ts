import { expect, test } from '@jest/globals';
import type { Job, Worker } from 'bullmq';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';

/** The next job by each of the ways in which a worker is given one. */
const claims: Record<string, (worker: Worker, running: Job) => Promise<unknown>> = {
  'a start': (worker) => worker['backend'].moveToActive('t', 'w'),
  'a completion': async (_, running) => running.moveToCompleted('done', 't', true),
  'a failure': async (_, running) => running.moveToFailed(new Error('no'), 't', true),
  'a delay': (worker, running) =>
    worker['backend'].moveToDelayed(running.id ?? '', Date.now(), 100_000, 't', { fetchNext: true }),
};

for (const [way, claim] of Object.entries(claims)) {
  test(`a job without delay and priority has both as 0, fetched by ${way}`, async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue('q'), lab.hand('q', { name: 'w' })];
      for (const name of ['running', 'next']) await queue.add(name, {}, { jobId: `${name}-1` });
      expect(Object.keys(await lab.redis.hgetall(queue.toKey('next-1'))).sort()).toEqual([
        'data',
        'name',
        'opts',
        'timestamp',
      ]);
      const running = await worker.getNextJob('t', { block: false });
      if (!running) throw new Error('Nothing to run');
      expect(await claim(worker, running)).toMatchObject([
        { name: 'next', delay: 0, priority: 0 },
        'next-1',
        0,
        0,
      ]);
      expect(await queue.getJob('next-1')).toMatchObject({ delay: 0, priority: 0 });
    });
  });
}

for (const [way, claim] of Object.entries(claims)) {
  test(`a job whose run time is charged tells by how much, fetched by ${way}`, async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue('q'), lab.hand('q', { name: 'w' })];
      await lab
        .backend(queue)
        .setGroupLimits('1:2', { weight: 0.5, chargeRunMs: 70, queues: { q: { chargeRunMs: 250 } } });
      await queue.add('running', {});
      await queue.add('slot', {}, { group: { id: '1:2' } } as FairJobsOptions);
      const running = await worker.getNextJob('t', { block: false });
      if (!running) throw new Error('Nothing to run');
      expect(await claim(worker, running)).toMatchObject([
        { name: 'slot', charge: { runMs: 250, weight: 0.5 } },
        '2',
        0,
        0,
      ]);
    });
  });

  test(`one whose run time is not charged does not, fetched by ${way}`, async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue('q'), lab.hand('q', { name: 'w' })];
      await lab.backend(queue).setGroupLimits('limited', { maxRunning: 2, rate: { limit: 5, periodMs: 1 } });
      await queue.add('running', {});
      await queue.add('slot', {}, { group: { id: 'limited' } } as FairJobsOptions);
      const running = await worker.getNextJob('t', { block: false });
      if (!running) throw new Error('Nothing to run');
      const [json] = (await claim(worker, running)) as (object | null)[];
      expect(json).toMatchObject({ name: 'slot' });
      expect(json).not.toHaveProperty('charge');
    });
  });
}

test('a priority is kept, and read again when it is taken away', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue('q');
    const job = await queue.add('urgent', {}, { jobId: 'u-1', priority: 3 });
    expect(await queue.getJob('u-1')).toMatchObject({ delay: 0, priority: 3 });
    await job.changePriority({ priority: 0 });
    expect(await queue.getJob('u-1')).toMatchObject({ delay: 0, priority: 0 });
    expect(await job.getState()).toBe('waiting');
  });
});
