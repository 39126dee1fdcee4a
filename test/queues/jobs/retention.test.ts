import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { StreamWriter } from '../../../queues/streams/writer.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine({ shards: 1 });
  engine.work('any', (job) => {
    if (job.data.payload === 'fail') throw new Error('failed');
  });
});
afterAll(() => engine.close());

const LONG_AGO = 1_000_000;

async function finished(tenant: string, payload: unknown = null): Promise<string> {
  const { id } = await engine.jobs.enqueue(tenant, { task: 'work', payload }, context);
  await engine.jobs.waitUntilFinished(tenant, id, 60_000);
  return id;
}

const exists = (tenant: string, id: string): Promise<boolean> =>
  engine.jobs.get(tenant, id).then(
    () => true,
    () => false,
  );

test('a sweep removes what is due and nothing else, and says how much', async () => {
  const due = await finished('keep-a');
  const failedDue = await finished('keep-a', 'fail');
  const later = await finished('keep-a');
  const fresh = await finished('keep-a');
  const at = { queue: 'default', retainMs: 0 };
  await engine.retention.schedule(0, { ...at, id: due, finishedAt: Date.now() - LONG_AGO });
  await engine.retention.schedule(0, { ...at, id: failedDue, finishedAt: Date.now() - LONG_AGO });
  await engine.retention.schedule(0, {
    ...at,
    id: later,
    finishedAt: Date.now() - LONG_AGO,
    retainMs: 2 * LONG_AGO,
  });
  // So far off that no stall makes it due, here or in a later test.
  const finishedAt = Date.now() + 3_600_000;
  await engine.retention.schedule(0, { ...at, id: fresh, finishedAt });
  const { redis, keys } = engine.topology;
  expect(await redis.zscore(keys.retire(0), `default ${fresh}`)).toBe(String(finishedAt + 5000));
  expect(await engine.retention.sweep(0, 100)).toBe(2);
  expect(await engine.retention.sweep(0, 100)).toBe(0);
  expect(await Promise.all([due, failedDue, later, fresh].map((id) => exists('keep-a', id)))).toEqual([
    false,
    false,
    true,
    true,
  ]);
  const { jobs } = await engine.jobs.list('keep-a', { limit: 10 });
  expect(jobs.map((job) => job.id).sort()).toEqual([later, fresh].sort());
});

test('what handlers of a job wrote goes with it', async () => {
  const id = await finished('keep-b');
  const { redis, keys } = engine.topology;
  const owner = { shard: 0, tenant: 'keep-b', id, retainMs: { completed: 1000, failed: 2000 } };
  await new StreamWriter(redis, keys).write(owner, 'chunk', '1');
  const stream = keys.jobStream(0, 'keep-b', id);
  // For a while beyond the longest it may be kept, should nobody remove it.
  expect(await redis.pttl(stream)).toBeGreaterThan(86_000_000);
  await engine.retention.schedule(0, {
    queue: 'default',
    id,
    finishedAt: Date.now() - LONG_AGO,
    retainMs: 0,
  });
  expect(await engine.retention.sweep(0, 10)).toBe(1);
  expect(await redis.exists(stream)).toBe(0);
});

test('a sweep takes no more than its limit', async () => {
  const ids = [await finished('bounded'), await finished('bounded'), await finished('bounded')];
  for (const id of ids) {
    await engine.retention.schedule(0, {
      queue: 'default',
      id,
      finishedAt: Date.now() - LONG_AGO,
      retainMs: 0,
    });
  }
  expect(await engine.retention.sweep(0, 2)).toBe(2);
  expect(await engine.retention.sweep(0, 2)).toBe(1);
});

test('a job that was put back to work is left alone', async () => {
  const { id } = await engine.jobs.enqueue('again', { task: 'work', delayMs: 60_000 }, context);
  await engine.retention.schedule(0, {
    queue: 'default',
    id,
    finishedAt: Date.now() - LONG_AGO,
    retainMs: 0,
  });
  expect(await engine.retention.sweep(0, 10)).toBe(0);
  expect(await exists('again', id)).toBe(true);
});

test('the nodes of a flow stay until its root goes, and go with it', async () => {
  const flow = await engine.flows.enqueue(
    'flow-keep',
    {
      task: 'work',
      name: 'root',
      children: [
        { task: 'work', name: 'a' },
        { task: 'work', name: 'b' },
      ],
    },
    context,
  );
  await engine.jobs.waitUntilFinished('flow-keep', flow.id, 60_000);
  const ids = Object.values(flow.jobs);
  const schedule = (id: string): Promise<void> =>
    engine.retention.schedule(0, { queue: 'default', id, finishedAt: Date.now() - LONG_AGO, retainMs: 0 });
  for (const id of ids.filter((one) => one !== flow.id)) await schedule(id);
  expect(await engine.retention.sweep(0, 10)).toBe(0);
  expect((await engine.flows.get('flow-keep', flow.id)).nodes).toHaveLength(3);
  await schedule(flow.id);
  expect(await engine.retention.sweep(0, 10)).toBe(3);
  expect(await Promise.all(ids.map((id) => exists('flow-keep', id)))).toEqual([false, false, false]);
});

test('a finished job nobody scheduled goes after the longest retention there is', async () => {
  const id = await finished('forgotten');
  const { topology } = engine;
  const queue = topology.queue(0, 'default');
  await topology.redis.zadd(queue.toKey('completed'), Date.now() - 92 * 86_400_000, id);
  expect(await engine.retention.sweep(0, 10)).toBe(1);
  expect(await exists('forgotten', id)).toBe(false);
});
