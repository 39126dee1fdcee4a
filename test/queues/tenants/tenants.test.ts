import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

test('a tenant nobody configured has the defaults, and those of * when it is set', async () => {
  expect(await engine.tenants.get('fresh')).toEqual({
    id: 'fresh',
    weight: 1,
    maxRunning: null,
    rate: null,
    chargeRunMs: null,
    maxWaiting: null,
    paused: false,
    pausedUntil: null,
    queues: {},
    configured: false,
    createdAt: null,
    updatedAt: null,
  });
  await engine.tenants.put('*', { weight: 2 });
  expect(await engine.tenants.get('fresh')).toMatchObject({ weight: 2, configured: false });
  await engine.tenants.put('*', { weight: 1 });
});

test('settings are kept, changed and listed; the creation stays', async () => {
  const first = await engine.tenants.put('acme', { weight: 3 });
  expect(first).toMatchObject({ id: 'acme', weight: 3, configured: true });
  const second = await engine.tenants.put('acme', { weight: 0.5 });
  expect(second).toMatchObject({ weight: 0.5, createdAt: first.createdAt });
  expect(Date.parse(second.updatedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(first.updatedAt ?? ''));
  expect(await engine.tenants.get('acme')).toEqual(second);
  expect((await engine.tenants.list()).map((tenant) => tenant.id)).toEqual(expect.arrayContaining(['acme']));
});

test('ids are read a page at a time, in order, through any number of them', async () => {
  const many = await openTestEngine();
  try {
    const { topology, tenants } = many;
    expect(await tenants.ids({ prefix: '', after: '', limit: 10 })).toEqual([]);
    const ids = Array.from({ length: 5000 }, (_, n) => `${n % 2 === 0 ? 'even' : 'odd'}-${n}`).sort();
    await topology.redis.sadd(topology.keys.tenants, '*', ...ids);
    const seen: string[] = [];
    for (let page = ['']; page.length > 0; seen.push(...page)) {
      page = await tenants.ids({ prefix: '', after: page.at(-1) ?? '', limit: 999 });
      expect(page.length).toBeLessThanOrEqual(999);
    }
    expect(seen).toEqual(ids);
    expect(await tenants.ids({ prefix: 'odd-49', after: 'odd-49', limit: 3 })).toEqual([
      'odd-4901',
      'odd-4903',
      'odd-4905',
    ]);
    for (const prefix of ['*', 'o*', 'o?d', '[eo]', 'ODD', 'odd-4999-'])
      expect(await tenants.ids({ prefix, after: '', limit: 10 })).toEqual([]);
  } finally {
    await many.close();
  }
});

test('what is no tenant id is refused on the way in and not found on the way out', async () => {
  for (const id of ['', 'UPPER', 'a b', 'a:b', '-a', 'x'.repeat(64), '__proto__', '../x']) {
    await expect(engine.tenants.put(id, { weight: 1 })).rejects.toMatchObject({ code: 'validation' });
    await expect(engine.tenants.get(id)).rejects.toMatchObject({ code: 'not_found' });
  }
});

test.each([{ weight: 0 }, { weight: -1 }, { weight: Infinity }, { weight: NaN }, { weight: 1001 }])(
  'the weight %p is refused and changes nothing',
  async (settings) => {
    await engine.tenants.put('steady', { weight: 4 });
    await expect(engine.tenants.put('steady', settings)).rejects.toMatchObject({ code: 'validation' });
    expect(await engine.tenants.get('steady')).toMatchObject({ weight: 4 });
  },
);

test('a weight holds from the next pick on', async () => {
  const shard = (tenant: string): number => engine.topology.shardOf(tenant);
  const names = Array.from({ length: 50 }, (_, i) => `share-${i}`);
  const [heavy = '', light = ''] = names.filter((name) => shard(name) === shard(names[0] ?? ''));
  const many = Array.from({ length: 120 }, () => ({ task: 'work' }));
  await engine.jobs.enqueueBatch(heavy, many, { correlationId: 'c' });
  await engine.jobs.enqueueBatch(light, many, { correlationId: 'c' });
  await engine.tenants.put(heavy, { weight: 3 });
  const ran: string[] = [];
  let done: () => void = () => undefined;
  const enough = new Promise<void>((resolve) => (done = resolve));
  engine.work(
    heavy,
    (job) => {
      ran.push(job.data.tenant);
      if (ran.length === 80) done();
    },
    { concurrency: 1 },
  );
  await enough;
  const share = ran.slice(0, 80).filter((tenant) => tenant === heavy).length;
  expect(share).toBeGreaterThanOrEqual(57);
  expect(share).toBeLessThanOrEqual(63);
});
