import type { JobType } from 'bullmq';
import { eventually } from '../../../support/eventually.ts';
import { attempt, named, overview, STATES } from './case.ts';
import type { Case } from './case.ts';

const TYPES: JobType[] = [...STATES];

/** Looking at the queue, changing jobs that wait, and clearing up. */
export const keeping: Record<string, Case> = {
  'getters: ranges with many starts and ends': async (lab) => {
    const queue = lab.queue();
    for (let i = 0; i < 7; i++) await queue.add(`w${i}`, {}, i === 5 ? { lifo: true } : {});
    for (let i = 0; i < 7; i++) await queue.add(`p${i}`, {}, { priority: 1 + (i % 3) });
    const seen: Record<string, unknown> = {};
    for (const [from, to] of [
      [0, -1],
      [0, 0],
      [0, 2],
      [2, 4],
      [5, 20],
      [7, 9],
      [20, 30],
      [-3, -1],
      [-2, -2],
      [1, -2],
      [0, 1000],
      [3, 1],
    ]) {
      for (const ascending of [true, false]) {
        const at = `${from}..${to} ${ascending}`;
        const ids = async (state: 'wait' | 'prioritized') =>
          (await queue.getJobs([state], from, to, ascending)).map((job) => job.id);
        seen[`jobs ${at}`] = [await ids('wait'), await ids('prioritized')];
        seen[`ranges ${at}`] = await queue.getRanges(['wait', 'prioritized'], from, to, ascending);
      }
      seen[`waiting ${from}..${to}`] = [
        (await queue.getWaiting(from, to)).map((job) => job.id),
        (await queue.getPrioritized(from, to)).map((job) => job.id),
      ];
    }
    seen.mixed = (await queue.getJobs(['waiting', 'prioritized', 'delayed'], 0, 4, true)).map(
      (job) => job.id,
    );
    return seen;
  },

  'getters: states of every job': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      ...named('active', 'failed', 'completed', 'wait'),
      { name: 'prioritized', data: {}, opts: { priority: 4 } },
      { name: 'delayed', data: {}, opts: { delay: 1_000_000 } },
    ]);
    await lab.addFlow({ name: 'parent', queueName: 'q', children: [{ name: 'kid', queueName: 'kids' }] });
    const worker = lab.hand();
    await worker.getNextJob('t');
    await (await worker.getNextJob('t'))?.moveToFailed(new Error('no'), 't');
    await (await worker.getNextJob('t'))?.moveToCompleted(1, 't', false);
    const seen = [];
    for (const job of await queue.getJobs(TYPES)) {
      seen.push([
        job.name,
        await job.getState(),
        await job.isWaiting(),
        await job.isActive(),
        await job.isDelayed(),
        await job.isCompleted(),
        await job.isFailed(),
        await job.isWaitingChildren(),
      ]);
    }
    const gone = await attempt(() => queue.getJobState('nobody'));
    const counts = [
      await queue.count(),
      await queue.getWaitingCount(),
      await queue.getPrioritizedCount(),
      await queue.getJobCountByTypes('wait', 'prioritized', 'active'),
      await queue.getJobCounts('waiting', 'prioritized'),
      await queue.getActiveCount(),
    ];
    await queue.pause();
    return {
      seen: seen.sort(),
      gone,
      counts,
      paused: await queue.getJobCounts(),
      ...((await overview(queue)) as object),
    };
  },

  'a waiting job whose hash has vanished': async (lab) => {
    const queue = lab.queue();
    const jobs = await queue.addBulk([...named('a', 'b'), { name: 'p', data: {}, opts: { priority: 4 } }]);
    for (const job of [jobs[0], jobs[2]]) await lab.redis.del(lab.backend(queue).toKey(job?.id ?? ''));
    const seen = {
      jobs: (await queue.getJobs(['wait', 'prioritized'])).map((job) => job.id),
      counts: await queue.getJobCounts(),
      state: await queue.getJobState(jobs[0]?.id ?? ''),
      ranges: await queue.getRanges(['wait', 'prioritized'], 0, -1),
    };
    const removed = [await queue.remove(jobs[0]?.id ?? ''), await queue.remove(jobs[2]?.id ?? '')];
    return { seen, removed, after: await queue.getJobCounts() };
  },

  'changes to a waiting job': async (lab) => {
    const queue = lab.queue();
    const job = await queue.add('a', { n: 1 });
    const urgent = await queue.add('p', { n: 1 }, { priority: 3 });
    for (const each of [job, urgent]) {
      await each.updateData({ n: 2 });
      await each.updateProgress({ half: true });
      await each.log('one');
      await each.log('two');
    }
    const stored = await queue.getJob(job.id ?? '');
    return {
      content: [stored?.data, stored?.progress],
      logs: await queue.getJobLogs(job.id ?? ''),
      order: await lab.work(2),
    };
  },

  'remove: waiting, prioritized, delayed, locked, gone': async (lab) => {
    const queue = lab.queue();
    const jobs = await queue.addBulk([
      ...named('active', 'a', 'b', 'c'),
      { name: 'p', data: {}, opts: { priority: 3 } },
      { name: 'p2', data: {}, opts: { priority: 3 } },
      { name: 'd', data: {}, opts: { delay: 1_000_000 } },
    ]);
    await lab.hand().getNextJob('t');
    const removed = [];
    for (const i of [0, 2, 4, 6, 6]) removed.push(await attempt(() => queue.remove(jobs[i]?.id ?? '')));
    return { removed, after: await overview(queue), order: await lab.work(3) };
  },

  'drain, without and with delayed jobs': async (lab) => {
    const queue = lab.queue();
    const fill = () =>
      queue.addBulk([
        ...named('a', 'b'),
        { name: 'p', data: {}, opts: { priority: 3 } },
        { name: 'd', data: {}, opts: { delay: 1_000_000 } },
      ]);
    await fill();
    await queue.upsertJobScheduler('s', { every: 3_600_000 }, { name: 'tick' });
    await queue.drain();
    const first = await queue.getJobCounts();
    await fill();
    await queue.drain(true);
    const second = await queue.getJobCounts();
    await queue.removeJobScheduler('s');
    await queue.drain(true);
    return { first, second, third: await overview(queue) };
  },

  'clean: every state, limits and grace': async (lab) => {
    const queue = lab.queue();
    for (let i = 0; i < 6; i++) await queue.add(`done${i}`, {});
    await lab.work(6, async (job) => {
      if (Number(job.name.slice(4)) % 2) throw new Error('no');
    });
    for (let i = 0; i < 9; i++) {
      await queue.add(`w${i}`, {}, { timestamp: Date.now() - 100_000 + i });
      await queue.add(`p${i}`, {}, { priority: 1 + (i % 2), timestamp: Date.now() - 100_000 + i });
      await queue.add(`d${i}`, {}, { delay: 1_000_000 + i, timestamp: Date.now() - 100_000 + i });
    }
    const cleaned: unknown[] = [];
    for (const [grace, limit, type] of [
      [3_600_000, 10, 'wait'],
      [0, 2, 'wait'],
      [0, 3, 'prioritized'],
      [0, 4, 'delayed'],
      [0, 1, 'completed'],
      [0, 1, 'failed'],
      [0, 0, 'wait'],
      [0, 0, 'prioritized'],
      [0, 0, 'paused'],
      [0, 0, 'active'],
    ] as const) {
      cleaned.push([type, await attempt(() => queue.clean(grace, limit, type)), await queue.getJobCounts()]);
    }
    return cleaned;
  },

  'obliterate: refused, then with force': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      ...named('active', 'a', 'b'),
      { name: 'p', data: {}, opts: { priority: 3 } },
      { name: 'd', data: {}, opts: { delay: 1_000_000 } },
    ]);
    await lab.hand().getNextJob('t');
    await lab.redis.set(`${lab.prefix}:other`, 1);
    const running = await attempt(() => queue.obliterate());
    const forced = await attempt(() => queue.obliterate({ force: true, count: 2 }));
    return { running, forced, left: (await lab.keys()).map((key) => key.slice(lab.prefix.length)) };
  },

  'obliterate of an idle queue': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(
      Array.from({ length: 50 }, (_, i) => ({ name: 'a', data: {}, opts: { priority: i % 2 } })),
    );
    await queue.obliterate({ count: 7 });
    return { left: (await lab.keys()).map((key) => key.slice(lab.prefix.length)) };
  },

  'removeOrphanedJobs leaves every job that is somewhere': async (lab) => {
    const queue = lab.queue();
    const jobs = await queue.addBulk([
      ...named('active', 'wait', 'orphan'),
      { name: 'p', data: {}, opts: { priority: 3 } },
      { name: 'porphan', data: {}, opts: { priority: 3 } },
      { name: 'd', data: {}, opts: { delay: 1_000_000 } },
    ]);
    await lab.hand().getNextJob('t');
    for (const i of [2, 4]) {
      const id = jobs[i]?.id ?? '';
      const stored = await lab.redis.hgetall(lab.backend(queue).toKey(id));
      await queue.remove(id);
      await lab.redis.hset(lab.backend(queue).toKey(id), stored);
    }
    await jobs[1]?.log('a sub-key');
    return { removed: await queue.removeOrphanedJobs(), after: await overview(queue) };
  },

  'events of the worker: active, completed, failed, drained': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(named('a', 'bad', 'c'));
    const seen: string[] = [];
    const worker = lab.worker('q', async (job) => {
      if (job.name === 'bad') throw new Error('no');
      return `${job.name}!`;
    });
    worker.on('active', (job, previous) => seen.push(`active ${job.name} ${previous}`));
    worker.on('completed', (job, value, previous) =>
      seen.push(`completed ${job.name} ${String(value)} ${previous}`),
    );
    worker.on('failed', (job, error, previous) =>
      seen.push(`failed ${job?.name} ${error.message} ${previous}`),
    );
    worker.on('drained', () => seen.push('drained'));
    await eventually('the worker says drained', () => seen.includes('drained'));
    return seen;
  },

  'trimmed events': async (lab) => {
    const queue = lab.queue('q', { streams: { events: { maxLen: 0 } } });
    await queue.waitUntilReady();
    await queue.addBulk(named('a', 'b'));
    await queue.trimEvents(0);
    const length = await lab.redis.xlen(`${lab.prefix}:q:events`);
    return { length, meta: await queue.getMeta(), order: await lab.work(2) };
  },

  'an emptied queue leaves nothing of the fair backend behind': async (lab) => {
    const queue = lab.queue();
    for (let i = 0; i < 20; i++) {
      await queue.add(`j${i}`, {}, { priority: i % 3, removeOnComplete: true, lifo: i % 2 === 0 });
    }
    await lab.work(20);
    return {
      left: (await lab.keys()).filter((key) => key.includes(':fair:')),
      counts: await queue.getJobCounts(),
    };
  },
};
