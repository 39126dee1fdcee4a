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
    await engine.jobs.waitUntilFinished('acme', id, 10_000);
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

  test('of * holds for each tenant nobody configured by itself, and a change of it is noticed', async () => {
    await engine.tenants.put('*', { maxWaiting: 1 });
    await engine.tenants.put('own', { weight: 2 });
    for (const tenant of ['first', 'second']) {
      await enqueue(tenant);
      await expect(enqueue(tenant)).rejects.toMatchObject(FULL);
    }
    for (let n = 0; n < 3; n += 1) await enqueue('own');
    await engine.tenants.put('*', {});
    await eventually('there is room', () =>
      enqueue('first').then(
        () => true,
        () => false,
      ),
    );
  });
});
