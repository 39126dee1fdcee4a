import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';

let api: Api;
let redisUrl: string;
let worker: EntryProcess;
let token: string;
const HOUR = 3_600_000;
/** Still longer than a machine with a lot to do keeps a worker that lives from renewing its locks. */
const LOST_SOON = { WORKER_LOCK_MS: '6000', WORKER_STALLED_MS: '1000' };
/** A queue that no worker serves. */
const queue = 'idle';

beforeAll(async () => {
  redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl, LOST_SOON);
  token = await api.key('acme');
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
});

const call = (method: string, path: string, body?: unknown): Promise<Answer> =>
  api.call(method, path, { token, ...(body === undefined ? {} : { body }) });
async function batch(count: number, job: Record<string, unknown>): Promise<string[]> {
  const jobs = Array.from({ length: count }, () => ({ task: 'echo', ...job }));
  const { results } = (await call('POST', '/v1/jobs/batch', { jobs })).json;
  return results.map(({ id }: { id: string }) => id);
}
const get = async (id: string, wait = 0): Promise<any> =>
  (await call('GET', `/v1/jobs/${id}?wait=${wait}`)).json;
async function states(ids: string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const id of ids) {
    const { state } = await get(id);
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return counts;
}
/** Starts it, and gives the job that did it when it has ended. */
async function done(path: string, body: object): Promise<any> {
  const answer = await call('POST', path, body);
  expect(answer.status).toBe(202);
  expect(answer.headers['location']).toBe(`/v1/jobs/${answer.json.job.id}`);
  return get(answer.json.job.id, 60);
}

test('all waiting jobs of a filter are cancelled, and no others', async () => {
  const wanted = await batch(230, { queue, tags: ['old'], delayMs: HOUR });
  const others = await batch(5, { queue, tags: ['new'], delayMs: HOUR });
  const foreign = await api.call('POST', '/v1/jobs', {
    token: await api.key('other'),
    body: { task: 'echo', queue, tags: ['old'], delayMs: HOUR },
  });
  const dry = await call('POST', '/v1/jobs/bulk/cancel', { filter: { tag: 'old' }, dryRun: true });
  expect(dry).toMatchObject({ status: 200, json: { matched: 230, isExact: true, job: null } });
  expect(await states(wanted.slice(0, 3))).toEqual({ delayed: 3 });
  const job = await done('/v1/jobs/bulk/cancel', { filter: { tag: 'old' }, reason: 'outdated' });
  expect(job).toMatchObject({
    task: 'jobs.bulk',
    state: 'completed',
    result: { done: 230, skipped: 0 },
    progress: { done: 230, skipped: 0 },
  });
  expect(await states(wanted)).toEqual({ cancelled: 230 });
  expect((await get(wanted[0] ?? '')).error.message).toBe('outdated');
  expect(await states(others)).toEqual({ delayed: 5 });
  const its = await api.call('GET', `/v1/jobs/${foreign.json.id}`, { token: await api.key('other') });
  expect(its.json.state).toBe('delayed');
});

test('all jobs without a filter, running ones as well, but not the one that does it', async () => {
  const tenant = await api.key('all');
  const start = async (body: object): Promise<string> =>
    (await api.call('POST', '/v1/jobs', { token: tenant, body })).json.id;
  const running = await start({ task: 'sleep', payload: { ms: 60_000 } });
  const waiting = await start({ task: 'echo', queue });
  const look = async (id: string, wait = 0): Promise<any> =>
    (await api.call('GET', `/v1/jobs/${id}?wait=${wait}`, { token: tenant })).json;
  while ((await look(running)).state !== 'active');
  const answer = await api.call('POST', '/v1/jobs/bulk/cancel', { token: tenant, body: { filter: {} } });
  expect(answer.json).toMatchObject({ matched: 2, isExact: true });
  expect(await look(answer.json.job.id, 60)).toMatchObject({ state: 'completed', result: { done: 2 } });
  expect([(await look(running, 30)).state, (await look(waiting)).state]).toEqual(['cancelled', 'cancelled']);
});

test('what failed is listed, and runs again at a rate, once', async () => {
  const ids = await batch(12, { task: 'fail', payload: { message: 'no' }, attempts: 1 });
  const fine = await batch(1, {});
  for (const id of [...ids, ...fine]) await get(id, 60);
  const [cancelled] = await batch(1, { queue });
  await call('POST', `/v1/jobs/${cancelled}/cancel`);
  const letters = await call('GET', '/v1/dead-letters?limit=200');
  expect(letters.json.jobs.map(({ id }: { id: string }) => id)).toEqual([...ids].reverse());
  expect((await call('GET', '/v1/dead-letters?task=echo')).json.jobs).toEqual([]);
  const dry = await call('POST', '/v1/dead-letters/redrive', { dryRun: true });
  expect(dry.json).toMatchObject({ matched: 12, isExact: true, job: null });
  const startedAt = performance.now();
  const job = await done('/v1/dead-letters/redrive', { filter: { task: 'fail' }, ratePerSecond: 10 });
  expect(job).toMatchObject({ state: 'completed', result: { done: 12, skipped: 0 } });
  // One goes at once, eleven have to wait a tenth of a second each.
  expect(performance.now() - startedAt).toBeGreaterThan(1090);
  for (const id of ids) expect(await get(id, 60)).toMatchObject({ state: 'failed', attempts: { made: 1 } });
});

test('a tenant that may have no more jobs waiting can still cancel them, but not give orders without end', async () => {
  const tenant = await api.key('full');
  await api.admin('PUT', '/v1/tenants/full', { body: { maxWaiting: 5 } });
  const jobs = Array.from({ length: 6 }, () => ({ task: 'echo', queue, delayMs: HOUR }));
  const filled = await api.call('POST', '/v1/jobs/batch', { token: tenant, body: { jobs } });
  expect(filled.json.results[5].problem.code).toBe('queue_full');
  const cancel = (): Promise<Answer> =>
    api.call('POST', '/v1/jobs/bulk/cancel', { token: tenant, body: { filter: { queue } } });
  await api.admin('POST', '/v1/tenants/full/pause', { body: {} });
  const retry = await api.call('POST', '/v1/jobs/bulk/retry', { token: tenant, body: { filter: { queue } } });
  expectProblem(retry, 429, 'queue_full');
  const orders: Answer[] = [];
  for (let n = 0; n < 11; n += 1) orders.push(await cancel());
  expect(orders.map(({ status }) => status)).toEqual([...Array.from({ length: 10 }, () => 202), 429]);
  await api.admin('POST', '/v1/tenants/full/resume');
  const ended = await api.call('GET', `/v1/jobs/${orders[0]?.json.job.id}?wait=60`, { token: tenant });
  expect(ended.json.state).toBe('completed');
  for (const { id } of filled.json.results.slice(0, 5)) {
    const job = await api.call('GET', `/v1/jobs/${id}?wait=60`, { token: tenant });
    expect(job.json.state).toBe('cancelled');
  }
});

test('cancelling goes before what it cancels, however much of it waits', async () => {
  const tenant = await api.key('busy');
  const jobs = Array.from({ length: 300 }, () => ({ task: 'sleep', payload: { ms: 2000 } }));
  await api.call('POST', '/v1/jobs/batch', { token: tenant, body: { jobs } });
  const body = { filter: { task: 'sleep' }, graceMs: 0 };
  const { job } = (await api.call('POST', '/v1/jobs/bulk/cancel', { token: tenant, body })).json;
  const ended = await api.call('GET', `/v1/jobs/${job.id}?wait=60`, { token: tenant });
  expect(ended.json).toMatchObject({ state: 'completed', priority: 9 });
  // Ten run at a time, and it starts after two rounds of them at most.
  expect(ended.json.result.done).toBeGreaterThan(150);
});

test('work at a low rate is reported on, and goes on with its count after a crash', async () => {
  const crash = await api.key('crash');
  const as = async (method: string, path: string, body?: unknown): Promise<any> =>
    (await api.call(method, path, { token: crash, ...(body === undefined ? {} : { body }) })).json;
  const jobs = Array.from({ length: 60 }, () => ({ task: 'echo', queue, delayMs: HOUR }));
  await as('POST', '/v1/jobs/batch', { jobs });
  const cancelling = (await as('POST', '/v1/jobs/bulk/cancel', { filter: { queue } })).job;
  expect((await as('GET', `/v1/jobs/${cancelling.id}?wait=60`)).result).toEqual({ done: 60, skipped: 0 });

  const { job } = await as('POST', '/v1/jobs/bulk/retry', { filter: { queue }, ratePerSecond: 6 });
  let before: any;
  do before = await as('GET', `/v1/jobs/${job.id}`);
  while ((before.progress?.done ?? 0) < 5 && before.finishedAt === null);
  expect(before).toMatchObject({ state: 'active', finishedAt: null });
  expect(before.progress.done).toBeLessThan(60);
  worker.child.kill('SIGKILL');
  await worker.exited;
  worker = startWorker(redisUrl, LOST_SOON);
  const after = await as('GET', `/v1/jobs/${job.id}?wait=60`);
  expect(after).toMatchObject({ state: 'completed', attempts: { made: 1 }, result: { skipped: 0 } });
  // It lacks what was done between the last report and the end of the worker, which is a second's work.
  expect(after.result.done).toBeGreaterThan(40);
  expect(after.result.done).toBeLessThanOrEqual(60);
  const waiting = await as('GET', `/v1/jobs?queue=${queue}&state=waiting&limit=200`);
  expect(waiting.jobs).toHaveLength(60);
});

test('jobs that failed or were cancelled run again, by the state asked for', async () => {
  const [ended] = await batch(1, { queue, tags: ['again'] });
  await call('POST', `/v1/jobs/${ended}/cancel`);
  const [failed] = await batch(1, { task: 'fail', tags: ['again'], payload: { times: 1 }, attempts: 1 });
  await get(failed ?? '', 60);
  const wrong = await call('POST', '/v1/jobs/bulk/retry', {
    filter: { tag: 'again', state: 'completed' },
    dryRun: true,
  });
  expect(wrong.json).toMatchObject({ matched: 0 });
  const job = await done('/v1/jobs/bulk/retry', { filter: { tag: 'again' } });
  expect(job.result).toEqual({ done: 2, skipped: 0 });
  expect((await get(ended ?? '')).state).toBe('waiting');
  expect((await get(failed ?? '', 60)).state).toBe('failed');
});

test.each([
  ['/v1/jobs/bulk/cancel', {}, 'filter'],
  ['/v1/jobs/bulk/cancel', { filter: { state: 'gone' } }, 'filter.state'],
  ['/v1/jobs/bulk/retry', { filter: { limit: 5 } }, 'filter.limit'],
  ['/v1/jobs/bulk/retry', { filter: {}, ratePerSecond: 0 }, 'ratePerSecond'],
  ['/v1/dead-letters/redrive', { filter: {}, ratePerSecond: 1e-200 }, 'ratePerSecond'],
  ['/v1/dead-letters/redrive', { filter: { state: 'failed' } }, 'filter.state'],
])('%s refuses %j', async (path, body, field) => {
  const answer = await call('POST', path, body);
  expectProblem(answer, 400, 'validation');
  expect(JSON.stringify(answer.json.errors)).toContain(field);
});
