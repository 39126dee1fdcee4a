import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { JobListQuery } from '../../../src/shared/schemas.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine, TestJob } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

async function all(
  tenant: string,
  query: Partial<JobListQuery>,
  between?: () => Promise<unknown>,
): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await engine.jobs.list(tenant, {
      limit: 7,
      ...query,
      ...(cursor === undefined ? {} : { cursor }),
    });
    expect(page.jobs.length).toBeLessThanOrEqual(query.limit ?? 7);
    ids.push(...page.jobs.map((job) => job.id));
    if (page.nextCursor === null) return ids;
    cursor = page.nextCursor;
    await between?.();
  }
}

async function enqueued(tenant: string, requests: unknown[]): Promise<string[]> {
  const outcomes = await engine.jobs.enqueueBatch(tenant, requests, context);
  return outcomes.map((one) => {
    if ('problem' in one) throw one.problem;
    return one.id;
  });
}

test('pages hold every job once, newest first, while others are added', async () => {
  const ids = await enqueued(
    'paging',
    Array.from({ length: 60 }, () => ({ task: 'echo' })),
  );
  const seen = await all('paging', {}, () => engine.jobs.enqueue('paging', { task: 'echo' }, context));
  expect(seen).toEqual([...ids].reverse());
});

test('a page holds no more than a few mebibytes, however many jobs were asked for', async () => {
  const payload = 'x'.repeat(200_000);
  const ids = await enqueued(
    'large',
    Array.from({ length: 45 }, () => ({ task: 'work', payload })),
  );
  const page = await engine.jobs.list('large', { limit: 200 });
  expect(page.jobs.length).toBeLessThan(25);
  expect(page.nextCursor).not.toBeNull();
  expect(await all('large', { limit: 200 })).toEqual([...ids].reverse());
});

test('filters are ANDed', async () => {
  const [a, b, c] = await enqueued('filters', [
    { task: 'echo', tags: ['x', 'y'], correlationId: 'c1' },
    { task: 'echo', tags: ['x'], queue: 'other', correlationId: 'c1' },
    { task: 'work', tags: ['x'], delayMs: 60_000, correlationId: 'c2' },
  ]);
  expect(await all('filters', { tag: 'x' })).toEqual(expect.arrayContaining([a, b, c]));
  expect(await all('filters', { tag: 'y' })).toEqual([a]);
  expect(await all('filters', { tag: 'x', queue: 'other' })).toEqual([b]);
  expect(await all('filters', { tag: 'y', queue: 'other' })).toEqual([]);
  expect(await all('filters', { task: 'work' })).toEqual([c]);
  expect(await all('filters', { state: 'delayed' })).toEqual([c]);
  expect((await all('filters', { state: 'waiting', correlationId: 'c1' })).sort()).toEqual([a, b].sort());
  expect(await all('filters', { flowId: 'none' })).toEqual([]);
});

test('states are told apart after jobs ran', async () => {
  const ids = await enqueued('ran', [
    { task: 'work', payload: 'ok', queue: 'busy' },
    { task: 'work', payload: 'bad', queue: 'busy' },
    { task: 'work', payload: 'later' },
  ]);
  // A queue of its own: the worker lives on, and other tests look at jobs of this shard that must stay where they are.
  const run = (job: TestJob): void => {
    if (job.data.payload === 'bad') throw new Error('bad');
  };
  engine.work('ran', run, { queue: 'busy' });
  await Promise.all(ids.slice(0, 2).map((id) => engine.jobs.waitUntilFinished('ran', id, 60_000)));
  expect(await all('ran', { state: 'completed' })).toEqual([ids[0]]);
  expect(await all('ran', { state: 'failed' })).toEqual([ids[1]]);
  expect(await all('ran', { state: 'waiting' })).toEqual([ids[2]]);
  expect(await all('ran', { state: 'cancelled' })).toEqual([]);
});

test('jobs that are gone are passed over, also the one a cursor names', async () => {
  const ids = await enqueued(
    'gone',
    Array.from({ length: 30 }, () => ({ task: 'echo' })),
  );
  const { topology } = engine;
  const shard = topology.shardOf('gone');
  const queue = topology.queue(shard, 'default');
  const first = await engine.jobs.list('gone', { limit: 5 });
  const newestFirst = [...ids].reverse();
  expect(first.jobs.map((job) => job.id)).toEqual(newestFirst.slice(0, 5));
  // The last of the page, and some after it, vanish with their entries.
  for (const id of newestFirst.slice(3, 8)) await queue.remove(id);
  await topology.redis.zrem(topology.keys.tenantJobs(shard, 'gone'), ...newestFirst.slice(3, 6));
  const rest = await engine.jobs.list('gone', { limit: 50, cursor: first.nextCursor ?? '' });
  expect(rest.jobs.map((job) => job.id)).toEqual(newestFirst.slice(8));
});

test('old entries without a job are dropped, by listing and by adding; young ones are not', async () => {
  const { topology } = engine;
  const key = topology.keys.tenantJobs(topology.shardOf('stale'), 'stale');
  const ghost = (n: number): string => `default.01JZ3QK0M4Y8W6T2N5R7S9V1X${n}`;
  await topology.redis.zadd(key, 1, ghost(1), 2, ghost(2), Date.now(), ghost(4));
  const batch = Array.from({ length: 16 }, () => ({ task: 'echo' }));
  const ids = await enqueued('stale', batch);
  expect((await topology.redis.zrange(key, '0', '-1')).sort()).toEqual([ghost(4), ...ids].sort());
  await topology.redis.zadd(key, 3, ghost(3));
  expect(await all('stale', {})).toEqual([...ids].reverse());
  expect((await topology.redis.zrange(key, '0', '-1')).sort()).toEqual([ghost(4), ...ids].sort());
});

test('one call looks at a bounded number of jobs and says where it stopped', async () => {
  const ids = await enqueued('budget', [
    { task: 'echo', tags: ['many'] },
    ...Array.from({ length: 999 }, () => ({ task: 'echo', tags: ['many'], delayMs: 3_600_000 })),
  ]);
  await enqueued(
    'budget',
    Array.from({ length: 500 }, () => ({ task: 'echo', tags: ['many'], delayMs: 3_600_000 })),
  );
  const query = { limit: 10, tag: 'many', state: 'waiting' as const };
  const first = await engine.jobs.list('budget', query);
  expect(first).toMatchObject({ jobs: [], nextCursor: expect.any(String) });
  const second = await engine.jobs.list('budget', { ...query, cursor: first.nextCursor ?? '' });
  expect(second.jobs.map((job) => job.id)).toEqual(ids.slice(0, 1));
});

test('a rare value is found in one call, however many other jobs there are', async () => {
  const rare = { task: 'work', key: 'k', tags: ['t'], correlationId: 'c', queue: 'rare' };
  const [id] = await enqueued('rare', [rare]);
  for (let batch = 0; batch < 3; batch += 1)
    await enqueued(
      'rare',
      Array.from({ length: 1000 }, () => ({ task: 'echo' })),
    );
  const filters = [{ task: 'work' }, { key: 'k' }, { tag: 't' }, { correlationId: 'c' }, { queue: 'rare' }];
  const find = async (query: Partial<JobListQuery>): Promise<string[]> =>
    (await engine.jobs.list('rare', { limit: 10, ...query })).jobs.map((job) => job.id);
  for (const filter of filters) expect(await find(filter)).toEqual([id]);
  engine.work('rare', () => Promise.reject(new Error('no')), { queue: 'rare' });
  await engine.jobs.waitUntilFinished('rare', String(id), 60_000);
  expect(await find({ state: 'failed' })).toEqual([id]);
  expect(await find({ state: 'cancelled' })).toEqual([]);
  expect(await find({ state: 'active' })).toEqual([]);
});

test('a value that is another with something behind it is another', async () => {
  const [a, b] = await enqueued('alike', [
    { task: 'echo', tags: ['a'] },
    { task: 'echo', tags: ['a:000000000000001:x', '💥'] },
  ]);
  expect(await all('alike', { tag: 'a' })).toEqual([a]);
  expect(await all('alike', { tag: '💥' })).toEqual([b]);
  expect(await all('alike', { tag: 'a:' })).toEqual([]);
});

test('a job that stands for another is found by what it carries of that one', async () => {
  const last = (tag: string): object => ({ task: 'echo', tags: [tag], dedupe: { id: 'd', mode: 'last' } });
  const [id, same] = [await enqueued('stands', [last('one')]), await enqueued('stands', [last('two')])];
  expect(same).toEqual(id);
  expect(await all('stands', { tag: 'two' })).toEqual(id);
  expect(await all('stands', { tag: 'one' })).toEqual([]);
});

test('nothing is left of a job that retention removed, and of one that never came, after a while', async () => {
  const { topology } = engine;
  const shard = topology.shardOf('left');
  const terms = topology.keys.tenantTerms(shard, 'left');
  const [id] = await enqueued('left', [{ task: 'work', tags: ['t'], key: 'k', retainMs: { completed: 1 } }]);
  expect(await topology.redis.zcard(terms)).toBe(4);
  engine.work('left', () => 'done');
  const done = await engine.jobs.waitUntilFinished('left', String(id), 60_000);
  const finishedAt = Date.parse(done.finishedAt ?? '') - 60_000;
  await engine.retention.schedule(shard, { queue: 'default', id: String(id), finishedAt, retainMs: 1 });
  expect(await engine.retention.sweep(shard, 10)).toBe(1);
  expect(await topology.redis.exists(terms)).toBe(0);
  const never = Array.from(
    { length: 10 },
    (_, i) => `t4:echo:000000000000001:default.01JZ3QK0M4Y8W6T2N5R7S9V1X${i}`,
  );
  await topology.redis.zadd(terms, ...never.flatMap((member) => ['0', member]));
  const batch = Array.from({ length: 16 }, () => ({ task: 'echo' }));
  await enqueued('left', batch);
  const left = await topology.redis.zrange(terms, '0', '-1');
  const living = left.filter((member) => !never.includes(member));
  expect(living).toHaveLength(2 * batch.length);
  // 32 of all 42 are looked at, drawn at random: once in a thousand million times none of these.
  expect(left.length - living.length).toBeLessThan(never.length);
});

test.each(['x', 'AAAA', Buffer.from('1:nonsense').toString('base64url'), '💥'])(
  '%p is no cursor',
  async (cursor) => {
    await expect(engine.jobs.list('acme', { limit: 5, cursor })).rejects.toMatchObject({
      code: 'validation',
      errors: [{ path: 'cursor' }],
    });
  },
);

test('a cursor of another tenant shows nothing of that tenant', async () => {
  const ids = await enqueued(
    'mine',
    Array.from({ length: 5 }, () => ({ task: 'echo' })),
  );
  const { nextCursor } = await engine.jobs.list('paging', { limit: 3 });
  const seen = await all('mine', { cursor: nextCursor ?? '' });
  expect(ids).toEqual(expect.arrayContaining(seen));
});
