import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Usage } from '../../../src/shared/tenant-schemas.ts';
import { eventually } from '../../support/eventually.ts';
import { latch } from '../support/latch.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine({ shards: 2 });
});
afterAll(() => engine.close());

/** Each test has a tenant and queues of its own. */
async function enqueue(
  tenant: string,
  queue: string,
  count: number,
  fields: Record<string, unknown> = {},
): Promise<void> {
  const jobs = Array.from({ length: count }, () => ({ task: 'work', queue, ...fields }));
  await engine.jobs.enqueueBatch(tenant, jobs, context);
}

const nothing: Usage['blockedBy'] = {
  tenant_paused: 0,
  tenant_concurrency: 0,
  tenant_rate: 0,
  key: 0,
  queue_paused: 0,
  queue_concurrency: 0,
  delayed: 0,
};

test('a tenant of whom nobody has heard has nothing, and the limits of all', async () => {
  await enqueue('somebody', 'theirs', 2);
  const usage = await engine.usage.of('nobody');
  expect(usage).toMatchObject({ tenant: 'nobody', queues: {}, blockedBy: nothing });
  const {
    id: _id,
    createdAt: _createdAt,
    updatedAt: _updatedAt,
    ...limits
  } = await engine.tenants.get('nobody');
  expect(usage.limits).toEqual(limits);
});

test('what it has is told by queue and state, without what others have there', async () => {
  await enqueue('counted', 'one', 3);
  await enqueue('counted', 'one', 2, { delayMs: 600_000 });
  await enqueue('counted', 'two', 1, { priority: 5 });
  await enqueue('beside', 'one', 7);
  await enqueue('beside', 'three', 7);
  const started = latch();
  const go = latch();
  const run = async (): Promise<void> => {
    started.open();
    await go.opened;
  };
  engine.work('counted', run, { queue: 'two', concurrency: 1 });
  await started.opened;
  const usage = await engine.usage.of('counted');
  go.open();
  expect(usage.queues).toEqual({
    one: { waiting: 3, delayed: 2, active: 0 },
    two: { waiting: 0, delayed: 0, active: 1 },
  });
  expect(usage.blockedBy).toEqual({ ...nothing, delayed: 2 });
});

test('a job is counted at each gate that holds it', async () => {
  await enqueue('held', 'here', 2, { key: 'k' });
  await enqueue('held', 'here', 3);
  await enqueue('held', 'there', 4);
  expect((await engine.usage.of('held')).blockedBy).toEqual({ ...nothing, key: 1 });

  await engine.tenants.put('held', { maxRunning: 0 });
  await engine.tenants.pause('held', null);
  const queue = engine.topology.queue(engine.topology.shardOf('held'), 'there');
  await queue.pause();
  await queue.setGlobalConcurrency(0);
  const held = { tenant_paused: 9, tenant_concurrency: 9, key: 1, queue_paused: 4, queue_concurrency: 4 };
  expect((await engine.usage.of('held')).blockedBy).toEqual({ ...nothing, ...held });
});

test('limits of one queue hold what is in that queue', async () => {
  await engine.tenants.put('partly', { queues: { slow: { maxRunning: 0 } } });
  await enqueue('partly', 'slow', 2);
  await enqueue('partly', 'fast', 3);
  expect((await engine.usage.of('partly')).blockedBy).toEqual({ ...nothing, tenant_concurrency: 2 });
});

test('a rate holds what waits, until its next start is due', async () => {
  await engine.tenants.put('rated', { rate: { limit: 1, periodMs: 600_000 } });
  await enqueue('rated', 'rated', 3);
  expect((await engine.usage.of('rated')).blockedBy).toEqual(nothing);
  const finished = latch();
  engine.work('rated', () => finished.open(), { queue: 'rated' });
  await finished.opened;
  expect((await engine.usage.of('rated')).blockedBy).toEqual({ ...nothing, tenant_rate: 2 });
});

test('who could run and has got nothing is entitled to its part all the same; who may not is not', async () => {
  // All of it is to fall into one minute.
  await eventually(
    'the minute goes on',
    async () => Number((await engine.topology.redis.time())[0]) % 60 < 50,
  );
  const shard = engine.topology.shardOf('busy');
  const counts = { started: 1, units: 1 };
  await engine.usageBook.add(shard, { sender: 'here', number: 1, tenants: [{ tenant: 'busy', counts }] });
  await enqueue('starved', 'starved', 1);
  await enqueue('halted', 'halted', 1);
  await engine.tenants.pause('halted', null);
  const entitled = async (tenant: string): Promise<number | null | undefined> =>
    (await engine.usage.of(tenant)).windows[2]?.share.entitled;
  expect(await entitled('starved')).toBe(0.5);
  expect(await entitled('halted')).toBe(0);
});
