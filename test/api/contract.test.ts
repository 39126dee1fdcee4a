import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';

/** What the contract shows of bodies, as it shows them. Nobody runs the jobs. */

let api: Api;
let token: string;

beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
  token = await api.key('acme');
});
afterAll(() => api.stop());

const dedupe = { id: 'x', ttlMs: 5000, mode: 'first' };
const node = {
  task: 'echo',
  payload: { any: 'json' },
  queue: 'default',
  key: 'session-42',
  keyStrategy: 'queue',
  keyLimit: 1,
  priority: 0,
  delayMs: 0,
  runAt: '2026-12-01T00:00:00Z',
  attempts: 3,
  backoff: { type: 'exponential', delayMs: 1000, maxDelayMs: 60000, jitter: 0.5 },
  timeoutMs: 30000,
  ttlMs: 3600000,
  tags: ['a'],
  correlationId: 'abc',
  retainMs: { completed: 86400000, failed: 604800000 },
};
const job = { ...node, dedupe };
// A node with children starts when they have ended.
const { runAt, ...parent } = node;

const post = (path: string, body: unknown): Promise<Answer> => api.call('POST', path, { token, body });

test('the job of the contract is taken, all of its fields together', async () => {
  const answer = await post('/v1/jobs', job);
  expect([answer.status, answer.text]).toEqual([202, answer.text]);
  expect(answer.json).toMatchObject({
    task: 'echo',
    payload: { any: 'json' },
    queue: 'default',
    key: 'session-42',
    priority: 0,
    attempts: { made: 0, max: 3 },
    tags: ['a'],
    correlationId: 'abc',
  });
  expect(Date.parse(answer.json.runAt)).toBeGreaterThanOrEqual(Date.parse(runAt));
});

test('so it is in a batch, as a line and as a node of a flow', async () => {
  const batch = await post('/v1/jobs/batch', { jobs: [job, { ...job, dedupe: { ...dedupe, id: 'y' } }] });
  expect(batch.status).toBe(202);
  expect(batch.json.results).toEqual([
    { index: 0, id: expect.any(String) },
    { index: 1, id: expect.any(String) },
  ]);
  const lines = await api.call('POST', '/v1/jobs/batch', {
    token,
    raw: `${JSON.stringify(job)}\n`,
    headers: { 'Content-Type': 'application/x-ndjson' },
  });
  expect(JSON.parse(lines.text)).toEqual({ index: 0, id: expect.any(String) });
  for (const tree of [node, { ...parent, children: [node, node], onChildFailure: 'fail' }]) {
    const answer = await post('/v1/flows', { tree });
    expect([answer.status, answer.text]).toEqual([202, answer.text]);
    expect(answer.json).toEqual({ id: expect.any(String), jobs: expect.any(Object) });
  }
});

test('what a key has anyway may be said of a job without one', async () => {
  const unkeyed = { task: 'echo', keyStrategy: 'queue', keyLimit: 1 };
  expect(await post('/v1/jobs', unkeyed)).toMatchObject({ status: 202, json: { key: null } });
  const batch = await post('/v1/jobs/batch', { jobs: [unkeyed] });
  expect(batch.json.results).toEqual([{ index: 0, id: expect.any(String) }]);
  expect((await post('/v1/flows', { tree: { ...unkeyed, children: [unkeyed] } })).status).toBe(202);
  const refused = await post('/v1/jobs', { ...unkeyed, keyLimit: 2 });
  expect(refused).toMatchObject({ status: 400, json: { errors: [{ path: 'keyLimit' }] } });
});

test.each([
  ['sleep', { ms: 10 }],
  ['fail', { message: 'as asked', times: 2 }],
  ['http.request', { url: 'https://example.org/', method: 'POST', headers: { accept: '*/*' }, body: 'text' }],
])('the payload of %s is taken', async (task, payload) => {
  expect(await post('/v1/jobs', { task, payload })).toMatchObject({ status: 202, json: { task, payload } });
});

test('what is done to jobs is said as the contract says it', async () => {
  const { json } = await post('/v1/jobs', { task: 'echo', delayMs: 3_600_000 });
  const patch = { priority: 9, runAt, payload: { any: 'other' } };
  const patched = await api.call('PATCH', `/v1/jobs/${json.id}`, { token, body: patch });
  expect(patched).toMatchObject({ status: 200, json: { priority: 9, payload: { any: 'other' } } });
  const cancelled = await post(`/v1/jobs/${json.id}/cancel`, { reason: 'no longer wanted', graceMs: 5000 });
  expect(cancelled).toMatchObject({ status: 200, json: { state: 'cancelled' } });
  const filter = {
    state: 'cancelled',
    task: 'echo',
    queue: 'default',
    key: 'k',
    tag: 'a',
    correlationId: 'abc',
  };
  for (const path of ['/v1/jobs/bulk/cancel', '/v1/jobs/bulk/retry']) {
    expect(await post(path, { filter, dryRun: true })).toMatchObject({ status: 200, json: { matched: 0 } });
  }
});

test('so is what the admin does to a tenant', async () => {
  const rate = { limit: 50, periodMs: 1000, burst: 10 };
  const settings = {
    weight: 1,
    maxRunning: null,
    rate,
    maxWaiting: null,
    paused: false,
    queues: { mail: { weight: 2, maxRunning: 3, rate } },
  };
  const put = await api.admin('PUT', '/v1/tenants/globex', { body: settings });
  expect(put).toMatchObject({ status: 200, json: settings });
  const paused = await api.admin('POST', '/v1/tenants/globex/pause', { body: { untilMs: 60_000 } });
  expect(paused).toMatchObject({ status: 200, json: { paused: true } });
  expect((await api.admin('POST', '/v1/tenants/globex/resume')).json.paused).toBe(false);
  const key = { scopes: ['jobs:read', 'work'], expiresAt: '2126-12-01T00:00:00.000Z' };
  const made = await api.admin('POST', '/v1/tenants/globex/keys', { body: key });
  expect(made).toMatchObject({ status: 201, json: { ...key, secret: expect.any(String) } });
});
