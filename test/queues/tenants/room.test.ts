import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { FlowTree } from '../../../src/shared/schemas.ts';
import { eventually } from '../../support/eventually.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine();
});
afterEach(() => engine.close());

const enqueue = (tenant: string, queue = 'default'): Promise<{ id: string }> =>
  engine.jobs.enqueue(tenant, { task: 'work', queue }, context);

/** A batch's outcomes in short: `id`, or the code of the problem. */
async function batch(tenant: string, jobs: unknown[]): Promise<string[]> {
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, context);
  return outcomes.map((outcome) => ('id' in outcome ? 'id' : outcome.problem.code));
}

const count = async (tenant: string): Promise<number> =>
  (await engine.jobs.list(tenant, { limit: 200 })).jobs.length;

/** Whether one more job was taken. */
const fits = (tenant: string): Promise<boolean> =>
  enqueue(tenant).then(
    () => true,
    () => false,
  );

const FULL = { code: 'queue_full', status: 429, retryAfterMs: expect.any(Number) };

describe('maxWaiting', () => {
  test('refuses a job for which there is no room, over all queues together, until one has started', async () => {
    await engine.tenants.put('acme', { maxWaiting: 3 });
    await enqueue('acme');
    await enqueue('acme', 'side');
    const { id } = await enqueue('acme', 'side');
    for (const queue of ['default', 'side', 'new']) {
      await expect(enqueue('acme', queue)).rejects.toMatchObject(FULL);
    }
    expect(await count('acme')).toBe(3);
    await enqueue('globex');

    engine.work('acme', () => null, { queue: 'side' });
    await engine.jobs.waitUntilFinished('acme', id, 60_000);
    await enqueue('acme');
    await enqueue('acme');
    await expect(enqueue('acme')).rejects.toMatchObject(FULL);
  });

  test('gives the room to the first jobs of a batch; wrong ones take none', async () => {
    await engine.tenants.put('acme', { maxWaiting: 4 });
    await enqueue('acme');
    const jobs = [
      { task: 'work' },
      { task: 'nope' },
      { task: 'work', queue: 'side' },
      { task: 'work' },
      { task: 'work' },
      { task: 'work', colour: 1 },
      { task: 'work', queue: 'side' },
    ];
    const outcomes = ['id', 'unknown_task', 'id', 'id', 'queue_full', 'validation', 'queue_full'];
    expect(await batch('acme', jobs)).toEqual(outcomes);
    expect(await batch('acme', [{ task: 'work' }, { task: 'nope' }])).toEqual(['queue_full', 'unknown_task']);
    expect(await count('acme')).toBe(4);
  });

  test('refuses a flow that does not fit as a whole, and stores nothing of it', async () => {
    const tree: FlowTree = {
      task: 'work',
      name: 'root',
      children: [
        { task: 'work', queue: 'side' },
        { task: 'work', children: [{ task: 'work' }] },
      ],
    };
    await engine.tenants.put('acme', { maxWaiting: 3 });
    await expect(engine.flows.enqueue('acme', tree, context)).rejects.toMatchObject(FULL);
    expect(await count('acme')).toBe(0);
    const { topology } = engine;
    for (const queue of ['default', 'side']) {
      const counts = await topology.queue(topology.shardOf('acme'), queue).getJobCounts();
      expect(Object.values(counts).every((jobs) => jobs === 0)).toBe(true);
    }
    await engine.tenants.put('acme', { maxWaiting: 4 });
    await engine.flows.enqueue('acme', tree, context);
    expect(await count('acme')).toBe(4);
  });

  test('of 0 refuses everything, null nothing', async () => {
    await engine.tenants.put('acme', { maxWaiting: 0 });
    await expect(enqueue('acme')).rejects.toMatchObject(FULL);
    expect(await batch('acme', [{ task: 'work' }])).toEqual(['queue_full']);
    await engine.tenants.put('acme', { maxWaiting: null });
    await enqueue('acme');
  });

  test('counts what other limits hold back', async () => {
    await engine.tenants.put('acme', { maxWaiting: 2, maxRunning: 0 });
    engine.work('acme', () => null);
    expect(await batch('acme', [{ task: 'work' }, { task: 'work' }, { task: 'work' }])).toEqual([
      'id',
      'id',
      'queue_full',
    ]);
    await engine.tenants.put('acme', { maxWaiting: 2, paused: true });
    await expect(enqueue('acme')).rejects.toMatchObject(FULL);
  });

  test('is never passed by callers who come at the same time, and all of it can be had', async () => {
    await engine.tenants.put('acme', { maxWaiting: 10, paused: true });
    const other = await openTestEngine({ keyPrefix: engine.keyPrefix });
    const tree: FlowTree = { task: 'work', children: [{ task: 'work', queue: 'side' }] };
    const calls = [engine, other].flatMap(({ jobs, flows }) =>
      Array.from({ length: 6 }, (_, n) => [
        () => jobs.enqueue('acme', { task: 'work', ...(n % 2 ? { delayMs: 60_000 } : {}) }, context),
        () => jobs.enqueueBatch('acme', [{ task: 'work' }, { task: 'work', queue: 'side' }], context),
        () => flows.enqueue('acme', tree, context),
      ]).flat(),
    );
    const answers = await Promise.allSettled(calls.map((call) => call()));
    await other.close();
    const refusals = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason.code] : []));
    expect(new Set(refusals)).toEqual(new Set(['queue_full']));
    expect(await count('acme')).toBeLessThanOrEqual(10);
    // Of a flow either all is in or nothing.
    const flows = (await engine.jobs.list('acme', { limit: 200 })).jobs.filter((job) => job.flow);
    expect(flows.length % 2).toBe(0);

    const parents = flows.filter((job) => job.state === 'waiting-children').length;
    while (await fits('acme'));
    expect(await count('acme')).toBe(10 + parents);
  });

  test('counts delayed jobs, also where nothing ever waited', async () => {
    await engine.tenants.put('acme', { maxWaiting: 2 });
    await engine.jobs.enqueue('acme', { task: 'work', queue: 'later', delayMs: 60_000 }, context);
    await enqueue('acme');
    await expect(enqueue('acme')).rejects.toMatchObject(FULL);
    const late = { task: 'work', delayMs: 60_000 };
    await expect(engine.jobs.enqueue('acme', late, context)).rejects.toMatchObject(FULL);
  });

  test('room that nobody gives back lapses, and what is given back can be had at once', async () => {
    const { topology } = engine;
    const backend = topology.queue(topology.shardOf('acme'), 'default').getBackend();
    const held = await backend.reserveRoom('acme', 3, 2);
    expect(held.jobs).toBe(2);
    expect((await backend.reserveRoom('acme', 3, 2, 6000)).jobs).toBe(1);
    expect((await backend.reserveRoom('acme', 3, 2)).jobs).toBe(0);
    await held.free();
    const again = await backend.reserveRoom('acme', 3, 3);
    expect(again.jobs).toBe(2);
    await eventually(
      'the other one lapses',
      async () => (await backend.reserveRoom('acme', 3, 1)).jobs === 1,
    );
    const key = `${topology.prefix(topology.shardOf('acme'))}::fair:room:acme`;
    expect(await topology.redis.pttl(key)).toBeGreaterThan(0);
  });

  test('of * holds for each tenant nobody configured by itself, and a change of it at once', async () => {
    await engine.tenants.put('*', { maxWaiting: 1 });
    await engine.tenants.put('own', { weight: 2 });
    for (const tenant of ['first', 'second']) {
      await enqueue(tenant);
      await expect(enqueue(tenant)).rejects.toMatchObject(FULL);
    }
    for (let n = 0; n < 3; n += 1) await enqueue('own');
    await engine.tenants.put('*', { maxWaiting: 2 });
    expect([await fits('first'), await fits('first')]).toEqual([true, false]);
    await engine.tenants.remove('*');
    expect(await fits('first')).toBe(true);
  });
});
