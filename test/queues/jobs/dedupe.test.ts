import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DelayedError } from 'bullmq';
import type { Dedupe } from '../../../src/shared/dedupe-schemas.ts';
import type { Job, JobRequest } from '../../../src/shared/schemas.ts';
import type { Accepted } from '../../../queues/jobs/types.ts';
import { eventually } from '../../support/eventually.ts';
import { keysOf } from '../../support/redis.ts';
import { addDeduplicated, countJobs, endOf, holdingWorker, LONG_MS } from '../support/dedupe.ts';
import type { Fields, Holding } from '../support/dedupe.ts';
import { context, failure, openTestEngine } from '../support/engine.ts';
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

describe('first', () => {
  test('stands while it waits and runs, and no longer', async () => {
    const first = await add('first', 1);
    const again = await add('first', 2);
    expect(again).toMatchObject({ isNew: false, job: { id: first.job.id, payload: 1, state: 'waiting' } });
    const { opened, started, seen } = holding();
    await started.opened;
    expect(await add('first', 3)).toMatchObject({ isNew: false, job: { id: first.job.id, state: 'active' } });
    opened.open();
    await ended(first.job.id);
    const next = await add('first', 4);
    expect(next.isNew).toBe(true);
    await ended(next.job.id);
    expect(seen).toEqual([1, 4]);
  });

  test('stands while it is delayed, also after it ran', async () => {
    const delayed = await add('first', 1, { delayMs: LONG_MS });
    expect(await add('first', 2)).toMatchObject({
      isNew: false,
      job: { id: delayed.job.id, state: 'delayed' },
    });
    engine.work('acme', async (job) => {
      await job.moveToDelayed(Date.now() + LONG_MS, job.token);
      throw new DelayedError();
    });
    const retried = await add('first', 1, { id: 'r' });
    const state = async (): Promise<string> => (await engine.jobs.get('acme', retried.job.id)).state;
    await eventually('it waits again', async () => (await state()) === 'delayed');
    expect((await add('first', 2, { id: 'r' })).job.id).toBe(retried.job.id);
  });

  test.each(['failed', 'cancelled', 'removed'])('does not stand when it is %s', async (how) => {
    const key = how === 'cancelled' ? ({ key: 'k', keyStrategy: 'replace-waiting' } as const) : {};
    const { job } = await add('first', 1, key);
    if (how === 'failed') {
      engine.work('acme', () => Promise.reject(failure('wanted')));
      await ended(job.id);
    } else if (how === 'cancelled') {
      await engine.jobs.enqueue('acme', { task: 'work', ...key }, context);
      expect((await engine.jobs.get('acme', job.id)).state).toBe('cancelled');
    } else {
      const { topology } = engine;
      await topology.queue(topology.shardOf('acme'), 'default').getBackend().remove(job.id, false);
    }
    expect((await add('first', 2)).isNew).toBe(true);
    expect(await keysOf(engine.topology.redis, `{${engine.keyPrefix}:*:de:*`)).toHaveLength(1);
  });

  test('does not stand when it is superseded with so many that it is not recorded yet', async () => {
    const keyed = { task: 'work', key: 'k' } as const;
    await engine.jobs.enqueue('acme', keyed, context);
    const { job } = await add('first', 1, { key: 'k' });
    await Promise.all(Array.from({ length: 160 }, () => engine.jobs.enqueue('acme', keyed, context)));
    await engine.jobs.enqueue('acme', { ...keyed, keyStrategy: 'replace-waiting' }, context);
    expect((await engine.jobs.get('acme', job.id)).state).toBe('waiting');
    expect((await add('first', 2)).isNew).toBe(true);
  });

  test('with ttlMs stands so long after it was added, also when it has ended', async () => {
    engine.work('acme', (job) => job.data.payload);
    const { job } = await add('first', 1, { ttlMs: LONG_MS });
    await ended(job.id);
    expect(await add('first', 2, { ttlMs: LONG_MS })).toMatchObject({
      isNew: false,
      job: { id: job.id, state: 'completed', result: 1 },
    });
    const short = await add('first', 1, { id: 's', ttlMs: 300 });
    await ended(short.job.id);
    await eventually('the time is over', async () => (await add('first', 2, { id: 's', ttlMs: 300 })).isNew);
    const waits = await add('first', 1, { id: 'w', ttlMs: 1, delayMs: LONG_MS });
    await eventually('its time is over', async () => {
      return (await keysOf(engine.topology.redis, `{${engine.keyPrefix}:*:dedupe:default:*`)).length <= 2;
    });
    expect((await add('first', 2, { id: 'w', ttlMs: 1 })).job.id).toBe(waits.job.id);
  });

  test('with ttlMs stands also when it has failed', async () => {
    engine.work('acme', () => Promise.reject(failure('wanted')));
    const { job } = await add('first', 1, { ttlMs: LONG_MS });
    await ended(job.id);
    const again = await add('first', 2, { ttlMs: LONG_MS });
    expect(again).toMatchObject({ isNew: false, job: { id: job.id, state: 'failed' } });
  });

  test.each(['cancelled', 'superseded', 'expired'])(
    'does not stand when it was %s before it ran, whatever its ttlMs',
    async (how) => {
      const dedupe = { id: 'd', mode: 'first' as const, ttlMs: LONG_MS };
      const request: JobRequest = { task: 'work', payload: 1, key: 'k', dedupe };
      const { job } = await engine.jobs.accept('acme', { ...request, ttlMs: 1 }, context);
      if (how === 'cancelled') {
        await engine.control.cancel('acme', job.id, { reason: 'wanted', graceMs: 0 });
      } else if (how === 'superseded') {
        const newer: JobRequest = { task: 'work', key: 'k', keyStrategy: 'replace-waiting' };
        await engine.jobs.enqueue('acme', newer, context);
      } else {
        const shard = engine.topology.shardOf('acme');
        await eventually('it expires', async () => (await engine.endings.expire(shard, 10)) > 0);
      }
      const state = how === 'superseded' ? 'cancelled' : how;
      expect((await engine.jobs.get('acme', job.id)).state).toBe(state);
      const next = await engine.jobs.accept('acme', request, context);
      expect(next.isNew).toBe(true);
      expect(await engine.jobs.accept('acme', request, context)).toMatchObject({
        isNew: false,
        job: { id: next.job.id },
      });
    },
  );

  test('stands again when it was cancelled and is retried', async () => {
    const { job } = await add('first', 1, { ttlMs: LONG_MS });
    await engine.control.cancel('acme', job.id, { reason: 'wanted', graceMs: 0 });
    await engine.control.retry('acme', job.id);
    const again = await add('first', 2, { ttlMs: LONG_MS });
    expect(again).toMatchObject({ isNew: false, job: { id: job.id, state: 'waiting' } });
  });

  test('is for one tenant and one queue, whatever the id', async () => {
    const ids = ['__proto__', '*', '{}', '{x}:wait', ':stalled', 'a:delayed', '\u0000', 'ü'.repeat(256)];
    for (const id of ids) {
      const jobs = [
        await add('first', 1, { id }),
        await add('first', 1, { id, queue: 'side' }),
        await add('first', 1, { id, tenant: 'globex' }),
      ];
      expect(jobs.map(({ isNew }) => isNew)).toEqual([true, true, true]);
      expect((await add('first', 1, { id })).job.id).toBe(jobs[0]?.job.id);
    }
    expect(await count()).toBe(2 * ids.length);
  });

  test('of callers who come at the same time one adds', async () => {
    const other = await openTestEngine({ keyPrefix: engine.keyPrefix });
    const request: JobRequest = { task: 'work', dedupe: { id: 'd', mode: 'first' } };
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => (n % 2 ? engine : other).jobs.accept('acme', request, context)),
    );
    await other.close();
    expect(new Set(answers.map(({ job }) => job.id)).size).toBe(1);
    expect(answers.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect(await count()).toBe(1);
  });

  test('a repeat needs no room, a new job does', async () => {
    await engine.tenants.put('acme', { maxWaiting: 1 });
    const { job } = await add('first', 1);
    expect((await add('first', 2)).job.id).toBe(job.id);
    await expect(add('first', 3, { id: 'e' })).rejects.toMatchObject({ code: 'queue_full' });
    expect(await count()).toBe(1);
  });
});

describe('last', () => {
  test('replaces the payload of the job that waits, and leaves its place', async () => {
    const first = await add('last', 1, { priority: 5, tags: ['a'] });
    const other = await engine.jobs.enqueue('acme', { task: 'work', payload: 'other', priority: 5 }, context);
    const again = await add('last', { new: [2] }, { tags: ['b'] });
    expect(again).toMatchObject({
      isNew: false,
      job: {
        id: first.job.id,
        payload: { new: [2] },
        tags: ['b'],
        priority: 5,
        createdAt: first.job.createdAt,
      },
    });
    const { opened, seen } = holding();
    opened.open();
    await ended(other.id);
    expect(seen).toEqual([{ new: [2] }, 'other']);
  });

  test('adds a new job when it runs, which later ones replace', async () => {
    const first = await add('last', 1);
    const { opened, started, seen } = holding();
    await started.opened;
    await engine.tenants.put('acme', { paused: true });
    const second = await add('last', 2);
    expect(second.isNew).toBe(true);
    expect((await add('last', 3)).job.id).toBe(second.job.id);
    opened.open();
    await ended(first.job.id);
    expect((await add('last', 4)).job.id).toBe(second.job.id);
    await engine.tenants.put('acme', {});
    await ended(second.job.id);
    expect(seen).toEqual([1, 4]);
  });

  test('also of one that is delayed or blocked by its key', async () => {
    const delayed = await add('last', 1, { delayMs: LONG_MS });
    expect((await add('last', 2)).job).toMatchObject({
      id: delayed.job.id,
      payload: 2,
      runAt: delayed.job.runAt,
    });
    await engine.jobs.enqueue('acme', { task: 'work', key: 'k' }, context);
    const blocked = await add('last', 1, { id: 'b', key: 'k' });
    expect((await add('last', 2, { id: 'b' })).job).toMatchObject({
      id: blocked.job.id,
      payload: 2,
      key: 'k',
    });
    expect(await count()).toBe(3);
  });

  test('with ttlMs changes the job no longer than that', async () => {
    const { job } = await add('last', 1, { ttlMs: LONG_MS });
    expect((await add('last', 2, { ttlMs: LONG_MS })).job.id).toBe(job.id);
    await add('last', 1, { id: 's', ttlMs: 200 });
    await eventually('a new one is added', async () => (await add('last', 2, { id: 's', ttlMs: 200 })).isNew);
  });

  test('is refused when the job that waits is of another task', async () => {
    await add('last', 1);
    const dedupe = { id: 'd', mode: 'last' as const };
    await expect(engine.jobs.accept('acme', { task: 'echo', dedupe }, context)).rejects.toMatchObject({
      code: 'conflict',
      errors: [{ path: 'dedupe.id' }],
    });
    expect(await count()).toBe(1);
  });
});
