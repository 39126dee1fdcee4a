import { expect, test } from '@jest/globals';
import type { JobsOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';

const DAY_MS = 86_400_000;
const inGroup = (id: string, agoMs = 0): JobsOptions =>
  ({ group: { id }, timestamp: Date.now() - agoMs }) as unknown as JobsOptions;

async function fill(lab: Lab, groups: readonly string[]): Promise<void> {
  await lab.queue().addBulk(groups.map((id) => ({ name: id, data: {}, opts: inGroup(id) })));
}

test('an empty queue has no line', async () => {
  await inLab('fair', async (lab) => {
    expect(await lab.backend(lab.queue()).getLine()).toEqual({ runnable: 0, held: 0, oldestMs: null });
  });
});

test('tenants that may run and those that are held are told apart, and the wait counts from when a job was due', async () => {
  await inLab('fair', async (lab) => {
    const [queue, backend] = [lab.queue(), lab.backend(lab.queue())];
    await fill(lab, ['a', 'a', 'b']);
    const { oldestMs, ...counts } = await backend.getLine();
    expect(counts).toEqual({ runnable: 2, held: 0 });
    expect(oldestMs).toBeGreaterThanOrEqual(0);
    expect(oldestMs).toBeLessThan(DAY_MS);
    await backend.pauseGroup('held');
    await queue.add('old', {}, inGroup('held', 2 * DAY_MS));
    const later = await backend.getLine();
    expect(later).toMatchObject({ runnable: 2, held: 1 });
    expect(later.oldestMs).toBeGreaterThanOrEqual(2 * DAY_MS);
    // A delayed job does not wait before its time, and not long after it.
    await backend.resumeGroup('held');
    const due = { ...inGroup('held', 9 * DAY_MS), delay: 9 * DAY_MS };
    for (const job of await queue.getJobs('wait')) await job.remove();
    await queue.add('due', {}, due);
    await (await queue.getDelayed())[0]?.promote();
    expect((await backend.getLine()).oldestMs).toBeLessThan(DAY_MS);
  });
});

test('among many tenants, one that is behind is found', async () => {
  await inLab('fair', async (lab) => {
    const [queue, backend] = [lab.queue(), lab.backend(lab.queue())];
    // Its second job stands behind all others, for its first one was dear.
    const opts = {
      ...inGroup('behind', DAY_MS),
      group: { id: 'behind', cost: 50 },
    } as unknown as JobsOptions;
    await queue.addBulk([0, 1].map(() => ({ name: 'behind', data: {}, opts })));
    const worker = lab.hand();
    await (await worker.getNextJob('t', { block: false }))?.moveToCompleted(1, 't', false);
    await fill(
      lab,
      Array.from({ length: 500 }, (_, number) => `g${number}`),
    );
    const line = await backend.getLine();
    expect(line.runnable).toBe(501);
    expect(line.oldestMs).toBeGreaterThanOrEqual(DAY_MS);
  });
});

test('a look costs the same with 50 and with 5,000 tenants', async () => {
  const server = await startEmbeddedRedis();
  const redis = new Redis(server.url);
  const calls = async (): Promise<number> => {
    const stats = await redis.info('commandstats');
    const counts = [...stats.matchAll(/cmdstat_(?!info|config|client)[^:]*:calls=(\d+)/g)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const cost = (tenants: number): Promise<number> =>
    inLab(
      'fair',
      async (lab) => {
        await fill(
          lab,
          Array.from({ length: tenants }, (_, number) => `g${number}`),
        );
        const backend = lab.backend(lab.queue());
        // Loads the script.
        await backend.getLine();
        const before = await calls();
        expect(await backend.getLine()).toMatchObject({ runnable: tenants });
        return (await calls()) - before;
      },
      server.url,
    );
  try {
    const few = await cost(50);
    expect(few).toBeGreaterThan(30);
    expect(few).toBeLessThan(60);
    expect(await cost(5000)).toBe(few);
  } finally {
    redis.disconnect();
    await server.stop();
  }
});
