import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { UsageBatch } from '../../../queues/usage/book.ts';
import type { Counts } from '../../../queues/usage/tally.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import type { Usage } from '../../../src/shared/tenant-schemas.ts';
import { eventually } from '../../support/eventually.ts';
import { openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

const SHARDS = 2;

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine({ shards: SHARDS });
  // What a test books in one go is to fall into one minute.
  await eventually(
    'the minute goes on',
    async () => Number((await engine.topology.redis.time())[0]) % 60 < 50,
  );
});
afterEach(() => engine.close());

let batches = 0;
/** What a worker would send; each from a sender of its own unless one is given. */
function book(tenant: string, counts: Counts, given: Partial<UsageBatch> = {}): Promise<void> {
  const batch = { sender: `sender-${(batches += 1)}`, number: 1, tenants: [{ tenant, counts }], ...given };
  return engine.usageBook.add(engine.topology.shardOf(tenant), batch);
}

const started = (count: number, waits: Counts = {}): Counts => ({ started: count, units: count, ...waits });
const lastHour = (usage: Usage): Usage['windows'][number] => {
  const [, , window] = usage.windows;
  if (window === undefined) throw new Error('There is no window of an hour');
  return window;
};

/** Tenants of both shards, by turns. */
function tenantsOf(count: number): string[] {
  const names = Array.from({ length: 100 }, (_, n) => `tenant-${n}`);
  const byShard = [0, 1].map((shard) => names.filter((name) => engine.topology.shardOf(name) === shard));
  return Array.from({ length: count }, (_, n) => byShard[n % SHARDS]?.[Math.floor(n / SHARDS)] ?? '');
}

async function minuteNow(): Promise<number> {
  return Math.floor(Number((await engine.topology.redis.time())[0]) / 60);
}

function keyOf(tenant: string): string {
  return engine.topology.keys.tenantUsage(engine.topology.shardOf(tenant), tenant);
}

test('what several workers say of tenants in several shards adds up', async () => {
  const [one = '', two = ''] = tenantsOf(2);
  await Promise.all([
    book(one, { ...started(3, { w1: 2, w10: 1 }), completed: 2, failed: 1 }),
    book(one, { ...started(1, { w1: 1 }), completed: 4 }),
    book(two, started(12)),
  ]);
  const usage = await engine.usage.of(one);
  for (const window of usage.windows) {
    expect(window).toMatchObject({
      started: 4,
      finished: { completed: 6, failed: 1 },
      share: { received: 0.25, entitled: 0.5 },
    });
    expect(window.waitMs.p50).toBe(1);
  }
  expect(lastHour(await engine.usage.of(two)).share).toEqual({ received: 0.75, entitled: 0.5 });
  expect(lastHour(await engine.usage.of('nobody'))).toMatchObject({
    started: 0,
    share: { received: 0, entitled: 0 },
  });
});

test('shares of all tenants add up to 1, by the weights that hold', async () => {
  const tenants = tenantsOf(6);
  await engine.tenants.put('*', { weight: 2 });
  for (const [place, tenant] of tenants.slice(0, 4).entries())
    await engine.tenants.put(tenant, { weight: place + 0.3 });
  // A pause is a tenant's own, and the rest that of `*`.
  await engine.tenants.pause(tenants[4] ?? '', 60_000);
  for (const [place, tenant] of tenants.entries()) await book(tenant, started(place + 1));
  const shares = await Promise.all(
    tenants.map(async (tenant) => lastHour(await engine.usage.of(tenant)).share),
  );
  const weights = [0.3, 1.3, 2.3, 3.3, 2, 2];
  for (const [place, { received, entitled }] of shares.entries()) {
    expect(received).toBeCloseTo((place + 1) / 21, 9);
    expect(entitled).toBeCloseTo((weights[place] ?? 0) / 11.2, 9);
  }
});

test('a weight is that of the first start in a minute, and counts once', async () => {
  const [one = '', two = ''] = tenantsOf(2);
  await engine.tenants.put(one, { weight: 3 });
  // The end of a job that started a minute ago asks for no share.
  await book(one, { completed: 1 });
  await book(two, started(1));
  expect(lastHour(await engine.usage.of(one)).share).toEqual({ received: 0, entitled: 0 });
  await book(one, started(1));
  await engine.tenants.put(one, { weight: 100 });
  await book(one, started(1));
  expect(lastHour(await engine.usage.of(one)).share).toEqual({ received: 2 / 3, entitled: 0.75 });
});

test('run time that is charged is received, and makes a contender also in a minute without a start', async () => {
  const [long = '', short = ''] = tenantsOf(2);
  await book(short, started(3));
  await book(long, { units: 9, completed: 1 });
  expect(lastHour(await engine.usage.of(long))).toMatchObject({
    started: 0,
    share: { received: 0.75, entitled: 0.5 },
  });
  expect(lastHour(await engine.usage.of(short)).share).toEqual({ received: 0.25, entitled: 0.5 });
});

test('a batch that is sent again is booked once, and the next one is booked', async () => {
  const sender = 'here';
  await book('acme', started(1), { sender });
  await book('acme', started(1), { sender });
  expect(lastHour(await engine.usage.of('acme')).started).toBe(1);
  await book('acme', started(1), { sender, number: 2 });
  await book('acme', started(1), { sender: 'there' });
  expect(lastHour(await engine.usage.of('acme')).started).toBe(3);
});

test('minutes stay apart, those out of sight are dropped as new ones come, and all goes when nothing comes', async () => {
  const { redis, keys } = engine.topology;
  const now = await minuteNow();
  const shardKey = keys.usage(engine.topology.shardOf('acme'));
  for (const ago of [3, 59, 200]) {
    await redis.hset(keyOf('acme'), now - ago, JSON.stringify({ ...started(1), weight: 1 }));
    await redis.hset(shardKey, `${now - ago}:units`, 2, `${now - ago}:weight`, 4);
  }
  await book('acme', started(1));
  const { windows } = await engine.usage.of('acme');
  expect(windows.map((window) => window.started)).toEqual([1, 2, 3]);
  expect(windows.map(({ share }) => share)).toEqual([
    { received: 1, entitled: 1 },
    { received: 2 / 3, entitled: 0.5 },
    { received: 3 / 5, entitled: 0.4 },
  ]);

  const kept = await redis.hkeys(keyOf('acme'));
  expect(kept).toHaveLength(3);
  expect(kept).not.toContain(String(now - 200));
  expect(await redis.hlen(shardKey)).toBe(6);
  for (const key of await redis.keys(`${engine.topology.prefix(engine.topology.shardOf('acme'))}*usage*`)) {
    const seconds = await redis.ttl(key);
    expect([key, seconds > 3600 && seconds <= 3900]).toEqual([key, true]);
  }
});

test('only tenants have usage', async () => {
  for (const name of ['*', '', 'A', 'a:b', '../x'])
    await expect(engine.usage.of(name)).rejects.toMatchObject({ code: 'not_found' });
});

/** Also what others send to the same server counts, so it is to be one of the test's own. */
async function commandsOf({ topology }: TestEngine): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await topology.redis.info('stats'))?.[1]);
}

test('a read takes as many commands with many tenants as with one', async () => {
  const server = await startEmbeddedRedis();
  const alone = await openTestEngine({ shards: SHARDS, redisUrl: server.url });
  try {
    const { usage, usageBook, topology } = alone;
    const cost = async (): Promise<number> => {
      const before = await commandsOf(alone);
      await usage.of('acme');
      return (await commandsOf(alone)) - before;
    };
    const batch = { sender: 'one', number: 1, tenants: [{ tenant: 'acme', counts: started(1) }] };
    await usageBook.add(topology.shardOf('acme'), batch);
    await usage.of('acme');
    const withOne = await cost();
    expect(withOne).toBeGreaterThan(0);
    const many = Array.from({ length: 300 }, (_, n) => ({ tenant: `many-${n}`, counts: started(1) }));
    for (const shard of [0, 1]) {
      const own = many.filter(({ tenant }) => topology.shardOf(tenant) === shard);
      await usageBook.add(shard, { sender: 'many', number: 1, tenants: own });
    }
    expect(await cost()).toBe(withOne);
  } finally {
    await alone.close();
    await server.stop();
  }
});
