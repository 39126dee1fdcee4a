import { afterEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { defineTask } from '../../queues/tasks/define-task.ts';
import type { Usage } from '../../src/shared/tenant-schemas.ts';
import { handle } from '../../workers/handlers/registry.ts';
import { TaskError } from '../../workers/runtime/task-error.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { forkWorker, openTestWaggle, silent, tenantsByShard, until } from './support.ts';
import type { TestWaggle, WorkerProcess } from './support.ts';

let waggle: TestWaggle | undefined;
let engine: Engine | undefined;
let workers: WorkerProcess[] = [];

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGTERM');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await waggle?.close();
  await engine?.close();
  waggle = engine = undefined;
});

/** What a tenant is entitled to is told for each minute, of those who wanted something in it: one is not to end meanwhile. */
async function untilMinuteIsYoung(engine: Engine): Promise<void> {
  await until(async () => Number((await engine.topology.redis.time())[0]) % 60 < 50);
}

function hourOf(usage: Usage): Usage['windows'][number] {
  const [, , window] = usage.windows;
  if (window === undefined) throw new Error('There is no window of an hour');
  return window;
}

describe('an account', () => {
  const step = defineTask({ name: 'step', payload: z.unknown(), defaults: { attempts: 2 } });
  const handlers = [
    handle(step, (ctx) => {
      if (ctx.job.payload === 'fails') throw new TaskError('refused', 'no', { retryable: false });
      if (ctx.job.payload === 'again' && ctx.attempt === 1) throw new Error('once more');
      return null;
    }),
  ];

  test('of two workers and two shards holds every start and every end once, also of the last moment', async () => {
    waggle = await openTestWaggle({ handlers, shards: 2 });
    const tenants = tenantsByShard(waggle.engine, 2);
    await untilMinuteIsYoung(waggle.engine);
    const two = [waggle.startWorker(), waggle.startWorker()];
    for (const tenant of tenants) {
      const ids: string[] = [];
      for (const payload of ['ok', 'ok', 'ok', 'again', 'fails'])
        ids.push(await waggle.enqueue(tenant, 'step', payload, { backoff: { type: 'fixed', delayMs: 0 } }));
      for (const id of ids) await waggle.finished(tenant, id);
    }
    // Long before the next second: a drain brings what there is.
    await Promise.all(two.map(({ worker }) => worker.drain()));
    const { usage } = waggle.engine;
    for (const tenant of tenants) {
      await until(async () => hourOf(await usage.of(tenant)).started === 6);
      expect(hourOf(await usage.of(tenant))).toMatchObject({
        started: 6,
        finished: { completed: 4, failed: 1 },
        share: { received: 0.5, entitled: 0.5 },
        waitMs: { p50: expect.any(Number) },
      });
    }
  });

  test('holds run time that is charged, however a run ended', async () => {
    const slow = defineTask({ name: 'slow', payload: z.unknown(), defaults: { attempts: 2 } });
    const takesTime = handle(slow, async (ctx) => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      if (ctx.job.payload === 'fails') throw new TaskError('refused', 'no', { retryable: false });
      if (ctx.job.payload === 'again' && ctx.attempt === 1) throw new Error('once more');
      return null;
    });
    waggle = await openTestWaggle({ handlers: [takesTime], shards: 2 });
    const [charged = '', other = ''] = tenantsByShard(waggle.engine, 2);
    await waggle.engine.tenants.put(charged, { chargeRunMs: 10 });
    await untilMinuteIsYoung(waggle.engine);
    const { worker } = waggle.startWorker();
    for (const payload of ['ok', 'again', 'fails'])
      for (const tenant of [charged, other])
        await waggle.finished(
          tenant,
          await waggle.enqueue(tenant, 'slow', payload, { backoff: { type: 'fixed', delayMs: 0 } }),
        );
    await worker.drain();
    const { started, share } = hourOf(await waggle.engine.usage.of(charged));
    expect(started).toBe(4);
    // Four starts of each, and four times ten at least for their time: 44 of 48.
    expect(share.received).toBeGreaterThan(0.91);
  });

  test('tells how long jobs waited, without the time they were not due', async () => {
    waggle = await openTestWaggle({ handlers });
    const { engine: own } = waggle;
    const early = await waggle.enqueue('early', 'step', 'ok');
    const delayed = await waggle.enqueue('late', 'step', 'ok', { delayMs: 1500 });
    const flow = { task: 'step', children: [{ task: 'step' }] };
    const { id } = await own.flows.enqueue('flow', flow, { correlationId: 'c' });
    await until(async () => (await own.topology.queue(0, 'default').getDelayedCount()) === 1);
    const job = await own.jobs.get('early', early);
    await until(() => Date.now() - Date.parse(job.createdAt) > 1000);
    const { worker } = waggle.startWorker();
    await waggle.finished('early', early);
    const { runAt, startedAt } = await waggle.finished('late', delayed);
    await waggle.finished('flow', id);
    await worker.drain();
    const p50 = async (tenant: string): Promise<number | null> =>
      hourOf(await own.usage.of(tenant)).waitMs.p50;
    expect(await p50('early')).toBeGreaterThan(900);
    // A time is found within a tenth.
    const sinceDueMs = Date.parse(startedAt ?? '') - Date.parse(runAt);
    expect(await p50('late')).toBeLessThanOrEqual(1.1 * sinceDueMs + 20);
    expect(await p50('flow')).toBeNull();
  });
});

test('tenants of weights 1 and 3 in two shards with endless backlogs receive what they are entitled to', async () => {
  const redisUrl = await freshRedisUrl();
  const opened = (engine = await openEngine({ redisUrl, shards: 2, logger: silent }));
  const [light = '', heavy = ''] = tenantsByShard(opened, 2);
  const beside =
    Array.from({ length: 99 }, (_, n) => `t-${n}`).find((name) => opened.topology.shardOf(name) === 1) ?? '';
  const weights = { [light]: 1, [heavy]: 3, [beside]: 1 };
  for (const [tenant, weight] of Object.entries(weights)) {
    await opened.tenants.put(tenant, { weight });
    const jobs = Array.from({ length: 1000 }, () => ({ task: 'sleep', payload: { ms: 10 } }));
    for (let n = 0; n < 6; n += 1) await opened.jobs.enqueueBatch(tenant, jobs, { correlationId: 'c' });
  }
  const env = { REDIS_URL: redisUrl, WAGGLE_SHARDS: '2', WORKER_CONCURRENCY: '5', LOG_LEVEL: 'info' };
  await untilMinuteIsYoung(opened);
  workers = [forkWorker(env), forkWorker(env)];

  const readAll = (): Promise<Usage[]> =>
    Promise.all(Object.keys(weights).map((tenant) => opened.usage.of(tenant)));
  await until(async () => {
    const usages = await readAll();
    return usages.reduce((sum, usage) => sum + hourOf(usage).started, 0) >= 2500;
  });
  // Read while nothing is booked, or what one read sees the next one may not.
  for (const { child } of workers) child.kill('SIGTERM');
  await Promise.all(workers.map((worker) => worker.ended));
  const all = await readAll();
  for (const usage of all) {
    expect(usage.queues['default']?.waiting).toBeGreaterThan(0);
    const { received, entitled } = hourOf(usage).share;
    expect(entitled).toBeCloseTo((weights[usage.tenant] ?? 0) / 5, 2);
    expect(Math.abs((received ?? 0) - (entitled ?? 0))).toBeLessThan(0.1 * (entitled ?? 0));
  }
  expect(all.reduce((sum, usage) => sum + (hourOf(usage).share.received ?? 0), 0)).toBeCloseTo(1, 9);
});
