import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { UnrecoverableError } from 'bullmq';
import { context, failure, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';
import { latch } from '../support/latch.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

test('a job is shown waiting, active and completed, with its result', async () => {
  const started = latch();
  const go = latch();
  const { id } = await engine.jobs.enqueue('states', { task: 'work', payload: 7 }, context);
  engine.work('states', async (job) => {
    await job.updateProgress({ percent: 50 });
    started.open();
    await go.opened;
    return { got: job.data.payload };
  });
  await started.opened;
  expect(await engine.jobs.get('states', id)).toMatchObject({
    state: 'active',
    progress: { percent: 50 },
    startedAt: expect.any(String),
    finishedAt: null,
    result: null,
  });
  go.open();
  const done = await engine.jobs.waitUntilFinished('states', id, 60_000);
  expect(done).toMatchObject({
    state: 'completed',
    result: { got: 7 },
    error: null,
    attempts: { made: 1, max: 1 },
    finishedAt: expect.any(String),
  });
});

test.each([
  ['boom', 'failed', 'task_failed'],
  ['cancelled', 'cancelled', 'cancelled'],
  ['expired', 'expired', 'expired'],
  ['timeout', 'failed', 'timeout'],
])('a failure %p makes the state %p with the code %p', async (reason, state, code) => {
  const tenant = `fails-${reason}`;
  const { id } = await engine.jobs.enqueue(tenant, { task: 'work', queue: reason, attempts: 1 }, context);
  engine.work(
    tenant,
    () => {
      throw reason === 'boom' ? new Error('boom') : failure(reason);
    },
    { queue: reason },
  );
  const job = await engine.jobs.waitUntilFinished(tenant, id, 60_000);
  expect(job).toMatchObject({
    state,
    error: { code, message: expect.any(String), retryable: false },
    result: null,
  });
});

test('between two attempts a job is delayed until the next one is due, and shows the last error', async () => {
  const { id } = await engine.jobs.enqueue(
    'retry',
    {
      task: 'work',
      queue: 'retry',
      attempts: 2,
      backoff: { type: 'fixed', delayMs: 60_000, maxDelayMs: 60_000, jitter: 0 },
    },
    context,
  );
  const failed = latch();
  const worker = engine.work(
    'retry',
    () => {
      throw failure('flaky');
    },
    { queue: 'retry' },
  );
  worker.opts.settings = { backoffStrategy: () => 60_000 };
  worker.on('failed', () => failed.open());
  await failed.opened;
  const job = await engine.jobs.get('retry', id);
  expect(job).toMatchObject({ state: 'delayed', attempts: { made: 1, max: 2 }, error: { code: 'flaky' } });
  expect(Date.parse(job.runAt) - Date.now()).toBeGreaterThan(50_000);
});

test('an unrecoverable failure of a foreign worker is a plain failure', async () => {
  const { id } = await engine.jobs.enqueue('plain', { task: 'work', queue: 'plain', attempts: 3 }, context);
  engine.work(
    'plain',
    () => {
      throw new UnrecoverableError('never again');
    },
    { queue: 'plain' },
  );
  expect(await engine.jobs.waitUntilFinished('plain', id, 60_000)).toMatchObject({
    state: 'failed',
    error: { code: 'task_failed', message: 'never again' },
    attempts: { made: 1, max: 3 },
  });
});
