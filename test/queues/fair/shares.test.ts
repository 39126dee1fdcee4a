import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';

const inGroup = (id: string): JobsOptions => ({ group: { id } }) as JobsOptions;

async function fill(queue: Queue, id: string, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1000) {
    const jobs = Array.from({ length: Math.min(1000, count - i) }, () => ({
      name: id,
      data: {},
      opts: inGroup(id),
    }));
    await queue.addBulk(jobs);
  }
}

/** Takes and finishes one job; the pick is what counts as time. */
async function serve(worker: Worker): Promise<string | undefined> {
  const job = (await worker.getNextJob('t', { block: false })) as Job | undefined;
  await job?.moveToCompleted(1, 't', false);
  return job?.name;
}

test('20 light groups beside one of 20,000 jobs are done within 1.5 times their ideal time', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand('q', { removeOnComplete: { count: 0 } });
    await fill(queue, 'heavy', 20_000);
    for (let i = 0; i < 500; i++) await serve(worker);
    const light = Array.from({ length: 20 }, (_, i) => `light${i}`);
    for (const id of light) await fill(queue, id, 50);
    const done = new Map<string, number>();
    let picks = 0;
    while ((done.get('light') ?? 0) < 1000) {
      picks++;
      const name = (await serve(worker)) ?? '';
      const kind = name === 'heavy' ? 'heavy' : 'light';
      done.set(kind, (done.get(kind) ?? 0) + 1);
    }
    // Their own thousand and an equal share for the heavy one.
    expect(picks).toBeLessThanOrEqual(1.5 * 1050);
  });
});

test('real workers with concurrency 10: weight 3 gets three times, the light ones come first', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('gold', { weight: 3 });
    await fill(queue, 'heavy', 600);
    await fill(queue, 'gold', 90);
    for (let i = 0; i < 5; i++) await fill(queue, `light${i}`, 30);
    const order: string[] = [];
    lab.worker(
      'q',
      async (job) => {
        order.push(job.name);
      },
      { concurrency: 10 },
    );
    await eventually('all are done', () => order.length === 840);
    const lastOf = (match: RegExp) => order.findLastIndex((name) => match.test(name));
    expect(lastOf(/light/)).toBeLessThanOrEqual(1.5 * (150 + 90 + 30));
    const stretch = order.slice(0, 160);
    const gold = stretch.filter((name) => name === 'gold').length;
    const plain = stretch.filter((name) => name === 'light0').length;
    expect(gold / plain).toBeGreaterThan(2.5);
    expect(gold / plain).toBeLessThan(3.5);
  });
});

test('10,000 groups with one job each are served in the order of their arrival', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const names = Array.from({ length: 10_000 }, (_, i) => `g${(i * 7919) % 10_000}`);
    for (let i = 0; i < names.length; i += 1000) {
      await queue.addBulk(names.slice(i, i + 1000).map((name) => ({ name, data: {}, opts: inGroup(name) })));
    }
    const worker = lab.hand('q', { removeOnComplete: { count: 0 } });
    const served: unknown[] = [];
    for (let i = 0; i < 1500; i++) served.push(await serve(worker));
    expect(served).toEqual(names.slice(0, 1500));
  });
});

test('a pick costs the same number of commands with 1 and with 5,000 groups', async () => {
  const server = await startEmbeddedRedis();
  const redis = new Redis(server.url);
  const calls = async (): Promise<number> => {
    const stats = await redis.info('commandstats');
    return [...stats.matchAll(/cmdstat_(?!info|config|select|client)[^:]*:calls=(\d+)/g)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
  };
  const cost = async (groups: number): Promise<number> =>
    inLab(
      'fair',
      async (lab) => {
        const queue = lab.queue();
        for (let i = 0; i < 10_000; i += 1000) {
          await queue.addBulk(
            Array.from({ length: 1000 }, (_, k) => ({
              name: 'j',
              data: {},
              opts: inGroup(`g${(i + k) % groups}`),
            })),
          );
        }
        const worker = lab.hand('q', { removeOnComplete: { count: 0 } });
        await serve(worker);
        const before = await calls();
        for (let i = 0; i < 200; i++) await serve(worker);
        return ((await calls()) - before) / 200;
      },
      server.url,
    );
  try {
    const [one, many] = [await cost(1), await cost(5000)];
    expect(Math.abs(many - one)).toBeLessThan(1);
  } finally {
    redis.disconnect();
    await server.stop();
  }
});

test('the runnable weight is right for few groups, and about right for many, wherever the heavy ones stand', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const backend = lab.backend(queue);
    const worker = lab.hand('q', { removeOnComplete: { count: 0 } });
    const groups = Array.from({ length: 1000 }, (_, number) => `g${number}`);
    const isHeavy = (id: string): boolean => id.endsWith('1');
    for (const id of groups.filter(isHeavy)) await backend.setGroupLimits(id, { weight: 40.5 });
    for (const id of groups.slice(0, 100)) await fill(queue, id, isHeavy(id) ? 20 : 2);
    expect(await backend.getRunnableWeight()).toBeCloseTo(10 * 40.5 + 90, 6);
    for (const id of groups.slice(100)) await fill(queue, id, isHeavy(id) ? 20 : 2);
    // Everybody once, and some of the heavy ones again: now all of those stand before most of the others.
    for (let served = 0; served < 1500; served++) await serve(worker);
    const estimates = await Promise.all(Array.from({ length: 30 }, () => backend.getRunnableWeight()));
    const mean = estimates.reduce((sum, estimate) => sum + estimate, 0) / estimates.length;
    // 0.7 % is one standard deviation of this mean.
    expect(mean / (100 * 40.5 + 900)).toBeGreaterThan(0.9);
    expect(mean / (100 * 40.5 + 900)).toBeLessThan(1.1);
  });
});
