import { afterEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { echoHandler } from '../../workers/handlers/echo.ts';
import { handle } from '../../workers/handlers/registry.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { ShardSource } from '../../workers/runtime/source.ts';
import { connectWorker } from '../../queues/topology/connections.ts';
import { freshPrefix, testRedisUrl } from '../support/redis.ts';
import { forkWorker, latch, median, openTestWaggle, until } from './support.ts';
import type { TestWaggle } from './support.ts';

let waggle: TestWaggle;
let work: (ctx: JobContext) => unknown = () => null;
const turn = defineTask({ name: 'turn', payload: z.unknown() });

afterEach(async () => {
  work = () => null;
  await waggle.close();
});

async function open(workers = 1): Promise<void> {
  waggle = await openTestWaggle({ handlers: [handle(turn, (ctx) => work(ctx))] });
  for (let i = 0; i < workers; i += 1) waggle.startWorker();
}

const enqueue = (payload: unknown, fields: Record<string, unknown> = {}): Promise<string> =>
  waggle.enqueue('acme', 'turn', payload, { key: 'session', ...fields });

describe('queue', () => {
  test('jobs of a key run one at a time in order of arrival, over two workers, in spite of retries', async () => {
    await open(2);
    const ran: unknown[] = [];
    let running = 0;
    work = async ({ job, attempt }) => {
      running += 1;
      expect(running).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      if (job.payload === 3 && attempt < 3) throw new Error('again');
      ran.push(job.payload);
    };
    const ids: string[] = [];
    const backoff = { type: 'fixed', delayMs: 20, maxDelayMs: 20, jitter: 0 };
    for (let n = 0; n < 12; n += 1) ids.push(await enqueue(n, { attempts: 3, backoff, priority: n % 3 }));
    for (const id of ids)
      expect(await waggle.finished('acme', id)).toMatchObject({ state: 'completed', key: 'session' });
    expect(ran).toEqual(Array.from({ length: 12 }, (_, n) => n));
  });

  test('other keys and jobs without one go on meanwhile, and keyLimit lets more than one run', async () => {
    await open();
    const go = latch();
    const started: unknown[] = [];
    work = async ({ job }) => {
      started.push(job.payload);
      if (job.payload === 'held') await go.opened;
    };
    const held = await enqueue('held');
    await until(() => started.length === 1);
    const behind = await enqueue('behind');
    await waggle.finished('acme', await enqueue('other', { key: 'other' }));
    await waggle.finished('acme', await waggle.enqueue('acme', 'turn', 'free'));
    await waggle.finished('acme', await enqueue('second', { key: 'wide', keyLimit: 2 }));
    expect(started).not.toContain('behind');
    expect(await waggle.engine.jobs.get('acme', behind)).toMatchObject({ state: 'waiting' });
    go.open();
    await waggle.finished('acme', held);
    await waggle.finished('acme', behind);
  });
});

test('reject: refused while another runs or waits, accepted after', async () => {
  await open();
  const go = latch();
  work = () => go.opened;
  const first = await enqueue(1, { keyStrategy: 'reject' });
  await expect(enqueue(2, { keyStrategy: 'reject' })).rejects.toMatchObject({ code: 'conflict' });
  const request = { task: 'turn', key: 'session', keyStrategy: 'reject' };
  const outcomes = await waggle.engine.jobs.enqueueBatch('acme', [request, { ...request, key: 'free' }], {
    correlationId: 'c',
  });
  expect(outcomes).toEqual([
    { problem: expect.objectContaining({ code: 'conflict' }) },
    { id: expect.any(String) },
  ]);
  go.open();
  await waggle.finished('acme', first);
  await waggle.finished('acme', await enqueue(3, { keyStrategy: 'reject' }));
});

test('replace-waiting: at most one waits, the newest; the others are cancelled, the running one is left alone', async () => {
  await open();
  const go = latch();
  work = ({ job }) => (job.payload === 'running' ? go.opened : job.payload);
  const running = await enqueue('running');
  await until(async () => (await waggle.engine.jobs.get('acme', running)).state === 'active');
  const old = await enqueue('old', { keyStrategy: 'replace-waiting' });
  const newest = await enqueue('newest', { keyStrategy: 'replace-waiting' });
  expect(await waggle.finished('acme', old)).toMatchObject({
    state: 'cancelled',
    error: { code: 'cancelled', message: expect.stringContaining('superseded') },
    attempts: { made: 0 },
  });
  expect((await waggle.engine.jobs.get('acme', newest)).state).toBe('waiting');
  go.open();
  expect((await waggle.finished('acme', running)).state).toBe('completed');
  expect(await waggle.finished('acme', newest)).toMatchObject({ state: 'completed', result: 'newest' });
});

describe('cancel-running', () => {
  test('the running one hears of it within a second, in another process, and ends as cancelled', async () => {
    const keyPrefix = freshPrefix('keys');
    waggle = await openTestWaggle({ handlers: [echoHandler], keyPrefix });
    const worker = forkWorker(
      {
        REDIS_URL: testRedisUrl(),
        KEY_PREFIX: keyPrefix,
        WAGGLE_SHARDS: '1',
        WORKER_LOCK_MS: '9000',
        LOG_LEVEL: 'info',
      },
      'test/workers/fixtures/heeding-worker.ts',
    );
    const echoOf = (payload: string, keyStrategy?: string): Promise<string> =>
      waggle.enqueue('acme', 'echo', payload, { key: 'session', keyStrategy });
    const causes: string[] = [];
    const tookMs: number[] = [];
    try {
      for (let round = 0; round < 5; round += 1) {
        const old = await echoOf('old');
        await worker.logged(`${old} is held`);
        const heard = (): string | undefined =>
          new RegExp(`"msg":"${old} heard: (\\w+)"`).exec(worker.output())?.[1];
        const since = performance.now();
        const newer = await echoOf('new', 'cancel-running');
        await until(() => heard() !== undefined);
        tookMs.push(performance.now() - since);
        causes.push(heard() ?? '');
        expect(await waggle.finished('acme', newer)).toMatchObject({ state: 'completed', result: 'new' });
        expect(await waggle.finished('acme', old)).toMatchObject({ state: 'cancelled', result: null });
      }
    } finally {
      worker.child.kill('SIGKILL');
      await worker.ended;
    }
    // Whoever is not told hears of it when the grace is over, as of a lock that is lost.
    expect(causes).toEqual(Array(5).fill('cancelled'));
    expect(median(tookMs)).toBeLessThan(1000);
  });

  test('whoever waits is superseded too; only the newest runs in the end', async () => {
    await open();
    work = ({ job, signal }) => {
      if (job.payload === 4) return 4;
      return new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    };
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) ids.push(await enqueue(n, { keyStrategy: 'cancel-running' }));
    const jobs = await Promise.all(ids.map((id) => waggle.finished('acme', id)));
    expect(jobs.map((job) => job.state)).toEqual([...Array<string>(4).fill('cancelled'), 'completed']);
  });

  test('a worker that is lost cannot hold the key: the newer one starts after the grace, the old one can not complete', async () => {
    waggle = await openTestWaggle({ handlers: [handle(turn, (ctx) => work(ctx))] });
    const old = await enqueue('old');
    // A worker that hears nothing.
    const connection = connectWorker(testRedisUrl());
    const deaf = new ShardSource({
      shard: 0,
      queue: 'default',
      prefix: waggle.engine.topology.prefix(0),
      connection,
      lockMs: 60_000,
      stalledMs: 60_000,
      workerName: 'deaf',
    });
    const { job } = await deaf.claim('deaf');
    expect((await waggle.engine.jobs.get('acme', old)).state).toBe('active');
    const newer = await enqueue('new', { keyStrategy: 'cancel-running' });
    waggle.startWorker();
    const done = await waggle.finished('acme', newer);
    expect(done.state).toBe('completed');
    expect(await waggle.finished('acme', old)).toMatchObject({ state: 'cancelled' });
    if (job === null) throw new Error('nothing was claimed');
    await expect(deaf.complete(job, 'deaf', 'late', false)).rejects.toThrow();
    await deaf.close(true);
    connection.disconnect();
    expect(await waggle.finished('acme', old)).toMatchObject({ state: 'cancelled', result: null });
  });
});
