import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import type { GroupOptions } from '../../../queues/fair/index.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { checkStalled } from './job-moves.ts';

const HOUR_MS = 3_600_000;

/** Options of a job of group `g` with the key `k`. */
const keyed = (more: Partial<GroupOptions> = {}, opts: JobsOptions = {}): JobsOptions =>
  ({ ...opts, group: { id: 'g', key: 'k', ...more } }) as JobsOptions;

const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

async function finish(job: Job | undefined): Promise<void> {
  await job?.moveToCompleted(1, 't', false);
}

async function endSuperseded(lab: Lab, queue: Queue): Promise<string[]> {
  const { unstarted } = await lab.backend(queue).getDueCancels();
  for (const id of unstarted) {
    const job = await queue.getJob(id);
    if (job) await lab.backend(queue).failWaiting(job, 'superseded');
  }
  return unstarted;
}

describe('superseding', () => {
  test('counts stay right when what is replaced was all that waited', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('a', {}, keyed());
      await take(worker);
      for (const name of ['b', 'c', 'd'])
        await queue.add(name, {}, keyed({ keyStrategy: 'replace-waiting' }));
      expect(await queue.getWaitingCount()).toBe(1);
      expect((await queue.getWaiting()).map((job) => job.name)).toEqual(['d']);
      await queue.drain();
      expect(await queue.getWaitingCount()).toBe(0);
      expect((await lab.backend(queue).countGroup('g')).waiting).toBe(0);
    });
  });

  test('replaces one that waits for its turn, and leaves one between two attempts alone', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      const old = await queue.add('old', {}, keyed());
      const next = await queue.add('next', {}, keyed({ keyStrategy: 'replace-waiting' }, { attempts: 3 }));
      expect(await endSuperseded(lab, queue)).toEqual([old.id]);
      expect(await old.getState()).toBe('failed');
      await (await take(worker))?.moveToFailed(new Error('again'), 't', false);
      await queue.add('newest', {}, keyed({ keyStrategy: 'replace-waiting' }));
      expect(await endSuperseded(lab, queue)).toEqual([]);
      expect((await take(worker))?.id).toBe(next.id);
    });
  });

  test('a job that was removed before the sweep, and one that has its id now, are left alone', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('a', {}, keyed());
      await take(worker);
      await queue.add('x', {}, keyed({}, { jobId: 'x' }));
      await queue.add('c', {}, keyed({ keyStrategy: 'replace-waiting' }));
      await queue.remove('x');
      await queue.add('x again', {}, { jobId: 'x' });
      expect(await endSuperseded(lab, queue)).toEqual([]);
      expect(await queue.getJobState('x')).toBe('waiting');
    });
  });

  test('a job that comes back does not supersede a newer one', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('old', {}, keyed({ keyStrategy: 'cancel-running' }));
      const old = await take(worker);
      await old?.moveToFailed(new Error('no'), 't', false);
      await queue.add('new', {}, keyed({ keyStrategy: 'cancel-running' }));
      await take(worker);
      await old?.retry();
      expect(await lab.redis.zcard(lab.backend(queue).toKey('fair:cancels'))).toBe(0);
    });
  });

  test('more blocked jobs than one look takes all make way', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('a', {}, keyed());
      const running = await take(worker);
      await queue.addBulk(Array.from({ length: 1200 }, () => ({ name: 'old', data: {}, opts: keyed() })));
      await queue.add('new', {}, keyed({ keyStrategy: 'cancel-running' }));
      await finish(running);
      expect((await take(worker))?.name).toBe('new');
    });
  });

  describe('more than one script takes off', () => {
    /** A job `running` that holds the key, and some that wait for it. */
    const crowd = async (
      lab: Lab,
      count = 120,
    ): Promise<{ queue: Queue; worker: Worker; running: Job | undefined }> => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('running', {}, keyed());
      const running = await take(worker);
      await queue.addBulk(Array.from({ length: count }, () => ({ name: 'old', data: {}, opts: keyed() })));
      return { queue, worker, running };
    };
    const replace = (queue: Queue, name = 'new'): Promise<Job> =>
      queue.add(name, {}, keyed({ keyStrategy: 'replace-waiting' }));
    const blocked = async (lab: Lab, queue: Queue): Promise<number> =>
      (await lab.backend(queue).countGroup('g')).blocked;
    const areBehind = async (lab: Lab, queue: Queue): Promise<boolean> =>
      (await lab.redis.exists(lab.backend(queue).toKey('fair:ks'))) === 1;

    test.each(['replace-waiting', 'cancel-running'] as const)(
      'none of them starts: %s',
      async (keyStrategy) => {
        await inLab('fair', async (lab) => {
          const { queue, worker, running } = await crowd(lab);
          await queue.add('new', {}, keyed({ keyStrategy }));
          expect(await blocked(lab, queue)).toBe(71);
          await finish(running);
          const next = await take(worker);
          expect(next?.name).toBe('new');
          expect(await take(worker)).toBeUndefined();
          await finish(next);
          expect(await take(worker)).toBeUndefined();
          // A key that only such jobs wait for is free.
          await queue.add('later', {}, keyed());
          expect((await take(worker))?.name).toBe('later');
          expect(await blocked(lab, queue)).toBe(70);
        });
      },
    );

    test('they are taken off bit by bit, and all are recorded', async () => {
      await inLab('fair', async (lab) => {
        const { queue } = await crowd(lab);
        const { id } = await replace(queue);
        const counted = [];
        for (let ended = await endSuperseded(lab, queue); ended.length > 0;) {
          counted.push(ended.length);
          ended = await endSuperseded(lab, queue);
        }
        expect(counted).toEqual([100, 20]);
        expect(await queue.getJobCounts('wait', 'failed')).toEqual({ wait: 1, failed: 120 });
        expect((await queue.getWaiting()).map((job) => job.id)).toEqual([id]);
        expect(await areBehind(lab, queue)).toBe(false);
      });
    });

    test('when there are just as many, nothing is left to do', async () => {
      await inLab('fair', async (lab) => {
        const { queue } = await crowd(lab, 50);
        await replace(queue);
        expect(await areBehind(lab, queue)).toBe(false);
        expect(await blocked(lab, queue)).toBe(1);
      });
    });

    test('each newer one takes some of the rest off', async () => {
      await inLab('fair', async (lab) => {
        const { queue, worker, running } = await crowd(lab);
        await replace(queue);
        await replace(queue, 'newer');
        expect(await blocked(lab, queue)).toBe(22);
        await replace(queue, 'newest');
        expect(await blocked(lab, queue)).toBe(1);
        expect(await areBehind(lab, queue)).toBe(false);
        await finish(running);
        expect((await take(worker))?.name).toBe('newest');
      });
    });

    test('nobody is told that it waits for them', async () => {
      await inLab('fair', async (lab) => {
        const { queue } = await crowd(lab);
        const [backend, { id: newest = '' }] = [lab.backend(queue), await replace(queue)];
        expect((await backend.explainWaiting('g', newest)).blocked).toBe(0);
        const { id: later = '' } = await queue.add('later', {}, keyed());
        expect((await backend.explainWaiting('g', later)).blocked).toBe(1);
      });
    });

    test('one of them that gets another priority, or is to be changed, stays one', async () => {
      await inLab('fair', async (lab) => {
        const { queue, worker, running } = await crowd(lab);
        await replace(queue);
        await finish(running);
        await finish(await take(worker));
        const old = (await queue.getWaiting()).find((job) => job.name === 'old');
        await old?.changePriority({ priority: 1 });
        expect(await take(worker)).toBeUndefined();
        const changes = { options: JSON.stringify(keyed()), priority: 0, data: null, runAt: null };
        expect(await lab.backend(queue).amend(old?.id ?? '', changes)).toBe(false);
        const ended = [await endSuperseded(lab, queue), await endSuperseded(lab, queue)].flat();
        expect(ended).toHaveLength(120);
        expect(ended).toContain(old?.id);
        expect(await lab.keys()).not.toContain(lab.backend(queue).toKey('fair:n'));
      });
    });

    test('jobs of a scheduler among them are spared, and keep their turn once they were come to', async () => {
      await inLab('fair', async (lab) => {
        const [queue, worker] = [lab.queue(), lab.hand()];
        await queue.add('running', {}, keyed());
        const running = await take(worker);
        for (let i = 0; i < 60; i += 1)
          await queue.upsertJobScheduler(`s${i}`, { every: HOUR_MS }, { name: 'tick', opts: keyed() });
        await queue.promoteJobs();
        await queue.addBulk(Array.from({ length: 60 }, () => ({ name: 'old', data: {}, opts: keyed() })));
        await replace(queue);
        expect(await endSuperseded(lab, queue)).toHaveLength(60);
        expect(await endSuperseded(lab, queue)).toEqual([]);
        expect(await areBehind(lab, queue)).toBe(false);
        expect(await blocked(lab, queue)).toBe(61);
        await finish(running);
        expect((await take(worker))?.name).toBe('tick');
      });
    });

    test.each([
      ['drained', (queue: Queue) => queue.drain()],
      ['cleaned', (queue: Queue) => queue.clean(0, 1000, 'wait')],
      [
        'removed',
        async (queue: Queue) => {
          for (const job of await queue.getWaiting()) await job.remove();
        },
      ],
      ['obliterated', (queue: Queue) => queue.obliterate({ force: true })],
    ])('nothing says so any more when they are %s', async (_, remove: (queue: Queue) => Promise<unknown>) => {
      await inLab('fair', async (lab) => {
        const { queue } = await crowd(lab);
        await replace(queue);
        expect(await areBehind(lab, queue)).toBe(true);
        await remove(queue);
        expect(await areBehind(lab, queue)).toBe(false);
        expect(await queue.getWaitingCount()).toBe(0);
      });
    });
  });
});

describe('a key comes back', () => {
  test('from a job that deduplication replaces between two attempts', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      const dedup = {
        deduplication: { id: 'd', replace: true, ttl: HOUR_MS },
        attempts: 3,
        backoff: HOUR_MS,
      };
      await queue.add('first', {}, keyed({}, { ...dedup, delay: HOUR_MS }));
      await queue.promoteJobs();
      await (await take(worker))?.moveToFailed(new Error('again'), 't', false);
      await queue.add('second', {}, keyed({}, { ...dedup, delay: HOUR_MS }));
      await queue.add('third', {}, keyed());
      expect((await take(worker))?.name).toBe('third');
    });
  });

  test("from a scheduler's job that is upserted, finished, and removed", async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      for (const every of [HOUR_MS, 2 * HOUR_MS])
        await queue.upsertJobScheduler('s', { every }, { name: 'tick', opts: keyed() });
      await queue.promoteJobs();
      await finish(await take(worker));
      await queue.removeJobScheduler('s');
      await queue.add('next', {}, keyed());
      expect((await take(worker))?.name).toBe('next');
    });
  });

  test('to the next one at once when the limits of its jobs differ', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('a', {}, keyed({ keyLimit: 2 }));
      await take(worker);
      const narrow = await queue.add('b', {}, keyed({ keyLimit: 1 }));
      await queue.add('c', {}, keyed({ keyLimit: 2 }));
      expect(await take(worker)).toBeUndefined();
      await narrow.remove();
      expect((await take(worker))?.name).toBe('c');
    });
  });
});

test('a stalled check gives back the keys that jobs wait for, however many jobs have keys', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const names = Array.from({ length: 4_000 }, (_, index) => `k${index}`);
    await queue.addBulk(names.map((key) => ({ name: key, data: {}, opts: keyed({ key }) })));
    const lost = names.filter((_, index) => index % 200 === 0);
    await queue.addBulk(lost.map((key) => ({ name: 'next', data: {}, opts: keyed({ key }) })));
    const jobs = await queue.getWaiting(0, -1);
    for (const { id } of jobs.filter((job) => lost.includes(job.name)))
      await lab.redis
        .multi()
        .del(queue.toKey(String(id)))
        .zrem(lab.backend(queue).toKey('fair:q::g'), String(id))
        .exec();
    const blocked = async (): Promise<number> => (await lab.backend(queue).countGroup('g')).blocked;
    expect(await blocked()).toBe(20);
    await checkStalled(lab, worker);
    expect(await blocked()).toBe(0);
    // Each of them was taken over by the one that waited; those are lost as well, and nobody waits.
    for (const { id } of (await queue.getWaiting(0, -1)).filter((job) => job.name === 'next'))
      await lab.redis.zrem(lab.backend(queue).toKey('fair:q::g'), String(id));
    expect(await lab.backend(queue).repairSlots()).toMatchObject({ keys: 20 });
  });
});

test('a blocked job keeps its place in its key when its priority changes', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('a', {}, keyed());
    const running = await take(worker);
    const first = await queue.add('x', {}, keyed());
    const second = await queue.add('b', {}, keyed());
    await first.remove();
    await second.changePriority({ priority: 0 });
    await queue.add('c', {}, keyed());
    await finish(running);
    expect((await take(worker))?.name).toBe('b');
  });
});

test('prioritized jobs of a parked group keep their order through claims that give nothing', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await lab.backend(queue).pauseGroup('g');
    await queue.setGlobalConcurrency(10);
    const opts = { group: { id: 'g' }, priority: 5 } as JobsOptions;
    for (const name of ['1', '2', '3']) await queue.add(name, {}, opts);
    expect(await take(worker)).toBeUndefined();
    await queue.add('4', {}, opts);
    await lab.backend(queue).resumeGroup('g');
    expect(await lab.pickAll('q', 4)).toEqual(['1', '2', '3', '4']);
  });
});

test('a group that came and went leaves nothing while another is parked', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await lab.backend(queue).setGroupLimits('held', { maxRunning: 0 });
    await queue.add('held', {}, { group: { id: 'held' } } as JobsOptions);
    for (let i = 0; i < 30; i += 1) {
      await queue.add('passing', {}, { group: { id: `p${i}` } } as JobsOptions);
      await finish(await take(worker));
    }
    expect(await lab.redis.zcard(lab.backend(queue).toKey('fair:fin'))).toBeLessThanOrEqual(2);
  });
});

test('a rate that comes due wakes a worker, also when the last other group left after it was parked', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('slow', { rate: { limit: 1, periodMs: 300 } });
    const ran: string[] = [];
    for (let i = 0; i < 3; i += 1)
      lab.worker('q', async (job) => void ran.push(job.name), { drainDelay: 600 });
    for (const name of ['s1', 's2']) await queue.add(name, {}, { group: { id: 'slow' } } as JobsOptions);
    await queue.add('quick', {}, { group: { id: 'other' } } as JobsOptions);
    await eventually('all have run, long before a worker looks by itself', () => ran.length === 3);
  });
});

test.each([
  [{ keyStrategy: 'reject' }, 'need a group.key'],
  [{ key: 'k', keyLimit: 0 }, 'keyLimit'],
  [{ key: 'k', keyStrategy: 'other' }, 'keyStrategy'],
  [{ key: 7 }, 'group.key must be a string'],
])('%j is refused', async (group, message) => {
  await inLab('fair', async (lab) => {
    const opts = { group: { id: 'g', ...group } } as JobsOptions;
    await expect(lab.queue().add('j', {}, opts)).rejects.toThrow(message);
  });
});

test('a flow with a job that could be refused is refused whole', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const child = { name: 'kid', queueName: 'q', opts: keyed({ keyStrategy: 'reject' }) };
    await expect(lab.addFlow({ name: 'p', queueName: 'q', children: [child] })).rejects.toThrow('in a flow');
    expect(await queue.getJobCounts('waiting', 'waiting-children')).toEqual({
      waiting: 0,
      'waiting-children': 0,
    });
  });
});
