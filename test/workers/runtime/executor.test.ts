import { afterEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { handle } from '../../../workers/handlers/registry.ts';
import { abortCause } from '../../../workers/runtime/abort.ts';
import type { JobContext } from '../../../workers/runtime/context.ts';
import { TaskError } from '../../../workers/runtime/task-error.ts';
import { latch, openTestWaggle, until } from '../support.ts';
import type { TestWaggle } from '../support.ts';

const FAST = { type: 'fixed', delayMs: 20, maxDelayMs: 20, jitter: 0 };

let waggle: TestWaggle;
let work: (ctx: JobContext) => unknown = () => null;

const anything = defineTask({ name: 'anything', payload: z.unknown() });
const strict = defineTask({ name: 'strict', payload: z.strictObject({ n: z.number() }) });
const handlers = [handle(anything, (ctx) => work(ctx)), handle(strict, (ctx) => ctx.job.payload.n)];

async function open(
  settings: Parameters<TestWaggle['startWorker']>[0] = {},
): ReturnType<typeof openTestWaggle> {
  waggle = await openTestWaggle({ handlers });
  waggle.startWorker(settings);
  return waggle;
}

afterEach(async () => {
  work = () => null;
  await waggle.close();
});

describe('the context', () => {
  test('tells the handler everything about its job, and stores progress and log lines', async () => {
    await open();
    const seen = latch<JobContext>();
    work = async (ctx) => {
      seen.open(ctx);
      await ctx.progress({ half: true });
      await ctx.log('half of it');
      return { done: true };
    };
    const id = await waggle.enqueue(
      'acme',
      'anything',
      { a: 1 },
      { tags: ['x'], attempts: 2, correlationId: 'c-9' },
    );
    const job = await waggle.finished('acme', id);
    expect(job).toMatchObject({ state: 'completed', result: { done: true }, progress: { half: true } });
    const ctx = await seen.opened;
    expect(ctx).toMatchObject({ tenant: 'acme', correlationId: 'c-9', attempt: 1, fence: 1, parents: {} });
    expect(ctx.job).toEqual({
      id,
      task: 'anything',
      queue: 'default',
      payload: { a: 1 },
      tags: ['x'],
      maxAttempts: 2,
    });
    const { logs } = await waggle.engine.topology.queue(0, 'default').getJobLogs(id);
    expect(logs).toEqual([expect.stringMatching(/^20\d\d-\d\d-\d\dT[\d:]{8}\.\d{6}Z half of it$/)]);
  });

  test('gives a parent the results of its children by name, on every level of a flow', async () => {
    await open();
    const parents: Record<string, unknown> = {};
    work = (ctx) => {
      const { name } = ctx.job.payload as { name: string };
      parents[name] = ctx.parents;
      return `result of ${name}`;
    };
    const node = (name: string, children: unknown[] = []): unknown => ({
      task: 'anything',
      name,
      payload: { name },
      children,
    });
    const tree = node('root', [node('inner', [node('leaf-1'), node('leaf-2')]), node('leaf-3')]);
    const flow = await waggle.engine.flows.enqueue('acme', tree as never, { correlationId: 'c' });
    await waggle.finished('acme', flow.id);
    expect(parents).toEqual({
      'leaf-1': {},
      'leaf-2': {},
      'leaf-3': {},
      inner: { 'leaf-1': 'result of leaf-1', 'leaf-2': 'result of leaf-2' },
      root: { inner: 'result of inner', 'leaf-3': 'result of leaf-3' },
    });
  });
});

describe('what becomes of a job', () => {
  test('retries until an attempt succeeds; attempts count from 1 and fences grow', async () => {
    await open();
    const attempts: number[][] = [];
    work = (ctx) => {
      attempts.push([ctx.attempt, ctx.fence]);
      if (ctx.attempt < 3) throw new Error('not yet');
      return 'at last';
    };
    const id = await waggle.enqueue('acme', 'anything', null, { attempts: 5, backoff: FAST });
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'completed',
      result: 'at last',
      attempts: { made: 3, max: 5 },
    });
    expect(attempts).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  test('fails when no attempt is left; the reason is short and the stack stays out of Redis', async () => {
    await open();
    work = () => {
      throw new Error('x'.repeat(5000));
    };
    const id = await waggle.enqueue('acme', 'anything', null, { attempts: 2, backoff: FAST });
    const job = await waggle.finished('acme', id);
    expect(job).toMatchObject({ state: 'failed', attempts: { made: 2, max: 2 }, result: null });
    expect(job.error).toMatchObject({ code: 'task_failed', retryable: true });
    expect(job.error?.message).toHaveLength(2048);
    const stored = await waggle.engine.topology.queue(0, 'default').getJob(id);
    expect(stored?.stacktrace).toEqual([]);
  });

  test('a final error spends no further attempt', async () => {
    await open();
    work = () => {
      throw new TaskError('bad_input', 'no use', { retryable: false });
    };
    const id = await waggle.enqueue('acme', 'anything', null, { attempts: 5, backoff: FAST });
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'failed',
      attempts: { made: 1, max: 5 },
      error: { code: 'bad_input', message: 'no use', retryable: false },
    });
  });

  test('a pause asked for by the failure is kept', async () => {
    await open();
    const starts: number[] = [];
    work = () => {
      starts.push(Date.now());
      if (starts.length === 1) throw new TaskError('busy', 'later', { retryable: true, retryAfterMs: 300 });
      return null;
    };
    const id = await waggle.enqueue('acme', 'anything', null, {
      attempts: 2,
      backoff: { ...FAST, delayMs: 0 },
    });
    await waggle.finished('acme', id);
    expect((starts[1] ?? 0) - (starts[0] ?? 0)).toBeGreaterThanOrEqual(299);
  });

  test('a time-out aborts the signal and fails the attempt', async () => {
    await open();
    work = (ctx) =>
      new Promise((_resolve, reject) =>
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
      );
    const id = await waggle.enqueue('acme', 'anything', null, { attempts: 1, timeoutMs: 30 });
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'failed',
      error: { code: 'timeout', retryable: true },
    });
  });

  test('a handler that ignores its time-out keeps its slot, and its late result counts for nothing', async () => {
    await open({ concurrency: 1 });
    const stuck = latch<string>();
    work = (ctx) => (ctx.job.payload === 'stuck' ? stuck.opened : 'next');
    const id = await waggle.enqueue('acme', 'anything', 'stuck', { attempts: 1, timeoutMs: 20 });
    const next = await waggle.enqueue('acme', 'anything', 'next');
    expect(await waggle.finished('acme', id)).toMatchObject({ state: 'failed', error: { code: 'timeout' } });
    expect(await waggle.engine.jobs.get('acme', next)).toMatchObject({ state: 'waiting' });
    stuck.open('late');
    expect(await waggle.finished('acme', next)).toMatchObject({ state: 'completed' });
    expect(await waggle.engine.jobs.get('acme', id)).toMatchObject({ state: 'failed', result: null });
  });

  test('a job that did not start in time expires', async () => {
    waggle = await openTestWaggle({ handlers });
    const id = await waggle.enqueue('acme', 'anything', null, { ttlMs: 1 });
    const { createdAt } = await waggle.engine.jobs.get('acme', id);
    await until(() => Date.now() > Date.parse(createdAt) + 1);
    waggle.startWorker();
    expect(await waggle.finished('acme', id)).toMatchObject({ state: 'expired', error: { code: 'expired' } });
  });

  test('a payload that no longer fits its task, and a body that is none of ours, fail for good', async () => {
    await open();
    const queue = waggle.engine.topology.queue(0, 'default');
    const id = await waggle.enqueue('acme', 'strict', { n: 1 }, { delayMs: 60_000 });
    const stored = await queue.getJob(id);
    await stored?.updateData({ ...stored.data, payload: { n: 'text' } });
    await stored?.promote();
    expect(await waggle.finished('acme', id)).toMatchObject({
      error: { code: 'invalid_payload', retryable: false },
    });

    const foreign = await queue.add('anything', 'what is this' as never, { jobId: 'foreign' });
    await until(async () => (await foreign.getState()) === 'failed');
    expect((await queue.getJob('foreign'))?.failedReason).toContain('"code":"invalid_job"');
  });

  test('a task without a handler here fails for good', async () => {
    await open();
    const queue = waggle.engine.topology.queue(0, 'default');
    const id = await waggle.enqueue('acme', 'anything', null, { delayMs: 60_000 });
    await waggle.engine.topology.redis.hset(queue.toKey(id), 'name', 'gone');
    await (await queue.getJob(id))?.promote();
    expect(await waggle.finished('acme', id)).toMatchObject({ error: { code: 'unknown_task' } });
  });

  test('a result that is too large fails for good, and the worker goes on', async () => {
    await open({ resultBytes: 1000 });
    // As JSON the bee takes four bytes: what counts is what is stored.
    work = (ctx) => '🐝'.repeat(ctx.job.payload as number);
    const [fits, tooLarge] = [
      await waggle.enqueue('acme', 'anything', 249),
      await waggle.enqueue('acme', 'anything', 250),
    ];
    expect(await waggle.finished('acme', fits)).toMatchObject({
      state: 'completed',
      result: '🐝'.repeat(249),
    });
    expect(await waggle.finished('acme', tooLarge)).toMatchObject({
      state: 'failed',
      result: null,
      error: { code: 'result_too_large', message: expect.stringContaining('1002 bytes'), retryable: false },
    });
  });

  test('a result that is not JSON fails for good', async () => {
    await open();
    work = () => 1n;
    const id = await waggle.enqueue('acme', 'anything');
    expect(await waggle.finished('acme', id)).toMatchObject({
      state: 'failed',
      error: { code: 'invalid_result' },
    });
  });

  test('the failure of a node ends its flow: the parent fails and what has not started is cancelled', async () => {
    await open({ concurrency: 1 });
    work = (ctx) => {
      if (ctx.job.payload === 'bad') throw new TaskError('bad', 'no', { retryable: false });
      return null;
    };
    const tree = {
      task: 'anything',
      name: 'root',
      children: [
        { task: 'anything', name: 'bad', payload: 'bad', onChildFailure: 'fail' },
        { task: 'anything', name: 'late', delayMs: 600_000 },
      ],
    };
    const flow = await waggle.engine.flows.enqueue('acme', tree as never, { correlationId: 'c' });
    expect(await waggle.finished('acme', flow.id)).toMatchObject({
      state: 'failed',
      error: { code: 'child_failed' },
    });
    expect(await waggle.finished('acme', flow.jobs.late ?? '')).toMatchObject({ state: 'cancelled' });
  });
});

test('a worker that lost its lock aborts the handler and writes nothing', async () => {
  await open({ lockMs: 1000 });
  const cause = latch<unknown>();
  const started = latch();
  work = (ctx) => {
    started.open();
    return new Promise((resolve) => {
      ctx.signal.addEventListener('abort', () => {
        cause.open(abortCause(ctx.signal));
        resolve('nobody wants this');
      });
    });
  };
  const id = await waggle.enqueue('acme', 'anything', null, { attempts: 1 });
  await started.opened;
  const queue = waggle.engine.topology.queue(0, 'default');
  const { redis } = waggle.engine.topology;
  // As if the lock had expired and another worker had claimed the job.
  await redis.set(queue.toKey(`${id}:lock`), 'someone else');
  expect(await cause.opened).toBe('lock_lost');
  await until(() => waggle.startedWorkers().every((worker) => worker.active === 0));
  expect(await waggle.engine.jobs.get('acme', id)).toMatchObject({ state: 'active', result: null });
  expect(await redis.get(queue.toKey(`${id}:lock`))).toBe('someone else');
});
