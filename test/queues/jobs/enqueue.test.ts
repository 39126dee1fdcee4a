import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Job as JobSchema } from '../../../src/shared/schemas.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

test.each([0, 1001, '2', null])('a cost of %p is refused', async (cost) => {
  const [outcome] = await engine.jobs.enqueueBatch('acme', [{ task: 'echo', cost }], context);
  expect(outcome).toMatchObject({ problem: { code: 'validation', errors: [{ path: 'cost' }] } });
});

test('what a job costs its tenant is told to the scheduler', async () => {
  const { id } = await engine.jobs.enqueue('acme', { task: 'echo', cost: 2.5 }, context);
  const queue = engine.topology.queue(engine.topology.shardOf('acme'), 'default');
  expect((await queue.getJob(id))?.opts).toMatchObject({ group: { id: 'acme', cost: 2.5 } });
});

test('an enqueued job reads back as it was answered', async () => {
  const job = await engine.jobs.enqueue(
    'acme',
    {
      task: 'echo',
      payload: { any: ['json', null, 1.5] },
      queue: 'mail',
      priority: 9,
      attempts: 5,
      tags: ['a', 'b'],
      correlationId: 'mine',
    },
    context,
  );
  expect(JobSchema.parse(job)).toEqual(job);
  expect(job).toMatchObject({
    tenant: 'acme',
    task: 'echo',
    queue: 'mail',
    state: 'waiting',
    payload: { any: ['json', null, 1.5] },
    priority: 9,
    attempts: { made: 0, max: 5 },
    tags: ['a', 'b'],
    correlationId: 'mine',
    flow: null,
    result: null,
    error: null,
    progress: null,
    startedAt: null,
    finishedAt: null,
  });
  expect(job.id).toMatch(/^mail\.[0-9A-Z]{26}$/);
  expect(await engine.jobs.get('acme', job.id)).toEqual(job);
  expect(await engine.topology.queueNames()).toContain('mail');
});

test('a job without a payload has none, and the task still gets its defaults', async () => {
  const job = await engine.jobs.enqueue('acme', { task: 'fail' }, context);
  expect(job).toMatchObject({ payload: null, priority: 0, correlationId: 'test', attempts: { max: 3 } });
  expect(await engine.jobs.get('acme', job.id)).toEqual(job);
});

test('delayMs and a future runAt delay, a past runAt does not', async () => {
  const delayed = await engine.jobs.enqueue('acme', { task: 'echo', delayMs: 60_000 }, context);
  expect(delayed.state).toBe('delayed');
  expect(Date.parse(delayed.runAt) - Date.parse(delayed.createdAt)).toBe(60_000);
  expect(await engine.jobs.get('acme', delayed.id)).toEqual(delayed);

  const runAt = new Date(Date.now() + 3_600_000).toISOString();
  const timed = await engine.jobs.enqueue('acme', { task: 'echo', runAt, priority: 2 }, context);
  expect(timed).toMatchObject({ state: 'delayed', runAt, priority: 2 });
  expect(await engine.jobs.get('acme', timed.id)).toEqual(timed);

  const past = await engine.jobs.enqueue('acme', { task: 'echo', runAt: '2001-01-01T00:00:00Z' }, context);
  expect(past.state).toBe('waiting');
});

test('an unknown task and a payload the task refuses are told apart, and store nothing', async () => {
  const before = await engine.jobs.list('strict', { limit: 10 });
  await expect(engine.jobs.enqueue('strict', { task: 'nope' }, context)).rejects.toMatchObject({
    code: 'unknown_task',
  });
  await expect(
    engine.jobs.enqueue('strict', { task: 'sleep', payload: { ms: -1, extra: 1 } }, context),
  ).rejects.toMatchObject({
    code: 'invalid_payload',
    errors: expect.arrayContaining([
      { path: 'payload.ms', message: expect.any(String) },
      { path: 'payload.extra', message: 'is not a known field' },
    ]),
  });
  expect(await engine.jobs.list('strict', { limit: 10 })).toEqual(before);
});

test('a payload of more than 256 KiB is refused, one of exactly as much is not', async () => {
  const exact = 'x'.repeat(256 * 1024 - 2);
  await expect(engine.jobs.enqueue('acme', { task: 'echo', payload: exact }, context)).resolves.toBeDefined();
  await expect(
    engine.jobs.enqueue('acme', { task: 'echo', payload: `${exact}x` }, context),
  ).rejects.toMatchObject({
    code: 'payload_too_large',
  });
});

test('a payload nested beyond reason is refused, not a stack overflow', async () => {
  let payload: unknown = 0;
  for (let i = 0; i < 20_000; i += 1) payload = [payload];
  await expect(engine.jobs.enqueue('acme', { task: 'echo', payload }, context)).rejects.toMatchObject({
    code: 'invalid_payload',
  });
});

test('a batch has an outcome per item, and a bad one harms no other', async () => {
  const outcomes = await engine.jobs.enqueueBatch(
    'batch',
    [
      { task: 'echo', payload: 1 },
      { task: 'nope' },
      { task: 'sleep', payload: {} },
      'not a job',
      { task: 'echo', dedupe: 'k' },
      { task: 'echo', delayMs: 1, runAt: '2030-01-01T00:00:00Z' },
      { task: 'echo', queue: 'other', delayMs: 60_000 },
      { task: 'echo', priority: 5 },
    ],
    context,
  );
  expect(outcomes).toMatchObject([
    { id: expect.stringMatching(/^default\./) },
    { problem: { code: 'unknown_task' } },
    { problem: { code: 'invalid_payload' } },
    { problem: { code: 'validation' } },
    { problem: { code: 'validation', errors: [{ path: 'dedupe' }] } },
    { problem: { code: 'validation', errors: [{ path: 'runAt' }] } },
    { id: expect.stringMatching(/^other\./) },
    { id: expect.stringMatching(/^default\./) },
  ]);
  const { jobs } = await engine.jobs.list('batch', { limit: 50 });
  expect(jobs.map((job) => job.id).sort()).toEqual(
    outcomes.flatMap((one) => ('id' in one ? [one.id] : [])).sort(),
  );
});

test('a batch above the limit is refused as a whole', async () => {
  const many = Array.from({ length: 1001 }, () => ({ task: 'echo' }));
  await expect(engine.jobs.enqueueBatch('batch', many, context)).rejects.toMatchObject({
    code: 'payload_too_large',
  });
});

test('a thousand jobs in a batch are all there, in order', async () => {
  const many = Array.from({ length: 1000 }, (_, i) => ({ task: 'echo', payload: i }));
  const outcomes = await engine.jobs.enqueueBatch('thousand', many, context);
  const seen: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await engine.jobs.list('thousand', { limit: 200, ...(cursor ? { cursor } : {}) });
    seen.push(...page.jobs.map((job) => job.id));
    cursor = page.nextCursor;
  }
  expect(seen.reverse()).toEqual(outcomes.map((one) => ('id' in one ? one.id : '')));
});

test('nobody sees the job of another tenant, in whatever shard', async () => {
  const { id } = await engine.jobs.enqueue('acme', { task: 'echo' }, context);
  const { topology } = engine;
  const others = Array.from({ length: 60 }, (_, i) => `other-${i}`);
  expect(others.some((tenant) => topology.shardOf(tenant) === topology.shardOf('acme'))).toBe(true);
  for (const tenant of others) {
    await expect(engine.jobs.get(tenant, id)).rejects.toMatchObject({ code: 'not_found' });
    await expect(engine.jobs.waitUntilFinished(tenant, id, 1000)).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(engine.flows.get(tenant, id)).rejects.toMatchObject({ code: 'not_found' });
    expect(await engine.jobs.list(tenant, { limit: 10 })).toEqual({ jobs: [], nextCursor: null });
  }
});

test.each([
  '',
  'x',
  'default',
  'default.',
  'default.short',
  'tenant.01JZ3QK0M4Y8W6T2N5R7S9V1XC',
  '../../etc',
  'a:b',
])('an id that is none is not found: %p', async (id) => {
  await expect(engine.jobs.get('acme', id)).rejects.toMatchObject({ code: 'not_found' });
});
