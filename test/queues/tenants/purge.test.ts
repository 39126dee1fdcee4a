import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { keysOf } from '../../support/redis.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine();
});
afterEach(() => engine.close());

const onAndOn = (): boolean => true;
const work = { task: 'work' };
const shard = (): number => engine.topology.shardOf('acme');
const enqueue = async (tenant: string, job: object = {}): Promise<string> =>
  (await engine.jobs.enqueue(tenant, { ...work, ...job }, context)).id;
const listed = async (tenant: string): Promise<number> =>
  (await engine.jobs.list(tenant, { limit: 200 })).jobs.length;

/** Every key of the engine in which the tenant, or a job of it, can be found. */
async function traces(tenant: string, ids: readonly string[]): Promise<string[]> {
  const { redis } = engine.topology;
  const all = await keysOf(redis, `*${engine.keyPrefix}*`);
  const found: string[] = [];
  for (const key of all) {
    if (key.endsWith(':events')) continue;
    const type = await redis.type(key);
    const content =
      type === 'string'
        ? await redis.get(key)
        : type === 'hash'
          ? await redis.hgetall(key)
          : type === 'zset'
            ? await redis.zrange(key, 0, '-1')
            : type === 'set'
              ? await redis.smembers(key)
              : type === 'list'
                ? await redis.lrange(key, 0, -1)
                : null;
    const text = `${key} ${JSON.stringify(content)}`;
    if ([tenant, ...ids].some((name) => text.includes(name))) found.push(key);
  }
  return found;
}

test('everything a tenant owns goes, whatever state it is in; what others own stays', async () => {
  await engine.tenants.put('acme', { weight: 2, maxRunning: 5, queues: { side: { maxRunning: 1 } } });
  const { secret } = await engine.apiKeys.create('acme', { scopes: ['work'], expiresAt: null });
  // Of the same shard, so that they share all there is to share.
  const other =
    Array.from({ length: 100 }, (_, n) => `other-${n}`).find(
      (name) => engine.topology.shardOf(name) === shard(),
    ) ?? '';
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const started: string[] = [];
  const run = (queue: string) => async (job: { id?: string; data: { payload: unknown } }) => {
    started.push(job.id ?? '');
    if (job.data.payload === 'fail') throw new Error('as asked');
    if (job.data.payload === 'hold') await held;
    return queue;
  };
  engine.work('acme', run('default'));
  engine.work('acme', run('side'), { queue: 'side' });
  const ids = [
    await enqueue('acme'),
    await enqueue('acme', { payload: 'fail' }),
    await enqueue('acme', { payload: 'hold' }),
    await enqueue('acme', { payload: 'hold', queue: 'side', key: 'k' }),
    await enqueue('acme', { queue: 'side', key: 'k' }),
    await enqueue('acme', { queue: 'side', key: 'k' }),
    await enqueue('acme', { delayMs: 3_600_000 }),
    ...Object.values(
      (
        await engine.flows.enqueue(
          'acme',
          {
            ...work,
            children: [
              { ...work, payload: 'hold' },
              { ...work, children: [{ ...work, delayMs: 1e6 }] },
            ],
          },
          context,
        )
      ).jobs,
    ),
  ];
  await eventually('some run', () => [2, 3].every((n) => started.includes(ids[n] ?? '')));
  await engine.jobs.waitUntilFinished('acme', ids[0] ?? '', 60_000);
  await engine.jobs.waitUntilFinished('acme', ids[1] ?? '', 60_000);
  const [finished, waiting] = [await enqueue(other), await enqueue(other, { delayMs: 3_600_000 })];
  await engine.jobs.waitUntilFinished(other, finished, 60_000);
  await engine.retention.schedule(shard(), {
    queue: 'default',
    id: ids[0] ?? '',
    finishedAt: Date.now(),
    retainMs: 1e6,
  });
  await engine.usageBook.add(shard(), {
    sender: 'test',
    number: 1,
    tenants: [{ tenant: 'acme', counts: { started: 1, units: 1 } }],
  });

  const progress = await engine.purges.purge('acme', onAndOn);
  expect(progress).toEqual({ removed: ids.length, remaining: 0, done: true });
  release();
  expect(await engine.apiKeys.verify(secret)).toBeNull();
  expect(await engine.tenants.get('acme')).toMatchObject({ configured: false, paused: false, weight: 1 });
  expect(await listed('acme')).toBe(0);
  // What ran ends by itself, and records nothing; then nothing at all is left.
  await eventually('no trace is left', async () => (await traces('acme', ids)).length === 0);
  expect((await engine.jobs.list(other, { limit: 10 })).jobs.map(({ id }) => id).sort()).toEqual(
    [finished, waiting].sort(),
  );
  // It may begin anew.
  const again = await enqueue('acme');
  expect(await engine.jobs.waitUntilFinished('acme', again, 60_000)).toMatchObject({ state: 'completed' });
});

test('a purge that stops half-way is gone on with by whoever comes next; until then the tenant is closed', async () => {
  const other = await openTestEngine({ keyPrefix: engine.keyPrefix });
  for (let n = 0; n < 60; n += 1) await enqueue('acme');
  let steps = 0;
  const first = await engine.purges.purge('acme', () => (steps += 1) <= 1);
  expect(first).toEqual({ removed: 10, remaining: 50, done: false });
  await expect(enqueue('acme')).rejects.toMatchObject({ code: 'queue_full' });
  expect(await engine.tenants.get('acme')).toMatchObject({ paused: true, maxWaiting: 0 });
  expect(await other.purges.resume((shard() + 1) % 4, onAndOn)).toBe(0);
  expect(await other.purges.resume(shard(), onAndOn)).toBe(50);
  expect(await other.purges.resume(shard(), onAndOn)).toBe(0);
  expect(await other.tenants.get('acme')).toMatchObject({ configured: false, paused: false });
  await eventually('it may begin anew', () =>
    enqueue('acme').then(
      () => true,
      () => false,
    ),
  );
  await other.close();
});

test('one process is at it at a time; the work of one that died is taken over', async () => {
  const { redis, keys } = engine.topology;
  await enqueue('acme');
  const lease = keys.purgeLease(shard(), 'acme');
  await redis.set(lease, 'somebody', 'PX', 60_000);
  expect(await engine.purges.purge('acme', onAndOn)).toEqual({ removed: 0, remaining: 1, done: false });
  expect(await engine.purges.resume(shard(), onAndOn)).toBe(0);
  expect(await redis.get(lease)).toBe('somebody');
  await redis.pexpire(lease, 1);
  await eventually('it is taken over', async () => (await engine.purges.resume(shard(), onAndOn)) === 1);
  expect(await redis.exists(lease)).toBe(0);
});

test('an entry whose job may still be on its way keeps the purge open, one that is old does not', async () => {
  const { redis, keys } = engine.topology;
  const index = keys.tenantJobs(shard(), 'acme');
  const id = 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC';
  await redis.zadd(index, Date.now(), id);
  expect(await engine.purges.purge('acme', onAndOn)).toEqual({ removed: 0, remaining: 1, done: false });
  await redis.zadd(index, Date.now() - 31_000, id);
  expect(await engine.purges.purge('acme', onAndOn)).toEqual({ removed: 0, remaining: 0, done: true });
});

test('records that others keep under the tenant go, those of tenants with longer names stay', async () => {
  const { redis, keys } = engine.topology;
  const own = [`${keys.tenant(shard(), 'acme')}:idem:x`, `${keys.tenant(shard(), 'acme')}:`];
  const others = [`${keys.tenant(shard(), 'acme2')}:idem:x`, `${keys.tenant(shard(), 'acme-')}:jobs`];
  for (const key of [...own, ...others]) await redis.set(key, '1');
  expect((await engine.purges.purge('acme', onAndOn)).done).toBe(true);
  expect([await redis.exists(...own), await redis.exists(...others)]).toEqual([0, 2]);
});

test('what is no tenant is not found', async () => {
  for (const id of ['*', '', 'UPPER', '__proto__', 'a:b', '{}', 'x'.repeat(10_000)]) {
    await expect(engine.purges.purge(id, onAndOn)).rejects.toMatchObject({ code: 'not_found' });
    if (id !== '*') await expect(engine.tenants.remove(id)).rejects.toMatchObject({ code: 'not_found' });
  }
});

test('settings that are removed leave those of all tenants, and those fall back to none', async () => {
  await engine.tenants.put('*', { weight: 3 });
  await engine.tenants.put('acme', { weight: 2, paused: true });
  await engine.tenants.remove('acme');
  expect(await engine.tenants.get('acme')).toMatchObject({ weight: 3, paused: false, configured: false });
  expect((await engine.tenants.list()).map(({ id }) => id)).toEqual(['*']);
  await engine.tenants.remove('*');
  await engine.tenants.remove('*');
  expect(await engine.tenants.get('acme')).toMatchObject({ weight: 1, configured: false });
  const backend = engine.topology.queue(shard(), 'default').getBackend();
  expect(await backend.getGroupWeights(['acme'])).toEqual([1]);
});
