import { afterEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { handle } from '../../../workers/handlers/registry.ts';
import type { JobContext } from '../../../workers/runtime/context.ts';
import { latch, median, openTestWaggle, tenantsByShard, until } from '../support.ts';
import type { TestWaggle } from '../support.ts';

const SHARDS = 4;
const step = defineTask({ name: 'step', payload: z.unknown(), defaults: { attempts: 1 } });

let waggle: TestWaggle;
let work: (ctx: JobContext) => unknown = () => null;
let running = 0;
let mostRunning = 0;

const handlers = [
  handle(step, async (ctx) => {
    running += 1;
    mostRunning = Math.max(mostRunning, running);
    try {
      return await work(ctx);
    } finally {
      running -= 1;
    }
  }),
];

async function open(): Promise<string[]> {
  running = 0;
  mostRunning = 0;
  waggle = await openTestWaggle({ handlers, shards: SHARDS });
  return tenantsByShard(waggle.engine, SHARDS);
}

async function enqueueMany(tenant: string, count: number): Promise<string[]> {
  const requests = Array.from({ length: count }, () => ({ task: 'step', payload: tenant }));
  const outcomes = await waggle.engine.jobs.enqueueBatch(tenant, requests, { correlationId: 'c' });
  return outcomes.map((outcome) => ('id' in outcome ? outcome.id : ''));
}

async function allFinished(tenant: string, ids: readonly string[]): Promise<void> {
  for (const id of ids) await waggle.finished(tenant, id);
}

/** How long each of so many jobs takes, from being sent to its end, one after the other. */
async function roundTrips(tenant: string, count: number): Promise<number[]> {
  const tookMs: number[] = [];
  for (let round = 0; round < count; round += 1) {
    const sentAt = performance.now();
    await allFinished(tenant, await enqueueMany(tenant, 1));
    tookMs.push(performance.now() - sentAt);
  }
  return tookMs;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

afterEach(async () => {
  work = () => null;
  await waggle.close();
});

test('one busy shard has the whole budget, all busy ones share it, and it is never exceeded', async () => {
  const tenants = await open();
  const [busy = ''] = tenants;
  const gate = latch();
  let startedOfBusy = 0;
  work = async (ctx) => {
    if (ctx.tenant !== busy) return turn();
    startedOfBusy += 1;
    return startedOfBusy <= 10 ? gate.opened : turn();
  };
  waggle.startWorker({ concurrency: 10 });
  const ids = await enqueueMany(busy, 200);
  // The three idle shards have lent everything, at once.
  await until(() => startedOfBusy === 10);
  gate.open();
  const rest = await Promise.all(tenants.map((tenant) => enqueueMany(tenant, 100)));
  await allFinished(busy, ids);
  for (const [shard, tenant] of tenants.entries()) await allFinished(tenant, rest[shard] ?? []);
  expect(mostRunning).toBe(10);
});

test('a flood that fills every slot does not keep other shards waiting until it has drained', async () => {
  const [flood = '', ...others] = await open();
  let floodStarted = 0;
  work = async (ctx) => {
    if (ctx.tenant === flood) floodStarted += 1;
    await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const flooded = await Promise.all([enqueueMany(flood, 1000), enqueueMany(flood, 1000)]);
  waggle.startWorker({ concurrency: 4 });
  await until(() => floodStarted >= 20);
  // One after the other: the worker must go on listening after the first news that it had no slot for.
  for (const other of others) {
    const before = floodStarted;
    await allFinished(other, await enqueueMany(other, 20));
    // Equal shares: about 20 of the flood meanwhile, and what ran before the news and the answers came.
    expect(floodStarted - before).toBeLessThan(400);
  }
  await allFinished(flood, flooded.flat());
});

test('a shard that comes later gets slots in proportion to the weight of its tenants', async () => {
  const [heavy = '', light = ''] = await open();
  await waggle.engine.tenants.put(heavy, { weight: 3 });
  await waggle.engine.tenants.put(light, { weight: 1 });
  const order: string[] = [];
  const gate = latch();
  work = async (ctx) => {
    order.push(ctx.tenant);
    // However long the enqueueing takes, the heavy tenant has all slots and its backlog when the light one comes.
    if (order.length > 20) await gate.opened;
    await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await enqueueMany(heavy, 800);
  waggle.startWorker({ concurrency: 4, drainMs: 0 });
  await until(() => order.length >= 24);
  await enqueueMany(light, 400);
  expect(order).not.toContain(light);
  gate.open();
  await until(() => order.includes(light));
  const from = order.length;
  await until(() => order.length >= from + 200);
  // The first ones are from before the weights were asked for.
  const later = order.slice(from + 40, from + 200);
  const share = later.filter((tenant) => tenant === heavy).length / later.length;
  expect(share).toBeGreaterThan(0.68);
  expect(share).toBeLessThan(0.82);
});

test('jobs that come one by one are heard one by one, in a shard that was busy and idle before', async () => {
  const [, tenant = ''] = await open();
  waggle.startWorker();
  // Well below the poll that would find each in any case.
  expect(median(await roundTrips(tenant, 7))).toBeLessThan(2500);
});

test('a job is heard at once in an idle shard while another one keeps most slots busy', async () => {
  const [busy = '', idle = ''] = await open();
  const gate = latch();
  work = (ctx) => (ctx.tenant === busy ? gate.opened : 'heard');
  waggle.startWorker({ concurrency: 3 });
  const held = await enqueueMany(busy, 2);
  await until(() => running === 2);
  // Well below the poll that would find it in any case.
  expect(median(await roundTrips(idle, 5))).toBeLessThan(2500);
  gate.open();
  await allFinished(busy, held);
});

test('a delayed job starts when it is due, also while every slot but one is busy', async () => {
  const [busy = '', idle = ''] = await open();
  const gate = latch();
  let startedAt = 0;
  work = (ctx) => {
    if (ctx.tenant === busy) return gate.opened;
    startedAt = Date.now();
    return null;
  };
  waggle.startWorker({ concurrency: 2 });
  const held = await enqueueMany(busy, 1);
  await until(() => running === 1);
  const lateMs: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const id = await waggle.enqueue(idle, 'step', null, { delayMs: 200 });
    const { runAt } = await waggle.finished(idle, id);
    lateMs.push(startedAt - Date.parse(runAt));
  }
  expect(Math.min(...lateMs)).toBeGreaterThanOrEqual(0);
  expect(median(lateMs)).toBeLessThan(2500);
  gate.open();
  await allFinished(busy, held);
});

test('a full worker leaves the news of work to another one', async () => {
  const [busy = '', idle = ''] = await open();
  const gate = latch();
  let startedOfBusy = 0;
  work = (ctx) => {
    if (ctx.tenant !== busy) return 'heard';
    startedOfBusy += 1;
    return gate.opened;
  };
  const first = waggle.startWorker({ concurrency: 2, workerShards: [0, 1] });
  const held = await enqueueMany(busy, 2);
  await until(() => startedOfBusy === 2 && first.worker.active === 2);
  const second = waggle.startWorker({ concurrency: 1, workerShards: [1] });
  // From here on it finds work by being rung for: the first worker has listened longer, so the bell rings there.
  await until(async () =>
    (await second.metrics.registry.metrics()).includes('claims_total{result="empty"} 1'),
  );
  // The next poll of the second one is 5 s later.
  expect(median(await roundTrips(idle, 3))).toBeLessThan(4000);
  gate.open();
  await allFinished(busy, held);
});

test('slots come back whatever handlers do', async () => {
  const tenants = await open();
  let count = 0;
  work = () => {
    count += 1;
    if (count % 3 === 0) throw new Error('thrown');
    if (count % 3 === 1) return Promise.reject(new Error('rejected'));
    return count;
  };
  const { worker, metrics } = waggle.startWorker({ concurrency: 5 });
  const ids = await Promise.all(tenants.map((tenant) => enqueueMany(tenant, 60)));
  for (const [shard, tenant] of tenants.entries()) await allFinished(tenant, ids[shard] ?? []);
  await until(() => worker.active === 0);
  expect(mostRunning).toBeLessThanOrEqual(5);
  const text = await metrics.registry.metrics();
  expect(text).toContain('waggle_worker_active_jobs 0');
  expect(text).toContain('waggle_worker_jobs_finished_total{task="step",outcome="complete"} 80');
  expect(text).toContain('waggle_worker_jobs_finished_total{task="step",outcome="fail"} 160');
});
