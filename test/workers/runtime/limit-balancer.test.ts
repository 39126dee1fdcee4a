import { afterEach, expect, test } from '@jest/globals';
import { Shares } from '../../../queues/overall/shares.ts';
import type { Balancing } from '../../../queues/overall/types.ts';
import { connectWorker } from '../../../queues/topology/connections.ts';
import type { RedisConnection } from '../../../queues/topology/connections.ts';
import { LimitBalancer } from '../../../workers/runtime/limit-balancer.ts';
import { openTestEngine } from '../../queues/support/engine.ts';
import type { TestEngine } from '../../queues/support/engine.ts';
import { eventually } from '../../support/eventually.ts';
import { latch, silent, tenantsByShard } from '../support.ts';

let engine: TestEngine;
let balancers: LimitBalancer[] = [];
let connections: RedisConnection[] = [];

afterEach(async () => {
  await Promise.all(balancers.map((balancer) => balancer.stop()));
  for (const connection of connections) connection.disconnect();
  balancers = [];
  connections = [];
  await engine.close();
});

/** A balancer of a process of its own, whose calls are counted, and can be changed. */
function start(owner: string, changes: Partial<Balancing> = {}): { calls: string[] } {
  const calls: string[] = [];
  const { overall } = engine;
  const noting =
    <A extends unknown[], R>(name: string, call: (...args: A) => R) =>
    (...args: A): R => {
      calls.push(name);
      return call(...args);
    };
  const watched: Balancing = {
    channel: overall.channel,
    isNeeded: noting('isNeeded', () => overall.isNeeded()),
    takeOver: noting('takeOver', () => overall.takeOver()),
    balance: noting('balance', (...args) => overall.balance(...args)),
    holdLease: noting('holdLease', (...args) => overall.holdLease(...args)),
    dropLease: noting('dropLease', (...args) => overall.dropLease(...args)),
    ...changes,
  };
  const subscriber = connectWorker(engine.redisUrl);
  connections.push(subscriber);
  const balancer = new LimitBalancer({ overall: watched, subscriber, owner, shards: 4, logger: silent });
  balancers.push(balancer);
  balancer.start();
  return { calls };
}

/** What the shards may run together, and each of them. */
async function parts(field: string): Promise<number[]> {
  return Promise.all(
    Array.from({ length: 4 }, async (_, shard) => {
      const key = `${engine.topology.prefix(shard)}::fair:gates`;
      const stored = await engine.topology.redis.hget(key, field);
      return stored === null ? -1 : (JSON.parse(stored) as { m: number }).m;
    }),
  );
}

/** Jobs in one shard alone, for which workers are said to be there. */
async function wantIn(shard: number, count: number): Promise<void> {
  const tenant = tenantsByShard(engine, 4)[shard] ?? '';
  await engine.presence.announce(shard, ['default'], 'here');
  for (let i = 0; i < count; i += 1)
    await engine.jobs.enqueue(tenant, { task: 'work' }, { correlationId: 'c' });
}

test('without limits nobody balances; with the first one somebody does, at once', async () => {
  engine = await openTestEngine();
  const [one, two] = [start('one'), start('two')];
  await eventually('both have looked', () => one.calls.length + two.calls.length === 2);
  expect([...one.calls, ...two.calls]).toEqual(['isNeeded', 'isNeeded']);
  const since = performance.now();
  await engine.overall.queues.put('default', { maxRunning: 2 });
  await wantIn(3, 5);
  // Whoever is not told of limits looks for some every 10 s.
  await eventually('the units are where the jobs are', async () => (await parts('q:default'))[3] === 2, 7000);
  expect(await parts('q:default')).toEqual([0, 0, 0, 2]);
  // One of the two alone, unless its lease has run out.
  if (performance.now() - since < 2000)
    expect([one, two].filter(({ calls }) => calls.includes('balance'))).toHaveLength(1);
});

test('units do not go where no worker is, or where the queue is paused', async () => {
  engine = await openTestEngine();
  await engine.overall.queues.put('default', { maxRunning: 4 });
  for (const shard of [1, 2, 3]) await wantIn(shard, 6);
  await engine.presence.withdraw(1, ['default'], 'here');
  await engine.topology.queue(2, 'default').pause();
  start('one');
  await eventually('the third shard has all', async () => (await parts('q:default'))[3] === 4);
});

test('another takes over when the one that balances dies, and that one can change nothing any more', async () => {
  engine = await openTestEngine();
  await engine.overall.queues.put('default', { maxRunning: 2 });
  const [asleep, awake] = [latch(), latch()];
  // Stops in its first round, as a process that is suspended, and goes on when another has its place.
  start('one', {
    balance: async (fence, shares) => {
      asleep.open();
      await awake.opened;
      return engine.overall.balance(fence, shares);
    },
  });
  await asleep.opened;
  const second = start('two');
  await eventually('the second balances', () => second.calls.includes('balance'));
  expect(await engine.overall.balance(1, new Shares())).toBe('stale');
  await wantIn(1, 3);
  await eventually('its units follow the demand', async () => (await parts('q:default'))[1] === 2);
  awake.open();
  expect((await parts('q:default')).reduce((sum, m) => sum + m, 0)).toBe(2);
});
