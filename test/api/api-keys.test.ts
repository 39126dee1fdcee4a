import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { HOSTILE_IDS } from './support/hostile-ids.ts';
import { soonExpiringKey } from './support/keys.ts';
import { expectProblem } from './support/problems.ts';

let api: Api;
let elsewhere: Api;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  [api, elsewhere] = await Promise.all([startApi(redisUrl), startApi(redisUrl)]);
});
afterAll(() => Promise.all([api.stop(), elsewhere.stop()]));

const make = async (tenant: string, body: object = {}): Promise<{ id: string; secret: string }> =>
  (await api.admin('POST', `/v1/tenants/${tenant}/keys`, { body })).json;
const list = (tenant: string): Promise<Answer> => api.admin('GET', `/v1/tenants/${tenant}/keys`);
const listed = async (tenant: string): Promise<any[]> => (await list(tenant)).json.keys;
const revoke = (tenant: string, id: string): Promise<Answer> =>
  api.admin('DELETE', `/v1/tenants/${tenant}/keys/${id}`);
const opens = async (at: Api, token: string): Promise<boolean> =>
  (await at.call('GET', '/v1/jobs', { token })).status === 200;

test('keys are listed without their secrets, oldest first, each tenant its own', async () => {
  expect((await list('fresh')).json).toEqual({ keys: [] });
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  const first = await make('acme');
  const second = await make('acme', { scopes: ['work'], expiresAt });
  await make('globex');
  const answer = await list('acme');
  expect(answer.json.keys).toEqual([
    {
      id: first.id,
      scopes: ['jobs:read', 'jobs:write'],
      createdAt: expect.any(String),
      expiresAt: null,
      lastUsedAt: null,
      revoked: false,
    },
    expect.objectContaining({ id: second.id, scopes: ['work'], expiresAt, revoked: false }),
  ]);
  expect(Date.now() - Date.parse(answer.json.keys[0].createdAt)).toBeLessThan(60_000);
  for (const { secret } of [first, second]) expect(answer.text).not.toContain(secret.slice(4, 20));
  expect(answer.text).not.toContain('sha256');
});

test('a key that is asked for without a body has what one has unless said otherwise', async () => {
  const answer = await api.admin('POST', '/v1/tenants/plain/keys');
  expect(answer).toMatchObject({
    status: 201,
    json: { scopes: ['jobs:read', 'jobs:write'], expiresAt: null },
  });
  expect(await opens(api, answer.json.secret)).toBe(true);
});

test('a rotation: two keys at once, then the old one opens nothing, here at once and elsewhere soon', async () => {
  const [old, next] = [await make('rotating'), await make('rotating')];
  for (const { secret } of [old, next]) {
    expect([await opens(api, secret), await opens(elsewhere, secret)]).toEqual([true, true]);
  }
  const answer = await revoke('rotating', old.id);
  expect([answer.status, answer.text]).toEqual([204, '']);
  expectProblem(await api.call('GET', '/v1/jobs', { token: old.secret }), 401, 'unauthenticated');
  await eventually('the other process has noticed', async () => !(await opens(elsewhere, old.secret)));
  expect([await opens(api, next.secret), await opens(elsewhere, next.secret)]).toEqual([true, true]);
  expect(await listed('rotating')).toMatchObject([
    { id: old.id, revoked: true },
    { id: next.id, revoked: false },
  ]);
  expect((await revoke('rotating', old.id)).status).toBe(204);
});

test('other processes notice within 3 s that a key was revoked', async () => {
  const tookMs: number[] = [];
  for (let n = 0; n < 2; n += 1) {
    const { id, secret } = await make('revoking');
    expect(await opens(elsewhere, secret)).toBe(true);
    await revoke('revoking', id);
    const revokedAt = performance.now();
    await eventually('the other process has noticed', async () => !(await opens(elsewhere, secret)));
    tookMs.push(performance.now() - revokedAt);
  }
  // A stall spoils one of them.
  expect(Math.min(...tookMs)).toBeLessThan(4000);
});

test('the use of a key is noted', async () => {
  const { secret } = await make('used');
  const before = Date.now();
  await opens(api, secret);
  await eventually('it is noted', async () => (await listed('used'))[0].lastUsedAt !== null);
  const { lastUsedAt } = (await listed('used'))[0];
  expect(Date.parse(lastUsedAt)).toBeGreaterThanOrEqual(before);
  // Read again from Redis by another process, and used by it: not noted again within the minute.
  expect(await opens(elsewhere, secret)).toBe(true);
  expect((await listed('used'))[0].lastUsedAt).toBe(lastUsedAt);
});

test('an expired key is refused and still listed', async () => {
  const { id, secret } = await soonExpiringKey(api, 'late');
  await eventually('it has expired', async () => !(await opens(api, secret)));
  expectProblem(await elsewhere.call('GET', '/v1/jobs', { token: secret }), 401, 'unauthenticated');
  expect(await listed('late')).toMatchObject([{ id, revoked: false }]);
  expect(Date.parse((await listed('late'))[0].expiresAt)).toBeLessThanOrEqual(Date.now());
});

test('what is no key of the tenant is not found, and nothing is revoked by it', async () => {
  const { id, secret } = await make('owner');
  for (const path of [`/v1/tenants/globex/keys/${id}`, `/v1/tenants/owner/keys/${id.slice(0, -1)}0x`]) {
    expectProblem(await api.admin('DELETE', path), 404, 'not_found');
  }
  for (const odd of HOSTILE_IDS) {
    const path = encodeURIComponent(odd);
    expectProblem(await revoke('owner', path), 404, 'not_found');
    expectProblem(await list(path), 404, 'not_found');
    expectProblem(await revoke(path, id), 404, 'not_found');
  }
  expectProblem(await list('*'), 404, 'not_found');
  expect(await opens(api, secret)).toBe(true);
});

test('a tenant has no more keys than a list can hold', async () => {
  const made = await Promise.all(
    Array.from({ length: 200 }, () => api.admin('POST', '/v1/tenants/many/keys', { body: {} })),
  );
  expect(new Set(made.map(({ status }) => status))).toEqual(new Set([201]));
  expectProblem(await api.admin('POST', '/v1/tenants/many/keys', { body: {} }), 409, 'conflict');
  expect((await listed('many')).length).toBe(200);
});
