/** What went wrong in comparable systems, each as a test. Names say the symptom as its users told it. */
import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { HOUR_MS, checkStalled, stall } from './job-moves.ts';

const inGroup = (id: string, opts: JobsOptions = {}, key?: string): JobsOptions =>
  ({
    ...opts,
    group: { id, ...(key === undefined ? {} : { key }) },
  }) satisfies FairJobsOptions as JobsOptions;

async function fill(queue: Queue, id: string, count: number, key?: (i: number) => string): Promise<void> {
  for (let done = 0; done < count; done += 1000) {
    const jobs = Array.from({ length: Math.min(1000, count - done) }, (_, i) => ({
      name: id,
      data: {},
      opts: inGroup(id, {}, key?.(done + i)),
    }));
    await queue.addBulk(jobs);
  }
}

const take = (worker: Worker, token = 't'): Promise<Job | undefined> =>
  worker.getNextJob(token, { block: false });

/** How often Redis ran a command since the last call for it, those inside of scripts included. */
async function calls(lab: Lab, command: string): Promise<number> {
  const stats = await lab.redis.info('commandstats');
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
}

async function running(lab: Lab, group: string): Promise<number> {
  return Number((await lab.redis.hget(`${lab.prefix}::fair:state:${group}`, 'run')) ?? 0);
}

test('a limited tenant with a backlog blocks the jobs behind it', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    for (let i = 0; i < 60; i += 1) {
      await lab.backend(queue).setGroupLimits(`full${i}`, { maxRunning: 0 });
      await fill(queue, `full${i}`, 50);
    }
    await fill(queue, 'free', 20);
    expect(await lab.pickAll('q', 30)).toEqual(Array<string>(20).fill('free'));
  });
});

test('concurrency 1 runs 2: positions or rounds are counted instead of slots', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('one', { maxRunning: 1 });
    await fill(queue, 'one', 60);
    let [now, most, done] = [0, 0, 0];
    const work = async (): Promise<void> => {
      most = Math.max(most, (now += 1));
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
      done += 1;
    };
    for (let i = 0; i < 3; i += 1) lab.worker('q', work, { concurrency: 5 });
    await eventually('all 60 jobs are done', () => done === 60);
    expect(most).toBe(1);
  });
});

describe('a slot leaks and the tenant stops for good', () => {
  async function limited(lab: Lab): Promise<{ queue: Queue; worker: Worker }> {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('g', { maxRunning: 1 });
    return { queue, worker: lab.hand() };
  }

  async function expectFree(lab: Lab, worker: Worker): Promise<void> {
    expect(await running(lab, 'g')).toBe(0);
    await lab.queue().add('after', {}, inGroup('g'));
    expect((await take(worker))?.name).toBe('after');
  }

  test('when a job waits for its children', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await limited(lab);
      const kids = lab.queue('kids');
      await queue.add('parent', {}, inGroup('g'));
      const parent = await take(worker);
      await kids.add(
        'kid',
        {},
        { parent: { id: parent?.id ?? '', queue: parent?.queueQualifiedName ?? '' } },
      );
      expect(await parent?.moveToWaitingChildren('t')).toBe(true);
      await expectFree(lab, worker);
    });
  });

  test('when a job is retried with a backoff', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await limited(lab);
      await queue.add('flaky', {}, inGroup('g', { attempts: 3, backoff: HOUR_MS }));
      await (await take(worker))?.moveToFailed(new Error('no'), 't', false);
      expect(await queue.getDelayedCount()).toBe(1);
      await expectFree(lab, worker);
    });
  });

  test('when active jobs are removed', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await limited(lab);
      await queue.add('doomed', {}, inGroup('g'));
      await take(worker);
      await queue.pause();
      await queue.obliterate({ force: true });
      await queue.resume();
      await expectFree(lab, worker);
    });
  });

  test("when the job's hash is gone", async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await limited(lab);
      await queue.add('lost', {}, inGroup('g'));
      const job = await take(worker);
      const base = lab.backend(queue).toKey('');
      await lab.redis.del(`${base}${job?.id}`, `${base}${job?.id}:lock`);
      await lab.redis.lrem(`${base}active`, 0, job?.id ?? '');
      await worker['moveStalledJobsToWait']();
      expect(
        lab.backend(queue).repairs + (worker as unknown as { backend: { repairs: number } }).backend.repairs,
      ).toBe(1);
      await expectFree(lab, worker);
    });
  });

  test('when the worker dies', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await limited(lab);
      await queue.add('orphan', {}, inGroup('g'));
      const job = await take(worker);
      const base = lab.backend(queue).toKey('');
      await lab.redis.del(`${base}${job?.id}:lock`);
      for (let check = 0; check < 2; check += 1) {
        await lab.redis.del(`${base}stalled-check`);
        await worker['moveStalledJobsToWait']();
      }
      expect(await running(lab, 'g')).toBe(0);
      expect((await take(worker))?.id).toBe(job?.id);
      expect(await running(lab, 'g')).toBe(1);
    });
  });
});

test("a delayed job slows its group's rate", async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('g', { rate: { limit: 100, periodMs: 1000 } });
    await queue.add('later', {}, inGroup('g', { delay: HOUR_MS }));
    await fill(queue, 'g', 30);
    let done = 0;
    // The symptom was that the rest waited until a worker looked by itself: longer than this waits.
    lab.worker('q', async () => void (done += 1), { concurrency: 5, drainDelay: 600 });
    await eventually('30 jobs are done', () => done === 30);
  });
});

test('promote, retry and schedulers forget the group', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    await lab.backend(queue).setGroupLimits('g', { maxRunning: 0 });
    const delayed = await queue.add('delayed', {}, inGroup('g', { delay: HOUR_MS }));
    await delayed.promote();
    await queue.upsertJobScheduler('s', { every: HOUR_MS }, { name: 'tick', opts: inGroup('g') });
    await queue.promoteJobs();
    await lab.backend(queue).setGroupLimits('h', { maxRunning: 1 });
    await queue.add('retried', {}, inGroup('h', { attempts: 1 }));
    const failed = await take(worker);
    await failed?.moveToFailed(new Error('no'), 't', false);
    await lab.backend(queue).setGroupLimits('h', { maxRunning: 0 });
    await failed?.retry();
    expect(await take(worker)).toBeUndefined();
    expect((await lab.backend(queue).countGroup('g')).waiting).toBe(2);
    expect((await lab.backend(queue).countGroup('h')).waiting).toBe(1);
  });
});

test('pausing the queue with limits leaves jobs staged, lost or run twice', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('g', { maxRunning: 2 });
    await fill(queue, 'g', 40);
    const ran: string[] = [];
    lab.worker('q', async (job) => void ran.push(job.id ?? ''), { concurrency: 4 });
    for (let round = 0; round < 5; round += 1) {
      await queue.pause();
      await queue.resume();
    }
    await eventually('all are done', () => ran.length >= 40);
    expect(new Set(ran).size).toBe(40);
    expect(ran).toHaveLength(40);
  });
});

test('lowering, then raising a limit leaves work stuck; a limit changed while parked is not seen', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    const admin = lab.backend(queue);
    await admin.setGroupLimits('g', { maxRunning: 3 });
    await fill(queue, 'g', 10);
    const jobs = [await take(worker), await take(worker), await take(worker)];
    await admin.setGroupLimits('g', { maxRunning: 1 });
    await jobs[0]?.moveToCompleted(1, 't', false);
    await jobs[1]?.moveToCompleted(1, 't', false);
    expect(await take(worker)).toBeUndefined();
    await admin.setGroupLimits('g', { maxRunning: 2 });
    expect(await take(worker)).toBeDefined();
    expect(await take(worker)).toBeUndefined();
    await admin.setGroupLimits('g', { rate: { limit: 1, periodMs: HOUR_MS } });
    expect(await take(worker)).toBeDefined();
    expect(await take(worker)).toBeUndefined();
    await admin.setGroupLimits('g', { rate: { limit: 1000, periodMs: 1 } });
    await eventually('the new rate lets one run', async () => (await take(worker)) !== undefined);
    await admin.setGroupLimits('g', {});
    expect(await take(worker)).toBeDefined();
  });
});

test('thousands of parked tenants freed at once block Redis', async () => {
  // Its own server: the commands are counted.
  const server = await startEmbeddedRedis();
  const body = async (lab: Lab): Promise<void> => {
    const queue = lab.queue();
    const worker = lab.hand();
    const admin = lab.backend(queue);
    await admin.pauseGroup('*');
    const tenants = Array.from({ length: 3000 }, (_, i) => `t${i}`);
    await queue.addBulk(tenants.map((id) => ({ name: id, data: {}, opts: inGroup(id) })));
    const base = admin.toKey('');
    expect(await lab.redis.zcard(`${base}fair:park`)).toBe(3000);
    await admin.pauseGroup('*', 100);
    await eventually('the pause is over', async () => (await take(worker)) !== undefined);
    let most = 0;
    for (let picks = 1; picks < 3000; picks += 1) {
      const before = await calls(lab, 'zadd');
      const job = await take(worker);
      if (!job) throw new Error(`nothing to pick after ${picks}`);
      most = Math.max(most, (await calls(lab, 'zadd')) - before);
    }
    expect(await take(worker)).toBeUndefined();
    // A bounded number of tenants each time, whatever waits to be let go.
    expect(most).toBeLessThan(60);
  };
  try {
    await inLab('fair', body, server.url);
  } finally {
    await server.stop();
  }
});

test('a tenant that spreads its backlog over many keys gets more than its share', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await fill(queue, 'spread', 300, (i) => `key-${i}`);
    await fill(queue, 'plain', 300);
    const first = await lab.pickAll('q', 200);
    const spread = first.filter((name) => name === 'spread').length;
    expect(spread).toBeGreaterThanOrEqual(98);
    expect(spread).toBeLessThanOrEqual(102);
  });
});

test('parked tenants make workers ask in a loop', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const admin = lab.backend(queue);
    await admin.setGroupLimits('*', { rate: { limit: 1, periodMs: HOUR_MS } });
    for (let i = 0; i < 200; i += 1) await fill(queue, `t${i}`, 2);
    let done = 0;
    const worker = lab.worker('q', async () => void (done += 1), { concurrency: 10, drainDelay: 2 });
    await eventually('each has run once', () => done === 200);
    let claims = 0;
    const { backend } = worker as unknown as {
      backend: { moveToActive: (...args: unknown[]) => Promise<unknown> };
    };
    const claim = backend.moveToActive.bind(backend);
    backend.moveToActive = (...args) => {
      claims += 1;
      return claim(...args);
    };
    // Two of its waits long: an idle worker asks about once in each.
    const until = performance.now() + 4000;
    await eventually('two waits are over', () => performance.now() > until);
    expect(claims).toBeLessThanOrEqual(12);
    expect(await queue.getWaitingCount()).toBe(200);
  });
});

test('a key that is taken blocks the jobs of other keys behind it', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await fill(queue, 'busy', 50, () => 'k');
    await fill(queue, 'other', 5, (i) => `key-${i}`);
    await queue.add('free', {}, inGroup('busy', {}, 'another'));
    expect((await take(worker))?.name).toBe('busy');
    const names = [];
    for (let job = await take(worker); job; job = await take(worker)) names.push(job.name);
    expect(names.sort()).toEqual(['free', ...Array<string>(5).fill('other')]);
  });
});

test('delayed jobs are invisible per tenant', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('g', { maxRunning: 0 });
    await queue.add('later', {}, inGroup('g', { delay: HOUR_MS }));
    const [job] = await queue.getDelayed();
    expect(job?.opts).toMatchObject({ group: { id: 'g' } });
    expect(await lab.backend(queue).countGroup('g')).toMatchObject({ waiting: 0, delayed: 1 });
    await job?.promote();
    expect(await lab.backend(queue).countGroup('g')).toMatchObject({ waiting: 1, delayed: 0 });
    expect(await lab.backend(queue).getWaitingInGroup('g')).toEqual([job?.id]);
  });
});

test('a stalled child leaves its parent waiting', async () => {
  await inLab('fair', async (lab) => {
    const kids = lab.hand('kids', { maxStalledCount: 0 });
    const child = { name: 'k', queueName: 'kids', opts: inGroup('g', { failParentOnFailure: true }) };
    const { job: parent } = await lab.addFlow({
      name: 'p',
      queueName: 'q',
      opts: inGroup('g'),
      children: [child],
    });
    const job = await take(kids);
    if (!job) throw new Error('the child was not picked');
    await stall(lab, kids, job);
    // It has stalled too often: the next worker fails it without running it, and with it its parent.
    expect(await lab.work(1, undefined, { queue: 'kids' })).toEqual([
      'k!job stalled more than allowable limit',
    ]);
    expect(await lab.work(1)).toEqual(['p!child ' + `${lab.prefix}:kids:k failed`]);
    expect(await parent.getState()).toBe('failed');
  });
});

test('a chord hangs, or its body runs twice, when its parts end at the same time', async () => {
  await inLab('fair', async (lab) => {
    const parts = Array.from({ length: 40 }, (_, i) => ({
      name: `part${i}`,
      queueName: 'parts',
      opts: { ...inGroup(`g${i % 4}`), ignoreDependencyOnFailure: true },
    }));
    await lab.addFlow({ name: 'body', queueName: 'q', opts: inGroup('g'), children: parts });
    let ended = 0;
    const ran: string[] = [];
    const part = async (job: Job): Promise<void> => {
      ended += 1;
      if (job.name.endsWith('7')) throw new Error('no');
    };
    for (let i = 0; i < 3; i += 1) lab.worker('parts', part, { concurrency: 10 });
    lab.worker('q', async (job) => void ran.push(job.name));
    await eventually('the body has run', () => ran.length > 0);
    expect([ended, ran]).toEqual([40, ['body']]);
    expect(await lab.queue().getJobCounts('active', 'waiting', 'waiting-children')).toEqual({
      active: 0,
      waiting: 0,
      'waiting-children': 0,
    });
  });
});

test('a job whose time is beyond the visibility timeout runs twice', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand('q', { lockDuration: HOUR_MS / 2 });
    await queue.add('later', {}, inGroup('g', { delay: HOUR_MS }));
    for (let check = 0; check < 3; check += 1) await checkStalled(lab, worker);
    expect(await take(worker)).toBeUndefined();
    await (await queue.getDelayed())[0]?.promote();
    const job = await take(worker);
    for (let check = 0; check < 3; check += 1) await checkStalled(lab, worker);
    expect(await take(worker)).toBeUndefined();
    await job?.moveToCompleted(1, 't', false);
    expect(await take(worker)).toBeUndefined();
    expect(await queue.getCompletedCount()).toBe(1);
  });
});

test('a slot that comes free under a global concurrency wakes nobody', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.setGlobalConcurrency(1);
    await fill(queue, 'g', 2);
    const marker = lab.backend(queue).toKey('marker');
    const job = await take(worker);
    await lab.redis.del(marker);
    await job?.moveToCompleted(1, 't', false);
    expect(await lab.redis.zscore(marker, '0')).toBe('0');
  });
});

test('re-upserting a scheduler while the queue is paused leaves a duplicate', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await queue.pause();
    for (const every of [HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS])
      await queue.upsertJobScheduler('s', { every }, { name: 'tick', opts: inGroup('g') });
    const counts = await queue.getJobCounts('waiting', 'prioritized', 'delayed');
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(1);
  });
});
