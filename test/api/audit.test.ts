import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { freshRedisUrl } from '../support/redis.ts';
import { eventually } from '../support/eventually.ts';
import { ADMIN_TOKEN, startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { HOSTILE_IDS } from './support/hostile-ids.ts';
import { expectProblem } from './support/problems.ts';

let redis: Redis;
let api: Api;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl);
});
afterAll(async () => {
  await api.stop();
  redis.disconnect();
});

const audit = (query = ''): Promise<Answer> => api.admin('GET', `/v1/audit${query}`);
const entries = async (query = ''): Promise<any[]> => (await audit(query)).json.entries;
const shortly = (each: any): unknown[] => [each.action, each.target, each.status];

test('every act of administration leaves an entry, newest first', async () => {
  const settings = { weight: 3, maxRunning: 2 };
  const first = await api.admin('PUT', '/v1/tenants/acme', { body: settings });
  await api.admin('POST', '/v1/tenants/acme/pause', { body: { untilMs: 60_000 } });
  await api.admin('POST', '/v1/tenants/acme/resume');
  const key = (await api.admin('POST', '/v1/tenants/acme/keys', { body: { scopes: ['work'] } })).json;
  await api.admin('DELETE', `/v1/tenants/acme/keys/${key.id}`);
  await api.admin('PUT', '/v1/queues/mail', { body: { maxRunning: 1 } });
  await api.admin('DELETE', '/v1/queues/mail');
  await api.admin('PUT', '/v1/tenants/*', { body: {} });

  const { json, text } = await audit();
  expect(json.entries.map(shortly)).toEqual([
    ['putTenant', '/v1/tenants/*', 200],
    ['deleteQueue', '/v1/queues/mail', 204],
    ['putQueue', '/v1/queues/mail', 200],
    ['revokeApiKey', `/v1/tenants/acme/keys/${key.id}`, 204],
    ['createApiKey', '/v1/tenants/acme/keys', 201],
    ['resumeTenant', '/v1/tenants/acme/resume', 200],
    ['pauseTenant', '/v1/tenants/acme/pause', 200],
    ['putTenant', '/v1/tenants/acme', 200],
  ]);
  expect(json.entries.map((each: any) => each.tenant)).toEqual(['*', null, null, ...Array(5).fill('acme')]);
  expect(new Set(json.entries.map((each: any) => each.actor))).toEqual(new Set(['admin']));
  expect(json.entries.at(-1)).toMatchObject({
    requestId: first.headers['x-request-id'],
    detail: settings,
    id: expect.stringMatching(/^\d+-\d+$/),
  });
  expect(Math.abs(Date.parse(json.entries[0].at) - Date.now())).toBeLessThan(60_000);
  expect(json.entries[4].detail).toEqual({ id: key.id, scopes: ['work'], expiresAt: null });
  for (const secret of [ADMIN_TOKEN, key.secret.slice(4)]) expect(text).not.toContain(secret);
});

test('so does what fails, and what the admin does for a tenant; what it reads, and what tenants do, does not', async () => {
  await api.admin('PUT', '/v1/tenants/failing', { body: { weight: 0 } });
  await api.admin('PUT', '/v1/tenants/failing', {
    raw: '{"weight":',
    headers: { 'Content-Type': 'application/json' },
  });
  await api.admin('GET', '/v1/tenants/failing');
  const token = await api.key('failing');
  await api.call('POST', '/v1/jobs', { token, body: { task: 'echo' } });
  expectProblem(await api.call('PUT', '/v1/tenants/failing', { token, body: {} }), 403, 'forbidden');
  expectProblem(await api.call('PUT', '/v1/tenants/failing', { body: {} }), 401, 'unauthenticated');
  const headers = { 'X-Tenant-Id': 'failing' };
  const body = { task: 'echo', payload: { password: 'hunter2' } };
  const job = (await api.admin('POST', '/v1/jobs', { headers, body })).json;
  await api.admin('GET', '/v1/jobs', { headers });

  const { json, text } = await audit('?tenant=failing');
  expect(json.entries.map(shortly)).toEqual([
    ['enqueueJob', '/v1/jobs', 202],
    ['createApiKey', '/v1/tenants/failing/keys', 201],
    ['putTenant', '/v1/tenants/failing', 400],
    ['putTenant', '/v1/tenants/failing', 400],
  ]);
  expect(json.entries[0].detail).toEqual({ location: `/v1/jobs/${job.id}` });
  expect(json.entries.slice(2).map((each: any) => each.detail)).toEqual([
    { code: 'malformed_json' },
    { code: 'validation' },
  ]);
  expect(text).not.toContain('hunter2');
});

test('so does a login to the dashboard, and what is changed there', async () => {
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  await api.call('POST', '/dashboard/login', { raw: 'token=wrong', headers });
  await api.call('POST', '/dashboard/login', { raw: `token=${ADMIN_TOKEN}`, headers });
  await api.admin('GET', '/dashboard/api/queues');
  await api.admin('PUT', '/dashboard/api/queues/resume');
  await eventually('it is recorded', async () => (await entries('?action=dashboardWrite')).length === 1);
  expect((await entries('?limit=2')).map(shortly)).toEqual([
    ['dashboardWrite', '/dashboard/api/queues/resume', 200],
    ['dashboardLogin', '/dashboard/login', 303],
  ]);
});

test('pages go on where the one before ended, through filters as well', async () => {
  for (let n = 0; n < 25; n += 1) await api.admin('PUT', `/v1/tenants/paged-${n % 2}`, { body: {} });
  const seen: any[] = [];
  let cursor: string | null = null;
  do {
    const query = `?tenant=paged-1&action=putTenant&limit=5${cursor === null ? '' : `&cursor=${cursor}`}`;
    const { json }: Answer = await audit(query);
    expect(json.entries.length).toBeLessThanOrEqual(5);
    seen.push(...json.entries);
    cursor = json.nextCursor;
    // Acts that come in between are newer than all pages to come.
    await api.admin('PUT', '/v1/tenants/paged-0', { body: {} });
  } while (cursor !== null);
  expect(seen.length).toBe(12);
  expect(seen.map(({ id }) => id)).toEqual([...new Set(seen.map(({ id }) => id))]);
  expect(await entries('?tenant=__proto__')).toEqual([]);
});

test('a query that makes no sense is refused, and a tenant may not ask', async () => {
  for (const query of [
    'limit=0',
    'limit=201',
    'limit=x',
    'cursor=x',
    'cursor=-',
    'cursor=%2B',
    'tenant=',
    'who=me',
  ]) {
    expectProblem(await audit(`?${query}`), 400, 'validation');
  }
  const token = await api.key('acme');
  expectProblem(await api.call('GET', '/v1/audit', { token }), 403, 'forbidden');
});

test('nothing in a path or in settings makes an entry of any size', async () => {
  for (const odd of HOSTILE_IDS) {
    await api.admin('PUT', `/v1/tenants/${encodeURIComponent(odd)}`, { body: {} });
    const [entry] = await entries('?limit=1');
    expect(entry).toMatchObject({ action: 'putTenant', status: 400, tenant: null });
    expect(entry.target.length).toBeLessThanOrEqual(512);
  }
  const queues = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`queue-${n}`, { maxRunning: n }]));
  await api.admin('PUT', '/v1/tenants/large', { body: { queues } });
  expect(await entries('?limit=1')).toMatchObject([
    { tenant: 'large', status: 200, detail: { tooLong: true } },
  ]);
});

test('the record is bounded', async () => {
  const act = JSON.stringify({ actor: 'admin' });
  const lua = 'for i = 1, 101000 do redis.call("XADD", KEYS[1], "*", "act", ARGV[1]) end';
  await redis.eval(lua, 1, 'wg:audit', act);
  await api.admin('PUT', '/v1/tenants/acme', { body: {} });
  expect(await redis.xlen('wg:audit')).toBeLessThan(100_200);
  const [newest] = await entries('?limit=1');
  expect(newest.action).toBe('putTenant');
  // A rare one costs a call a bounded number of entries, and the caller more calls.
  const { json } = await audit('?tenant=nobody');
  expect(json.entries).toEqual([]);
  expect(json.nextCursor).not.toBeNull();
});

test('an act that cannot be recorded is answered, and said in the log', async () => {
  await redis.set('wg:audit', 'no stream');
  const { status } = await api.admin('PUT', '/v1/tenants/acme', { body: { weight: 7 } });
  expect(status).toBe(200);
  const line: any = await api.process.logged('an act could not be recorded');
  expect(line.act).toMatchObject({ action: 'putTenant', tenant: 'acme', detail: { weight: 7 } });
  expect((await api.admin('GET', '/v1/tenants/acme')).json.weight).toBe(7);
});
