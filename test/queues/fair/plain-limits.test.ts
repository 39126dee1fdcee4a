/** Limits that are the same in all queues, without a pause: what a claim does about them, case by case. */
import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import type { GroupLimits } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { HOUR_MS, checkStalled, loseLock, stall } from './job-moves.ts';

interface Stage {
  lab: Lab;
  queue: Queue;
  worker: Worker;
}

const withLimits = (
  limits: Record<string, GroupLimits>,
  body: (stage: Stage) => Promise<void>,
): Promise<void> =>
  inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand('q', { maxStalledCount: 0 })];
    for (const [group, each] of Object.entries(limits)) await lab.backend(queue).setGroupLimits(group, each);
    await body({ lab, queue, worker });
  });

const add = async (queue: Queue, ...groups: string[]): Promise<void> => {
  for (const id of groups) await queue.add(id, {}, { removeOnComplete: true, group: { id } } as JobsOptions);
};
const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

/** Takes all that may run now. */
async function takeAll(worker: Worker): Promise<Job[]> {
  const taken: Job[] = [];
  for (let job = await take(worker); job; job = await take(worker)) taken.push(job);
  return taken;
}

async function takeSome(worker: Worker, count: number): Promise<Job[]> {
  const taken: Job[] = [];
  while (taken.length < count) {
    const job = await take(worker);
    if (!job) throw new Error(`only ${taken.length} could start`);
    taken.push(job);
  }
  return taken;
}

/** All end in one turn, and fetch; gives the groups of what started. */
async function finishAll(jobs: Job[]): Promise<string[]> {
  const next = await Promise.all(jobs.map((job) => job.moveToCompleted(1, 't')));
  const started = next as ([{ opts?: { group: { id: string } } }?] | undefined)[];
  return started.flatMap((reply) => reply?.[0]?.opts?.group.id ?? []);
}

const fair = (lab: Lab, queue: Queue, name: string): string => lab.backend(queue).toKey(`fair:${name}`);
const stateKey = (lab: Lab, group: string): string => `${lab.prefix}::fair:state:${group}`;

test('a group at its limit is parked by the start that brought it there, and its next job starts with the end', async () => {
  await withLimits({ g: { maxRunning: 2 } }, async ({ lab, queue, worker }) => {
    await add(queue, 'g', 'g', 'g');
    const running = await takeSome(worker, 2);
    expect(await lab.redis.exists(fair(lab, queue, 'ring'))).toBe(0);
    expect(await takeAll(worker)).toEqual([]);
    expect(await finishAll(running.slice(0, 1))).toEqual(['g']);
  });
});

test('a group that spent its last token is parked by the start that spent it', async () => {
  await withLimits(
    { g: { rate: { limit: 2, periodMs: HOUR_MS, burst: 2 } } },
    async ({ lab, queue, worker }) => {
      await add(queue, 'g', 'g', 'g');
      await takeSome(worker, 2);
      expect(await lab.redis.exists(fair(lab, queue, 'ring'))).toBe(0);
      expect(await lab.redis.zscore(fair(lab, queue, 'park'), 'g')).not.toBeNull();
    },
  );
});

test('what a group has spent of its rate outlives its jobs', async () => {
  await withLimits(
    { g: { rate: { limit: 2, periodMs: HOUR_MS, burst: 2 } } },
    async ({ lab, queue, worker }) => {
      await add(queue, 'g', 'g');
      expect(await finishAll(await takeSome(worker, 2))).toEqual([]);
      expect(await lab.redis.pttl(stateKey(lab, 'g'))).toBeGreaterThan(HOUR_MS / 3);
      await add(queue, 'g');
      expect(await takeAll(worker)).toEqual([]);
    },
  );
});

test('a group whose use was changed behind the back of the ring starts nothing', async () => {
  const rate = { limit: 1, periodMs: HOUR_MS, burst: 1 };
  await withLimits({ full: { maxRunning: 5 }, spent: { rate } }, async ({ lab, queue, worker }) => {
    await add(queue, 'full', 'spent');
    const [seconds] = await lab.redis.time();
    await lab.redis.hset(stateKey(lab, 'full'), 'run', 5);
    await lab.redis.hset(stateKey(lab, 'spent'), 'tat', (Number(seconds) + 1_800) * 1_000_000);
    expect(await takeAll(worker)).toEqual([]);
  });
});

test('a group that was paused behind the back of the ring starts nothing', async () => {
  await withLimits({ g: { maxRunning: 5 } }, async ({ lab, queue, worker }) => {
    await add(queue, 'g');
    await lab.redis.hset(`${lab.prefix}::fair:limits`, 'g', JSON.stringify({ w: '1', m: 5, u: -1 }));
    expect(await takeAll(worker)).toEqual([]);
  });
});

test('a limit in this queue holds beside the one in all', async () => {
  const limits = { maxRunning: 5, queues: { q: { maxRunning: 1 } } };
  await withLimits({ g: limits }, async ({ queue, worker }) => {
    await add(queue, 'g', 'g');
    expect(await takeAll(worker)).toHaveLength(1);
  });
});

test('a limit of the whole queue counts what the same turn has started', async () => {
  await withLimits({}, async ({ queue, worker }) => {
    await add(queue, ...Array.from({ length: 6 }, () => 'g'));
    const running = await takeSome(worker, 3);
    await queue.setGlobalConcurrency(1);
    expect(await finishAll(running)).toEqual(['g']);
  });
});

test('a group that has nothing of its own but a pause, which is over, has the limits of *', async () => {
  await withLimits({ '*': { maxRunning: 2 } }, async ({ lab, queue, worker }) => {
    await lab.backend(queue).pauseGroup('g', HOUR_MS);
    const limitsKey = `${lab.prefix}::fair:limits`;
    const stored = JSON.parse((await lab.redis.hget(limitsKey, 'g')) ?? '') as object;
    await lab.redis.hset(limitsKey, 'g', JSON.stringify({ ...stored, u: 1 }));
    await add(queue, 'g', 'g', 'g');
    expect(await takeAll(worker)).toHaveLength(2);
  });
});

test('a job that only passes through to be failed spends no token', async () => {
  await withLimits(
    { g: { rate: { limit: 2, periodMs: HOUR_MS, burst: 2 } } },
    async ({ lab, queue, worker }) => {
      await add(queue, 'g');
      const [first] = await takeAll(worker);
      if (!first) throw new Error('it did not start');
      await loseLock(lab, first);
      await checkStalled(lab, worker);
      await stall(lab, worker, first);
      await add(queue, 'g', 'g');
      expect(await takeAll(worker)).toHaveLength(2);
    },
  );
});

test('nothing is left of a group whose last job has started and ended', async () => {
  await withLimits({ g: { maxRunning: 5 } }, async ({ lab, queue, worker }) => {
    await add(queue, 'g', 'g');
    await finishAll(await takeAll(worker));
    expect(await lab.redis.exists(stateKey(lab, 'g'), `${lab.prefix}::fair:slots`)).toBe(0);
  });
});

test('each of the groups of one turn has its own limits, and those of * if it has none', async () => {
  const limits = { '*': { maxRunning: 3 }, one: { maxRunning: 1 }, many: { maxRunning: 4 }, a: {} };
  await withLimits(limits, async ({ queue, worker }) => {
    await add(queue, ...Array.from({ length: 9 }, () => 'a'));
    const running = await takeAll(worker);
    for (let round = 0; round < 6; round += 1) await add(queue, 'many', 'one', 'common');
    expect(running).toHaveLength(9);
    const next = await finishAll(running);
    expect(next.sort()).toEqual(['common', 'common', 'common', 'many', 'many', 'many', 'many', 'one']);
  });
});

test('a slot that was given back already is not given back again by the end of its job, alone or with others', async () => {
  await withLimits({ g: { maxRunning: 3 } }, async ({ lab, queue, worker }) => {
    await add(queue, ...Array.from({ length: 9 }, () => 'g'));
    const [first, second, third] = await takeAll(worker);
    if (!first || !second || !third) throw new Error('three can start');
    await lab.redis.hdel(`${lab.prefix}::fair:slots`, `q:${first.id ?? ''}`);
    expect(await finishAll([first, second])).toEqual(['g']);
    expect(await lab.redis.hget(stateKey(lab, 'g'), 'run')).toBe('3');
    await lab.redis.hdel(`${lab.prefix}::fair:slots`, `q:${third.id ?? ''}`);
    expect(await finishAll([third])).toEqual([]);
  });
});

test('a job that ends twice in one turn ends once', async () => {
  await withLimits({ g: { maxRunning: 3 } }, async ({ lab, queue, worker }) => {
    await add(queue, 'g', 'g');
    const [first] = await takeAll(worker);
    if (!first) throw new Error('it did not start');
    const ends = await Promise.allSettled([
      first.moveToCompleted(1, 't', false),
      first.moveToCompleted(2, 't', false),
    ]);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(await lab.redis.hget(stateKey(lab, 'g'), 'run')).toBe('1');
    const events = await lab.redis.xrange(queue.toKey('events'), '-', '+');
    expect(events.filter(([, fields]) => fields.includes('completed'))).toHaveLength(1);
  });
});
