import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { shardOf } from '../../queues/topology/shard-of.ts';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { HOSTILE_IDS } from './support/hostile-ids.ts';
import { expectProblem } from './support/problems.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';

let redis: Redis;
let api: Api;
let worker: EntryProcess;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl, { WORKER_CONCURRENCY: '1' });
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
  redis.disconnect();
});

const remove = (tenant: string, query = ''): Promise<Answer> =>
  api.admin('DELETE', `/v1/tenants/${tenant}${query}`);
const post = (tenant: string, body: object, headers = {}): Promise<Answer> =>
  api.admin('POST', '/v1/jobs', { headers: { 'X-Tenant-Id': tenant, ...headers }, body });
const jobs = async (tenant: string): Promise<any[]> =>
  (await api.admin('GET', '/v1/jobs', { headers: { 'X-Tenant-Id': tenant } })).json.jobs;
const get = async (tenant: string): Promise<any> => (await api.admin('GET', `/v1/tenants/${tenant}`)).json;

test('a tenant that is deleted loses its settings and keys; its jobs stay', async () => {
  await api.admin('PUT', '/v1/tenants/plain', { body: { weight: 4, paused: true } });
  const token = await api.key('plain');
  const { id } = (await post('plain', { task: 'echo', payload: 1 })).json;
  const answer = await remove('plain');
  expect([answer.status, answer.text]).toEqual([204, '']);
  expectProblem(await api.call('GET', '/v1/jobs', { token }), 401, 'unauthenticated');
  expect((await api.admin('GET', '/v1/tenants/plain/keys')).json).toEqual({ keys: [] });
  expect(await get('plain')).toMatchObject({ weight: 1, paused: false, configured: false, createdAt: null });
  expect((await api.admin('GET', '/v1/tenants')).json.tenants).toEqual([]);
  // The pause went with the settings.
  const headers = { 'X-Tenant-Id': 'plain' };
  expect((await api.admin('GET', `/v1/jobs/${id}?wait=60`, { headers })).json.state).toBe('completed');
  expect((await remove('plain', '?purge=false')).status).toBe(204);
});

test('one that is purged loses everything, what runs is cancelled where it runs', async () => {
  await api.admin('PUT', '/v1/tenants/purged', { body: { weight: 4 } });
  const token = await api.key('purged');
  const done = (await post('purged', { task: 'echo' }, { Prefer: 'wait=60' })).json;
  expect(done.state).toBe('completed');
  const sleeper = (await post('purged', { task: 'sleep', payload: { ms: 600_000 } })).json;
  await eventually('it runs', async () => (await jobs('purged')).some(({ state }) => state === 'active'));
  await post('purged', { task: 'echo', delayMs: 3_600_000 });
  const tree = { task: 'echo', children: [{ task: 'echo' }, { task: 'echo' }] };
  await api.admin('POST', '/v1/flows', { headers: { 'X-Tenant-Id': 'purged' }, body: { tree } });
  expect((await jobs('purged')).length).toBe(6);

  // What takes longer than one request is gone on with by the next.
  await eventually('it is purged', async () => (await remove('purged', '?purge=true')).status === 204);
  expect(await jobs('purged')).toEqual([]);
  const headers = { 'X-Tenant-Id': 'purged' };
  expectProblem(await api.admin('GET', `/v1/jobs/${sleeper.id}`, { headers }), 404, 'not_found');
  expectProblem(await api.call('GET', '/v1/jobs', { token }), 401, 'unauthenticated');
  const usage = (await api.admin('GET', '/v1/tenants/purged/usage')).json;
  expect(usage.queues).toEqual({});
  // The worker's only slot is free again.
  const { json } = await post('other', { task: 'echo', payload: 'next' }, { Prefer: 'wait=60' });
  expect(json).toMatchObject({ state: 'completed', result: 'next' });
  const [entry] = (await api.admin('GET', '/v1/audit?tenant=purged&limit=1')).json.entries;
  expect(entry).toMatchObject({ action: 'deleteTenant', status: 204, detail: { purge: true } });
});

test('a purge that is not done is gone on with by workers, and tells how far it is', async () => {
  await api.admin('PUT', '/v1/tenants/slow', { body: { paused: true } });
  for (let n = 0; n < 3; n += 1) await post('slow', { task: 'echo' });
  // As if another process were at it.
  const lease = `{wg:${shardOf('slow', 4)}}::purge:slow`;
  await redis.set(lease, 'somebody', 'PX', 60_000);
  const answer = await remove('slow', '?purge=true');
  expect([answer.status, answer.json]).toEqual([202, { tenant: 'slow', removed: 0, remaining: 3 }]);
  // It dies.
  await redis.del(lease);
  await eventually('the worker has removed it', async () => (await jobs('slow')).length === 0);
  await eventually('it is no longer known', async () => !(await get('slow')).paused);
});

test('what is no tenant is not found, and the defaults of all own nothing', async () => {
  for (const odd of HOSTILE_IDS) {
    const id = encodeURIComponent(odd);
    expectProblem(await remove(id), 404, 'not_found');
    expectProblem(await remove(id, '?purge=true'), 404, 'not_found');
  }
  expectProblem(await remove('*', '?purge=true'), 400, 'validation');
  for (const query of ['purge=', 'purge=yes', 'purge=true&purge=true', 'force=1']) {
    expectProblem(await remove('acme', `?${query}`), 400, 'validation');
  }
  await api.admin('PUT', '/v1/tenants/*', { body: { maxWaiting: 7 } });
  expect((await remove('*')).status).toBe(204);
  expect((await get('anybody')).maxWaiting).toBeNull();
});
