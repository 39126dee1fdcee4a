import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';

let api: Api;
let worker: EntryProcess;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
});

const usageOf = (tenant: string): Promise<Answer> => api.admin('GET', `/v1/tenants/${tenant}/usage`);

async function enqueue(token: string, jobs: object[]): Promise<void> {
  const answer = await api.call('POST', '/v1/jobs/batch', { token, body: { jobs } });
  expect(answer.status).toBe(202);
}

test('a tenant that never did anything has its limits, and nulls where nothing happened', async () => {
  await api.admin('PUT', '/v1/tenants/quiet', { body: { weight: 3, maxRunning: 5 } });
  const answer = await usageOf('quiet');
  expect(answer.status).toBe(200);
  const {
    id: _id,
    createdAt: _created,
    updatedAt: _updated,
    ...limits
  } = (await api.admin('GET', '/v1/tenants/quiet')).json;
  expect(answer.json).toMatchObject({ tenant: 'quiet', limits, queues: {} });
  expect(answer.json.windows).toHaveLength(3);
  for (const window of answer.json.windows) {
    expect(window).toMatchObject({ started: 0, finished: { completed: 0, failed: 0 } });
    expect(window.waitMs).toEqual({ p50: null, p95: null, p99: null });
  }
});

test('what was started, finished and waited for is told to the tenant and to the admin alike', async () => {
  const token = await api.key('acme');
  const jobs = Array.from({ length: 20 }, (_, payload) => ({ task: 'echo', payload }));
  const failing = {
    task: 'fail',
    payload: { message: 'no', times: 9 },
    attempts: 2,
    backoff: { type: 'fixed', delayMs: 1 },
  };
  await enqueue(token, [...jobs, failing, { task: 'echo', delayMs: 3_600_000 }]);
  await eventually('all of it is booked', async () => {
    const [{ finished }] = (await usageOf('acme')).json.windows;
    return finished.completed + finished.failed === 21;
  });

  let own!: Answer;
  // Unless a minute of Redis ends between them.
  await eventually('all three say the same', async () => {
    own = await api.call('GET', '/v1/me', { token });
    const headers = { 'X-Tenant-Id': 'acme' };
    const others = [await usageOf('acme'), await api.admin('GET', '/v1/me', { headers })];
    return others.every(({ json }) => isDeepStrictEqual(json, own.json));
  });
  expect(own.json.queues).toEqual({ default: { waiting: 0, delayed: 1, active: 0 } });
  expect(own.json.blockedBy).toMatchObject({ delayed: 1, tenant_paused: 0 });
  expect(own.json.windows.map((window: { windowMs: number }) => window.windowMs)).toEqual([
    60_000, 300_000, 3_600_000,
  ]);
  for (const window of own.json.windows) {
    // The second attempt is another start, and tells nothing about waiting.
    expect(window).toMatchObject({ started: 22, finished: { completed: 20, failed: 1 } });
    expect(window.share).toEqual({ received: 1, entitled: 1 });
    const { p50, p95, p99 } = window.waitMs;
    expect([p50 >= 0, p50 <= p95, p95 <= p99]).toEqual([true, true, true]);
    expect(Date.parse(window.since)).toBeLessThanOrEqual(Date.now() - window.windowMs);
  }
});

test('what waits is counted by what holds it', async () => {
  const token = await api.key('held');
  await api.admin('POST', '/v1/tenants/held/pause', { body: {} });
  await enqueue(
    token,
    Array.from({ length: 5 }, () => ({ task: 'echo' })),
  );
  const { json } = await api.call('GET', '/v1/me', { token });
  expect(json.queues).toEqual({ default: { waiting: 5, delayed: 0, active: 0 } });
  expect(json.blockedBy).toEqual({
    tenant_paused: 5,
    tenant_concurrency: 0,
    tenant_rate: 0,
    key: 0,
    queue_paused: 0,
    queue_concurrency: 0,
    delayed: 0,
  });
  expect(json.limits).toMatchObject({ paused: true, pausedUntil: null });
});

test('there is no usage of what is no tenant, nor for a query nobody knows', async () => {
  for (const name of ['*', 'UPPER', 'a%3Ab', 'x'.repeat(64)])
    expectProblem(await usageOf(name), 404, 'not_found');
  expectProblem(await api.admin('GET', '/v1/tenants/acme/usage?window=1'), 400, 'validation');
});
