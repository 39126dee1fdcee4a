import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Dedupe } from '../../../src/shared/dedupe-schemas.ts';
import { defaultLimits } from '../../../src/shared/limits.ts';
import type { Job } from '../../../src/shared/schemas.ts';
import type { Accepted } from '../../../queues/jobs/types.ts';
import { eventually } from '../../support/eventually.ts';
import { keysOf } from '../../support/redis.ts';
import { addDeduplicated, countJobs, endOf, holdingWorker, LONG_MS } from '../support/dedupe.ts';
import type { Fields, Holding } from '../support/dedupe.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine();
});
afterEach(() => engine.close());

const add = (mode: Dedupe['mode'], payload: unknown, fields: Fields = {}): Promise<Accepted> =>
  addDeduplicated(engine, mode, payload, fields);
const ended = (id: string): Promise<Job> => endOf(engine, id);
const count = (): Promise<number> => countJobs(engine);
const holding = (): Holding => holdingWorker(engine);

const runAtMs = (job: Job): number => Date.parse(job.runAt);

describe('debounce', () => {
  test('starts ttlMs after the last repeat with its payload', async () => {
    const first = await add('debounce', 1, { ttlMs: LONG_MS });
    expect(first.job.state).toBe('delayed');
    const before = Date.now();
    const again = await add('debounce', 2, { ttlMs: 2 * LONG_MS });
    expect(again).toMatchObject({ isNew: false, job: { id: first.job.id, state: 'delayed', payload: 2 } });
    expect(runAtMs(again.job)).toBeGreaterThanOrEqual(before + 2 * LONG_MS - 5000);
    const { opened, seen } = holding();
    opened.open();
    const { job } = await add('debounce', 3, { ttlMs: 10 });
    expect(runAtMs(job)).toBeLessThan(runAtMs(again.job));
    expect(await ended(first.job.id)).toMatchObject({ state: 'completed', result: 3, runAt: job.runAt });
    expect(seen).toEqual([3]);
    expect((await add('debounce', 4, { ttlMs: 10 })).isNew).toBe(true);
  });

  test.each([
    ['plain', {}],
    ['prioritized', { priority: 3 }],
    ['of a key', { key: 'k' }],
    ['blocked by its key', { key: 'held' }],
  ])('puts off one that is due and waits, %s', async (_, fields) => {
    await engine.tenants.put('acme', { paused: true });
    if ('key' in fields && fields.key === 'held')
      await engine.jobs.enqueue('acme', { task: 'work', payload: 'holder', key: 'held' }, context);
    const first = await add('debounce', 1, { ttlMs: 1, ...fields });
    const { opened, seen } = holding();
    opened.open();
    const state = async (): Promise<string> => (await engine.jobs.get('acme', first.job.id)).state;
    await eventually('it waits', async () => (await state()) === 'waiting');
    const again = await add('debounce', 2, { ttlMs: LONG_MS, ...fields });
    expect(again).toMatchObject({ isNew: false, job: { id: first.job.id, state: 'delayed', payload: 2 } });
    const { topology } = engine;
    const backend = topology.queue(topology.shardOf('acme'), 'default').getBackend();
    const held = 'key' in fields && fields.key === 'held' ? 1 : 0;
    expect(await backend.countGroup('acme')).toEqual({
      waiting: held,
      blocked: 0,
      aside: 0,
      delayed: 1,
      active: 0,
    });
    await engine.tenants.put('acme', {});
    await add('debounce', 3, { ttlMs: 1, ...fields });
    expect(await ended(first.job.id)).toMatchObject({ state: 'completed', result: 3 });
    expect(seen.at(-1)).toBe(3);
    expect(await backend.countGroup('acme')).toEqual({
      waiting: 0,
      blocked: 0,
      aside: 0,
      delayed: 0,
      active: 0,
    });
    expect(await backend.repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
  });

  test('begins a new one when it has started, and waits for the later of its times', async () => {
    const first = await add('debounce', 1, { ttlMs: 1 });
    const { opened, started } = holding();
    await started.opened;
    const next = await add('debounce', 2, { ttlMs: 1, delayMs: LONG_MS });
    expect(next.isNew).toBe(true);
    expect(runAtMs(next.job)).toBeGreaterThan(Date.now() + LONG_MS - 60_000);
    opened.open();
    await ended(first.job.id);
    expect((await add('debounce', 3, { ttlMs: LONG_MS })).job.id).toBe(next.job.id);
  });
});

describe('accumulate', () => {
  test('runs once with all payloads in their order', async () => {
    const nasty = [
      ']}}',
      ',"payload":{"payloads":[',
      { collects: true, payload: { payloads: [1] } },
      'ü🐝',
      [],
      null,
    ];
    const tags = [',"payload":{"payloads":['];
    const { job } = await add('accumulate', 0, { tags });
    for (const payload of nasty) expect((await add('accumulate', payload)).job.id).toBe(job.id);
    await add('accumulate', undefined);
    const payloads = [0, ...nasty, null];
    expect(await engine.jobs.get('acme', job.id)).toMatchObject({ payload: { payloads }, tags });
    const { opened, started, seen } = holding();
    await started.opened;
    const next = await add('accumulate', 'late');
    expect(next).toMatchObject({ isNew: true, job: { payload: { payloads: ['late'] } } });
    opened.open();
    await ended(next.job.id);
    expect(seen).toEqual([{ payloads }, { payloads: ['late'] }]);
  });

  test('collects for ttlMs', async () => {
    const { job } = await add('accumulate', 1, { ttlMs: LONG_MS });
    expect(job.state).toBe('delayed');
    const again = await add('accumulate', 2, { ttlMs: 1 });
    expect(again.job).toMatchObject({ id: job.id, runAt: job.runAt, payload: { payloads: [1, 2] } });
  });

  test('holds no more than a payload may', async () => {
    await engine.close();
    engine = await openTestEngine({ limits: { ...defaultLimits, payloadBytes: 40 } });
    // {"payloads":["aaaaaaaaaa","aaaaaaaaaa"]} has 40 bytes.
    await add('accumulate', 'a'.repeat(10), { tags: ['x'.repeat(64)] });
    const fits = await add('accumulate', 'a'.repeat(10));
    await add('accumulate', 'a'.repeat(10), { id: 'e' });
    for (const [id, payload] of [
      ['d', ''],
      ['e', 'a'.repeat(11)],
    ] as const) {
      await expect(add('accumulate', payload, { id })).rejects.toMatchObject({ code: 'payload_too_large' });
    }
    expect((await engine.jobs.get('acme', fits.job.id)).payload).toEqual({
      payloads: ['a'.repeat(10), 'a'.repeat(10)],
    });
  });

  test('is refused where the job that waits collects nothing, or the task takes no list', async () => {
    await add('last', { collects: true, payload: { payloads: [] } });
    await expect(add('accumulate', 1)).rejects.toMatchObject({ code: 'conflict' });
    const sleep = { task: 'sleep', payload: { ms: 1 }, dedupe: { id: 's', mode: 'accumulate' as const } };
    await expect(engine.jobs.accept('acme', sleep, context)).rejects.toMatchObject({
      code: 'invalid_payload',
    });
    await add('accumulate', 1, { id: 'x' });
    expect((await add('last', 2, { id: 'x' })).job.payload).toBe(2);
    await expect(add('accumulate', 3, { id: 'x' })).rejects.toMatchObject({ code: 'conflict' });
  });

  test('loses none of many that come at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => add('accumulate', n)));
    expect(answers.filter(({ isNew }) => isNew)).toHaveLength(1);
    const { payload } = await engine.jobs.get('acme', answers[0]?.job.id ?? '');
    const { payloads } = payload as { payloads: number[] };
    expect(payloads.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });
});

describe('in a batch', () => {
  test('jobs stand for later ones of the same batch and of earlier calls', async () => {
    const early = await add('first', 0, { id: 'early' });
    const of = (id: string, mode: Dedupe['mode'], payload: unknown): unknown => ({
      task: 'work',
      payload,
      dedupe: { id, mode },
    });
    const outcomes = await engine.jobs.enqueueBatch(
      'acme',
      [
        of('early', 'first', 1),
        of('a', 'last', 1),
        { task: 'work' },
        { task: 'nope' },
        of('a', 'last', 2),
        of('b', 'accumulate', 1),
        of('b', 'accumulate', 2),
        { ...(of('a', 'last', 3) as object), task: 'echo' },
        { task: 'work', queue: 'side' },
      ],
      context,
    );
    const ids = outcomes.map((outcome) => ('id' in outcome ? outcome.id : outcome.problem.code));
    expect([ids[0], ids[3], ids[7]]).toEqual([early.job.id, 'unknown_task', 'conflict']);
    expect([ids[4], ids[6]]).toEqual([ids[1], ids[5]]);
    expect(new Set(ids).size).toBe(7);
    expect(await count()).toBe(5);
    expect((await engine.jobs.get('acme', ids[1] ?? '')).payload).toBe(2);
    expect((await engine.jobs.get('acme', ids[5] ?? '')).payload).toEqual({ payloads: [1, 2] });
  });

  test('any number of them, and those without room only join', async () => {
    await engine.tenants.put('acme', { maxWaiting: 2 });
    await add('first', 0, { id: 'n0' });
    const jobs = Array.from({ length: 120 }, (_, n) => ({
      task: 'work',
      dedupe: { id: `n${n % 3}`, mode: 'first' },
    }));
    const outcomes = await engine.jobs.enqueueBatch('acme', jobs, context);
    const kinds = outcomes.map((outcome) => ('id' in outcome ? 'id' : outcome.problem.code));
    expect(kinds.filter((_, n) => n % 3 === 0).every((kind) => kind === 'id')).toBe(true);
    expect(await count()).toBeLessThanOrEqual(2);
  });
});

test('leaves nothing behind in Redis when its jobs have ended', async () => {
  engine.work('acme', (job) => job.data.payload);
  for (const mode of ['first', 'last', 'debounce', 'accumulate'] as const) {
    const { job } = await add(mode, 1, { id: mode, ttlMs: 20 });
    await ended(job.id);
  }
  await eventually('all of it has gone', async () => {
    const keys = await keysOf(engine.topology.redis, `{${engine.keyPrefix}:*`);
    return keys.every((key) => !/:de:|:dn:|:dedupe:|:marks/.test(key));
  });
});
