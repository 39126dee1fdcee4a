import { afterEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { handle } from '../../workers/handlers/registry.ts';
import { openTestWaggle, tenantsByShard, until } from './support.ts';
import type { TestWaggle } from './support.ts';

const LONG_MS = 200;
const SHORT_MS = 10;
/** Before them every slot has had jobs of both. */
const FIRST = 30;
const COUNTED = 200;

let waggle: TestWaggle;
let starts: string[] = [];

const lasting = defineTask({ name: 'lasting', payload: z.number() });
const handlers = [
  handle(lasting, async ({ tenant, job }) => {
    starts.push(tenant);
    await new Promise((resolve) => setTimeout(resolve, job.payload));
    return null;
  }),
];

afterEach(async () => {
  await waggle.close();
  starts = [];
});

async function enqueue(tenant: string, count: number, ms: number): Promise<void> {
  const jobs = Array.from({ length: count }, () => ({ task: 'lasting', payload: ms }));
  await waggle.engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'c' });
}

/** Tenants of two shards with jobs of different length -> who started, in order. */
async function startsOfBoth(long: string, short: string): Promise<string[]> {
  await enqueue(long, FIRST + COUNTED, LONG_MS);
  await enqueue(short, FIRST + COUNTED, SHORT_MS);
  const { worker } = waggle.startWorker({ concurrency: 4 });
  await until(() => starts.length >= FIRST + COUNTED);
  await worker.drain();
  return starts.slice(FIRST, FIRST + COUNTED);
}

test('run time that is charged counts between shards as it does inside one', async () => {
  waggle = await openTestWaggle({ handlers, shards: 2 });
  const [long = '', short = ''] = tenantsByShard(waggle.engine, 2);
  await waggle.engine.tenants.put('*', { chargeRunMs: 10 });
  const counted = await startsOfBoth(long, short);
  // A long one counts for 21 and a short one for two; on a machine with a lot to do, which makes both longer, for a few more.
  const ofLong = counted.filter((tenant) => tenant === long).length;
  expect((COUNTED - ofLong) / ofLong).toBeGreaterThan(3);
  // It is not shut out either.
  expect(ofLong).toBeGreaterThan(0);
  const { share } = (await waggle.engine.usage.of(long)).windows[2] ?? {};
  expect(share?.received).toBeGreaterThan(0.3);
  expect(share?.received).toBeLessThan(0.7);
});

test('where it is not charged, long and short jobs count the same', async () => {
  waggle = await openTestWaggle({ handlers, shards: 2 });
  const [long = '', short = ''] = tenantsByShard(waggle.engine, 2);
  const counted = await startsOfBoth(long, short);
  const ofLong = counted.filter((tenant) => tenant === long).length;
  expect(ofLong / COUNTED).toBeGreaterThan(0.4);
  expect(ofLong / COUNTED).toBeLessThan(0.6);
});
