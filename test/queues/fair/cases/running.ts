import { DelayedError, UnrecoverableError, WaitingError } from 'bullmq';
import { eventually } from '../../../support/eventually.ts';
import { attempt, named, overview } from './case.ts';
import type { Case } from './case.ts';

/** What happens to a job that runs, and with the queue while it does. */
export const running: Record<string, Case> = {
  'a retry without backoff keeps its place': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([{ name: 'a', data: {}, opts: { attempts: 3 } }, ...named('b', 'c')]);
    const order = await lab.work(5, async (job) => {
      if (job.name === 'a' && job.attemptsMade < 2) throw new Error(`no ${job.attemptsMade}`);
    });
    return { order, after: await overview(queue) };
  },

  'retries of prioritized and lifo jobs': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      { name: 'p2', data: {}, opts: { attempts: 2, priority: 2 } },
      { name: 'p2b', data: {}, opts: { priority: 2 } },
      { name: 'lifo', data: {}, opts: { attempts: 2, lifo: true } },
      ...named('plain'),
    ]);
    return lab.work(6, async (job) => {
      if (job.opts.attempts && job.attemptsMade < 1) throw new Error('once');
    });
  },

  'a retry with backoff is delayed': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      { name: 'a', data: {}, opts: { attempts: 3, backoff: { type: 'fixed', delay: 40 } } },
      ...named('b'),
      { name: 'c', data: {}, opts: { attempts: 1 } },
    ]);
    const order = await lab.work(5, async (job) => {
      if (job.name !== 'b') throw new Error(`no ${job.attemptsMade}`);
    });
    return { order, after: await overview(queue) };
  },

  'an unrecoverable error ends the attempts': async (lab) => {
    const queue = lab.queue();
    await queue.add('a', {}, { attempts: 5 });
    const order = await lab.work(1, async () => {
      throw new UnrecoverableError('never');
    });
    const [job] = await queue.getFailed();
    return { order, reason: job?.failedReason, after: await overview(queue) };
  },

  'moveToDelayed and moveToWait from a processor': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('delay', 'wait', 'plain'));
    const starts: string[] = [];
    let dueAt = 0;
    const order = await lab.work(3, async (job, token) => {
      starts.push(job.name);
      if (starts.filter((name) => name === job.name).length > 1) return;
      if (job.name === 'delay') {
        dueAt = Date.now() + 50;
        await job.moveToDelayed(dueAt, token);
        // The next pick is to find it due, on a quick machine as on a slow one.
        await eventually('it is due', () => Date.now() > dueAt);
        throw new DelayedError();
      }
      if (job.name === 'wait') {
        await job.moveToWait(token);
        throw new WaitingError();
      }
    });
    return { starts, order, after: await overview(queue) };
  },

  'getNextJob by hand, with wrong and right tokens': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([...named('a', 'b', 'c'), { name: 'p', data: {}, opts: { priority: 1 } }]);
    const worker = lab.hand();
    const a = await worker.getNextJob('t1');
    const b = await worker.getNextJob('t2');
    const during = await overview(queue);
    const wrong = await attempt(async () => a?.moveToCompleted('x', 'other'));
    const next = await a?.moveToCompleted({ deep: [1] }, 't1', true);
    const again = await attempt(async () => a?.moveToCompleted('x', 't1'));
    const failed = await attempt(async () => b?.moveToFailed(new Error('bad'), 't2', true));
    return {
      during,
      wrong,
      next: next && [next[1], next[2], next[3]],
      again,
      failed: Array.isArray(failed) ? failed.slice(1) : failed,
      value: (await queue.getJob(a?.id ?? ''))?.returnvalue as unknown,
      after: await overview(queue),
    };
  },

  'a job that is gone, unlocked or no longer active': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('a', 'b', 'c'));
    const worker = lab.hand();
    const [a, b, c] = [
      await worker.getNextJob('t'),
      await worker.getNextJob('t'),
      await worker.getNextJob('t'),
    ];
    await lab.redis.del(lab.backend(queue).toKey(a?.id ?? ''));
    await lab.redis.del(`${lab.backend(queue).toKey(b?.id ?? '')}:lock`);
    await lab.redis.lrem(lab.backend(queue).toKey('active'), 0, c?.id ?? '');
    return {
      errors: [
        await attempt(async () => a?.moveToCompleted(1, 't', false)),
        await attempt(async () => b?.moveToCompleted(1, 't', false)),
        await attempt(async () => c?.moveToCompleted(1, 't', false)),
      ],
      after: await overview(queue),
    };
  },

  'removeOnComplete: true, a number, an object': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      { name: 'gone', data: {}, opts: { removeOnComplete: true } },
      ...Array.from({ length: 4 }, (_, i) => ({ name: `two${i}`, data: {}, opts: { removeOnComplete: 2 } })),
      { name: 'gone2', data: {}, opts: { removeOnComplete: true } },
      { name: 'aged', data: {}, opts: { removeOnComplete: { age: 3600, count: 5 } } },
      { name: 'kept', data: {} },
    ]);
    const order = await lab.work(8);
    return { order, after: await overview(queue) };
  },

  'removeOnComplete as a worker option': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('a', 'b', 'c'));
    const order = await lab.work(3, async () => 1, { removeOnComplete: { count: 0 } });
    return { order, after: await overview(queue) };
  },

  removeOnFail: async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      { name: 'gone', data: {}, opts: { removeOnFail: true } },
      ...Array.from({ length: 3 }, (_, i) => ({ name: `one${i}`, data: {}, opts: { removeOnFail: 1 } })),
    ]);
    const order = await lab.work(4, async () => {
      throw new Error('no');
    });
    return { order, after: await overview(queue) };
  },

  'retry of failed and completed jobs': async (lab) => {
    const queue = lab.queue();
    const jobs = await queue.addBulk([
      ...named('bad', 'good', 'bad2'),
      { name: 'badp', data: {}, opts: { priority: 3 } },
    ]);
    await lab.work(4, async (job) => {
      if (job.name.startsWith('bad')) throw new Error('no');
    });
    await queue.add('newer', {});
    const errors = [
      await attempt(async () => (await queue.getJob(jobs[0]?.id ?? ''))?.retry('failed')),
      await attempt(async () => (await queue.getJob(jobs[1]?.id ?? ''))?.retry('completed')),
      await attempt(async () =>
        (await queue.getJob(jobs[3]?.id ?? ''))?.retry('failed', { resetAttemptsMade: true }),
      ),
      await attempt(async () => (await queue.getJob(jobs[0]?.id ?? ''))?.retry('failed')),
    ];
    return { errors, before: await overview(queue), order: await lab.work(4) };
  },

  retryJobs: async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(
      Array.from({ length: 12 }, (_, i) => ({ name: `j${i}`, data: {}, opts: { priority: i % 3 } })),
    );
    await lab.work(12, async () => {
      throw new Error('no');
    });
    await queue.retryJobs({ count: 5 });
    const before = await queue.getJobCounts();
    const first = (await lab.work(12)).sort();
    await queue.retryJobs({ state: 'completed', count: 4 });
    return { before, first, after: await queue.getJobCounts() };
  },

  'pause and resume of a queue': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([...named('a', 'b'), { name: 'p', data: {}, opts: { priority: 1 } }]);
    await queue.pause();
    await queue.add('c', {});
    await queue.add('p2', {}, { priority: 1 });
    await queue.add('l', {}, { lifo: true });
    const paused = await overview(queue);
    const states = await Promise.all(['1', '3', '4', '6'].map((id) => queue.getJobState(id)));
    const none = await lab.pickAll();
    await queue.resume();
    return { paused, states, none, order: await lab.work(6) };
  },

  'a queue paused while a job runs': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('a', 'b'));
    const worker = lab.hand();
    const a = await worker.getNextJob('t');
    await queue.pause();
    const next = await a?.moveToCompleted(1, 't', true);
    await queue.resume();
    return { next: next?.slice(1), order: await lab.work(1) };
  },

  'pause and resume of a worker': async (lab) => {
    const queue = lab.queue();
    const done: string[] = [];
    const worker = lab.worker('q', async (job) => {
      done.push(job.name);
    });
    await worker.waitUntilReady();
    await worker.pause();
    await queue.add('a', {});
    const paused = await queue.getJobCounts('wait', 'active');
    await worker.resume();
    await eventually('the job is done', () => done.length === 1);
    return { paused, done };
  },

  'jobs that come while a worker waits': async (lab) => {
    const queue = lab.queue();
    const done: string[] = [];
    const worker = lab.worker('q', async (job) => {
      done.push(job.name);
    });
    await worker.waitUntilReady();
    for (const [name, opts] of [
      ['a', {}],
      ['b', { priority: 2 }],
      ['c', { delay: 20 }],
      ['d', { lifo: true }],
    ] as const) {
      await queue.add(name, {}, opts);
      await eventually(`${name} is done`, () => done.includes(name));
    }
    await eventually('all are recorded', async () => (await queue.getCompletedCount()) === 4);
    return done;
  },

  'global concurrency': async (lab) => {
    const queue = lab.queue();
    await queue.setGlobalConcurrency(2);
    await queue.addBulk(named('a', 'b', 'c', 'd', 'e'));
    const worker = lab.hand();
    const jobs = [];
    for (let i = 0; i < 3; i++) jobs.push(await worker.getNextJob('t', { block: false }));
    const maxed = await queue.isMaxed();
    const next = await jobs[0]?.moveToCompleted(1, 't', true);
    const third = await worker.getNextJob('t', { block: false });
    await queue.add('f', {}, { priority: 1 });
    await queue.removeGlobalConcurrency();
    const free = await worker.getNextJob('t', { block: false });
    return {
      got: jobs.map((job) => job?.name),
      maxed,
      next: next?.[1],
      third: third?.name,
      free: free?.name,
    };
  },

  'global rate limit': async (lab) => {
    const queue = lab.queue();
    await queue.setGlobalRateLimit(2, 3_600_000);
    await queue.addBulk(named('a', 'b', 'c'));
    const worker = lab.hand();
    const a = await worker.getNextJob('t', { block: false });
    const next = await a?.moveToCompleted(1, 't', true);
    const ttl = await queue.getRateLimitTtl();
    return { a: a?.name, next: next?.[1], limited: ttl > 0, counts: await queue.getJobCounts() };
  },

  'a limiter of the worker': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([...named('a', 'b', 'c'), { name: 'p', data: {}, opts: { priority: 1 } }]);
    const startedAt = Date.now();
    const order = await lab.work(4, async () => undefined, { limiter: { max: 2, duration: 150 } });
    return { order, slow: Date.now() - startedAt >= 140, after: await queue.getJobCounts() };
  },

  'a stalled job comes back': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([...named('a', 'b'), { name: 'p', data: {}, opts: { priority: 2 } }]);
    const dead = lab.worker('q', () => new Promise(() => undefined), {
      lockDuration: 60,
      // Or it might find its own job first, while it closes.
      skipStalledCheck: true,
      concurrency: 1,
    });
    await eventually('a is active', async () => (await queue.getActiveCount()) === 1);
    await dead.close(true);
    const stalled: string[] = [];
    const worker = lab.worker('q', async () => undefined, { stalledInterval: 40, skipStalledCheck: false });
    worker.on('stalled', (id) => stalled.push(id));
    await eventually('all are done', async () => (await queue.getCompletedCount()) === 3);
    // The event comes when the whole check has ended, maybe after the job has.
    await eventually('the stall is told', async () => stalled.length > 0);
    await worker.close();
    return {
      stalled,
      order: (await queue.getCompleted(0, -1)).map((job) => `${job.name} ${job.stalledCounter}`).sort(),
    };
  },

  'a job that stalls more often than allowed': async (lab) => {
    const queue = lab.queue();
    await queue.add('a', {}, { attempts: 3 });
    await queue.add('b', {}, { attempts: 3, priority: 1 });
    const dead = lab.worker('q', () => new Promise(() => undefined), {
      lockDuration: 60,
      stalledInterval: 40,
      concurrency: 2,
    });
    await eventually('both are active', async () => (await queue.getActiveCount()) === 2);
    await dead.close(true);
    const worker = lab.worker('q', async () => undefined, {
      stalledInterval: 40,
      skipStalledCheck: false,
      maxStalledCount: 0,
    });
    await eventually('both have failed', async () => (await queue.getFailedCount()) === 2);
    await worker.close();
    return (await queue.getFailed())
      .map((job) => `${job.name} ${job.failedReason} ${job.attemptsMade}`)
      .sort();
  },

  metrics: async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('a', 'b', 'bad'));
    const order = await lab.work(
      3,
      async (job) => {
        if (job.name === 'bad') throw new Error('no');
      },
      { metrics: { maxDataPoints: 10 } },
    );
    const [completed, failed] = [await queue.getMetrics('completed'), await queue.getMetrics('failed')];
    return { order, completed: completed.meta.count, failed: failed.meta.count };
  },
};
