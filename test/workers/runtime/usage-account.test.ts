import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { UsageBatch } from '../../../queues/usage/book.ts';
import { WaggleError } from '../../../src/shared/errors.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { UsageAccount } from '../../../workers/runtime/usage-account.ts';
import { openTestEngine } from '../../queues/support/engine.ts';
import type { TestEngine } from '../../queues/support/engine.ts';
import { latch, silent, until } from '../support.ts';
import { freePort } from '../../support/ports.ts';

let engine: TestEngine;
let closeServer: (() => Promise<void>) | undefined;
const accounts: UsageAccount[] = [];

beforeEach(async () => {
  engine = await openTestEngine({ shards: 1 });
});
afterEach(async () => {
  await Promise.all(accounts.splice(0).map((account) => account.stop()));
  await engine.close();
  await closeServer?.();
  closeServer = undefined;
});

function open(add: (shard: number, batch: UsageBatch) => Promise<void>): UsageAccount {
  const account = new UsageAccount({ shards: [0], book: { add }, logger: silent });
  accounts.push(account);
  return account;
}
const booking = (shard: number, batch: UsageBatch): Promise<void> => engine.usageBook.add(shard, batch);

async function startedBy(tenant: string): Promise<number> {
  return (await engine.usage.of(tenant)).windows[2]?.started ?? NaN;
}

test('brings what there is every second while it runs; starting and stopping twice is once', async () => {
  const account = open(booking);
  account.start();
  account.start();
  account.started(0, 'acme', 1, 5);
  await until(async () => (await startedBy('acme')) === 1);
  account.started(0, 'acme', 1, 5);
  await Promise.all([account.stop(), account.stop()]);
  expect(await startedBy('acme')).toBe(2);
  account.start();
  account.finished(0, 'acme', 'completed');
  await account.stop();
  await account.stop();
  expect((await engine.usage.of('acme')).windows[2]).toMatchObject({
    started: 2,
    finished: { completed: 1 },
  });
});

test('what a run took beyond its start is received like what it took then', async () => {
  const account = open(booking);
  account.started(0, 'long', 1, null);
  account.charged(0, 'long', 4.5);
  account.charged(0, 'long', 1.5);
  account.charged(7, 'of-no-shard-here', 100);
  account.started(0, 'short', 1, null);
  await account.flush();
  const { started, share } = (await engine.usage.of('long')).windows[2] ?? {};
  expect(started).toBe(1);
  expect(share?.received).toBeCloseTo(7 / 8, 9);
});

test('with nothing to tell, Redis is not asked', async () => {
  let calls = 0;
  const account = open(async () => void (calls += 1));
  await account.flush();
  await account.stop();
  expect(calls).toBe(0);
});

test('what Redis did but could not answer for is told again and counts once', async () => {
  let lost = 2;
  const account = open(async (shard, batch) => {
    await booking(shard, batch);
    if ((lost -= 1) >= 0) throw new WaggleError('redis_unavailable', 'No answer came.');
  });
  account.started(0, 'acme', 1, null);
  await account.flush();
  expect(await startedBy('acme')).toBe(1);
  account.started(0, 'acme', 1, null);
  await account.flush();
  expect(await startedBy('acme')).toBe(1);
  await account.flush();
  expect(await startedBy('acme')).toBe(2);
});

test('what was counted before and during an outage is there after it', async () => {
  await engine.close();
  const port = await freePort();
  let server = await startEmbeddedRedis({ port });
  closeServer = () => server.stop();
  const { url: redisUrl } = server;
  engine = await openTestEngine({ shards: 1, redisUrl });
  const account = open(booking);
  account.started(0, 'acme', 1, null);
  await server.stop();
  await account.flush();
  account.started(0, 'acme', 1, null);
  await account.flush();
  server = await startEmbeddedRedis({ port });
  await until(async () => {
    await account.flush();
    return engine.ping().then(
      () => startedBy('acme').then((count) => count === 2),
      () => false,
    );
  });
});

test('a batch that Redis will never take is given up, and holds up nothing', async () => {
  const refused: number[] = [];
  const account = open(async (shard, batch) => {
    if (batch.number > 1) return booking(shard, batch);
    refused.push(batch.number);
    throw new Error('ERR of the script');
  });
  account.started(0, 'lost', 1, null);
  await account.flush();
  account.started(0, 'acme', 1, null);
  await account.flush();
  expect(refused).toEqual([1]);
  expect([await startedBy('lost'), await startedBy('acme')]).toEqual([0, 1]);
});

test('many tenants go in several small batches, and what comes meanwhile makes no more of them', async () => {
  const sizes: number[] = [];
  const account = open(async (shard, batch) => {
    sizes.push(batch.tenants.reduce((sum, { counts }) => sum + Object.keys(counts).length, 0));
    account.started(0, 'meanwhile', 1, null);
    await booking(shard, batch);
  });
  for (let n = 0; n < 1000; n += 1) account.started(0, `tenant-${n}`, 1, n);
  await account.flush();
  // 50 tenants in one; what came meanwhile had no batch of its own.
  expect(sizes).toHaveLength(20);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(400);
  for (const tenant of ['tenant-0', 'tenant-500', 'tenant-999']) expect(await startedBy(tenant)).toBe(1);
});

test('memory is bounded by the number of tenants, and what is no tenant counts for nobody', async () => {
  const batches: UsageBatch[] = [];
  const taken = latch();
  const account = open((_shard, batch) => {
    batches.push(batch);
    taken.open();
    return Promise.resolve();
  });
  for (const name of ['', 'a:b', 'UPPER', '__proto__', '{wg:1}']) account.started(0, name, 1, null);
  account.started(7, 'of-no-shard-here', 1, null);
  for (let n = 0; n < 20_000; n += 1) account.started(0, `tenant-${n}`, 1, null);
  await account.flush();
  await taken.opened;
  const tenants = batches.flatMap((batch) => batch.tenants.map(({ tenant }) => tenant));
  expect(tenants).toHaveLength(10_000);
  expect(tenants.every((tenant) => tenant.startsWith('tenant-'))).toBe(true);
});
