/** No slot idles while any shard has work it may fill; and what a shard does costs the others nothing. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { handle } from '../../../workers/handlers/registry.ts';
import type { JobContext } from '../../../workers/runtime/context.ts';
import { latch, openTestWaggle, tenantsByShard, until } from '../support.ts';
import type { TestWaggle } from '../support.ts';

const SHARDS = 4;
const step = defineTask({ name: 'step', payload: z.unknown(), defaults: { attempts: 1 } });

let waggle: TestWaggle;
let tenants: string[];
let work: (ctx: JobContext) => unknown;
/** Whose jobs have started, in order. */
let order: string[];
let running: number;
/** The fewest that ran at any start since it was last set. */
let fewest: number;

beforeEach(async () => {
  [order, running, fewest] = [[], 0, Infinity];
  work = () => null;
  const handler = handle(step, async (ctx) => {
    order.push(ctx.tenant);
    running += 1;
    fewest = Math.min(fewest, running);
    try {
      return await work(ctx);
    } finally {
      running -= 1;
    }
  });
  waggle = await openTestWaggle({ handlers: [handler], shards: SHARDS });
  tenants = tenantsByShard(waggle.engine, SHARDS);
});

afterEach(async () => {
  work = () => null;
  await waggle.close();
});

async function enqueueMany(tenant: string, count: number, fields = {}): Promise<void> {
  const requests = Array.from({ length: count }, () => ({ task: 'step', ...fields }));
  await waggle.engine.jobs.enqueueBatch(tenant, requests, { correlationId: 'slots' });
}

const lasting = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const startsOf = (tenant: string, from = 0): number =>
  order.slice(from).filter((each) => each === tenant).length;

test('work that comes to an idle shard starts with the next jobs that end, though they end together', async () => {
  const [flood = '', ...others] = tenants;
  let round = latch();
  work = () => round.opened;
  /** Ends what runs, which has taken long enough to be no quick job, and waits for as many to start. */
  const next = async (): Promise<void> => {
    const [ended, started] = [round, order.length];
    await lasting(50);
    round = latch();
    ended.open();
    await until(() => order.length === started + 8);
  };
  await enqueueMany(flood, 200);
  waggle.startWorker({ concurrency: 8 });
  await until(() => running === 8);
  await next();
  for (const other of others) {
    await enqueueMany(other, 1);
    await next();
    expect(startsOf(other)).toBe(1);
  }
  round.open();
});

test('a shard that may not run anything lends all its slots, and takes no share', async () => {
  const [paused = '', narrow = '', busy = '', calm = ''] = tenants;
  await waggle.engine.tenants.put(paused, { paused: true, weight: 1000 });
  await waggle.engine.tenants.put(narrow, { maxRunning: 1, weight: 1000 });
  work = (ctx) => (ctx.tenant === narrow ? gate.opened : lasting(8));
  const gate = latch();
  await enqueueMany(paused, 50);
  await enqueueMany(narrow, 50);
  waggle.startWorker({ concurrency: 6 });
  await until(() => running === 1);
  await enqueueMany(busy, 600);
  await enqueueMany(calm, 600);
  await until(() => running === 6);
  const from = order.length;
  await until(() => order.length >= from + 400);
  expect(startsOf(paused)).toBe(0);
  expect(startsOf(narrow)).toBe(1);
  expect(startsOf(busy, from) / (order.length - from)).toBeGreaterThan(0.45);
  expect(startsOf(busy, from) / (order.length - from)).toBeLessThan(0.55);
  gate.open();
});

test('every slot is in use while work in several shards comes and goes', async () => {
  const gates = new Set<() => void>();
  work = () => {
    const { opened, open } = latch();
    gates.add(open);
    return opened;
  };
  const [last = ''] = tenants.slice(-1);
  for (const tenant of tenants) await enqueueMany(tenant, tenant === last ? 40 : 7);
  waggle.startWorker({ concurrency: 5 });
  // One job ends at a time, and the next one must start: 21 jobs of three shards, and the rest of the last one.
  for (let ended = 0; ended < 50; ended += 1) {
    await until(() => running === 5);
    const [first] = gates;
    if (first === undefined) throw new Error('nothing runs');
    gates.delete(first);
    first();
    await until(() => order.length === ended + 6);
  }
  work = () => null;
  for (const open of gates) open();
});

test('with one slot and four shards all get their turn', async () => {
  work = () => lasting(1);
  for (const tenant of tenants) await enqueueMany(tenant, 100);
  waggle.startWorker({ concurrency: 1 });
  await until(() => order.length >= 200);
  for (const tenant of tenants) {
    expect(startsOf(tenant)).toBeGreaterThanOrEqual(40);
    expect(startsOf(tenant)).toBeLessThanOrEqual(60);
  }
});

test('a shard whose claims fail does not bend the shares of the others', async () => {
  const [broken = '', flood = '', late = ''] = tenants;
  const { redis } = waggle.engine.topology;
  const key = waggle.engine.topology.queue(0, 'default').toKey('fair:ring');
  await enqueueMany(broken, 1);
  await redis.rename(key, `${key}:aside`);
  await redis.set(key, 'no sorted set');
  work = () => lasting(2);
  await enqueueMany(flood, 1000);
  waggle.startWorker({ concurrency: 4 });
  await until(() => order.length >= 300);
  await enqueueMany(late, 100);
  await until(() => startsOf(late) === 100);
  const from = order.indexOf(late);
  const shared = order.slice(from, order.lastIndexOf(late)).filter((tenant) => tenant === flood).length;
  expect(shared).toBeGreaterThan(60);
  await redis.rename(`${key}:aside`, key);
  await until(() => startsOf(broken) === 1);
});

test('jobs that cost more take as much of the share of their shard as of their tenant', async () => {
  const [dear = '', cheap = ''] = tenants;
  const queue = waggle.engine.topology.queue(0, 'default');
  await enqueueMany(dear, 1);
  const [first] = await queue.getWaiting();
  if (first === undefined) throw new Error('nothing waits');
  const costly = {
    name: 'step',
    data: first.data,
    opts: { group: { id: dear, cost: 5 } } as FairJobsOptions,
  };
  await queue.addBulk(Array.from({ length: 150 }, () => costly));
  await enqueueMany(cheap, 700);
  work = () => lasting(2);
  waggle.startWorker({ concurrency: 4 });
  await until(() => order.length >= 460);
  const both = order.slice(60, 460);
  const dearStarts = both.filter((tenant) => tenant === dear).length;
  expect((both.length - dearStarts) / dearStarts).toBeGreaterThan(4.5);
  expect((both.length - dearStarts) / dearStarts).toBeLessThan(5.5);
});
