import { afterEach, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { defineTask } from '../../queues/tasks/define-task.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { handle } from '../../workers/handlers/registry.ts';
import { latch, median, openTestWaggle, until } from './support.ts';
import type { TestWaggle } from './support.ts';
import { freePort } from '../support/ports.ts';

const step = defineTask({ name: 'step', payload: z.unknown(), defaults: { attempts: 1 } });

let folder: string;
let redis: EmbeddedRedis | undefined;
let waggle: TestWaggle | undefined;

afterEach(async () => {
  await waggle?.close();
  await redis?.stop();
  await rm(folder, { recursive: true, force: true });
});

test('a worker goes on by itself after Redis was away, and a result from meanwhile is recorded', async () => {
  folder = await mkdtemp(join(tmpdir(), 'waggle-outage-'));
  const extraArgs = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder];
  const port = await freePort();
  redis = await startEmbeddedRedis({ port, extraArgs });
  const { url } = redis;
  const gate = latch();
  const handlers = [
    handle(step, (ctx) => (ctx.job.payload === 'during' ? gate.opened.then(() => 'kept') : 'ok')),
  ];
  waggle = await openTestWaggle({ handlers, redisUrl: url, shards: 2 });
  const { worker, metrics } = waggle.startWorker({ concurrency: 3 });
  const before = await waggle.enqueue('acme', 'step', 'before');
  expect(await waggle.finished('acme', before)).toMatchObject({ state: 'completed' });
  const during = await waggle.enqueue('acme', 'step', 'during');
  await until(() => worker.active === 1);

  await redis.stop();
  await until(async () => (await worker.notReady()) === 'redis is not available');
  gate.open();
  const claimsWhenGone = await claims(metrics);
  redis = await startEmbeddedRedis({ port, extraArgs });
  await until(async () => (await worker.notReady()) === null);

  expect(await waggle.finished('acme', during)).toMatchObject({
    state: 'completed',
    result: 'kept',
    attempts: { made: 1 },
  });
  const tookMs: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const sentAt = performance.now();
    const after = await waggle.enqueue('acme', 'step', 'after');
    expect(await waggle.finished('acme', after)).toMatchObject({ state: 'completed' });
    tookMs.push(performance.now() - sentAt);
  }
  // Work is heard of again, not found by the poll.
  expect(median(tookMs)).toBeLessThan(2500);
  // Nothing was tried over and over while there was nobody to ask.
  expect((await claims(metrics)) - claimsWhenGone).toBeLessThan(60);
});

async function claims(metrics: {
  claims: { get(): Promise<{ values: { value: number }[] }> };
}): Promise<number> {
  return (await metrics.claims.get()).values.reduce((sum, { value }) => sum + value, 0);
}
