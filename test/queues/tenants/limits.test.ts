import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Tenant } from '../../../src/shared/tenant-schemas.ts';
import { eventually } from '../../support/eventually.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';
import { latch } from '../support/latch.ts';

const SHARDS = 2;

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine({ shards: SHARDS });
});
afterEach(() => engine.close());

/** The first `count` tenants `<name>-<n>` of one shard, the same for every name. */
function neighbours(name: string, count: number, shard = 0): string[] {
  const all = Array.from({ length: 100 }, (_, number) => `${name}-${number}`);
  return all.filter((tenant) => engine.topology.shardOf(tenant) === shard).slice(0, count);
}

async function enqueue(tenant: string, count = 1, queue = 'default'): Promise<string[]> {
  const jobs = Array.from({ length: count }, () => ({ task: 'work', queue }));
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, context);
  return outcomes.map((outcome) => ('id' in outcome ? outcome.id : outcome.problem.code));
}

/** Runs the jobs of every shard at once; `ran` gets their ids in the order of their starts. */
function serve(queues = ['default']): string[] {
  const ran: string[] = [];
  for (let shard = 0; shard < SHARDS; shard += 1) {
    const [tenant = ''] = neighbours('any', 1, shard);
    for (const queue of queues) engine.work(tenant, (job) => void ran.push(job.id ?? ''), { queue });
  }
  return ran;
}

/**
 * Resolves when a job has run that was enqueued just now, by a tenant without limits, in the same shard: whatever else
 * could run there has been started before.
 */
async function othersRan(shard = 0): Promise<void> {
  const [free = ''] = neighbours('free', 1, shard);
  await engine.tenants.put(free, {});
  const [id = ''] = await enqueue(free);
  const job = await engine.jobs.waitUntilFinished(free, id, 60_000);
  expect(job.state).toBe('completed');
}

async function finished(tenant: string, ids: string[]): Promise<void> {
  const jobs = await Promise.all(ids.map((id) => engine.jobs.waitUntilFinished(tenant, id, 60_000)));
  expect(jobs.map((job) => job.state)).toEqual(ids.map(() => 'completed'));
}

/** What the scheduler was told of a tenant: an entry, or null. */
function entry(tenant: string): Promise<string | null> {
  const { topology } = engine;
  return topology.redis.hget(`${topology.prefix(topology.shardOf(tenant))}::fair:limits`, tenant);
}

const settingsOf = ({
  weight,
  maxRunning,
  rate,
  chargeRunMs,
  maxWaiting,
  paused,
  queues,
}: Tenant): object => ({
  weight,
  maxRunning,
  rate,
  chargeRunMs,
  maxWaiting,
  paused,
  queues,
});

describe('settings', () => {
  const everything = {
    weight: 3,
    maxRunning: 20,
    rate: { limit: 50, periodMs: 1000, burst: 10 },
    chargeRunMs: 60_000,
    maxWaiting: 1000,
    paused: true,
    queues: {
      mail: { weight: 0.5, maxRunning: 2, rate: { limit: 1, periodMs: 60_000, burst: 1 } },
      other: { maxRunning: null, rate: null, chargeRunMs: null },
      third: {},
    },
  };

  test('all of them are kept and returned', async () => {
    const put = await engine.tenants.put('acme', everything);
    expect(settingsOf(put)).toEqual(everything);
    expect(put).toMatchObject({ id: 'acme', configured: true, pausedUntil: null });
    expect(await engine.tenants.get('acme')).toEqual(put);
    expect(await engine.tenants.list()).toEqual([put]);
  });

  test('what a PUT leaves out is not limited any more', async () => {
    const factory = {
      weight: 1,
      maxRunning: null,
      rate: null,
      chargeRunMs: null,
      maxWaiting: null,
      paused: false,
      queues: {},
    };
    await engine.tenants.put('acme', everything);
    expect(settingsOf(await engine.tenants.put('acme', { weight: 2 }))).toEqual({ ...factory, weight: 2 });
    expect(await entry('acme')).toBe('2');
    expect(settingsOf(await engine.tenants.put('acme', {}))).toEqual(factory);
  });

  test('a burst is one job unless said', async () => {
    const { rate, queues } = await engine.tenants.put('acme', {
      rate: { limit: 5, periodMs: 100 },
      queues: { mail: { rate: { limit: 6, periodMs: 100 } } },
    });
    expect([rate, queues['mail']?.rate]).toEqual([
      { limit: 5, periodMs: 100, burst: 1 },
      { limit: 6, periodMs: 100, burst: 1 },
    ]);
  });

  const rate = { limit: 1, periodMs: 1 };
  test.each<[string, object]>([
    ['weight', { weight: 0 }],
    ['weight', { weight: '2' }],
    ['maxRunning', { maxRunning: -1 }],
    ['maxRunning', { maxRunning: 1.5 }],
    ['maxRunning', { maxRunning: NaN }],
    ['chargeRunMs', { chargeRunMs: 0 }],
    ['maxWaiting', { maxWaiting: -1 }],
    ['maxWaiting', { maxWaiting: 1e9 }],
    ['paused', { paused: 'yes' }],
    ['rate', { rate: 5 }],
    ['rate.periodMs', { rate: { limit: 1 } }],
    ['rate.limit', { rate: { ...rate, limit: 0 } }],
    ['rate.periodMs', { rate: { ...rate, periodMs: 0.5 } }],
    ['rate.burst', { rate: { ...rate, burst: 0 } }],
    ['rate.per', { rate: { ...rate, per: 1 } }],
    ['queues', { queues: [] }],
    ['queues.Mail', { queues: { Mail: {} } }],
    ['queues.tenant', { queues: { tenant: {} } }],
    ['queues.mail.weight', { queues: { mail: { weight: 0 } } }],
    ['queues.mail.maxRunning', { queues: { mail: { maxRunning: -1 } } }],
    ['queues.mail.rate.limit', { queues: { mail: { rate: { ...rate, limit: 0 } } } }],
    ['queues.mail.paused', { queues: { mail: { paused: true } } }],
    ['queues', { queues: Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`q${n}`, {}])) }],
    ['colour', { colour: 'red' }],
  ])('a wrong %s is refused and changes nothing (%#)', async (path, wrong) => {
    const before = await engine.tenants.put('acme', everything);
    const told = await entry('acme');
    const put = engine.tenants.put('acme', { weight: 9, ...wrong });
    await expect(put).rejects.toMatchObject({
      code: 'validation',
      errors: [expect.objectContaining({ path })],
    });
    expect(await engine.tenants.get('acme')).toEqual(before);
    expect(await entry('acme')).toBe(told);
  });
});

describe('limits', () => {
  test('maxRunning holds at every moment, raised or lowered, and holds back nobody else', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const running: { id: string; end: () => void }[] = [];
    engine.work(acme, async (job) => {
      if (job.data.tenant !== acme) return;
      const turn = latch();
      running.push({ id: job.id ?? '', end: () => turn.open() });
      await turn.opened;
    });
    const runs = (count: number): Promise<void> => eventually(`${count} run`, () => running.length === count);
    const endOne = async (): Promise<void> => {
      const { id = '', end } = running.shift() ?? {};
      end?.();
      await finished(acme, [id]);
    };
    // Jobs that run when the limit comes count as well.
    const ids = await enqueue(acme, 2);
    await runs(2);
    await engine.tenants.put(acme, { maxRunning: 2 });
    ids.push(...(await enqueue(acme, 6)));
    await othersRan();
    expect(running).toHaveLength(2);

    await engine.tenants.put(acme, { maxRunning: 3 });
    await runs(3);
    await engine.tenants.put(acme, { maxRunning: 1 });
    for (const left of [2, 1]) {
      await endOne();
      await othersRan();
      expect(running).toHaveLength(left);
    }
    await endOne();
    await runs(1);
    await othersRan();
    expect(running).toHaveLength(1);
    await engine.tenants.put(acme, {});
    await runs(5);
    while (running.length > 0) await endOne();
    await finished(acme, ids);
  });

  test('a rate holds what came after the burst, and its end is seen at once', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const ran = serve();
    await engine.tenants.put(acme, { rate: { limit: 1, periodMs: 3_600_000, burst: 3 } });
    const ids = await enqueue(acme, 5);
    await finished(acme, ids.slice(0, 3));
    await othersRan();
    expect(ran).toHaveLength(4);
    await engine.tenants.put(acme, { weight: 1 });
    await finished(acme, ids);
  });

  test('a rate that is raised holds from then on, also for what the slower one has put off', async () => {
    const [acme = ''] = neighbours('acme', 1);
    serve();
    await engine.tenants.put(acme, { rate: { limit: 1, periodMs: 3_600_000 } });
    const [first = '', ...others] = await enqueue(acme, 3);
    await finished(acme, [first]);
    await engine.tenants.put(acme, { rate: { limit: 1000, periodMs: 1000 } });
    await finished(acme, others);
  });

  test('what is said of one queue holds there alone, beside what holds in all of them', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const ran = serve(['default', 'side']);
    await engine.tenants.put(acme, { queues: { side: { maxRunning: 0 } } });
    const held = await enqueue(acme, 2, 'side');
    await finished(acme, await enqueue(acme, 2));
    expect(ran).not.toEqual(expect.arrayContaining(held));

    await engine.tenants.put(acme, { maxRunning: 0, queues: { side: { maxRunning: 5 } } });
    const both = [...held, ...(await enqueue(acme, 2))];
    await othersRan();
    for (const id of both) expect(ran).not.toContain(id);
    await engine.tenants.put(acme, { queues: {} });
    await finished(acme, both);
  });

  test('a weight alone clears the limits that hold waiting jobs', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const ran = serve();
    await engine.tenants.put(acme, { maxRunning: 0, paused: true, rate: { limit: 1, periodMs: 3_600_000 } });
    const ids = await enqueue(acme, 3);
    await othersRan();
    expect(ran).toHaveLength(1);
    await engine.tenants.put(acme, { weight: 2 });
    await finished(acme, ids);
  });
});

describe('the defaults of *', () => {
  test('are followed, live and in every shard, by the waiting jobs of tenants nobody configured', async () => {
    const tenants = [...neighbours('fresh', 2, 0), ...neighbours('fresh', 2, 1)];
    const ran = serve();
    await engine.tenants.put('*', { maxRunning: 0, weight: 2, maxWaiting: 7 });
    const waiting = await Promise.all(
      tenants.map(async (tenant) => ({ tenant, ids: await enqueue(tenant, 2) })),
    );
    await othersRan(0);
    await othersRan(1);
    expect(ran).toHaveLength(2);
    for (const tenant of tenants) {
      expect(await engine.tenants.get(tenant)).toMatchObject({
        weight: 2,
        maxRunning: 0,
        maxWaiting: 7,
        configured: false,
      });
    }
    await engine.tenants.put('*', {});
    for (const { tenant, ids } of waiting) await finished(tenant, ids);
  });

  test("do not hold where a tenant has settings of its own, and a tenant's own hold whatever they are", async () => {
    const [own = '', held = ''] = neighbours('own', 2);
    serve();
    await engine.tenants.put('*', { paused: true, rate: { limit: 1, periodMs: 3_600_000 } });
    await engine.tenants.put(own, { weight: 2 });
    await engine.tenants.put(held, { maxRunning: 0 });
    const [waits = ''] = await enqueue(held);
    await finished(own, await enqueue(own, 4));
    expect(await engine.tenants.get(own)).toMatchObject({ paused: false, rate: null });

    await engine.tenants.put('*', {});
    await othersRan();
    expect(await engine.jobs.get(held, waits)).toMatchObject({ state: 'waiting' });
  });
});

describe('a pause', () => {
  test('starts nothing, keeps every other setting, and ends when the tenant is resumed', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const settings = { weight: 3, maxRunning: 1, rate: { limit: 8, periodMs: 10, burst: 2 }, queues: {} };
    const before = await engine.tenants.put(acme, settings);
    const told = await entry(acme);
    expect(await engine.tenants.pause(acme, null)).toEqual({ ...before, paused: true });
    const ran = serve();
    const ids = await enqueue(acme, 3);
    await othersRan();
    expect(ran).toHaveLength(1);
    expect(await engine.tenants.resume(acme)).toEqual(before);
    expect(JSON.parse((await entry(acme)) ?? '')).toEqual(JSON.parse(told ?? ''));
    await finished(acme, ids);
    expect(await engine.tenants.resume(acme)).toEqual(before);
  });

  test('leaves what runs alone', async () => {
    const [acme = ''] = neighbours('acme', 1);
    const [started, end] = [latch(), latch()];
    engine.work(acme, () => (started.open(), end.opened));
    const ids = await enqueue(acme);
    await started.opened;
    await engine.tenants.pause(acme, null);
    end.open();
    await finished(acme, ids);
  });

  test('of a tenant nobody configured leaves it unconfigured, and after it * holds again', async () => {
    const [fresh = ''] = neighbours('fresh', 1);
    const ran = serve();
    await engine.tenants.put('*', { weight: 2 });
    expect(await engine.tenants.pause(fresh, null)).toMatchObject({
      weight: 2,
      paused: true,
      configured: false,
    });
    const ids = await enqueue(fresh, 2);
    await othersRan();
    await engine.tenants.put('*', { maxRunning: 0 });
    expect(await engine.tenants.resume(fresh)).toMatchObject({ paused: false, maxRunning: 0 });
    expect(await entry(fresh)).toBeNull();
    await othersRan();
    for (const id of ids) expect(ran).not.toContain(id);
    await engine.tenants.put('*', {});
    await finished(fresh, ids);
  });

  test('of * holds tenants nobody configured, in every shard', async () => {
    const tenants = [...neighbours('fresh', 1, 0), ...neighbours('fresh', 1, 1)];
    const ran = serve();
    await engine.tenants.pause('*', null);
    const waiting = await Promise.all(
      tenants.map(async (tenant) => ({ tenant, ids: await enqueue(tenant) })),
    );
    await othersRan(0);
    await othersRan(1);
    expect(ran).toHaveLength(2);
    expect(await engine.tenants.get(tenants[1] ?? '')).toMatchObject({ paused: true, configured: false });
    expect(await engine.tenants.resume('*')).toMatchObject({ id: '*', paused: false });
    for (const { tenant, ids } of waiting) await finished(tenant, ids);
  });

  test('of * also holds tenants that had a pause of their own before', async () => {
    const [fresh = ''] = neighbours('fresh', 1);
    await engine.tenants.pause(fresh, 1);
    await eventually('it is over', async () => !(await engine.tenants.get(fresh)).paused);
    await engine.tenants.pause('*', null);
    expect(await engine.tenants.get(fresh)).toMatchObject({ paused: true });
  });

  test('with an end ends by itself, then and not at the next poll', async () => {
    const [acme = ''] = neighbours('acme', 1);
    serve();
    const lateMs: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const { paused, pausedUntil } = await engine.tenants.pause(acme, 2000);
      expect(paused).toBe(true);
      const ids = await enqueue(acme, 2);
      await finished(acme, ids);
      for (const id of ids) {
        const { startedAt } = await engine.jobs.get(acme, id);
        lateMs.push(Date.parse(startedAt ?? '') - Date.parse(pausedUntil ?? ''));
      }
    }
    expect(Math.min(...lateMs)).toBeGreaterThanOrEqual(-1);
    // A worker looks by itself every 5 s, so that one of these would be 3 s late.
    expect(Math.min(...lateMs)).toBeLessThan(2000);
    expect(await engine.tenants.get(acme)).toMatchObject({ paused: false, pausedUntil: null });
  });

  test('is replaced by a later one and by a PUT', async () => {
    await engine.tenants.pause('acme', null);
    expect((await engine.tenants.pause('acme', 3_600_000)).pausedUntil).not.toBeNull();
    await engine.tenants.pause('acme', 0);
    await eventually('it is over', async () => !(await engine.tenants.get('acme')).paused);
    await engine.tenants.pause('acme', null);
    expect(await engine.tenants.put('acme', { weight: 2 })).toMatchObject({ paused: false });
    expect(await engine.tenants.put('acme', { paused: true })).toMatchObject({ paused: true });
    expect(await engine.tenants.resume('acme')).toMatchObject({ paused: false, configured: true });
  });

  test('of what is no tenant id is not found', async () => {
    for (const id of ['', 'UPPER', 'a b', '__proto__']) {
      await expect(engine.tenants.pause(id, null)).rejects.toMatchObject({ code: 'not_found' });
      await expect(engine.tenants.resume(id)).rejects.toMatchObject({ code: 'not_found' });
    }
  });
});
