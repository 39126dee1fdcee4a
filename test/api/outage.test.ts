import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { eventually } from '../support/eventually.ts';
import { ADMIN_TOKEN, startApi } from './support/api.ts';
import type { Answer, Api, CallOptions } from './support/api.ts';
import { startEntry } from './support/process.ts';
import { accessOf } from './support/operations.ts';
import { expectProblem } from './support/problems.ts';
import { freePort } from '../support/ports.ts';

let redis: EmbeddedRedis;
let api: Api;

beforeAll(async () => {
  redis = await startEmbeddedRedis({ port: await freePort() });
  api = await startApi(redis.url);
});
afterAll(async () => {
  await api.stop();
  await redis.stop();
});

const TENANT = { 'X-Tenant-Id': 'acme' };
const calls: [string, string, CallOptions][] = [
  ['GET', '/readyz', {}],
  ['POST', '/v1/jobs', { body: { task: 'echo' }, headers: TENANT }],
  ['POST', '/v1/jobs', { body: { task: 'echo' }, headers: { ...TENANT, Prefer: 'wait=30' } }],
  ['POST', '/v1/jobs/batch', { body: { jobs: [{ task: 'echo' }] }, headers: TENANT }],
  ['GET', '/v1/jobs', { headers: TENANT }],
  ['GET', '/v1/jobs/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC', { headers: TENANT }],
  ['GET', '/v1/jobs/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC?wait=30', { headers: TENANT }],
  ['POST', '/v1/flows', { body: { tree: { task: 'echo', children: [{ task: 'echo' }] } }, headers: TENANT }],
  ['GET', '/v1/flows/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC', { headers: TENANT }],
  ['GET', '/v1/tenants', {}],
  ['GET', '/v1/tenants/acme', {}],
  ['PUT', '/v1/tenants/acme', { body: { weight: 2 } }],
  ['POST', '/v1/tenants/acme/keys', { body: {} }],
  ['GET', '/dashboard/api/queues', {}],
  ['GET', '/dashboard/tenants', {}],
  ['GET', '/dashboard/tenants/acme', {}],
];

test('without Redis every route says so soon, nothing hangs, and it recovers by itself', async () => {
  const key = await api.key('acme');
  const before = await Promise.all(
    calls.map(([method, path, options]) => quick(method, path, { ...options })),
  );
  expect(before.filter((answer) => answer.status >= 500).map((answer) => answer.text)).toEqual([]);
  // A long poll that is under way when Redis goes away must not be forgotten either.
  const { json: held } = await api.admin('POST', '/v1/jobs', {
    body: { task: 'echo', delayMs: 60_000 },
    headers: TENANT,
  });
  const poll = api.admin('GET', `/v1/jobs/${held.id}?wait=6`, { headers: TENANT });
  const every = operationsOf((await api.call('GET', '/openapi.json')).json);
  expect(every.length).toBeGreaterThan(30);

  const { port } = redis;
  await redis.stop();
  await eventually('the loss is noticed', async () => (await api.call('GET', '/readyz')).status === 503);
  for (const [method, path, options] of [...calls, ...every]) {
    const startedAt = performance.now();
    const answer = await api.admin(method, path, options);
    expect([method, path, answer.status, answer.text]).toEqual([method, path, 503, answer.text]);
    expectProblem(answer, 503, 'redis_unavailable');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(performance.now() - startedAt).toBeLessThan(30_000);
  }
  expectProblem(await api.call('GET', '/v1/jobs', { token: key }), 503, 'redis_unavailable');
  expect((await api.call('GET', '/livez')).status).toBe(200);
  expect((await api.call('GET', '/metrics')).status).toBe(200);
  // Bad input is still told apart from an outage.
  expect((await api.admin('POST', '/v1/jobs', { body: { task: 1 }, headers: TENANT })).status).toBe(400);
  expect([200, 404, 503]).toContain((await poll).status);

  redis = await startEmbeddedRedis({ port });
  await eventually('it recovers', async () => (await api.call('GET', '/readyz')).status === 200);
  for (const [method, path, options] of calls) {
    expect((await quick(method, path, options)).status).toBeLessThan(500);
  }
  const listed = await api.admin('GET', '/v1/jobs', { headers: TENANT });
  expect(listed.json.jobs.length).toBeGreaterThan(0);
});

/** What a start says that fails. */
async function saidAtEnd(env: Record<string, string>): Promise<string> {
  const ended = startEntry('src/main.ts', { PORT: '0', WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN, ...env });
  expect(await ended.exited).toBe(1);
  const lines = ended.lines.filter((line) => line.startsWith('waggle api: '));
  expect(lines).toHaveLength(1);
  expect(ended.lines.filter((line) => /^ +at |"stack"|hidden/.test(line))).toEqual([]);
  return lines[0] ?? '';
}

test('started without Redis it says so, naming the setting and no password', async () => {
  const port = await freePort();
  const said = await saidAtEnd({ REDIS_URL: `redis://user:hidden@127.0.0.1:${port}` });
  expect(said).toContain(`REDIS_URL: Redis at redis://127.0.0.1:${port} cannot be reached`);
  expect(said).toContain('ECONNREFUSED');
});

test('started with a password that is none it says so, and does not show it', async () => {
  const guarded = await startEmbeddedRedis({ extraArgs: ['--requirepass', 'right'] });
  try {
    const address = new URL(guarded.url).host;
    const said = await saidAtEnd({ REDIS_URL: `redis://:hidden@${address}` });
    expect(said).toContain('REDIS_URL');
    expect(said).toContain('WRONGPASS');
  } finally {
    await guarded.stop();
  }
});

test('started on a port that somebody else listens on it says so, naming the setting', async () => {
  const { port } = api;
  expect(await saidAtEnd({ REDIS_URL: redis.url, PORT: String(port) })).toContain(
    `PORT: port ${port} cannot be listened on`,
  );
});

/** Every operation of the API's document that needs a credential, with the first example it gives of a body. */
function operationsOf({ paths }: any): [string, string, CallOptions][] {
  return Object.entries<Record<string, any>>(paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, operation]): [string, string, CallOptions][] => {
      const access = accessOf(operation);
      if (access === 'public') return [];
      const content = operation.requestBody?.content['application/json'];
      const examples = Object.values<any>(content?.examples ?? {}).map(({ value }) => value);
      const body = content && (content.example ?? examples[0] ?? {});
      const target = path
        .replace('{id}', path.includes('tenants') ? 'acme' : 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC')
        .replace('{keyId}', `key_${'0'.repeat(24)}`)
        .replace('tasks/{name}', 'tasks/echo')
        .replace('{name}', 'default');
      expect(target).not.toContain('{');
      return [
        [
          method.toUpperCase(),
          target,
          { ...(access === 'admin' ? {} : { headers: TENANT }), ...(body && { body }) },
        ],
      ];
    }),
  );
}

/** A call that does not wait for a job: nobody runs any here. */
function quick(method: string, path: string, options: CallOptions): Promise<Answer> {
  const headers = { ...options.headers, Prefer: 'wait=0' };
  return api.admin(method, path.replace('?wait=30', ''), { ...options, headers });
}
