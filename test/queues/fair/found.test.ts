/** What random programs found, each as a test; see scheduler.property.test.ts. */
import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions, Worker } from 'bullmq';
import type { FairJobsOptions, GroupOptions } from '../../../queues/fair/index.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';
import { handBack, HOUR_MS } from './job-moves.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

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

test.each([
  ['free', '1'],
  ['limited', '{"m":5}'],
  ['held', '{"m":0}'],
])('a %s group whose queue was lost stands in one place when it comes back', async (_, limits) => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const base = lab.backend(queue).toKey('');
    await queue.add('lost', {}, inGroup('g'));
    await lab.redis.del(`${base}fair:q::g`);
    await lab.redis.hset(`${lab.prefix}::fair:limits`, 'g', limits);
    const back = await queue.add('back', {}, inGroup('g'));
    const damage = { ghosts: new Set<string>(), isDrifted: true };
    expect(brokenInvariants(await fairState(lab.redis, base), true, damage)).toEqual([]);
    await back.remove();
    expect(await lab.redis.exists(`${base}fair:ring`, `${base}fair:park`, `${base}fair:idx`)).toBe(0);
  });
});

const keyed = (more: Partial<GroupOptions> = {}): JobsOptions =>
  ({ group: { id: 'g', key: 'k', ...more } }) as JobsOptions;

test('a blocked job that is failed before it starts lets the one behind it run, whose limit is wider', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('runs', {}, keyed({ keyLimit: 2 }));
    await take(worker);
    const narrow = await queue.add('narrow', {}, keyed());
    await queue.add('wide', {}, keyed({ keyLimit: 2 }));
    expect(await take(worker)).toBeUndefined();
    expect(await lab.backend(queue).failWaiting(narrow, 'no')).toBe(true);
    expect((await take(worker))?.name).toBe('wide');
  });
});

test('superseded jobs go with the queue when it is obliterated, and leave nothing to jobs with their ids', async () => {
  await inLab('fair', async (lab) => {
    const [queue, parents] = [lab.queue(), lab.queue('parents')];
    const old = { name: 'old', queueName: 'q', opts: keyed() };
    const { job: parent } = await lab.addFlow({ name: 'p', queueName: 'parents', children: [old] });
    await queue.add('first', {}, keyed({ keyStrategy: 'replace-waiting' }));
    await queue.add('second', {}, keyed({ keyStrategy: 'replace-waiting' }));
    await queue.obliterate({ force: true });
    expect(await lab.keys()).toEqual([]);
    expect(await parent.getState()).toBe('waiting');
    const again = await queue.add('again', {}, keyed());
    expect(await lab.backend(queue).getDueCancels()).toEqual({ unstarted: [], overdue: [] });
    expect(await again.getState()).toBe('waiting');
    expect(await parents.getWaitingCount()).toBe(1);
  });
});

test('nothing of a queue is left when it is obliterated after queues of its groups were lost', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const backend = lab.backend(queue);
    await backend.setGroupLimits('held', { maxRunning: 0 });
    const groups = ['free', 'held', 'g'];
    const jobs = await queue.addBulk(
      [inGroup('free'), inGroup('held'), keyed(), keyed()].map((opts) => ({ name: 'lost', data: {}, opts })),
    );
    await queue.add('there', {}, inGroup('free', { delay: HOUR_MS }));
    const ids = jobs.map(({ id = '' }) => id);
    await lab.redis.del([...groups.map((id) => `fair:q::${id}`), ...ids].map((key) => backend.toKey(key)));
    await queue.obliterate();
    const left = (await lab.keys()).filter((key) => !/::fair:(queues|limits)$/.test(key));
    expect(left).toEqual([]);
  });
});

test.each([
  ['waits', {}],
  ['is prioritized', { priority: 3 }],
  ['is delayed', { delay: HOUR_MS }],
])('a job that %s and has lost its options is failed before it starts', async (_, opts) => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await queue.add('other', {}, inGroup('other'));
    const job = await queue.add('j', {}, inGroup('g', opts));
    await lab.redis.hdel(lab.backend(queue).toKey(job.id ?? ''), 'opts');
    expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(true);
    expect(await queue.getJobCounts('wait', 'prioritized', 'delayed', 'active', 'failed')).toEqual({
      ...{ wait: 1, prioritized: 0, delayed: 0, active: 0, failed: 1 },
    });
    expect(await lab.redis.exists(lab.backend(queue).toKey('fair:q::g'))).toBe(0);
    expect((await queue.getFailed())[0]).toMatchObject({ id: job.id, failedReason: 'no' });
  });
});

test('a job whose hash is gone can not be recorded as failed, and stays where it is', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const job = await queue.add('j', {}, inGroup('g'));
    await lab.redis.del(lab.backend(queue).toKey(job.id ?? ''));
    expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(false);
    expect(await lab.backend(queue).getWaitingInGroup('g')).toEqual([job.id]);
    expect(await queue.getJobCounts('wait', 'failed')).toEqual({ wait: 1, failed: 0 });
  });
});

test('a group that was parked by a clock an hour ahead runs after the next stalled check', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const backend = lab.backend(queue);
    await backend.setGroupLimits('g', { rate: { limit: 1, periodMs: 1000 } });
    await queue.addBulk(Array.from({ length: 2 }, () => ({ name: 'j', data: {}, opts: inGroup('g') })));
    await take(worker);
    // What is left of the hour when Redis' clock went wrong: two times in state and park, and that of the last look.
    const ahead = (Date.now() + HOUR_MS) * 1000;
    await lab.redis.hset(`${lab.prefix}::fair:state:g`, 'tat', ahead);
    await lab.redis.zadd(backend.toKey('fair:park'), ahead, 'g');
    await lab.redis.hset(backend.toKey('meta'), 'fair:due', Math.ceil(ahead / 1000));
    await lab.redis.hset(`${lab.prefix}::fair:repaired`, 'q', Date.now() + HOUR_MS);
    await worker['moveStalledJobsToWait']();
    expect(lab.backend(worker).repairs).toBe(1);
    await eventually('the second job starts', async () => (await take(worker)) !== undefined);
  });
});

test('an active job whose hash is gone gets none by being asked to stop', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('old', {}, keyed());
    const old = await take(worker);
    const hash = lab.backend(queue).toKey(old?.id ?? '');
    await lab.redis.del(hash);
    await queue.add('new', {}, keyed({ keyStrategy: 'cancel-running' }));
    expect(await lab.redis.exists(hash)).toBe(0);
    await expect(old?.moveToCompleted(1, 't', false)).rejects.toThrow('Missing key');
  });
});

test('a claim that has to pass over many groups leaves a mark for the next', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const base = lab.backend(queue).toKey('');
    const lost = Array.from({ length: 12 }, (_, i) => `g${i}`);
    await queue.addBulk(lost.map((id) => ({ name: 'lost', data: {}, opts: inGroup(id) })));
    await queue.add('kept', {}, inGroup('kept'));
    await lab.redis.del(lost.map((id) => `${base}fair:q::${id}`));
    // Workers that sleep come only when there is a mark, and take it with them.
    const found: string[] = [];
    while ((await lab.redis.zpopmin(`${base}marker`)).length > 0) {
      const job = await take(worker);
      if (job) found.push(job.name);
      if (job) await job.moveToCompleted(1, 't', false);
    }
    expect(found).toEqual(['kept']);
  });
});

test('a prioritized job that is handed back wakes a worker', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('j', {}, inGroup('g', { priority: 2 }));
    const marker = lab.backend(queue).toKey('marker');
    await lab.redis.zpopmin(marker);
    const job = await take(worker);
    await lab.backend(queue).moveJobFromActiveToWait(job?.id ?? '', 't');
    expect(await lab.redis.zscore(marker, '0')).toBe('0');
  });
});

test.each([
  ['of all groups', '*', (weight: number) => ({ weight })],
  ['of its own', 'away', (weight: number) => ({ weight })],
  ['in the queue', 'away', (weight: number) => ({ queues: { q: { weight } } })],
])('a weight %s that is raised counts for one that is away, too', async (_, id, limits) => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await lab.backend(queue).setGroupLimits('other', { weight: 0.01 });
    await lab.backend(queue).setGroupLimits(id, limits(0.01));
    await queue.add('j', {}, inGroup('away'));
    for (let i = 0; i < 30; i += 1) await queue.add('j', {}, inGroup('other'));
    await take(worker);
    await take(worker);
    for (const group of [id, 'other']) await lab.backend(queue).setGroupLimits(group, limits(1));
    await queue.add('away', {}, inGroup('away'));
    const names = (await lab.pickAll('q', 10)).filter((name) => name === 'away');
    expect(names).toEqual(['away']);
  });
});

test('a weight that is lowered counts for what a group owes that is away', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    for (let i = 0; i < 60; i += 1) await queue.add('j', {}, inGroup('other'));
    for (let i = 0; i < 5; i += 1) await queue.add('j', {}, inGroup('away', { priority: 1 }));
    while ((await lab.redis.exists(`${lab.prefix}:q:fair:q::away`)) === 1) await take(worker);
    await lab.backend(queue).setGroupLimits('*', { weight: 0.05 });
    await lab.backend(queue).setGroupLimits('other', { weight: 1 });
    await queue.add('away', {}, inGroup('away'));
    const names = await lab.pickAll('q', 8);
    expect(names).not.toContain('away');
  });
});

test('virtual time goes on while every group that waits is parked', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const backend = lab.backend(queue);
    const add = (id: string, cost: number): Promise<Job[]> =>
      queue.addBulk(
        Array.from({ length: 40 }, () => ({
          ...{ name: id, data: {} },
          opts: { group: { id, cost } } satisfies FairJobsOptions as JobsOptions,
        })),
      );
    await add('dear', 5);
    await add('plain', 1);
    await lab.pickAll('q', 30);
    // From here on the one is ahead of the other by four jobs, and is remembered to be.
    while ((await take(worker))?.name !== 'dear');
    for (const id of ['dear', 'plain']) await backend.pauseGroup(id, HOUR_MS);
    await add('new', 1);
    await backend.resumeGroup('dear');
    const names = await lab.pickAll('q', 18);
    expect(names.filter((name) => name === 'dear').length).toBeGreaterThanOrEqual(2);
  });
});

test('a limit that a job uses up in one queue parks its group in the others, until it ends', async () => {
  await inLab('fair', async (lab) => {
    const [one, two] = [lab.queue('one'), lab.queue('two')];
    await lab.backend(one).setGroupLimits('g', { maxRunning: 1 });
    for (const queue of [one, two]) await queue.add('j', {}, inGroup('g'));
    const job = await take(lab.hand('one'));
    expect(await lab.redis.exists(lab.backend(two).toKey('fair:ring'))).toBe(0);
    expect(await lab.redis.zcard(lab.backend(two).toKey('fair:park'))).toBe(1);
    await job?.moveToCompleted(1, 't', false);
    expect(await take(lab.hand('two'))).toBeDefined();
  });
});

test('a finish that fetches the next job finds a group whose time has come', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('first', {}, inGroup('free'));
    const first = await take(worker);
    await lab.backend(queue).pauseGroup('g', 50);
    await queue.add('second', {}, inGroup('g'));
    const due = Number(await lab.redis.hget(lab.backend(queue).toKey('meta'), 'fair:due'));
    await eventually('the pause is over', async () => {
      const [seconds, micros] = await lab.redis.time();
      return Number(seconds) * 1000 + Number(micros) / 1000 > due;
    });
    const next = (await first?.moveToCompleted(1, 't', true)) as [{ name: string }] | undefined;
    expect(next?.[0]).toMatchObject({ name: 'second' });
  });
});

test('a job that fails for good lets the next of its key run, and is not asked to stop any more', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.add('first', {}, keyed());
    const first = await take(worker);
    await queue.add('second', {}, keyed({ keyStrategy: 'cancel-running' }));
    const cancels = lab.backend(queue).toKey('fair:cancels');
    expect(await lab.redis.zcard(cancels)).toBe(1);
    await first?.moveToFailed(new Error('no'), 't', false);
    expect(await lab.redis.zcard(cancels)).toBe(0);
    expect((await take(worker))?.name).toBe('second');
  });
});

test('every start of a job is counted', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const { id = '' } = await queue.add('j', {}, inGroup('g', { attempts: 3 }));
    for (const starts of [1, 2, 3]) {
      const job = await take(worker);
      const stored = await queue.getJob(id);
      expect([job?.attemptsStarted, stored?.attemptsStarted]).toEqual([starts, starts]);
      await job?.moveToFailed(new Error('again'), 't', false);
    }
  });
});

describe('a job that was asked to stop', () => {
  test.each([
    ['plain', {}],
    ['with a key', { group: { id: 'g', key: 'k' } }],
  ])('and ends by itself leaves nothing to a later one with its id: %s', async (_, opts) => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      const backend = lab.backend(queue);
      await queue.add('first', {}, { ...opts, jobId: 'x', removeOnComplete: true });
      const job = await take(worker);
      expect(await backend.askToStop('x', 0, 'stop')).toBe(true);
      await job?.moveToCompleted(1, 't', false);
      expect(await lab.redis.exists(backend.toKey('fair:cancels'))).toBe(0);
      await queue.add('second', {}, { ...opts, jobId: 'x' });
      expect(await backend.getDueCancels()).toEqual({ unstarted: [], overdue: [] });
      expect(await queue.getJobState('x')).toBe('waiting');
    });
  });

  test('and ends by itself, being kept, is not marked any more', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await queue.add('kept', {}, { jobId: 'x' });
      const job = await take(worker);
      await lab.backend(queue).askToStop('x', HOUR_MS, 'stop');
      await job?.moveToCompleted(1, 't', false);
      expect(await lab.redis.hexists(queue.toKey('x'), 'cxl')).toBe(0);
      expect(await queue.getJobState('x')).toBe('completed');
    });
  });

  test('and was removed after it was handed back leaves nothing to a later one with its id', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      const backend = lab.backend(queue);
      await queue.add('first', {}, { jobId: 'x' });
      const job = await take(worker);
      if (!job) throw new Error('the job was not picked');
      await backend.askToStop('x', 0, 'stop');
      await handBack(lab, worker, job, 't');
      await job.remove();
      const later = await queue.add('second', {}, { jobId: 'x' });
      expect(await backend.failCancelled(later, 'superseded')).toBe(false);
      expect(await queue.getJobState('x')).toBe('waiting');
      expect(await backend.getDueCancels()).toEqual({ unstarted: [], overdue: [] });
      expect(await lab.redis.exists(backend.toKey('fair:cancels'))).toBe(0);
    });
  });
});
