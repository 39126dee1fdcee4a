import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { send, startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { parseMetrics, valueOf } from './support/metrics.ts';
import type { Sample } from './support/metrics.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';
import { freePort } from '../support/ports.ts';

let api: Api;
let redisUrl: string;
let worker: EntryProcess | undefined;

beforeAll(async () => {
  redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
});
afterAll(async () => {
  await Promise.all([api.stop(), worker?.stop()]);
});

async function scrape(port = api.port): Promise<Sample[]> {
  const answer = await send(port, 'GET', '/metrics', {});
  expect(answer.status).toBe(200);
  return parseMetrics(answer.text);
}

async function scrapedUntil(what: string, holds: (samples: Sample[]) => boolean): Promise<Sample[]> {
  let samples: Sample[] = [];
  await eventually(what, async () => holds((samples = await scrape())));
  return samples;
}

const jobs = (samples: Sample[], state: string): number | undefined =>
  valueOf(samples, 'waggle_queue_jobs', { queue: 'default', state });

test('the numbers are those of the work that was done', async () => {
  const post = (tenant: string, body: object) =>
    api.admin('POST', '/v1/jobs', { headers: { 'X-Tenant-Id': tenant }, body: { task: 'echo', ...body } });
  await api.admin('PUT', '/v1/tenants/held', { body: { paused: true } });
  for (let n = 0; n < 5; n += 1) await post('acme', { priority: n });
  for (let n = 0; n < 2; n += 1) await post('held', {});
  await post('acme', { delayMs: 3_600_000 });
  await post('acme', { task: 'nobody-knows' });

  const before = await scrapedUntil('all is in the queue', (samples) => jobs(samples, 'waiting') === 7);
  expect(jobs(before, 'delayed')).toBe(1);
  expect(jobs(before, 'completed')).toBe(0);
  const tenants = (state: string) => valueOf(before, 'waggle_queue_tenants', { queue: 'default', state });
  expect([tenants('runnable'), tenants('held')]).toEqual([1, 1]);
  const oldest = valueOf(before, 'waggle_queue_oldest_waiting_seconds', { queue: 'default' }) ?? 0;
  expect(oldest).toBeGreaterThan(0);
  expect(oldest).toBeLessThan(60);
  expect(valueOf(before, 'waggle_redis_up')).toBe(1);
  expect(valueOf(before, 'waggle_redis_connected', { connection: 'commands' })).toBe(1);
  const requests = (status: string) =>
    valueOf(before, 'waggle_http_request_duration_seconds_count', {
      route: '/v1/jobs',
      method: 'POST',
      status,
    });
  expect([requests('202'), requests('422')]).toEqual([8, 1]);
  expect(valueOf(before, 'nodejs_eventloop_lag_seconds')).toBeGreaterThanOrEqual(0);

  const port = await freePort();
  worker = startWorker(redisUrl, { WORKER_PORT: String(port) });
  await worker.logged('worker is running');
  const after = await scrapedUntil('what may run has run', (samples) => jobs(samples, 'completed') === 5);
  expect([jobs(after, 'waiting'), jobs(after, 'active')]).toEqual([2, 0]);

  let own: Sample[] = [];
  // It counts when the answer of Redis is back, which a scrape may overtake.
  await eventually('the worker has counted them', async () => {
    own = await scrape(port);
    const labels = { task: 'echo', outcome: 'complete' };
    return (valueOf(own, 'waggle_worker_jobs_finished_total', labels) ?? 0) >= 5;
  });
  expect(valueOf(own, 'waggle_worker_jobs_finished_total', { task: 'echo', outcome: 'complete' })).toBe(5);
  expect(valueOf(own, 'waggle_worker_job_run_seconds_count', { task: 'echo' })).toBe(5);
  expect(valueOf(own, 'waggle_worker_job_wait_seconds_count', { queue: 'default' })).toBe(5);
  expect(valueOf(own, 'waggle_worker_claims_total', { result: 'job' })).toBe(5);
  expect(valueOf(own, 'waggle_worker_claims_total', { result: 'empty' })).toBeGreaterThan(0);
  expect(valueOf(own, 'waggle_worker_wake_ups_total', { by: 'start' })).toBe(4);
  for (const connection of ['jobs', 'doorbell', 'subscriber', 'commands'])
    expect(valueOf(own, 'waggle_redis_connected', { connection })).toBe(1);
  expect(valueOf(own, 'waggle_worker_slots_repaired_total')).toBe(0);
  expect(valueOf(own, 'waggle_worker_jobs_recovered_total')).toBe(0);
  expect(valueOf(own, 'nodejs_eventloop_lag_seconds')).toBeGreaterThanOrEqual(0);
});

test('a worker that is woken says by what, and whether there was anything to do', async () => {
  const port = await freePort();
  const redis = await freshRedisUrl();
  const [lone, own] = [await startApi(redis), startWorker(redis, { WORKER_PORT: String(port) })];
  try {
    await own.logged('worker is running');
    const wakeUps = async (by: string, result: string): Promise<number> =>
      valueOf(await scrape(port), 'waggle_worker_wake_ups_total', { by, result }) ?? 0;
    await eventually('all shards are idle', async () => (await wakeUps('start', 'empty')) === 4);
    const rung = await wakeUps('ring', 'job');
    const headers = { 'X-Tenant-Id': 'acme', Prefer: 'wait=60' };
    // Again where it happened to look at the very moment the job came.
    await eventually('a job wakes it', async () => {
      await lone.admin('POST', '/v1/jobs', { headers, body: { task: 'echo' } });
      return (await wakeUps('ring', 'job')) > rung;
    });
    // Nobody rings: the worker looks by itself now and then.
    await eventually('it has looked in vain', async () => (await wakeUps('poll', 'empty')) > 0);
  } finally {
    await Promise.all([lone.stop(), own.stop()]);
  }
});

test('any number of queues makes a bounded number of series, and those with workers are among them', async () => {
  const body = {
    jobs: Array.from({ length: 60 }, (_, n) => ({ task: 'echo', queue: `a-${n}`, delayMs: 3_600_000 })),
  };
  await api.admin('POST', '/v1/jobs/batch', { headers: { 'X-Tenant-Id': 'many' }, body });
  const samples = await scrapedUntil(
    'queues are seen',
    (seen) => valueOf(seen, 'waggle_queue_jobs', { queue: 'a-1' }) !== undefined,
  );
  const queues = new Set(samples.flatMap(({ labels }) => labels['queue'] ?? []));
  expect(queues.size).toBe(50);
  expect(queues.has('default')).toBe(true);
});

test('while Redis is away the rest is still there', async () => {
  const redis = await startEmbeddedRedis();
  const lone = await startApi(redis.url);
  await redis.stop();
  await eventually('Redis is missed', async () => valueOf(await scrape(lone.port), 'waggle_redis_up') === 0);
  const samples = await scrape(lone.port);
  expect(valueOf(samples, 'waggle_queue_jobs')).toBeUndefined();
  expect(valueOf(samples, 'waggle_redis_connected', { connection: 'commands' })).toBe(0);
  expect(valueOf(samples, 'process_cpu_seconds_total')).toBeGreaterThan(0);
  await lone.stop();
});
