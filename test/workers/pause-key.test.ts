import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { openEngine } from '../../queues/engine.ts';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { createTaskRegistry } from '../../queues/tasks/registry.ts';
import type { Job } from '../../src/shared/schemas.ts';
import { handle } from '../../workers/handlers/registry.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { PauseKey } from '../../workers/runtime/task-error.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { finished, forkWorker, latch, openTestWaggle, silent, until } from './support.ts';
import type { TestWaggle, WorkerProcess } from './support.ts';

const HOUR_MS = 3_600_000;
const QUEUES = ['default', 'side'];
const KEY = { key: 'session' };

/** One call of a handler. */
interface Start {
  payload: unknown;
  attempt: number;
  fence: number;
  at: number;
}

let waggle: TestWaggle;
let starts: Start[] = [];
let work: (ctx: JobContext) => unknown = () => null;

const turn = handle(defineTask({ name: 'turn', payload: z.unknown(), defaults: { attempts: 1 } }), (ctx) => {
  starts.push({ payload: ctx.job.payload, attempt: ctx.attempt, fence: ctx.fence, at: performance.now() });
  return work(ctx);
});

beforeEach(async () => {
  starts = [];
  waggle = await openTestWaggle({ handlers: [turn] });
});
afterEach(async () => {
  work = () => null;
  await waggle.close();
});

const enqueue = (payload: unknown, fields: Record<string, unknown> = KEY, tenant = 'acme'): Promise<string> =>
  waggle.enqueue(tenant, 'turn', payload, fields);
const read = (id: string): Promise<Job> => waggle.engine.jobs.get('acme', id);
const gates = async (id: string): Promise<string[]> =>
  (await waggle.engine.jobs.why('acme', id)).blockedBy.map(({ gate }) => gate);
const promote = (id: string): Promise<Job> => waggle.engine.control.promote('acme', id);
const payloads = (): unknown[] => starts.map(({ payload }) => payload);

async function expectCompleted(...ids: string[]): Promise<void> {
  for (const id of ids)
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'completed',
      attempts: { made: 1 },
      error: null,
    });
}

/** Lets jobs with these payloads pause their key for an hour when they start for the first time. */
function pauseFirst(...which: unknown[]): void {
  work = ({ job, fence }) => {
    if (fence === 1 && which.includes(job.payload)) throw new PauseKey(HOUR_MS);
    return job.payload;
  };
}

/** A job that has paused its key. */
async function enqueuePaused(payload: unknown, fields: Record<string, unknown> = KEY): Promise<string> {
  const id = await enqueue(payload, fields);
  await until(async () => (await read(id)).state === 'delayed');
  return id;
}

describe('a handler that pauses its key', () => {
  test('gets its job back no attempt poorer; until then nothing behind it starts, and all else goes on', async () => {
    const { metrics } = waggle.startWorker({ queues: QUEUES });
    pauseFirst('asks');
    const before = Date.now();
    const asks = await enqueuePaused('asks');
    const job = await read(asks);
    expect(job).toMatchObject({ attempts: { made: 0, max: 1 }, error: null, finishedAt: null });
    expect(Date.parse(job.runAt)).toBeGreaterThanOrEqual(before + HOUR_MS);
    expect(await waggle.engine.jobs.why('acme', asks)).toMatchObject({
      state: 'delayed',
      runnable: false,
      blockedBy: [{ gate: 'delayed', until: job.runAt }],
      estimatedStartAt: job.runAt,
    });

    waggle.startWorker({ queues: QUEUES });
    const behind = [await enqueue('behind'), await enqueue('urgent', { ...KEY, priority: 9 })];
    await expectCompleted(await enqueue('other key', { key: 'other' }));
    await expectCompleted(await enqueue('no key', {}));
    await expectCompleted(await enqueue('other queue', { ...KEY, queue: 'side' }));
    await waggle.finished('globex', await enqueue('other tenant', KEY, 'globex'));
    expect(payloads()).toEqual(['asks', 'other key', 'no key', 'other queue', 'other tenant']);
    for (const id of behind) {
      const { runnable, blockedBy } = await waggle.engine.jobs.why('acme', id);
      expect({ runnable, blockedBy }).toEqual({
        runnable: false,
        blockedBy: [{ gate: 'key', detail: expect.stringContaining(`held by ${asks};`), until: null }],
      });
    }

    await promote(asks);
    await expectCompleted(asks, ...behind);
    expect(payloads().slice(5)).toEqual(['asks', 'behind', 'urgent']);
    expect(starts[5]).toMatchObject({ attempt: 1, fence: 2 });
    const { values } = await metrics.finished.get();
    expect(values).toContainEqual({ value: 1, labels: { task: 'turn', outcome: 'pause-key' } });
  });

  test('has it start again when the time is over, before all others of its key, however often it asks', async () => {
    const pauseMs = 700;
    const left = new Map<unknown, number>([
      ['first', 3],
      ['second', 1],
    ]);
    work = ({ job }) => {
      const more = left.get(job.payload) ?? 0;
      left.set(job.payload, more - 1);
      if (more > 0) throw new PauseKey(pauseMs);
    };
    const ids = [await enqueue('first'), await enqueue('second'), await enqueue('third')];
    waggle.startWorker();
    waggle.startWorker();
    await expectCompleted(...ids);
    expect(starts.map(({ payload, attempt, fence }) => [payload, attempt, fence])).toEqual([
      ['first', 1, 1],
      ['first', 1, 2],
      ['first', 1, 3],
      ['first', 1, 4],
      ['second', 1, 1],
      ['second', 1, 2],
      ['third', 1, 1],
    ]);
    const pauses = starts
      .slice(1)
      .map((start, place) => ({ again: start.fence > 1, ms: start.at - (starts[place]?.at ?? 0) }));
    for (const { again, ms } of pauses) if (again) expect(ms).toBeGreaterThanOrEqual(pauseMs - 1);
  });

  test('takes its own place of the key and no other', async () => {
    waggle.startWorker();
    const wide = { ...KEY, keyLimit: 2 };
    pauseFirst('a', 'd');
    const a = await enqueuePaused('a', wide);
    const [started, go, quick] = [latch(), latch(), work];
    work = (ctx) => (ctx.job.payload === 'b' ? (started.open(), go.opened) : quick(ctx));
    const b = await enqueue('b', wide);
    await started.opened;
    const c = await enqueue('c', wide);
    expect(await gates(c)).toEqual(['key']);
    go.open();
    await expectCompleted(b, c);

    const d = await enqueuePaused('d', wide);
    const e = await enqueue('e', wide);
    expect(await gates(e)).toEqual(['key']);
    await promote(a);
    await expectCompleted(a, e);
    expect((await read(d)).state).toBe('delayed');
    expect(payloads()).toEqual(['a', 'b', 'c', 'd', 'a', 'e']);
  });

  test('has a job without a key wait alone; attempts count on as if it had not asked', async () => {
    waggle.startWorker();
    const backoff = { type: 'fixed', delayMs: 0, maxDelayMs: 0, jitter: 0 };
    work = ({ job, fence }) => {
      if (job.payload !== 'asks') return null;
      if (fence === 2) throw new PauseKey(HOUR_MS);
      throw new Error('no');
    };
    const asks = await enqueuePaused('asks', { attempts: 2, backoff });
    expect((await read(asks)).attempts).toEqual({ made: 1, max: 2 });
    await expectCompleted(await enqueue('beside', {}));
    await promote(asks);
    expect(await waggle.finished('acme', asks)).toMatchObject({ state: 'failed', attempts: { made: 2 } });
    expect(starts.map(({ payload, attempt, fence }) => [payload, attempt, fence])).toEqual([
      ['asks', 1, 1],
      ['asks', 2, 2],
      ['beside', 1, 1],
      ['asks', 2, 3],
    ]);
  });

  test('pauses it for an hour at most, and not at all for a time that is none', async () => {
    waggle.startWorker();
    const pauses = [-1, NaN, 1e12];
    work = () => {
      const ms = pauses.shift();
      if (ms !== undefined) throw new PauseKey(ms);
    };
    const id = await enqueuePaused('asks');
    const leftMs = Date.parse((await read(id)).runAt) - Date.now();
    expect(leftMs).toBeLessThanOrEqual(HOUR_MS);
    expect(leftMs).toBeGreaterThan(HOUR_MS - 300_000);
    expect(starts).toHaveLength(3);
    await promote(id);
    await expectCompleted(id);
  });
});

describe('a paused key', () => {
  test.each(['cancel', 'remove'] as const)(
    'goes on when its job is gone (%s), which never starts again',
    async (how) => {
      waggle.startWorker();
      pauseFirst('asks');
      const asks = await enqueuePaused('asks');
      const behind = await enqueue('behind');
      expect(await gates(behind)).toEqual(['key']);
      const { control } = waggle.engine;
      if (how === 'remove') await control.remove('acme', asks);
      else
        expect(await control.cancel('acme', asks, { reason: 'not wanted', graceMs: 5000 })).toMatchObject({
          state: 'cancelled',
          attempts: { made: 0 },
        });
      await expectCompleted(behind);
      expect(payloads()).toEqual(['asks', 'behind']);
    },
  );

  test('is taken to a new job, which waits, is refused, or supersedes the one that paused it', async () => {
    waggle.startWorker();
    pauseFirst('asks');
    const asks = await enqueuePaused('asks');
    const waits = await enqueue('waits', { ...KEY, keyStrategy: 'replace-waiting' });
    await expect(enqueue('no', { ...KEY, keyStrategy: 'reject' })).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(await gates(asks)).toEqual(['delayed']);
    expect(await gates(waits)).toEqual(['key']);
    await expectCompleted(await enqueue('newest', { ...KEY, keyStrategy: 'cancel-running' }));
    for (const id of [asks, waits])
      expect(await waggle.finished('acme', id)).toMatchObject({ state: 'cancelled', attempts: { made: 0 } });
    expect(payloads()).toEqual(['asks', 'newest']);
  });

  test('holds no job that somebody asked to stop before it paused: it ends as cancelled', async () => {
    waggle.startWorker();
    const [started, go] = [latch(), latch()];
    work = async ({ job }) => {
      if (job.payload !== 'asks') return;
      started.open();
      await go.opened;
      throw new PauseKey(HOUR_MS);
    };
    const asks = await enqueue('asks');
    await started.opened;
    // Nobody tells the worker: as if the news were lost.
    const { endings, topology } = waggle.engine;
    const backend = topology.queue(0, 'default').getBackend();
    await topology.redis.zadd(backend.toKey('fair:cancels'), Date.now() + HOUR_MS, asks);
    await topology.redis.hset(backend.toKey(asks), 'cxl', '');
    const behind = await enqueue('behind');
    go.open();
    await until(async () => {
      await endings.sweep(0, 'default');
      return (await read(asks)).state === 'cancelled';
    });
    await expectCompleted(behind);
    expect(payloads()).toEqual(['asks', 'behind']);
  });

  test('lets no job expire that had started in time', async () => {
    waggle.startWorker();
    pauseFirst('asks');
    const asks = await enqueuePaused('asks', { ...KEY, ttlMs: 6000 });
    const { keys, redis } = waggle.engine.topology;
    // The worker has looked at it when its time was over.
    await until(async () => (await redis.zcard(keys.ttl(0))) === 0);
    expect((await read(asks)).state).toBe('delayed');
    await promote(asks);
    await expectCompleted(asks);
  });
});

test('a pause outlives its worker, which is killed: the job starts elsewhere when the time is over', async () => {
  const redisUrl = await freshRedisUrl();
  const asks = defineTask({ name: 'asks', payload: z.number() });
  const tasks = createTaskRegistry([asks]);
  const engine = await openEngine({ redisUrl, shards: 1, logger: silent, tasks });
  const workers: WorkerProcess[] = [];
  const start = async (): Promise<WorkerProcess> => {
    const env = { REDIS_URL: redisUrl, WAGGLE_SHARDS: '1' };
    const worker = forkWorker(env, 'test/workers/fixtures/pausing-worker.ts');
    workers.push(worker);
    await worker.logged('worker is running');
    return worker;
  };
  const enqueueAsks = async (payload: number): Promise<string> => {
    const request = { task: 'asks', payload, attempts: 1, ...KEY };
    return (await engine.jobs.enqueue('acme', request, { correlationId: 'killed' })).id;
  };
  try {
    const victim = await start();
    const [since, pauseMs] = [Date.now(), 4000];
    const first = await enqueueAsks(pauseMs);
    const behind = await enqueueAsks(0);
    await victim.logged('key paused by its job, job delayed');
    victim.child.kill('SIGKILL');
    expect(await victim.ended).toBe('SIGKILL');
    await start();
    const jobs = [await finished(engine, 'acme', first), await finished(engine, 'acme', behind)];
    for (const job of jobs) expect(job).toMatchObject({ state: 'completed', attempts: { made: 1 } });
    const [again, next] = jobs.map(({ result }) => result as { fence: number; at: number });
    expect([again?.fence, next?.fence]).toEqual([2, 1]);
    expect(again?.at).toBeGreaterThanOrEqual(since + pauseMs);
    expect(next?.at).toBeGreaterThanOrEqual(again?.at ?? Infinity);
  } finally {
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.map(({ ended }) => ended));
    await engine.close();
  }
});
