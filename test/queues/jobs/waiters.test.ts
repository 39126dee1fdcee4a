import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { eventually } from '../../support/eventually.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';
import { freePort } from '../../support/ports.ts';

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine();
});
afterEach(() => engine.close());

/** Resolves when the blocking read of a waiter stands; this file has its Redis database to itself. */
async function waitStands({ topology }: TestEngine): Promise<void> {
  const database = /\bdb=(\d+)/.exec(await topology.redis.client('INFO'))?.[1];
  await eventually('a read stands', async () => {
    const clients = ((await topology.redis.client('LIST')) as string).split('\n');
    return clients.some((client) => client.includes(` db=${database} `) && client.includes(' cmd=xread '));
  });
}

test('two thousand waiters get their own job, and none is left behind', async () => {
  const tenants = ['w1', 'w2', 'w3', 'w4', 'w5'];
  const ids = (
    await Promise.all(
      tenants.map(async (tenant) => {
        const requests = Array.from({ length: 400 }, (_, i) => ({ task: 'work', payload: `${tenant}-${i}` }));
        const outcomes = await engine.jobs.enqueueBatch(tenant, requests, context);
        return outcomes.map((one, i) => ({
          tenant,
          id: 'id' in one ? one.id : '',
          payload: `${tenant}-${i}`,
        }));
      }),
    )
  ).flat();
  const waiting = ids.map(({ tenant, id }) => engine.jobs.waitUntilFinished(tenant, id, 60_000));
  const shards = new Map(tenants.map((tenant) => [engine.topology.shardOf(tenant), tenant]));
  for (const tenant of shards.values()) engine.work(tenant, (job) => job.data.payload, { concurrency: 50 });
  const jobs = await Promise.all(waiting);
  expect(jobs.map((job) => [job.state, job.result])).toEqual(
    ids.map(({ payload }) => ['completed', payload]),
  );
});

test('a job that ends at any moment around the call is not missed', async () => {
  engine.work('race', () => 'done', { concurrency: 20 });
  const jobs = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const { id } = await engine.jobs.enqueue('race', { task: 'work' }, context);
      for (let spin = 0; spin < i % 7; spin += 1) await engine.ping();
      return engine.jobs.waitUntilFinished('race', id, 60_000);
    }),
  );
  expect(jobs.every((job) => job.state === 'completed')).toBe(true);
});

test('a wait ends at its time-out with the job as it is', async () => {
  const { id } = await engine.jobs.enqueue('slow', { task: 'work' }, context);
  const started = Date.now();
  expect(await engine.jobs.waitUntilFinished('slow', id, 150)).toMatchObject({ id, state: 'waiting' });
  expect(Date.now() - started).toBeGreaterThanOrEqual(149);
});

test('a wait ends when its signal aborts, before or during it', async () => {
  const { id } = await engine.jobs.enqueue('gone', { task: 'work' }, context);
  const early = AbortSignal.abort();
  expect(await engine.jobs.waitUntilFinished('gone', id, 60_000, early)).toMatchObject({ state: 'waiting' });
  const abort = new AbortController();
  const waiting = engine.jobs.waitUntilFinished('gone', id, 60_000, abort.signal);
  await waitStands(engine);
  abort.abort();
  expect(await waiting).toMatchObject({ state: 'waiting' });
});

test('closing ends every wait with shutting_down', async () => {
  const { id } = await engine.jobs.enqueue('closing', { task: 'work' }, context);
  const waiting = engine.jobs.waitUntilFinished('closing', id, 60_000);
  const outcome = expect(waiting).rejects.toMatchObject({ code: 'shutting_down' });
  await waitStands(engine);
  await engine.close();
  await outcome;
});

test('an event that is lost delays a waiter and does not hang it', async () => {
  const { id } = await engine.jobs.enqueue('lost', { task: 'work' }, context);
  const queue = engine.topology.queue(engine.topology.shardOf('lost'), 'default');
  const waiting = engine.jobs.waitUntilFinished('lost', id, 60_000);
  await waitStands(engine);
  // The job ends without an event: as if trimming had taken it.
  const { redis } = engine.topology;
  await redis.hset(queue.toKey(id), 'finishedOn', Date.now(), 'returnvalue', '"quiet"');
  await redis.zadd(queue.toKey('completed'), Date.now(), id);
  expect(await waiting).toMatchObject({ state: 'completed', result: 'quiet' });
});

test('waiters survive a restart of Redis, and calls during it fail as redis_unavailable', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'waggle-restart-'));
  const extraArgs = ['--dir', dir, '--appendonly', 'yes', '--appendfsync', 'always'];
  const first = await startEmbeddedRedis({ port: await freePort(), extraArgs });
  const own = await openTestEngine({ redisUrl: first.url });
  const { id } = await own.jobs.enqueue('restart', { task: 'work' }, context);
  const waiting = own.jobs.waitUntilFinished('restart', id, 60_000);
  await waitStands(own);

  await first.stop();
  await eventually('calls fail', () =>
    own.ping().then(
      () => false,
      () => true,
    ),
  );
  const asked = Date.now();
  await expect(own.jobs.enqueue('restart', { task: 'work' }, context)).rejects.toMatchObject({
    code: 'redis_unavailable',
    retryAfterMs: expect.any(Number),
  });
  await expect(own.jobs.enqueue('restart', { task: 'work', queue: 'new' }, context)).rejects.toMatchObject({
    code: 'redis_unavailable',
  });
  await expect(own.jobs.enqueueBatch('restart', [{ task: 'work' }], context)).resolves.toMatchObject([
    { problem: { code: 'redis_unavailable' } },
  ]);
  await expect(own.jobs.get('restart', id)).rejects.toMatchObject({ code: 'redis_unavailable' });
  await expect(own.flows.enqueue('restart', { task: 'work' }, context)).rejects.toMatchObject({
    code: 'redis_unavailable',
  });
  // Were a call to wait for its time-out, that alone would take 5 s.
  expect(Date.now() - asked).toBeLessThan(5000);

  const second = await startEmbeddedRedis({ port: first.port, extraArgs });
  await eventually('the connection is back', () =>
    own.ping().then(
      () => true,
      () => false,
    ),
  );
  own.work('restart', () => 'back');
  expect(await waiting).toMatchObject({ state: 'completed', result: 'back' });
  await eventually('calls work again', () =>
    own.ping().then(
      () => true,
      () => false,
    ),
  );
  await expect(own.jobs.enqueue('restart', { task: 'work', queue: 'new' }, context)).resolves.toBeDefined();
  await own.close();
  await second.stop();
  await rm(dir, { recursive: true, force: true });
});
