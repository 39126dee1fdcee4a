import { afterEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { handle } from '../../workers/handlers/registry.ts';
import { abortCause } from '../../workers/runtime/abort.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { latch, openTestWaggle, until } from './support.ts';
import type { TestWaggle } from './support.ts';

let waggle: TestWaggle;
let work: (ctx: JobContext) => unknown = () => null;
const turn = defineTask({ name: 'turn', payload: z.unknown(), defaults: { attempts: 1 } });

afterEach(async () => {
  work = () => null;
  await waggle.close();
});

async function open(workers = 1, settings: Record<string, unknown> = {}): Promise<void> {
  waggle = await openTestWaggle({ handlers: [handle(turn, (ctx) => work(ctx))] });
  for (let i = 0; i < workers; i += 1) waggle.startWorker(settings);
}

const enqueue = (payload: unknown, fields: Record<string, unknown> = {}): Promise<string> =>
  waggle.enqueue('acme', 'turn', payload, fields);
const stateOf = async (id: string): Promise<string> => (await waggle.engine.jobs.get('acme', id)).state;
const isActive = (id: string) => async (): Promise<boolean> => (await stateOf(id)) === 'active';
const cancel = (id: string, graceMs = 5000, reason = 'not wanted'): Promise<{ state: string }> =>
  waggle.engine.control.cancel('acme', id, { reason, graceMs });
const untilAborted = ({ signal }: JobContext): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));

describe('cancelling a job that runs', () => {
  test('aborts its signal with the reason, and it ends as cancelled whatever it returns', async () => {
    await open(2);
    const causes: unknown[] = [];
    work = async (ctx) => {
      await untilAborted(ctx);
      causes.push(abortCause(ctx.signal), (ctx.signal.reason as Error).message);
      return 'in vain';
    };
    const id = await enqueue(1);
    await until(isActive(id));
    const since = performance.now();
    expect((await cancel(id, 60_000)).state).toBe('active');
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'cancelled',
      result: null,
      error: { code: 'cancelled', message: 'not wanted', retryable: false },
    });
    expect(performance.now() - since).toBeLessThan(30_000);
    expect(causes).toEqual(['cancelled', 'not wanted']);
    expect((await cancel(id)).state).toBe('cancelled');
  });

  test.each([0, 1500])(
    'after %d ms it is recorded, and its handler can complete it no more',
    async (graceMs) => {
      await open();
      const go = latch();
      const ended = latch();
      work = async ({ job }) => {
        if (job.payload !== 'deaf') return 'next';
        await go.opened;
        ended.open();
        return 'late';
      };
      const id = await enqueue('deaf', { key: 'k' });
      const next = await enqueue('next', { key: 'k' });
      await until(isActive(id));
      const since = performance.now();
      await cancel(id, graceMs);
      const job = await waggle.finished('acme', id);
      expect(job).toMatchObject({ state: 'cancelled', attempts: { made: 1 } });
      expect(performance.now() - since).toBeLessThan(graceMs + 30_000);
      expect(await waggle.finished('acme', next)).toMatchObject({ state: 'completed', result: 'next' });
      go.open();
      await ended.opened;
      await waggle.startedWorkers()[0]?.drain();
      expect(await waggle.engine.jobs.get('acme', id)).toEqual(job);
    },
  );

  test('asked again, the shorter grace holds and the first reason', async () => {
    await open();
    const go = latch();
    work = () => go.opened;
    const id = await enqueue(1);
    await until(isActive(id));
    await cancel(id, 600_000, 'first');
    expect((await cancel(id, 0, 'second')).state).toBe('cancelled');
    expect((await waggle.finished('acme', id)).error?.message).toBe('first');
    go.open();
  });

  test('one that its worker hands back meanwhile is not started again', async () => {
    await open(1, { drainMs: 0 });
    let runs = 0;
    work = async (ctx) => {
      runs += 1;
      await untilAborted(ctx);
      ctx.signal.throwIfAborted();
    };
    const id = await enqueue(1);
    await until(isActive(id));
    // Nobody tells the worker: as if the news were lost.
    const backend = waggle.engine.topology.queue(0, 'default').getBackend();
    await waggle.engine.topology.redis.zadd(backend.toKey('fair:cancels'), Date.now() + 600_000, id);
    await waggle.engine.topology.redis.hset(backend.toKey(id), 'cxl', '');
    await waggle.startedWorkers()[0]?.drain();
    // Its worker's own sweep may have been quicker.
    await waggle.engine.endings.sweep(0, 'default');
    expect(await stateOf(id)).toBe('cancelled');
    expect(runs).toBe(1);
  });
});

describe('a node of a flow', () => {
  const tree = {
    task: 'turn',
    name: 'root',
    payload: 'root',
    children: [
      { task: 'turn', name: 'held', payload: 'held' },
      { task: 'turn', name: 'later', payload: 'later', delayMs: 3_600_000 },
    ],
  };

  test.each(['held', 'later', 'root'])(
    'that is cancelled (%s) has the consequences of a failed one',
    async (name) => {
      await open();
      work = (ctx) => (ctx.job.payload === 'held' ? untilAborted(ctx) : null);
      const flow = await waggle.engine.flows.enqueue('acme', tree, { correlationId: 'c' });
      await until(isActive(flow.jobs.held ?? ''));
      await cancel(flow.jobs[name] ?? '');
      expect((await waggle.finished('acme', flow.jobs[name] ?? '')).state).toBe('cancelled');
      expect((await waggle.finished('acme', flow.id)).state).toBe(name === 'root' ? 'cancelled' : 'failed');
      expect((await waggle.finished('acme', flow.jobs.later ?? '')).state).toBe('cancelled');
    },
  );
});

describe('time to live', () => {
  test('a job that has not started in time expires by itself, whatever the workers are busy with', async () => {
    await open(1, { concurrency: 1 });
    const go = latch();
    const ran: unknown[] = [];
    work = async ({ job }) => {
      ran.push(job.payload);
      if (job.payload === 'busy') await go.opened;
    };
    const ttlMs = 3000;
    const busy = await enqueue('busy', { ttlMs });
    await until(isActive(busy));
    const waiting = await enqueue('waiting', { ttlMs });
    const delayed = await enqueue('delayed', { ttlMs, delayMs: 3_600_000 });
    const { jobs } = await waggle.engine.flows.enqueue(
      'acme',
      { task: 'turn', ttlMs, children: [{ task: 'turn', payload: 'child' }] },
      { correlationId: 'c' },
    );
    const root = Object.values(jobs)[0] ?? '';
    const patient = await enqueue('patient', { ttlMs: 3_600_000 });
    for (const id of [waiting, delayed, root]) {
      const job = await waggle.finished('acme', id);
      expect(job).toMatchObject({ state: 'expired', error: { code: 'expired' }, attempts: { made: 0 } });
      expect(Date.parse(job.finishedAt ?? '') - Date.parse(job.createdAt)).toBeLessThan(ttlMs + 30_000);
    }
    expect(await stateOf(busy)).toBe('active');
    // It is cancelled after its root has ended.
    expect((await waggle.finished('acme', Object.values(jobs)[1] ?? '')).state).toBe('cancelled');
    go.open();
    await waggle.finished('acme', patient);
    expect(ran).toEqual(['busy', 'patient']);
    expect((await waggle.finished('acme', busy)).state).toBe('completed');
  });

  test('one that was started in time does not expire between its attempts', async () => {
    await open();
    work = ({ attempt }) => {
      if (attempt === 1) throw new Error('again');
      return 'done';
    };
    const backoff = { type: 'fixed', delayMs: 4500, maxDelayMs: 4500, jitter: 0 };
    const id = await enqueue(1, { ttlMs: 3000, attempts: 2, backoff });
    expect(await waggle.finished('acme', id)).toMatchObject({ state: 'completed', attempts: { made: 2 } });
  });

  test('it begins anew when the job is retried; what is noted of it goes with the job', async () => {
    await open(0);
    const { engine } = waggle;
    const { redis, keys } = engine.topology;
    const id = await enqueue(1, { ttlMs: 1 });
    await until(async () => (await engine.endings.expire(0, 10)) === 1);
    expect(await stateOf(id)).toBe('expired');
    expect(await redis.zcard(keys.ttl(0))).toBe(0);
    const before = Date.now();
    expect((await engine.control.retry('acme', id)).state).toBe('waiting');
    expect(Number(await redis.zscore(keys.ttl(0), id))).toBeGreaterThan(before);
    await until(async () => (await engine.endings.expire(0, 10)) === 1);
    expect(await stateOf(id)).toBe('expired');
    const removed = await enqueue(1, { ttlMs: 3_600_000 });
    await engine.control.remove('acme', removed);
    expect(await redis.zcard(keys.ttl(0))).toBe(0);
  });
});

test('a retried job may lose as many workers as a new one', async () => {
  await open();
  work = ({ attempt }) => {
    if (attempt === 1) throw new Error('no');
  };
  const id = await enqueue(1);
  await waggle.finished('acme', id);
  const { redis } = waggle.engine.topology;
  const key = waggle.engine.topology.queue(0, 'default').getBackend().toKey(id);
  await redis.hset(key, 'stc', 3);
  await waggle.engine.control.retry('acme', id);
  expect(await redis.hget(key, 'stc')).toBeNull();
});

test('a retried job waits for the others of its key, and puts an end to none of them', async () => {
  await open();
  const go = latch();
  work = ({ job, attempt }) => {
    if (job.payload === 'fails' && attempt === 1) throw new Error('no');
    return job.payload === 'held' ? go.opened : 'fine';
  };
  const key = { key: 'k', keyStrategy: 'cancel-running' };
  const failed = await enqueue('fails', key);
  await waggle.finished('acme', failed);
  const held = await enqueue('held', key);
  await until(isActive(held));
  work = ({ job }) => (job.payload === 'held' ? go.opened : 'fine');
  expect(await waggle.engine.control.retry('acme', failed)).toMatchObject({
    state: 'waiting',
    attempts: { made: 0 },
    error: null,
    finishedAt: null,
  });
  expect((await waggle.engine.jobs.why('acme', failed)).blockedBy[0]).toMatchObject({ gate: 'key' });
  expect(await stateOf(held)).toBe('active');
  go.open();
  expect(await waggle.finished('acme', failed)).toMatchObject({ state: 'completed', result: 'fine' });
});
