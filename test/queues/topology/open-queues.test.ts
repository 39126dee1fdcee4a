import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Topology } from '../../../queues/topology/topology.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { keysOf } from '../../support/redis.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

test('to look for a job of a queue that somebody made up opens no queue and writes nothing', async () => {
  const { topology, jobs, keyPrefix } = engine;
  await expect(jobs.get('acme', 'made-up.01JZ3QK0M4Y8W6T2N5R7S9V1XC')).rejects.toMatchObject({
    code: 'not_found',
  });
  expect(topology.isOpen(topology.shardOf('acme'), 'made-up')).toBe(false);
  expect(await keysOf(topology.redis, `{${keyPrefix}:*made-up*`)).toEqual([]);
});

test('a job of a queue that another process opened is found', async () => {
  const { id } = await engine.jobs.enqueue('acme', { task: 'work', queue: 'elsewhere', payload: 1 }, context);
  const { redisUrl, keyPrefix } = engine;
  const other = await openTestEngine({ redisUrl, keyPrefix });
  try {
    expect(await other.jobs.get('acme', id)).toMatchObject({ id, payload: 1 });
  } finally {
    await other.close();
  }
});

test('no more queues stay open than may; one that was closed is opened again, and leaves no listener behind', async () => {
  const { redis, keys } = engine.topology;
  const topology = new Topology({
    redis,
    keys,
    shards: 4,
    maxOpen: 2,
    logger: createLogger({ level: 'silent', name: 'test' }),
  });
  const names = ['one', 'two', 'three', 'four', 'one'];
  const listeners: number[] = [];
  for (const name of names) {
    // Each is closed while its call is under way, and the call ends all the same.
    const counts = [name, 'x', 'y', 'z'].map((one) => topology.queue(0, one).getJobCounts('waiting'));
    for (const count of await Promise.all(counts)) expect(count).toEqual({ waiting: 0 });
    listeners.push(redis.listenerCount('ready'));
  }
  expect(['one', 'x', 'y', 'z'].filter((name) => topology.isOpen(0, name))).toEqual(['y', 'z']);
  expect(new Set(listeners).size).toBe(1);
  await topology.close();
});
