import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';

let api: Api;
let redis: Redis;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl, { WAGGLE_SHARDS: '3' });
});
afterAll(async () => {
  redis.disconnect();
  await api.stop();
});

/** What the shards have of a limit, by shard. */
async function parts(field: string): Promise<unknown[]> {
  return Promise.all(
    [0, 1, 2].map(async (shard) => {
      const stored = await redis.hget(`{wg:${shard}}::fair:gates`, field);
      return stored === null ? null : JSON.parse(stored);
    }),
  );
}

describe.each([
  ['queues', 'queue', 'q', 'mail'],
  ['tasks', 'task', 't', 'video.encode'],
] as const)('limits of %s', (kind, one, field, name) => {
  const at = (id: string): string => `/v1/${kind}/${id}`;
  const put = (id: string, body: unknown): Promise<Answer> => api.admin('PUT', at(id), { body });

  test('are put, read, listed, replaced as a whole and taken away; every shard has its part at once', async () => {
    const limits = { maxRunning: 5, rate: { limit: 50, periodMs: 1000, burst: 4 } };
    const answer = await put(name, limits);
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual({
      name,
      ...limits,
      configured: true,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    expect((await api.admin('GET', at(name))).json).toEqual(answer.json);
    expect((await api.admin('GET', `/v1/${kind}`)).json).toEqual({ [kind]: [answer.json] });
    const stored = (await parts(`${field}:${name}`)) as { m: number; a: number; b: number; e: number }[];
    expect(stored.map(({ m }) => m).sort()).toEqual([1, 2, 2]);
    expect(stored.map(({ a }) => a).sort()).toEqual([1, 1, 2]);
    expect(stored.map(({ b, e }) => [b, e])).toEqual(Array(3).fill([4, 20_000]));

    const changed = await put(name, { maxRunning: 2 });
    expect(changed.json).toMatchObject({ maxRunning: 2, rate: null, createdAt: answer.json.createdAt });
    expect(((await parts(`${field}:${name}`)) as { m: number }[]).reduce((sum, { m }) => sum + m, 0)).toBe(2);

    const gone = await api.admin('DELETE', at(name));
    expect([gone.status, gone.text, gone.headers['content-type']]).toEqual([204, '', undefined]);
    expect(await parts(`${field}:${name}`)).toEqual([null, null, null]);
    expect((await api.admin('GET', `/v1/${kind}`)).json).toEqual({ [kind]: [] });
    expectProblem(await api.admin('DELETE', at(name)), 404, 'not_found');
  });

  test('are none where nobody has set any, and an empty body sets none', async () => {
    const none = {
      name: 'unknown',
      maxRunning: null,
      rate: null,
      configured: false,
      createdAt: null,
      updatedAt: null,
    };
    expect((await api.admin('GET', at('unknown'))).json).toEqual(none);
    expect((await put('unknown', {})).json).toMatchObject({ maxRunning: null, rate: null, configured: true });
    expect(await parts(`${field}:unknown`)).toEqual([null, null, null]);
    expect((await api.admin('DELETE', at('unknown'))).status).toBe(204);
  });

  test.each([
    { maxRunning: -1 },
    { maxRunning: 1.5 },
    { maxRunning: '3' },
    { rate: { limit: 0, periodMs: 1000 } },
    { rate: { limit: 1 } },
    { rate: { limit: 1, periodMs: 1000, burst: 0 } },
    { weight: 2 },
    { maxRunning: 1, __proto__x: 1 },
    [],
    'text',
    null,
  ])('are refused when they make no sense: %j', async (body) => {
    expectProblem(await put(name, body), 400, 'validation');
    expect((await api.admin('GET', at(name))).json.configured).toBe(false);
  });

  test.each(['A', '*', 'x'.repeat(200), '__proto__', 'a%20b', '{wg:0}', '%00', 'a%2fb'])(
    `are of no ${one} whose name is none: %s`,
    async (id) => {
      expectProblem(await put(id, { maxRunning: 1 }), 400, 'validation');
      expectProblem(await api.admin('GET', at(id)), 404, 'not_found');
      expectProblem(await api.admin('DELETE', at(id)), 404, 'not_found');
    },
  );
});

test('a queue with a reserved name has no limits', async () => {
  expectProblem(await api.admin('PUT', '/v1/queues/tenant', { body: { maxRunning: 1 } }), 400, 'validation');
  expect((await api.admin('PUT', '/v1/tasks/tenant', { body: { maxRunning: 1 } })).status).toBe(200);
  await api.admin('DELETE', '/v1/tasks/tenant');
});

test('a job that is held says by what, and until when', async () => {
  const headers = { 'X-Tenant-Id': 'acme' };
  const enqueue = async (task: string, queue: string): Promise<string> =>
    (await api.admin('POST', '/v1/jobs', { headers, body: { task, queue, payload: { ms: 1 } } })).json.id;
  await api.admin('PUT', '/v1/queues/held', { body: { maxRunning: 0 } });
  await api.admin('PUT', '/v1/tasks/sleep', { body: { maxRunning: 0 } });
  const whyOf = async (id: string): Promise<any> =>
    (await api.admin('GET', `/v1/jobs/${id}/why`, { headers })).json;

  const ofQueue = await whyOf(await enqueue('echo', 'held'));
  expect(ofQueue).toMatchObject({ state: 'waiting', runnable: false });
  expect(ofQueue.blockedBy).toContainEqual({
    gate: 'queue_concurrency',
    detail: 'queue held runs 0 of 0',
    until: null,
  });
  const ofTask = await whyOf(await enqueue('sleep', 'free'));
  expect(ofTask.blockedBy).toContainEqual({
    gate: 'queue_concurrency',
    detail: 'task sleep runs 0 of 0',
    until: null,
  });
  const free = await whyOf(await enqueue('echo', 'free'));
  expect(free.blockedBy.map((each: { gate: string }) => each.gate)).toEqual(['no_worker']);
  await api.admin('DELETE', '/v1/queues/held');
  await api.admin('DELETE', '/v1/tasks/sleep');
});
