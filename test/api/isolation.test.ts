import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { ADMIN_TOKEN, startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { soonExpiringKey } from './support/keys.ts';
import { accessOf } from './support/operations.ts';
import { expectProblem } from './support/problems.ts';

/** A route and the access it asks for, as the served document says: a new route is in this table without being added. */
interface Row {
  method: string;
  /** As the document writes it. */
  template: string;
  path: string;
  access: string;
}

const UNKNOWN_ID = 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC';

let api: Api;
let rows: Row[];

beforeAll(async () => {
  api = await startApi(await freshRedisUrl(), { WAGGLE_AUTH_FAILURES: '0' });
  const { json } = await api.call('GET', '/openapi.json');
  rows = Object.entries(json.paths as Record<string, Record<string, any>>).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      method: method.toUpperCase(),
      template: path,
      path: path
        .replace('{id}', path.includes('tenants') ? 'acme' : UNKNOWN_ID)
        .replaceAll(/\{\w+\}/g, 'default'),
      access: accessOf(operation),
    })),
  );
});
afterAll(() => api.stop());

const guarded = (): Row[] => rows.filter((row) => row.access !== 'public');
const ofTenants = (): Row[] => guarded().filter((row) => row.access !== 'admin');
const scoped = (): Row[] => ofTenants().filter((row) => row.access !== 'tenant');

test('the table holds every kind of route', () => {
  expect(new Set(rows.map((row) => row.access))).toEqual(
    new Set(['public', 'admin', 'tenant', 'jobs:read', 'jobs:write']),
  );
  expect(guarded().length).toBeGreaterThanOrEqual(10);
  for (const [method, path, access] of [
    ['GET', '/v1/me', 'tenant'],
    ['GET', '/v1/tenants/acme/usage', 'admin'],
    ['DELETE', '/v1/tenants/acme/keys/default', 'admin'],
    ['GET', '/v1/audit', 'admin'],
    ['PUT', '/v1/queues/default', 'admin'],
    ['DELETE', '/v1/tasks/default', 'admin'],
  ]) {
    expect(rows).toContainEqual(expect.objectContaining({ method, path, access }));
  }
});

describe('every guarded route', () => {
  test('refuses a caller without a credential, and says how to bring one', async () => {
    for (const { method, path } of guarded()) {
      const answer = await api.call(method, path);
      expectProblem(answer, 401, 'unauthenticated');
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="waggle"');
    }
  });

  test('refuses credentials that are not valid', async () => {
    const wrong = ['x', 'wgk_unknown', `${ADMIN_TOKEN}x`, ADMIN_TOKEN.slice(1), 'a'.repeat(5000), '\u00e9'];
    const headers = [
      ...wrong.map((token) => `Bearer ${token}`),
      'Basic YTpi',
      'Bearer',
      `bearer${ADMIN_TOKEN}`,
      '',
    ];
    for (const { method, path } of guarded()) {
      for (const Authorization of headers) {
        const answer = await api.call(method, path, { headers: { Authorization } });
        expectProblem(answer, 401, 'unauthenticated');
      }
    }
  });

  test('refuses keys that have expired or were revoked, as it does those that never were', async () => {
    const made = async (body: object): Promise<any> =>
      (await api.admin('POST', '/v1/tenants/acme/keys', { body })).json;
    const expired = await soonExpiringKey(api, 'acme');
    const revoked = await made({});
    for (const { secret } of [expired, revoked]) await api.call('GET', '/v1/jobs', { token: secret });
    await api.admin('DELETE', `/v1/tenants/acme/keys/${revoked.id}`);
    await eventually('it has expired', () => Date.now() > Date.parse(expired.expiresAt));
    for (const { method, path } of guarded()) {
      const never = await api.call(method, path, { token: `wgk_${'x'.repeat(43)}` });
      for (const { secret: token } of [expired, revoked]) {
        const answer = await api.call(method, path, { token });
        expectProblem(answer, 401, 'unauthenticated');
        expect(answer.headers['www-authenticate']).toBe('Bearer realm="waggle", error="invalid_token"');
        expect(answer.json.detail).toBe(never.json.detail);
      }
    }
  });

  test('refuses a key without its scope', async () => {
    const reader = await api.key('acme', ['jobs:read']);
    const writer = await api.key('acme', ['jobs:write']);
    const other = await api.key('acme', ['work']);
    for (const { method, path, access } of scoped()) {
      for (const token of [access === 'jobs:read' ? writer : reader, other]) {
        const answer = await api.call(method, path, { token });
        expectProblem(answer, 403, 'forbidden');
        expect(answer.headers['www-authenticate']).toContain(`error="insufficient_scope", scope="${access}"`);
      }
    }
  });

  test('refuses a key where the admin token is needed', async () => {
    const token = await api.key('acme');
    for (const { method, path } of guarded().filter((row) => row.access === 'admin')) {
      expectProblem(await api.call(method, path, { token }), 403, 'forbidden');
    }
  });

  test('refuses a key that names another tenant, and takes one that names its own', async () => {
    const token = await api.key('acme');
    for (const { method, path } of ofTenants()) {
      expectProblem(
        await api.call(method, path, { token, headers: { 'X-Tenant-Id': 'globex' } }),
        403,
        'forbidden',
      );
      const own = await api.call(method, path, { token, headers: { 'X-Tenant-Id': 'acme' } });
      expect([400, 404, 200, 202]).toContain(own.status);
    }
  });

  test('asks the admin which tenant is meant', async () => {
    for (const { method, path } of ofTenants()) {
      for (const headers of [{}, { 'X-Tenant-Id': '' }, { 'X-Tenant-Id': 'A B' }, { 'X-Tenant-Id': '*' }]) {
        expectProblem(await api.admin(method, path, { headers }), 400, 'validation');
      }
    }
  });
});

test('a route of any tenant takes each of its keys, whatever the scopes, and tells of its owner alone', async () => {
  const { json } = await api.call('GET', '/openapi.json');
  const scopes = json.components.schemas.Scope.enum as string[];
  for (const { method, path } of rows.filter((row) => row.access === 'tenant')) {
    for (const scope of scopes) {
      const answer = await api.call(method, path, { token: await api.key('globex', [scope]) });
      expect([answer.status, answer.json.tenant]).toEqual([200, 'globex']);
    }
  }
});

describe('every route to an object', () => {
  /** By the path of its kind: how a tenant comes by one. A new kind belongs here. */
  const KINDS: Record<string, (token: string) => Promise<Answer>> = {
    '/v1/jobs/{id}': (token) =>
      api.call('POST', '/v1/jobs', { token, body: { task: 'echo', delayMs: 3_600_000 } }),
    '/v1/flows/{id}': (token) =>
      api.call('POST', '/v1/flows', {
        token,
        body: { tree: { task: 'echo', children: [{ task: 'echo' }] } },
      }),
  };
  const kindOf = (template: string): string => /^\/v1\/[^/]+\/\{\w+\}/.exec(template)?.[0] ?? '';
  const toObjects = (): Row[] => ofTenants().filter(({ template }) => template.includes('{'));
  const at = ({ template }: Row, id: string): string =>
    template.replace(/\{\w+\}/, id).replaceAll(/\{\w+\}/g, 'default');
  /** All that an answer says, but for the ids of the object and the request. */
  const said = ({ status, headers, json }: Answer, id: string): object => ({
    status,
    challenge: headers['www-authenticate'],
    ...json,
    instance: '',
    detail: String(json?.detail).replaceAll(id, ''),
  });

  test('answers another tenant as if there was none, whatever it sends, and changes nothing', async () => {
    const [owner, other] = [
      await api.key('owner', await allScopes()),
      await api.key('other', await allScopes()),
    ];
    expect(toObjects().length).toBeGreaterThanOrEqual(3);
    for (const row of toObjects()) {
      const kind = kindOf(row.template);
      const make = KINDS[kind];
      if (make === undefined) throw new Error(`this test must know how to make an object of ${kind}`);
      const { id } = (await make(owner)).json;
      const show = (): Promise<Answer> => api.call('GET', kind.replace(/\{\w+\}/, id), { token: owner });
      const before = await show();
      expect(before.status).toBe(200);
      const statuses: number[] = [];
      for (const body of row.method === 'GET' ? [undefined] : [undefined, {}, { priority: 1 }]) {
        const foreign = await api.call(row.method, at(row, id), { token: other, body });
        const absent = await api.call(row.method, at(row, UNKNOWN_ID), { token: other, body });
        expect([row, said(foreign, id)]).toEqual([row, said(absent, UNKNOWN_ID)]);
        statuses.push(foreign.status);
      }
      expect([row, statuses]).toEqual([row, expect.arrayContaining([404])]);
      expect((await show()).json).toEqual(before.json);
    }
  });

  async function allScopes(): Promise<string[]> {
    return (await api.call('GET', '/openapi.json')).json.components.schemas.Scope.enum as string[];
  }
});

describe('what belongs to one tenant', () => {
  test('does not exist for another: not in a look-up, not in a wait, not in a list', async () => {
    // Tenants of the same shard and of others.
    const others = await Promise.all(
      Array.from({ length: 8 }, async (_, n) => ({
        tenant: `other-${n}`,
        token: await api.key(`other-${n}`),
      })),
    );
    const token = await api.key('acme');
    const job = (await api.call('POST', '/v1/jobs', { token, body: { task: 'echo', tags: ['mine'] } })).json;
    const flow = (
      await api.call('POST', '/v1/flows', {
        token,
        body: { tree: { task: 'echo', children: [{ task: 'echo' }] } },
      })
    ).json;
    for (const other of others) {
      for (const [path, absent] of [
        [`/v1/jobs/${job.id}`, `/v1/jobs/${UNKNOWN_ID}`],
        [`/v1/jobs/${job.id}?wait=1`, `/v1/jobs/${UNKNOWN_ID}?wait=1`],
        [`/v1/flows/${flow.id}`, `/v1/flows/${UNKNOWN_ID}`],
      ] as const) {
        const answer = await api.call('GET', path, { token: other.token });
        expectProblem(answer, 404, 'not_found');
        // Nothing in the answer tells an object of somebody else from one that never was.
        const nothing = await api.call('GET', absent, { token: other.token });
        expect(answer.json.detail.replace(/default\.\w{26}/, '')).toBe(
          nothing.json.detail.replace(/default\.\w{26}/, ''),
        );
      }
      for (const query of ['', '?tag=mine', `?flowId=${flow.id}`, '?task=echo&queue=default']) {
        const list = await api.call('GET', `/v1/jobs${query}`, { token: other.token });
        expect(list.json).toEqual({ jobs: [], nextCursor: null });
      }
    }
    expect((await api.call('GET', `/v1/jobs/${job.id}`, { token })).json.tenant).toBe('acme');
    expect((await api.call('GET', `/v1/flows/${flow.id}`, { token })).status).toBe(200);
  });

  test("is the admin's to see when it acts for that tenant", async () => {
    const headers = { 'X-Tenant-Id': 'acme' };
    const job = (await api.admin('POST', '/v1/jobs', { headers, body: { task: 'echo' } })).json;
    expect(job.tenant).toBe('acme');
    expect((await api.admin('GET', `/v1/jobs/${job.id}`, { headers })).status).toBe(200);
    const elsewhere = await api.admin('GET', `/v1/jobs/${job.id}`, { headers: { 'X-Tenant-Id': 'globex' } });
    expectProblem(elsewhere, 404, 'not_found');
  });

  test('is not in the usage of another', async () => {
    const token = await api.key('hidden');
    await api.call('POST', '/v1/jobs', { token, body: { task: 'echo', queue: 'of-hidden' } });
    const other = await api.call('GET', '/v1/me', { token: await api.key('other-0') });
    expect(other.text).not.toContain('hidden');
    expect((await api.call('GET', '/v1/me', { token })).json.queues).toEqual({
      'of-hidden': { waiting: 1, delayed: 0, active: 0 },
    });
    expectProblem(await api.call('GET', '/v1/tenants/hidden/usage', { token }), 403, 'forbidden');
  });

  test('does not follow a cursor of another tenant', async () => {
    const first = await api.key('first');
    const second = await api.key('second');
    for (let n = 0; n < 3; n++) await api.call('POST', '/v1/jobs', { token: first, body: { task: 'echo' } });
    const { json } = await api.call('GET', '/v1/jobs?limit=1', { token: first });
    expect(json.nextCursor).not.toBeNull();
    const answer = await api.call('GET', `/v1/jobs?cursor=${encodeURIComponent(json.nextCursor)}`, {
      token: second,
    });
    expect(answer.status === 400 || answer.json.jobs.length === 0).toBe(true);
  });
});

test('the tenant never comes from a body or a query', async () => {
  const token = await api.key('acme');
  expectProblem(
    await api.call('POST', '/v1/jobs', { token, body: { task: 'echo', tenant: 'globex' } }),
    400,
    'validation',
  );
  expectProblem(await api.call('GET', '/v1/jobs?tenant=globex', { token }), 400, 'validation');
});
