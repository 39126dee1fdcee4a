import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { handle } from '../../workers/handlers/registry.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { PauseTenant } from '../../workers/runtime/task-error.ts';
import { latch, median, openTestWaggle, until } from './support.ts';
import type { TestWaggle } from './support.ts';

const HOUR_MS = 3_600_000;
const QUEUES = ['default', 'side'];

let waggle: TestWaggle;
let work: (ctx: JobContext) => unknown = () => null;

const anything = defineTask({ name: 'anything', payload: z.unknown() });

beforeEach(async () => {
  waggle = await openTestWaggle({ handlers: [handle(anything, (ctx) => work(ctx))] });
});
afterEach(async () => {
  work = () => null;
  await waggle.close();
});

const leftMs = async (): Promise<number> =>
  Date.parse((await waggle.engine.tenants.get('acme')).pausedUntil ?? '') - Date.now();
const paused = (): Promise<boolean> => waggle.engine.tenants.get('acme').then((tenant) => tenant.paused);

describe('a handler that pauses its tenant', () => {
  test('gets its job back first and no attempt poorer; until then no other job of the tenant starts', async () => {
    const { metrics } = waggle.startWorker({ concurrency: 1, queues: QUEUES });
    await waggle.engine.tenants.put('acme', { weight: 2, maxRunning: 1 });
    const runs: [unknown, number, number][] = [];
    work = ({ job, attempt, fence }) => {
      runs.push([job.payload, attempt, fence]);
      if (runs.length === 1) throw new PauseTenant(HOUR_MS);
      return job.payload;
    };
    const id = await waggle.enqueue('acme', 'anything', 'asks', { attempts: 1 });
    await until(
      async () => (await waggle.engine.jobs.get('acme', id)).state === 'waiting' && (await paused()),
    );
    const job = await waggle.engine.jobs.get('acme', id);
    expect(job).toMatchObject({ attempts: { made: 0, max: 1 }, error: null, finishedAt: null });

    const behind = [await waggle.enqueue('acme', 'anything', 'behind')];
    behind.push(await waggle.enqueue('acme', 'anything', 'beside', { queue: 'side' }));
    for (const queue of QUEUES) {
      const other = await waggle.enqueue('globex', 'anything', queue, { queue });
      expect(await waggle.finished('globex', other)).toMatchObject({ state: 'completed' });
    }
    expect(runs).toEqual([
      ['asks', 1, 1],
      ['default', 1, 1],
      ['side', 1, 1],
    ]);

    const { weight, maxRunning } = await waggle.engine.tenants.resume('acme');
    expect([weight, maxRunning]).toEqual([2, 1]);
    for (const each of [id, ...behind]) {
      expect(await waggle.finished('acme', each)).toMatchObject({
        state: 'completed',
        attempts: { made: 1 },
      });
    }
    const asked = runs.findIndex((run, place) => place > 0 && run[0] === 'asks');
    expect(runs[asked]).toEqual(['asks', 1, 2]);
    expect(runs.findIndex((run) => run[0] === 'behind')).toBeGreaterThan(asked);
    const { values } = await metrics.finished.get();
    expect(values).toContainEqual({ value: 1, labels: { task: 'anything', outcome: 'pause-tenant' } });
  });

  test('has it resumed when the time is over, and not at the next poll', async () => {
    waggle.startWorker();
    const starts: number[] = [];
    work = () => {
      if (starts.push(performance.now()) <= 5) throw new PauseTenant(300);
      return null;
    };
    const id = await waggle.enqueue('acme', 'anything');
    expect(await waggle.finished('acme', id)).toMatchObject({ state: 'completed', attempts: { made: 1 } });
    const pauses = starts.slice(1).map((start, place) => start - (starts[place] ?? 0));
    expect(pauses).toHaveLength(5);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(299);
    // A poll comes every 5 s.
    expect(median(pauses)).toBeLessThan(2500);
    expect(await paused()).toBe(false);
  });

  test('pauses it for an hour at most, and not at all for a time that is none', async () => {
    waggle.startWorker();
    const pauses = [-1, NaN, 1e12];
    work = () => {
      const ms = pauses.shift();
      if (ms !== undefined) throw new PauseTenant(ms);
      return null;
    };
    const id = await waggle.enqueue('acme', 'anything');
    // The first two pause for no time, which may be seen as a pause for a moment.
    await until(async () => pauses.length === 0 && (await leftMs()) > 1000);
    expect(await leftMs()).toBeLessThanOrEqual(HOUR_MS);
    expect(await leftMs()).toBeGreaterThan(HOUR_MS - 300_000);
    await waggle.engine.tenants.resume('acme');
    expect(await waggle.finished('acme', id)).toMatchObject({ state: 'completed', attempts: { made: 1 } });
  });

  test('does not end a pause that somebody ordered without an end', async () => {
    waggle.startWorker();
    const [started, ordered] = [latch(), latch()];
    work = async () => {
      started.open();
      await ordered.opened;
      throw new PauseTenant(1);
    };
    const id = await waggle.enqueue('acme', 'anything');
    await started.opened;
    await waggle.engine.tenants.pause('acme', null);
    ordered.open();
    await until(async () => (await waggle.engine.jobs.get('acme', id)).state === 'waiting');
    expect(await waggle.engine.tenants.get('acme')).toMatchObject({ paused: true, pausedUntil: null });
  });
});

test('a slot that was lost is found, given back and counted, so that its tenant goes on', async () => {
  const { metrics } = waggle.startWorker({ stalledMs: 500 });
  await waggle.engine.tenants.put('acme', { maxRunning: 1 });
  const repaired = async (): Promise<number> => {
    const all = await metrics.registry.getMetricsAsJSON();
    return all.find(({ name }) => name === 'waggle_worker_slots_repaired_total')?.values[0]?.value ?? -1;
  };
  const [started, end] = [latch(), latch()];
  work = ({ job }) => (job.payload === 'first' ? (started.open(), end.opened) : null);
  const first = await waggle.enqueue('acme', 'anything', 'first');
  const next = await waggle.enqueue('acme', 'anything', 'next');
  await started.opened;
  expect(await repaired()).toBe(0);

  // As no script of ours would: the job is not active any more, and its slot stays.
  const { redis } = waggle.engine.topology;
  await redis.lrem(waggle.engine.topology.queue(0, 'default').toKey('active'), 1, first);
  expect(await waggle.finished('acme', next)).toMatchObject({ state: 'completed' });
  // The worker counts when the answer of the repair is back, which a job it set free may overtake.
  await until(async () => (await repaired()) > 0);
  expect(await repaired()).toBe(1);
  end.open();
});
